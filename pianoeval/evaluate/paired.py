"""What paired comparisons are made of: scores of clips or pairs by group, errors, correlations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics import significance
from pianoeval.evaluate.statistics.metrics import Array, margin_name
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE, Design, Index, row_adder
from pianoeval.evaluate.tables import ModelKey

Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Items:
    """What a metric counts: clips, or pairs of clips.

    Up to a constant, the metric is the mean over dimensions of Σ score / total.

    Attributes
    ----------
    clip : int64, shape (items,)
        Row of a clip that the item lies with.
    counted : float64, shape (items, D)
        1 where the item counts; the averaged dimensions only.
    total : float64, shape (D,)
    score : function
        Predictions (n, all dimensions) to scores (items, D), higher = better.
    """

    clip: Index
    counted: Array
    total: Array
    score: Callable[[Array], Array]

    def gains(self, p: Array, code: Index) -> Array:
        """What each group adds to the metric, shape (groups,)."""
        add = row_adder(code[self.clip], int(code.max()) + 1)
        return np.asarray((add @ self.score(p) / self.total).mean(axis=1))

    def levels(self, p: Array, code: Index) -> Array:
        """The group's own mean score, as ``total`` scales it; NaN where nothing is counted."""
        add = row_adder(code[self.clip], int(code.max()) + 1)
        n = add @ self.counted
        own = (add @ self.score(p)) / np.maximum(n, 1.0) * (self.counted.sum(axis=0) / self.total)
        known = n > 0
        sums = np.where(known, own, 0.0).sum(axis=1)
        return np.where(known.any(axis=1), sums / np.maximum(known.sum(axis=1), 1), np.nan)

    def present(self, code: Index) -> NDArray[np.bool_]:
        """Groups in which anything is counted."""
        add = row_adder(code[self.clip], int(code.max()) + 1)
        return np.asarray((add @ self.counted).any(axis=1))


def make_items(
    metric: str, design: Design, y: Array, averaged: NDArray[np.bool_], margins: Sequence[float]
) -> Items:
    """Clips for pooled R², which is 1 + Σ score / total; pairs of clips for pairwise accuracy."""
    if metric == "r2_pooled":
        rated = np.isfinite(y)
        centred = _centred(y, rated)
        total = (centred**2).sum(axis=0)
        use = averaged & (total > 0)
        return Items(
            np.arange(len(y)), rated[:, use].astype(np.float64), total[use],
            lambda p: -(np.where(rated, y - p, 0.0)[:, use] ** 2),
        )  # fmt: skip
    margin = {margin_name(m): m for m in margins}[metric]
    one, other = design.pairs.T
    difference = y[one] - y[other]
    # NaN differences compare false and drop out.
    counted = np.abs(difference) > margin + MARGIN_TOLERANCE
    use = averaged & counted.any(axis=0)
    right, counted = np.sign(difference[:, use]), counted[:, use]

    def hits(p: Array) -> Array:
        predicted = (p[one] - p[other])[:, use]
        hit = np.where(predicted == 0.0, 0.5, np.sign(predicted) == right)
        return np.where(counted, hit, 0.0)

    return Items(one, counted.astype(np.float64), counted.sum(axis=0).astype(np.float64), hits)


def clip_columns(
    y: Array, predictions: Mapping[ModelKey, Array], first: Places,
    second: Places,
) -> dict[str, Any]:  # fmt: skip
    """Tests on clips as if they were independent: squared error of b minus that of a."""
    rated = np.isfinite(y)
    known = rated.any(axis=1)
    n = rated[known].sum(axis=1)
    errors = [np.where(rated, y - p, 0.0)[known] ** 2 for p in predictions.values()]
    per_clip = np.stack([error.sum(axis=1) / n for error in errors], axis=1)
    x = per_clip[:, second] - per_clip[:, first]
    t, p_t = significance.paired_t(x)
    return {
        "n_clips": len(x), "t_clip": t, "p_t_clip": p_t,
        "p_wilcoxon_clip": significance.paired_wilcoxon(x), "cohen_d_clip": significance.cohen_d(x),
    }  # fmt: skip


def _centred(values: Array, rated: NDArray[np.bool_]) -> Array:
    """Deviations from each column's mean over its rated rows; 0 elsewhere."""
    mean = np.where(rated, values, 0.0).sum(axis=0) / np.maximum(rated.sum(axis=0), 1)
    return np.where(rated, values - mean, 0.0)


def correlation_columns(
    y: Array, predictions: Mapping[ModelKey, Array], first: Places,
    second: Places,
) -> dict[str, Any]:  # fmt: skip
    """Correlations over all rated cells, dimensions centred, and what compares them."""
    rated = np.isfinite(y)
    stack = np.stack([_centred(v, rated)[rated] for v in (y, *predictions.values())])
    size = np.sqrt((stack**2).sum(axis=1, keepdims=True))
    # A model whose predictions are all equal has no correlation.
    unit = np.divide(stack, size, out=np.full_like(stack, np.nan), where=size > 1e-10)
    r = np.clip(unit @ unit.T, -1.0, 1.0)
    r_y, r_ab = r[0, 1:], r[1:, 1:][first, second]
    t, p = significance.williams(r_y[first], r_y[second], r_ab, int(rated.any(axis=1).sum()))
    return {
        "r_a": r_y[first], "r_b": r_y[second],
        "cohen_q": significance.cohen_q(r_y[first], r_y[second]), "williams_t": t, "williams_p": p,
    }  # fmt: skip
