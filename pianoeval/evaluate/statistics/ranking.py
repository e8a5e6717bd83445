"""Rank correlations and NDCG, with the values that remain when one cluster is left out.

Rank correlations are no functions of sums over clips, so the bootstrap of ``bootstrap`` does not
reach them: their intervals come from the jackknife over clusters, which needs every correlation
once without each cluster. Neither ranks nor pairs are made anew for that (``orders``).

Spearman (1904)   Pearson correlation of midranks
Kendall (1945)    τ-b
NDCG              Järvelin & Kekäläinen 2002 (ACM Trans. Inf. Syst. 20, 422-446), discount
                  log2(1 + rank). A list is the clips of one segment **and one fold** (see
                  ``metrics`` for why). Gain = rating less the lowest rating of the list, so adding
                  a constant to all ratings changes nothing. Clips with one prediction share the
                  mean discount of their places (McSherry & Najork 2008, ECIR, eq. 6).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.statistics.metrics import Array, Sums
from pianoeval.evaluate.statistics.orders import Bits, Side, same_cluster, without_each
from pianoeval.evaluate.statistics.pairs import Design, Index, row_adder

LeftOut = tuple[Array, Array]
Transform = Literal["fisher", "logit", "none"]

# Numbers kept for the ratings, which all models share (128 MB).
KEPT_NUMBERS = 16_000_000


class Ranking:
    """Ratings ranked once, for the correlations of any number of models.

    Parameters
    ----------
    y : float64, shape (n, D)
        Ratings; rows that are NaN are left out, a dimension each.
    cluster : int64, shape (n,)
        Codes below ``n_clusters``.
    n_clusters : int
    """

    def __init__(self, y: Array, cluster: Index, n_clusters: int) -> None:
        self.rated = np.isfinite(y)
        self.n_clusters = n_clusters
        self.cluster = np.asarray(cluster, np.int64)
        self._sides = [
            Side(y[rows, d], self.cluster[rows], n_clusters) for d, rows in enumerate(self.rated.T)
        ]
        numbers = y.size * (n_clusters + 1 + 2 * (len(y) // 64 + 1))
        if numbers <= KEPT_NUMBERS:
            for side in self._sides:
                side.keep()
        # Pairs of one cluster: a mask of bits for each clip.
        self._masks = [same_cluster(side.cluster) for side in self._sides]

    def statistics(self, p: Array) -> dict[str, LeftOut]:
        """Spearman's and Kendall's correlation of each column; see ``rank_statistics``."""
        if not np.isfinite(p[self.rated]).all():
            raise CorruptDataError(
                "a rated clip has no prediction", where="rank correlations",
                allowed="finite predictions of all rated clips", next_step="dvc repro",
            )  # fmt: skip
        shape = (self.n_clusters + 1, len(self._sides))
        found = {"spearman": np.full(shape, np.nan), "kendall": np.full(shape, np.nan)}
        for d, rating in enumerate(self._sides):
            if len(rating.cluster) > 1:
                side = Side(p[self.rated[:, d], d], rating.cluster, self.n_clusters)
                found["spearman"][:, d] = _spearman(rating, side)
                found["kendall"][:, d] = _kendall(rating, side, self._masks[d])
        return {name: (values[-1], values[:-1]) for name, values in found.items()}


def _spearman(rating: Side, side: Side) -> Array:
    """Without each cluster, then without none; shape (C + 1,)."""
    parts = []
    for block in rating.blocks():
        one, other = rating.deviations(*block), side.deviations(*block)
        product = np.einsum("ic,ic->c", one, other)
        squares = np.einsum("ic,ic->c", one, one) * np.einsum("ic,ic->c", other, other)
        parts.append(_quotient(product, np.sqrt(squares)))
    return np.concatenate(parts)


def _kendall(rating: Side, side: Side, same: Bits) -> Array:
    """Without each cluster, then without none; shape (C + 1,)."""
    (y_low, y_high), (p_low, p_high) = rating.bits(), side.bits()
    right = (y_low & p_low) | (y_high & p_high)
    wrong = (y_low & p_high) | (y_high & p_low)
    row = _ones(right) - _ones(wrong)
    inside = _ones(right & same) - _ones(wrong & same)
    score = without_each(row, inside, rating.cluster, rating.n_clusters)
    m = len(rating.cluster) - rating.size
    pairs = m * (m - 1.0)
    return _quotient(score, np.sqrt((pairs - rating.tied()) * (pairs - side.tied())))


def _ones(sets: Bits) -> Array:
    counts: Array = np.bitwise_count(sets).sum(axis=1, dtype=np.float64)
    return counts


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Elementwise, within -1 and 1; NaN where a side is constant."""
    out: Array = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return np.clip(out, -1.0, 1.0)


def rank_statistics(y: Array, p: Array, cluster: Index, n_clusters: int) -> dict[str, LeftOut]:
    """Rank correlations of each dimension, and what they are without each cluster.

    Parameters
    ----------
    y, p : float64, shape (n, D)
        Ratings (NaN = not rated) and predictions.
    cluster : int64, shape (n,)
    n_clusters : int

    Returns
    -------
    dict of (float64 shape (D,), float64 shape (n_clusters, D)), for ``spearman`` and ``kendall``
        NaN where a side is constant. A cluster without a rated clip leaves the value as it is.

    Raises
    ------
    CorruptDataError
        If a rated clip has no prediction.

    Notes
    -----
    For several models of one corpus make one ``Ranking`` and call its ``statistics``.
    """
    return Ranking(y, cluster, n_clusters).statistics(p)


def jackknife_interval(
    value: Array,
    without: Array,
    confidence: float,
    transform: Transform,
    counted: NDArray[np.bool_] | None = None,
) -> LeftOut:
    """Limits from leaving out one cluster at a time, for several statistics at once.

    Standard error of Efron & Tibshirani 1993, eq. 11.5, Student's t with C - 1 degrees of freedom.
    It is a first-order interval: neither skewness nor bias is corrected, other than by the scale
    on which it is symmetric.

    Parameters
    ----------
    value : float64, shape (K,) or any
    without : float64, shape (C, K)
        The statistic without each cluster in turn.
    confidence : float
    transform : {"fisher", "logit", "none"}
        Scale on which limits are taken: artanh for correlations, logit for shares.
    counted : bool, shape (C, K), optional
        Clusters that hold anything; the others say nothing of the spread and are not among the C.

    Returns
    -------
    low, high : float64, shape (K,)
        NaN where there are fewer than two clusters, the value is undefined without one of them,
        or the scale has no place for one of the values (a correlation of exactly 1).
    """
    used = np.ones(without.shape, bool) if counted is None else counted
    n = used.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, left = _forward(value, transform), _forward(without, transform)
        mean = np.where(used, left, 0.0).sum(axis=0) / n
        spread = np.where(used, (left - mean) ** 2, 0.0).sum(axis=0)
        half = stats.t.ppf(0.5 + confidence / 2, n - 1) * np.sqrt((n - 1) / n * spread)
        low, high = _back(centre - half, transform), _back(centre + half, transform)
    known = np.isfinite(half) & np.isfinite(centre) & (n > 1)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _forward(values: Array, transform: Transform) -> Array:
    if transform == "fisher":
        # At 1 rounding decides between infinity and a large number; neither is a place.
        return np.arctanh(np.where(np.abs(values) < 1.0 - 1e-12, values, np.nan))
    return special.logit(values) if transform == "logit" else values


def _back(values: Array, transform: Transform) -> Array:
    if transform == "fisher":
        return np.tanh(values)
    return special.expit(values) if transform == "logit" else values


def ndcg_sums(design: Design, y: Array, p: Array) -> dict[str, Array]:
    """NDCG of each list, added up by cluster.

    Parameters
    ----------
    design : Design
    y, p : float64, shape (n, D)
        Ratings (NaN = not rated) and predictions.

    Returns
    -------
    dict of float64, shape (clusters, D)
        ``ndcg`` and ``ndcg_lists``: lists of two clips or more that are not all rated the same.
    """
    n_dimensions = y.shape[1]
    n_folds = int(design.fold.max()) + 1 if len(design.fold) else 1
    lists = np.unique(design.segment * n_folds + design.fold, return_inverse=True)[1].reshape(-1)
    n_lists = int(lists.max()) + 1 if len(lists) else 0
    rows, column = np.nonzero(np.isfinite(y))
    group = lists[rows] * n_dimensions + column
    rating, predicted = y[rows, column], p[rows, column]
    lowest = np.full(n_lists * n_dimensions, np.inf)
    np.minimum.at(lowest, group, rating)
    gain = rating - lowest[group]
    shape = (n_lists, n_dimensions)
    found = np.bincount(group, gain * _discounts(group, predicted), lowest.size).reshape(shape)
    best = np.bincount(group, gain * _discounts(group, rating), lowest.size).reshape(shape)
    counted = best > 0
    quality = np.divide(found, best, out=np.zeros(shape), where=counted)
    home = np.zeros(n_lists, np.int64)
    home[lists] = design.cluster
    up = row_adder(home, design.n_clusters)
    return {"ndcg": up @ quality, "ndcg_lists": up @ counted.astype(np.float64)}


def _discounts(group: Index, score: Array) -> Array:
    """Mean of 1/log2(1 + rank) over the places of equal scores, highest first, in each group."""
    order = np.lexsort((-score, group))
    fresh = np.diff(group[order], prepend=-1) != 0
    begin = np.flatnonzero(fresh)
    rank = np.arange(len(order)) - np.repeat(begin, np.diff(np.append(begin, len(order)))) + 1
    new = fresh | (np.diff(score[order], prepend=np.nan) != 0)
    tie = np.cumsum(new) - 1
    mean = np.bincount(tie, 1.0 / np.log2(1.0 + rank)) / np.bincount(tie)
    out = np.empty(len(order))
    out[order] = mean[tie]
    return out


def ndcg(s: Sums) -> Array:
    """Mean NDCG over lists, as a function of sums."""
    out: Array = np.full(s["ndcg"].shape, np.nan)
    np.divide(s["ndcg"], s["ndcg_lists"], out=out, where=s["ndcg_lists"] > 0)
    return out
