"""Files that stand beside the results: comparisons, diagnostics, latent maps, the leak audit.

A corpus evaluated by an older version lacks some of them. Each is then None, its section says which
command makes it, and the rest of the page stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.errors import CorruptDataError

#: What a comparison cannot be shown without; further columns are shown where they are.
COMPARISON_COLUMNS = (
    "scheme", "subset", "metric", "a", "b", "value_a", "value_b", "difference", "ci_low",
    "ci_high", "p_permutation", "q_permutation", "verdict",
)  # fmt: skip
_COMPARISON_NUMBERS = (
    "value_a", "value_b", "difference", "ci_low", "ci_high", "p_permutation", "q_permutation",
    "t_cluster", "p_t_cluster", "p_wilcoxon_cluster", "t_clip", "p_t_clip", "p_wilcoxon_clip",
    "cohen_d_clip", "r_a", "r_b", "cohen_q", "williams_t", "williams_p", "n_units",
    "n_units_ahead", "n_units_behind",
)  # fmt: skip
_RANK_COLUMNS = {  # file: (columns, those of numbers)
    "ranking": (
        ("scheme", "subset", "kind", "features", "model", "dimension", "metric", "value", "ci_low",
         "ci_high", "chance", "n_pairs", "n_seeds"),
        ("value", "ci_low", "ci_high", "chance", "n_pairs", "n_seeds"),
    ),
    "rank_comparisons": (
        ("scheme", "subset", "metric", "a", "b", "difference", "ci_low", "ci_high", "verdict"),
        ("difference", "ci_low", "ci_high"),
    ),
    "disentanglement": (
        ("ranker", "scheme", "branch", "measure", "value", "chance_mean", "chance_low",
         "chance_high", "p"),
        ("value", "chance_mean", "chance_low", "chance_high", "p"),
    ),
}  # fmt: skip
_HEAD_COLUMNS = {
    "contrastive": (
        ("scheme", "kind", "head", "approach", "store", "dimension", "metric", "statistic", "value",
         "ci_low", "ci_high", "n_clips", "n_folds", "seed", "n_seeds"),
        ("value", "ci_low", "ci_high", "n_clips", "n_folds", "seed", "n_seeds"),
    ),
    "contrast_comparisons": (
        ("scheme", "dimension", "a", "b", "difference", "ci_low", "ci_high", "p_permutation",
         "q_permutation", "n_seeds", "n_seeds_ahead", "verdict"),
        ("difference", "ci_low", "ci_high", "p_permutation", "q_permutation", "n_seeds",
         "n_seeds_ahead"),
    ),
    "class_distances": (
        ("scheme", "head", "dimension", "bins", "class_a", "class_b", "distance", "relative", "n_a",
         "n_b"),
        ("bins", "class_a", "class_b", "distance", "relative", "n_a", "n_b"),
    ),
    "tsne": (
        ("scheme", "head", "fold", "seed", "dimension", "bins", "perplexity", "clip", "class", "x",
         "y"),
        ("fold", "seed", "bins", "perplexity", "class", "x", "y"),
    ),
}  # fmt: skip
_CONTOUR_NUMBERS = ("value", "ci_low", "ci_high", "n_clips", "n_unknown")
_LEAK_COLUMNS = ("scheme", "part", "column", "overlap")
LATENT_COLUMNS = ("view", "clip", "x", "y")


@dataclass(frozen=True)
class Beside:
    """What was found beside ``results.csv``; None for a file that is not there.

    Tables of rankers and heads have no rows where the parameters name none.
    """

    comparisons: pd.DataFrame | None = None
    diagnostics: Mapping[str, Any] | None = None
    latent: pd.DataFrame | None = None
    leaks: pd.DataFrame | None = None
    ranking: pd.DataFrame | None = None
    rank_comparisons: pd.DataFrame | None = None
    disentanglement: pd.DataFrame | None = None
    contrastive: pd.DataFrame | None = None
    contrast_comparisons: pd.DataFrame | None = None
    class_distances: pd.DataFrame | None = None
    tsne: pd.DataFrame | None = None
    contours: pd.DataFrame | None = None


def read_beside(folder: Path, corpus: str) -> Beside:
    """Read the files of one corpus.

    Parameters
    ----------
    folder : Path
        ``reports/<corpus>``.

    Raises
    ------
    CorruptDataError
        A file is there and cannot be read, or lacks columns.
    """
    evaluate, audit = f"dvc repro evaluate@{corpus}", f"dvc repro audit@{corpus}"
    comparisons = _table(folder / "comparisons.csv", COMPARISON_COLUMNS, evaluate)
    if comparisons is not None:
        wanted = [c for c in _COMPARISON_NUMBERS if c in comparisons.columns]
        comparisons = _numeric(comparisons, wanted, folder / "comparisons.csv", evaluate)
    latent = _table(folder / "latent.csv", LATENT_COLUMNS, evaluate)
    if latent is not None:
        latent = _numeric(latent, ("x", "y"), folder / "latent.csv", evaluate)
        latent = latent.sort_values(["view", "clip"], kind="stable", ignore_index=True)
    leaks = _table(folder / "leaks.csv", _LEAK_COLUMNS, audit)
    if leaks is not None:
        leaks = _numeric(leaks, ("overlap",), folder / "leaks.csv", audit)
    ranked = [
        _numbers(folder / f"{name}.csv", wanted, numbers, f"dvc repro evaluate_rank@{corpus}")
        for name, (wanted, numbers) in _RANK_COLUMNS.items()
    ]
    heads = {
        name: _numbers(
            folder / f"{name}.csv", wanted, numbers, f"dvc repro evaluate_contrast@{corpus}"
        )
        for name, (wanted, numbers) in _HEAD_COLUMNS.items()
    }
    heads["contours"] = _numbers(
        folder / "contours.csv", ("instrument", "measure", *_CONTOUR_NUMBERS), _CONTOUR_NUMBERS,
        f"dvc repro contours@{corpus}",
    )  # fmt: skip
    found = _json(folder / "diagnostics.json", evaluate)
    return Beside(comparisons, found, latent, leaks, *ranked, **heads)


def overlap_by_part(leaks: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """The audit as part → scheme → column → share of clips; None where nothing was checked."""
    out: dict[str, dict[str, dict[str, float | None]]] = {}
    for part, scheme, column, share in zip(
        *(leaks[c] for c in ("part", "scheme", "column", "overlap")), strict=True
    ):
        cell = float(share) if math.isfinite(share) else None
        out.setdefault(str(part), {}).setdefault(str(scheme), {})[str(column)] = cell
    return out


def _table(path: Path, wanted: Sequence[str], again: str) -> pd.DataFrame | None:
    """A CSV with every cell as text, or None."""
    if not path.is_file():
        return None
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise CorruptDataError(f"not a table: {error}", where=path, next_step=again) from error
    missing = [column for column in wanted if column not in frame.columns]
    if missing:
        raise CorruptDataError(
            f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing",
            where=path, allowed=", ".join(wanted), next_step=again,
        )  # fmt: skip
    return frame


def _numbers(
    path: Path, wanted: Sequence[str], numbers: Sequence[str], again: str
) -> pd.DataFrame | None:
    frame = _table(path, wanted, again)
    return None if frame is None else _numeric(frame, numbers, path, again)


def _numeric(frame: pd.DataFrame, columns: Sequence[str], path: Path, again: str) -> pd.DataFrame:
    frame = frame.copy()
    for column in columns:
        cells = frame[column].astype("object").where(frame[column] != "", None)
        try:
            frame[column] = pd.to_numeric(cells).astype("float64")
        except (ValueError, TypeError) as error:
            raise CorruptDataError(
                f"column {column} is not numeric: {error}", where=path, next_step=again
            ) from error
    return frame


def _json(path: Path, again: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"not JSON: {error}", where=path, next_step=again) from error
    if not isinstance(found, dict):
        raise CorruptDataError("not a JSON object", where=path, next_step=again)
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one: an older version did not write it."""
    return value if isinstance(value, Mapping) else {}


def records(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; empty if there is none."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def part(diagnostics: Mapping[str, Any] | None, scheme: str | None, name: str) -> Any:
    """One block of the diagnostics of a scheme; None where it was not computed."""
    return mapping(mapping(mapping(diagnostics).get("schemes")).get(scheme or "")).get(name)


def floats(value: Any) -> list[float | None]:
    """Numbers of a list, None where JSON has null."""
    if not isinstance(value, list):
        return []
    return [
        float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else None for v in value
    ]
