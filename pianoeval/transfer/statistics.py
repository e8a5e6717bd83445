"""Rank correlations and spreads with intervals that know of groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Float64 = NDArray[np.float64]


def spearman(x: Float64, y: Float64) -> Float64:
    """Spearman's ρ of each column of ``x`` (n, columns) with ``y`` (n,); NaN if one is constant."""
    return _correlation(rankdata(x, axis=0), rankdata(y))


def partial_spearman(x: Float64, y: Float64, given: Float64) -> Float64:
    """Spearman's ρ of each column of ``x`` with ``y``, ranks of ``given`` (n, controls) held fixed.

    Pearson's correlation of the residuals of ranks regressed on the ranks of the controls (Kendall
    1942; as ``ppcor``, Kim 2015). NaN where the controls leave nothing of a column.
    """
    if not given.shape[1]:
        return spearman(x, y)
    controls = np.column_stack([np.ones(len(y)), rankdata(given, axis=0)])
    both = np.column_stack([rankdata(x, axis=0), rankdata(y)]).astype(np.float64)
    left = both - controls @ np.linalg.lstsq(controls, both, rcond=None)[0]
    # What rounding leaves of a column that the controls explain is no correlation.
    left[:, np.abs(left).max(axis=0) < 1e-8 * len(y)] = 0.0
    return _correlation(left[:, :-1], left[:, -1])


def _correlation(x: Float64, y: Float64) -> Float64:
    x, y = x - x.mean(axis=0), y - y.mean()
    size = np.sqrt((x * x).sum(axis=0) * (y @ y))
    found: Float64 = np.divide(y @ x, size, out=np.full(x.shape[1], np.nan), where=size > 0)
    return found


def resamples(groups: Sequence[str], count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of ``count`` cluster bootstraps: whole groups, as many as there are, drawn anew."""
    names, of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    rows = [np.flatnonzero(of == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([rows[i] for i in rng.integers(len(names), size=len(names))])


def interval(
    statistic: Callable[[NDArray[np.int64]], Float64],
    groups: Sequence[str],
    count: int,
    confidence: float,
    seed: int,
) -> tuple[Float64, Float64]:
    """Percentile interval of a statistic of rows, by :func:`resamples`.

    Returns
    -------
    low, high : float64
        In the shape of the statistic; NaN where fewer than half of the samples define it, or where
        there are fewer than two groups.
    """
    if len(set(groups)) < 2:
        nothing = np.full_like(statistic(np.arange(len(groups))), np.nan)
        return nothing, nothing.copy()
    drawn = np.array([statistic(rows) for rows in resamples(groups, count, seed)])
    tail = (1 - confidence) / 2
    low, high = np.full(drawn.shape[1:], np.nan), np.full(drawn.shape[1:], np.nan)
    enough = np.isfinite(drawn).mean(axis=0) >= 0.5
    if enough.any():
        low[enough], high[enough] = np.nanquantile(drawn[:, enough], [tail, 1 - tail], axis=0)
    return low, high


def variance_parts(values: Float64, groups: Sequence[str]) -> tuple[Float64, Float64]:
    """Variance within and between groups: one-way random effects, by the method of moments.

    ``within`` is the pooled mean square inside groups; ``between`` is (MSB − MSW) / n0 with n0 the
    adjusted group size (Searle, Casella & McCulloch 1992, chapter 3), not below 0.

    Parameters
    ----------
    values : float64, shape (rows, columns)
    """
    _, of, size = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    n, k = len(values), len(size)
    if k < 2 or n <= k:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    means = np.zeros((k, values.shape[1]))
    np.add.at(means, of, values)
    means /= size[:, None]
    within = ((values - means[of]) ** 2).sum(axis=0) / (n - k)
    mean = values.mean(axis=0)
    between_square = (size[:, None] * (means - mean) ** 2).sum(axis=0) / (k - 1)
    adjusted = (n - (size**2).sum() / n) / (k - 1)
    return within, np.maximum(0.0, (between_square - within) / adjusted)
