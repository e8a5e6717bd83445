"""How often a point of a sweep was chosen inside the training side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.contrast.trial import Trial, is_point
from pianoeval.evaluate.tables import MEAN
from pianoeval.rankings import POINT

CHOSEN = "chosen_share"
_NEEDED = ("head", "scheme", "dimension", "point")


def chosen_rows(
    selection: Sequence[Mapping[str, Any]],
    trial: Trial,
    cells: Mapping[str, Any],
    about: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A row a point and dimension: the share of folds and seeds whose validation clips took it.

    Parameters
    ----------
    selection : sequence of mapping
        ``head, scheme, fold, seed, dimension, point``, as in the attrs of the predictions;
        ``point`` is empty where there is no sweep.
    trial : Trial
    cells : mapping
        Further cells, common to all.
    about : mapping
        Cells by head.

    Raises
    ------
    CorruptDataError
        A record lacks one of its keys.
    """
    taken: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    for record in selection:
        if missing := [key for key in _NEEDED if key not in record]:
            raise CorruptDataError(
                f"a selection without {', '.join(missing)}", where="predictions of heads",
                allowed=", ".join(_NEEDED), next_step="dvc repro",
            )  # fmt: skip
        if record["scheme"] != trial.scheme:
            continue
        head, point = str(record["head"]), f"{record['head']}{POINT}{record['point']}"
        for dimension in (str(record["dimension"]), MEAN):
            asked[head, dimension] += 1
            taken[point, dimension] += 1
    rows = []
    for name in filter(is_point, trial.heads):
        for dimension in [*trial.dimensions, MEAN]:
            if n := asked[name.partition(POINT)[0], dimension]:
                rows.append({
                    **cells, **about[name], "scheme": trial.scheme, "dimension": dimension,
                    "metric": CHOSEN, "statistic": "", "value": taken[name, dimension] / n,
                    "interval": "", "n_folds": trial.n_folds,
                })  # fmt: skip
    return rows
