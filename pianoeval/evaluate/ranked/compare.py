"""Rankers against each other, against the best model that predicts labels, and against lookups.

As in ``evaluate.comparisons``: the paired bootstrap, models exchanged within whole content groups,
and what a scheme holds out. All rankers are compared with each other; with the best model and the
best baseline only, which were found on the same pairs, so their side of the comparison is
flattered. q is over all comparisons of a scheme and metric. Points of a sweep are compared with
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.comparisons import (
    group_columns,
    held_out_unit,
    value_columns,
    verdict_rows,
)
from pianoeval.evaluate.paired import Items
from pianoeval.evaluate.ranked.contest import Contest, Entry, Kind
from pianoeval.evaluate.ranked.rows import Judged
from pianoeval.evaluate.scoring import TIE_DIGITS
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE
from pianoeval.params import EvaluateParams

COMPARED_COLUMNS = [
    "scheme", "subset", "metric", "a", "b", "value_a", "value_b", "difference", "ci_low",
    "ci_high", "interval", "p_permutation", "q_permutation", "smallest_p", "n_clusters",
    "t_cluster", "p_t_cluster", "p_wilcoxon_cluster", "unit", "n_units", "n_units_ahead",
    "n_units_behind", "p_unit", "verdict",
]  # fmt: skip


def compare_entries(
    judged: Judged, metric: str, margin: float, manifest: pd.DataFrame, params: EvaluateParams
) -> list[dict[str, Any]]:
    """Comparisons of one contest by one accuracy, columns ``COMPARED_COLUMNS``.

    Parameters
    ----------
    judged : Judged
    metric : str
        Name of the accuracy at ``margin``.
    margin : float
    manifest : DataFrame
    params : EvaluateParams
    """
    contest = judged.contest
    rankers = _defined(judged, metric, "ranker")
    best = [_best(judged, metric, kind) for kind in ("model", "baseline")]
    others = [entry for entry in best if entry is not None]
    keys = [*rankers, *others]
    pairs = [
        (a, b) for a, b in combinations(range(len(keys)), 2) if a < len(rankers)
    ]  # fmt: skip
    if not pairs:
        return []
    first, second = np.array(pairs, dtype=np.intp).T
    found: dict[str, Any] = {
        "scheme": contest.scheme, "subset": contest.subset, "metric": metric,
        # Tests over clips are of models that give each clip a label.
        "t_clip": np.nan, "p_t_clip": np.nan,
    }  # fmt: skip
    drawn = [judged.means[key][metric] for key in keys]
    found |= value_columns([k.name for k in keys], drawn, first, second, params.confidence)
    found |= group_columns(
        make_items(contest, margin, judged.averaged), contest.design,
        {key: contest.margins[key] for key in keys}, first, second,
        held_out_unit(contest.scheme, contest.design, manifest), params,
    )  # fmt: skip
    rows = verdict_rows(found, len(first), params.confidence)
    return [{name: row[name] for name in COMPARED_COLUMNS} for row in rows]


def _defined(judged: Judged, metric: str, kind: Kind) -> list[Entry]:
    return [
        entry for entry, found in judged.means.items()
        if entry.kind == kind and metric in found and np.isfinite(found[metric].value[-1])
    ]  # fmt: skip


def _best(judged: Judged, metric: str, kind: Kind) -> Entry | None:
    """The highest mean; of equal ones the training mean, then by name."""
    found = _defined(judged, metric, kind)

    def place(entry: Entry) -> tuple[float, bool, str]:
        value = float(judged.means[entry][metric].value[-1])
        return (-round(value, TIE_DIGITS), entry.features != "none", entry.name)

    return min(found, key=place) if found else None


def make_items(contest: Contest, margin: float, averaged: NDArray[np.bool_]) -> Items:
    """Pairs of takes beyond the margin, scored by margins of shape (pairs, D)."""
    rated = contest.difference
    # NaN differences compare false and drop out.
    counted = np.abs(rated) > margin + MARGIN_TOLERANCE
    use = averaged & counted.any(axis=0)
    right, counted = np.sign(rated[:, use]), counted[:, use]

    def hits(margins: Array) -> Array:
        told = margins[:, use]
        hit = np.where(told == 0.0, 0.5, np.sign(told) == right)
        return np.where(counted, hit, 0.0)

    total = counted.sum(axis=0).astype(np.float64)
    return Items(contest.design.pairs[:, 0], counted.astype(np.float64), total, hits)


def compared_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns ``COMPARED_COLUMNS``."""
    return pd.DataFrame(list(rows), columns=COMPARED_COLUMNS)
