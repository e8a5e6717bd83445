"""How often a point of a sweep was chosen inside the training side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.tables import MEAN
from pianoeval.rankings import POINT

CHOSEN = "chosen_share"


def chosen_rows(
    selection: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A row a point and scheme: the share of folds in which the ranker took it.

    Parameters
    ----------
    selection : sequence of mapping
        ``ranker, scheme, fold, point``, as in the attrs of the ranked pairs; ``point`` is empty
        where there is no sweep.
    rows : sequence of mapping
        Of ``ranking.csv``; each point has rows of its own there.

    Raises
    ------
    CorruptDataError
        A record lacks one of its keys.
    """
    taken: Counter[tuple[str, str]] = Counter()
    folds: Counter[tuple[str, str]] = Counter()
    for record in selection:
        if missing := [key for key in ("ranker", "scheme", "point") if key not in record]:
            raise CorruptDataError(
                f"a selection without {', '.join(missing)}", where="ranked pairs",
                allowed="ranker, scheme, fold, point", next_step="dvc repro",
            )  # fmt: skip
        ranker, scheme, point = (str(record[key]) for key in ("ranker", "scheme", "point"))
        folds[scheme, ranker] += 1
        taken[scheme, f"{ranker}{POINT}{point}"] += 1
    own: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        if row["kind"] == "point" and row["dimension"] == MEAN:
            own.setdefault((row["scheme"], row["model"]), row)
    found = []
    nothing = dict.fromkeys(("margin", "ci_low", "ci_high", "chance"), float("nan"))
    for (scheme, model), row in own.items():
        if n := folds[scheme, model.partition(POINT)[0]]:
            share = taken[scheme, model] / n
            found.append({**row, **nothing, "metric": CHOSEN, "value": share, "interval": ""})
    return found
