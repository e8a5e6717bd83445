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
from pianoeval.evaluate.metrics import Array, margin_name
from pianoeval.evaluate.pairs import MARGIN_TOLERANCE, Index, row_adder

N_SPLITS = 100


def one_rating_each(ratings: pd.DataFrame) -> pd.DataFrame:
    """Mean of repeated ratings of a clip by one rater; columns clip, rater, dimension, value."""
    if not np.isfinite(ratings["value"].to_numpy(np.float64)).all():
        raise BadInputError("some ratings are not finite", next_step="ingest the corpus again")
    keys = ["clip", "rater", "dimension"]
    return ratings.groupby(keys, sort=True)["value"].mean().reset_index()


def _variances(values: Array, clip: Index) -> tuple[Array, Array, float]:
    """(σ²_T, σ²_e, harmonic mean of k) by the unbalanced one-way analysis of variance."""
    k = np.bincount(clip).astype(np.float64)
    n, total = float(len(k)), float(k.sum())
    harmonic = n / float((1.0 / k).sum())
    if n < 2 or total <= n:
        unknown = np.full(values.shape[1], np.nan)
        return unknown, unknown, harmonic
    means = group_means(values, clip)
    within = ((values - means[clip]) ** 2).sum(axis=0) / (total - n)
    between = (k[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0) / (n - 1.0)
    k0 = (total - float((k**2).sum()) / total) / (n - 1.0)
    return (between - within) / k0, within, harmonic


def group_means(values: Array, group: Index) -> Array:
    """Mean of the rows of each group, (rows, D) -> (groups, D)."""
    means: Array = (row_adder(group) @ values) / np.bincount(group)[:, None]
    return means


def split_half(values: Array, clip: Index, seed: int, n_splits: int = N_SPLITS) -> Array:
    """Spearman-Brown reliability of clip means from random halves of their raters.

    Parameters
    ----------
    values : float64, shape (ratings, D)
        One row a rater and clip.
    clip : int64, shape (ratings,)
        Codes 0 … n−1; clips with a single rating are left out.
    seed, n_splits : int

    Returns
    -------
    float64, shape (D,)
    """
    random = np.random.default_rng(seed)
    keep = np.bincount(clip)[clip] > 1
    values, clip = values[keep], np.unique(clip[keep], return_inverse=True)[1].reshape(-1)
    found = np.full((n_splits, values.shape[1]), np.nan)
    if not len(values) or clip.max() < 2:
        return found.mean(axis=0)
    k = np.bincount(clip)
    starts = np.cumsum(k) - k
    for split in range(n_splits):
        order = np.lexsort((random.random(len(values)), clip))
        home = clip[order]
        # Which half gets the odd rater is drawn too, or one half would always be the larger.
        half = (np.arange(len(home)) - starts[home] + random.integers(0, 2, len(k))[home]) % 2
        means = [group_means(values[order][half == side], home[half == side]) for side in (0, 1)]
        one, other = (side - side.mean(axis=0) for side in means)
        spread = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            r = (one * other).sum(axis=0) / spread
        found[split] = 2.0 * r / (1.0 + r)
    return found.mean(axis=0)


def _within(means: Array, segment: Index) -> tuple[Array, Array]:
    """Pooled variance of clip means within segments, and its share of the total variation."""
    squares = ((means - group_means(means, segment)[segment]) ** 2).sum(axis=0)
    freedom = len(means) - int(segment.max()) - 1
    total = ((means - means.mean(axis=0)) ** 2).sum(axis=0)
    if freedom < 1:
        return np.full(means.shape[1], np.nan), np.full(means.shape[1], np.nan)
    return squares / freedom, np.where(total > 0, squares / np.maximum(total, 1e-300), np.nan)


def _reliability(wide: pd.DataFrame, segments: pd.Series, seed: int) -> pd.DataFrame:
    """Reliability of dimensions that were all rated together: rows (clip, rater), no gaps."""
    names = wide.index.get_level_values("clip").to_numpy(dtype=object)
    clips, clip = np.unique(names, return_inverse=True)
    values = wide.to_numpy(np.float64)
    true, error, k = _variances(values, clip)
    segment = np.unique(segments.loc[list(clips)].astype(str), return_inverse=True)[1]
    spread, share = _within(group_means(values, clip), segment)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "n_clips": np.full(len(true), len(clips)),
            "n_ratings": np.full(len(true), len(values)),
            "k_harmonic": np.full(len(true), k),
            "icc_11": true / (true + error),
            "icc_1k": true / (true + error / k),
            "split_half": split_half(values, clip, seed),
            "within_share": share,
            "within_reliability": 1.0 - (error / k) / spread,
            "error_variance": error,
            "within_variance": np.maximum(spread - error / k, 0.0),
        }
    return pd.DataFrame(columns, index=wide.columns)


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
    # Dimensions with the same gaps are computed together; usually that is all of them.
    patterns: dict[bytes, list[str]] = {}
    for dimension in [name for name in dict.fromkeys(ratings["dimension"]) if name in wide]:
        patterns.setdefault(wide[dimension].notna().to_numpy().tobytes(), []).append(dimension)
    parts = [_reliability(wide[group].dropna(), segments, seed) for group in patterns.values()]
    order = [name for group in patterns.values() for name in group]
    return pd.concat(parts).loc[order].rename_axis("dimension")


def unreliable_dimensions(table: pd.DataFrame, threshold: float) -> list[str]:
    """Dimensions on which raters do not agree about performances of one segment."""
    low = table["within_reliability"].fillna(0.0) < threshold
    return [str(name) for name in table.index[low.to_numpy()]]


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
        Variance of true values within a segment; 0 gives ½ everywhere.

    Returns
    -------
    float64, shape (pairs,)
    """
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
