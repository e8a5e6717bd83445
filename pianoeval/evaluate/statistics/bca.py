"""Bias-corrected and accelerated bootstrap intervals of many statistics at once.

Efron 1987, J. Am. Stat. Assoc. 82, 171-185; Efron & Tibshirani 1993, eqs. 14.10, 14.14 and 14.15.
Where several factors are resampled (content groups and players), the acceleration adds up the
influence of the levels of each (Davison & Hinkley 1997, Bootstrap Methods and their Application,
sect. 5.3.2, several samples), as if the factors were independent samples.

Where the limits do not hold the estimate, it lies in a tail of its own replicates (z0 beyond the
normal quantile): resampling shifts the statistic by more than it varies, as it does a mean of R² of
small folds. Such limits mean nothing, and none are given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pianoeval.evaluate.statistics.metrics import Array

MAX_UNDEFINED = 0.05


def bca_interval(
    estimate: Array,
    draws: NDArray[np.floating],
    jackknife: Array,
    confidence: float = 0.95,
    factors: Sequence[int] | None = None,
) -> tuple[Array, Array]:
    """Limits of BCa intervals for several statistics at once.

    Parameters
    ----------
    estimate : float64, shape (K,)
    draws : float32 or float64, shape (K, B)
        Bootstrap replicates; NaN = undefined.
    jackknife : float64, shape (K, J)
        The statistic without each level of each factor in turn; NaN = undefined.
    confidence : float
    factors : sequence of int, optional
        Levels of each factor, in the order of ``jackknife``; one factor if left out.

    Returns
    -------
    low, high : float64, shape (K,)
        NaN where there is no interval: a factor with fewer than two levels, too many undefined
        draws, or an estimate in a tail of its replicates.
    """
    sizes = list(factors) if factors is not None else [jackknife.shape[1]]
    # A replicate equals the estimate or not at the precision in which replicates are kept.
    centre = estimate.astype(draws.dtype)[:, None]
    finite = draws.shape[1] - np.count_nonzero(np.isnan(draws), axis=1)
    below = np.count_nonzero(draws < centre, axis=1)
    ties = np.count_nonzero(draws == centre, axis=1)
    share = (below + 0.5 * ties) / np.maximum(finite, 1)
    # An estimate outside all draws would put z0 at infinity; half a draw is what B can resolve.
    edge = 0.5 / np.maximum(finite, 1)
    bias = ndtri(np.clip(share, edge, 1.0 - edge))[:, None]
    z = ndtri(np.array([0.5 - confidence / 2, 0.5 + confidence / 2]))[None, :]
    acceleration = _acceleration(jackknife, sizes)[:, None]
    levels = ndtr(bias + (bias + z) / (1.0 - acceleration * (bias + z)))
    limits = _quantiles(draws, finite, levels)
    enough = finite >= (1.0 - MAX_UNDEFINED) * draws.shape[1]
    held = (limits[:, :1] <= centre) & (centre <= limits[:, 1:])
    limits[~(enough & held[:, 0] & (min(sizes) > 1) & np.isfinite(estimate))] = np.nan
    return limits[:, 0], limits[:, 1]


def _acceleration(jackknife: Array, sizes: Sequence[int]) -> Array:
    """Skewness of the leave-one-out values over six; with one factor eq. 14.15."""
    cubes, squares = np.zeros(len(jackknife)), np.zeros(len(jackknife))
    start = 0
    for size in sizes:
        part = jackknife[:, start : start + size]
        start += size
        known = np.isfinite(part)
        mean = np.where(known, part, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        # Empirical influence (n − 1)(mean − value), over n.
        away = np.where(known, mean[:, None] - part, 0.0) * ((size - 1.0) / max(size, 1))
        squares += (away**2).sum(axis=1)
        cubes += (away**3).sum(axis=1)
    out: Array = np.zeros_like(squares)
    np.divide(cubes, 6.0 * squares**1.5, out=out, where=squares > 1e-300)
    return out


def _quantiles(draws: NDArray[np.floating], finite: NDArray[np.intp], levels: Array) -> Array:
    """Linear interpolation between order statistics; NaN sorts last. Shape (K, limits)."""
    last = np.maximum(finite - 1, 0)[:, None]
    position = levels * last
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, last)
    wanted = np.concatenate([low, high], axis=1)
    found = np.empty(wanted.shape)
    for row, (values, places) in enumerate(zip(draws, wanted, strict=True)):
        # Two order statistics a limit: partitioning finds them without sorting the rest.
        found[row] = np.partition(values, np.unique(places))[places]
    lower, upper = found[:, : levels.shape[1]], found[:, levels.shape[1] :]
    return lower + (position - low) * (upper - lower)
