"""Ceilings: how well anything could score, given how far the raters agree.

Ratings of one clip are y = T + e, T what the clip deserves, e the rater's deviation. Model: one-way
random effects (raters nested in clips; who rated what is not crossed), so a rater's bias counts as
error. A rater who rated a clip more than once counts as one rater, with the mean.

icc_11              ICC(1,1) = σ²_T / (σ²_T + σ²_e), variances from the unbalanced one-way analysis
                    of variance with k₀ = (N − Σk²/N)/(n − 1) (Shrout & Fleiss 1979, Psychol. Bull.
                    86, 420-428; Searle 1971, ch. 11)
icc_1k              ICC(1,k) = σ²_T / (σ²_T + σ²_e/k), k the harmonic mean of raters a clip, because
                    the error variance of the labels is σ²_e times the mean of 1/k. The best
                    predictor, T itself, has R² = var(T)/var(y): **this is the ceiling of R²**
split_half          raters of each clip split in halves at random, halves correlated, stepped up by
                    Spearman-Brown 2r/(1+r), mean over splits
within_share        share of the labels' variation that lies within segments
within_reliability  1 − (σ²_e · mean(1/k)) / s²_w, s²_w the pooled variance (n − 1) of clip means
                    within segments: how far raters agree about performances of the same music
pairwise            two clips of a segment whose labels differ by d: T differs by Normal(ρd,
                    2σ²_w(1−ρ)), ρ = 2σ²_w/(2σ²_w + σ²_e/k₁ + σ²_e/k₂), so an oracle that knows T
                    agrees with the labels' order with probability Φ(ρd/√(2σ²_w(1−ρ))); its mean
                    over the evaluated pairs is the ceiling of pairwise accuracy
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from pianoeval.errors import BadInputError
from pianoeval.evaluate.statistics.metrics import Array, margin_name
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE, Index, row_adder

N_SPLITS = 100


def one_rating_each(ratings: pd.DataFrame) -> pd.DataFrame:
    """Mean of repeated ratings of a clip by one rater; columns clip, rater, dimension, value."""
    if not np.isfinite(ratings["value"].to_numpy(np.float64)).all():
        raise BadInputError("some ratings are not finite", next_step="ingest the corpus again")
    keys = ["clip", "rater", "dimension"]
    return ratings.groupby(keys, sort=True)["value"].mean().reset_index()


def rater_counts(ratings: pd.DataFrame, clips: Sequence[str], dimensions: Sequence[str]) -> Array:
    """People behind each label, 0 where nobody rated, shape (clips, dimensions)."""
    people = ratings.groupby(["clip", "dimension"])["rater"].nunique().unstack()
    wide = people.reindex(index=list(clips), columns=list(dimensions))
    return wide.fillna(0.0).to_numpy(np.float64)


def _variances(values: Array, clip: Index) -> tuple[Array, Array, Array]:
    """(σ²_T, σ²_e, harmonic mean of k) by the unbalanced one-way analysis of variance, each (D,).

    ``values`` is (ratings, D) with NaN where a rater left a dimension out.
    """
    k, means = group_means(values, clip)
    rated = k > 0
    n, total = rated.sum(axis=0).astype(np.float64), k.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.nansum((values - means[clip]) ** 2, axis=0) / (total - n)
        spread = np.where(rated, k * (means - np.nanmean(values, axis=0)) ** 2, 0.0)
        between = spread.sum(axis=0) / (n - 1.0)
        k0 = (total - (k**2).sum(axis=0) / total) / (n - 1.0)
        harmonic = n / np.where(rated, 1.0 / k, 0.0).sum(axis=0)
        true: Array = (between - within) / k0
    return true, within, harmonic


def group_means(values: Array, group: Index) -> tuple[Array, Array]:
    """Count and mean of the finite rows of each group, (rows, D) -> two of (groups, D)."""
    add, rated = row_adder(group), np.isfinite(values)
    counts: Array = add @ rated.astype(np.float64)
    sums = add @ np.where(rated, values, 0.0)
    means: Array = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return counts, means


def split_half(values: Array, clip: Index, seed: int, n_splits: int = N_SPLITS) -> Array:
    """Spearman-Brown reliability of clip means from random halves of their raters.

    Parameters
    ----------
    values : float64, shape (ratings, D)
        One row a rater and clip; NaN where a dimension was left out.
    clip : int64, shape (ratings,)
        Codes 0 … n−1.
    seed, n_splits : int

    Returns
    -------
    float64, shape (D,)
        Over the clips that have raters in both halves.
    """
    random = np.random.default_rng(seed)
    k = np.bincount(clip)
    starts = np.cumsum(k) - k
    total = np.zeros(values.shape[1])
    for _ in range(n_splits):
        order = np.lexsort((random.random(len(values)), clip))
        home = clip[order]
        # Which half gets the odd rater is drawn too, or one half would always be the larger.
        half = (np.arange(len(home)) - starts[home] + random.integers(0, 2, len(k))[home]) % 2
        means = group_means(values[order], home + half * len(k))[1]
        means = np.vstack([means, np.full((2 * len(k) - len(means), len(total)), np.nan)])
        r = _correlation(means[: len(k)], means[len(k) :])
        total += 2.0 * r / (1.0 + r)
    mean: Array = total / n_splits
    return mean


def _correlation(one: Array, other: Array) -> Array:
    """Correlation of each column over the rows finite on both sides; NaN below three of them."""
    both = np.isfinite(one) & np.isfinite(other)
    n = np.maximum(both.sum(axis=0), 1)
    a, b = (np.where(both, x, 0.0) for x in (one, other))
    a, b = (np.where(both, x - x.sum(axis=0) / n, 0.0) for x in (a, b))
    spread = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    r: Array = np.full(one.shape[1], np.nan)
    np.divide((a * b).sum(axis=0), spread, out=r, where=(spread > 0) & (n > 2))
    return r


def _within(means: Array, segment: Index) -> tuple[Array, Array]:
    """Pooled variance of clip means within segments, and its share of the total variation."""
    counts, centres = group_means(means, segment)
    squares = np.nansum((means - centres[segment]) ** 2, axis=0)
    freedom = np.isfinite(means).sum(axis=0) - (counts > 0).sum(axis=0)
    total = np.nansum((means - np.nanmean(means, axis=0)) ** 2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(freedom > 0, squares / freedom, np.nan), squares / total


def reliability(ratings: pd.DataFrame, segments: pd.Series, seed: int = 42) -> pd.DataFrame:
    """Reliability of every dimension.

    Parameters
    ----------
    ratings : DataFrame
        Columns ``clip, rater, dimension, value``.
    segments : Series
        Segment of each clip, indexed by clip; ratings of other clips are left out.
    seed : int
        Of the random halves.

    Returns
    -------
    DataFrame indexed by dimension, with the quantities of the module's head; ``error_variance``
    is σ²_e of one rater and ``within_variance`` σ²_w
    """
    known = one_rating_each(ratings[ratings["clip"].isin(segments.index)])
    wide = known.pivot(index=["clip", "rater"], columns="dimension", values="value")
    wide = wide[[name for name in ratings["dimension"].unique() if name in wide]]
    names = wide.index.get_level_values("clip").to_numpy(dtype=object)
    clips, clip = np.unique(names, return_inverse=True)
    values = wide.to_numpy(np.float64)
    true, error, k = _variances(values, clip)
    segment = np.unique(segments.loc[list(clips)].to_numpy(dtype=object), return_inverse=True)[1]
    counts, means = group_means(values, clip)
    spread, share = _within(means, segment)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "n_clips": (counts > 0).sum(axis=0),
            "n_ratings": counts.sum(axis=0),
            "k_harmonic": k,
            "icc_11": true / (true + error),
            "icc_1k": true / (true + error / k),
            "split_half": split_half(values, clip, seed),
            "within_share": share,
            "within_reliability": 1.0 - (error / k) / spread,
            "error_variance": error,
            "within_variance": np.maximum(spread - error / k, 0.0),
        }
    return pd.DataFrame(columns, index=pd.Index(list(wide.columns), name="dimension"))


def unreliable_dimensions(table: pd.DataFrame, threshold: float) -> list[str]:
    """Dimensions on which raters are known not to agree about performances of one segment."""
    found = table["within_reliability"].to_numpy(np.float64)
    return [str(name) for name in table.index[np.isfinite(found) & (found < threshold)]]


def dimensions_of_unknown_reliability(table: pd.DataFrame) -> list[str]:
    """Dimensions without a within-segment reliability: one rater a clip, or one clip a segment."""
    known = np.isfinite(table["within_reliability"].to_numpy(np.float64))
    return [str(name) for name in table.index[~known]]


def pairwise_ceiling(
    difference: Array, error: Array, within_variance: float
) -> NDArray[np.float64]:
    """Probability that the true order of each pair is the rated one.

    Parameters
    ----------
    difference : float64, shape (pairs,)
        Of the two labels.
    error : float64, shape (pairs,)
        Error variance of that difference, σ²_e/k₁ + σ²_e/k₂.
    within_variance : float
        Variance of true values within a segment; 0 gives ½ everywhere, NaN (unknown) gives NaN.

    Returns
    -------
    float64, shape (pairs,)
    """
    if not np.isfinite(within_variance):
        return np.full(len(difference), np.nan)
    if not within_variance > 0:
        return np.full(len(difference), 0.5)
    shrink = 2.0 * within_variance / (2.0 * within_variance + error)
    spread = np.sqrt(2.0 * within_variance * (1.0 - shrink))
    with np.errstate(divide="ignore"):
        z = np.where(spread > 0, shrink * np.abs(difference) / spread, np.inf)
    out: Array = ndtr(z)
    return out


def pairwise_ceilings(
    y: Array,
    dimensions: Sequence[str],
    pairs: Index,
    raters: Array,
    table: pd.DataFrame,
    margins: Sequence[float],
) -> dict[str, Array]:
    """Ceiling of every pairwise accuracy and dimension.

    Parameters
    ----------
    y : float64, shape (n, D)
        Labels, in the order of ``dimensions``.
    pairs : int64, shape (pairs, 2)
        The evaluated pairs, from ``pairs.make_design``.
    raters : float64, shape (n, D)
        Raters behind each label.
    table : DataFrame
        From ``reliability``.
    margins : sequence of float

    Returns
    -------
    dict of float64, shape (D,), by metric name; NaN where no pair counts
    """
    out = {margin_name(margin): np.full(len(dimensions), np.nan) for margin in margins}
    error_variance = dict(zip(table.index, table["error_variance"], strict=True))
    within_variance = dict(zip(table.index, table["within_variance"], strict=True))
    first, second = pairs[:, 0], pairs[:, 1]
    for column, dimension in enumerate(dimensions):
        if dimension not in table.index:
            continue
        difference = np.abs(y[first, column] - y[second, column])
        known = np.minimum(raters[first, column], raters[second, column]) > 0
        share = 1.0 / np.maximum(raters[:, column], 1.0)
        error = error_variance[dimension] * (share[first] + share[second])
        chance = pairwise_ceiling(difference, error, within_variance[dimension])
        for margin in margins:
            counted = known & (difference > margin + MARGIN_TOLERANCE)
            if counted.any():
                out[margin_name(margin)][column] = chance[counted].mean()
    return out
