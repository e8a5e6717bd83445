"""Cluster bootstrap: bias-corrected and accelerated intervals, without a loop over draws.

Clusters (content groups: clips that share notes) are resampled with replacement (Field & Welsh
2007, J. R. Stat. Soc. B 69, 369-390). A draw is a vector of how often each cluster was taken; all
draws times all sums is one matrix product, and metrics are functions of those sums. Intervals are
BCa (Efron 1987, J. Am. Stat. Assoc. 82, 171-185; Efron & Tibshirani 1993, eqs. 14.10, 14.14 and
14.15), the acceleration from leaving out one cluster at a time. Every model and dimension sees
the same draws, so means over dimensions and differences between models are resampled jointly.

Where leaving out a cluster or drawing without it makes a metric undefined, that draw is left out;
if more than 5 % are, there is no interval (NaN).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pianoeval.evaluate.metrics import Array, Sums

CHUNK_DRAWS = 1000
MAX_UNDEFINED = 0.05


def draw_counts(n_clusters: int, n_draws: int, seed: int) -> Array:
    """How often each cluster is in each draw, shape (draws, clusters); rows sum to clusters."""
    random = np.random.default_rng(seed)
    chances = np.full(n_clusters, 1.0 / n_clusters)
    return random.multinomial(n_clusters, chances, size=n_draws).astype(np.float64)


def bca_interval(
    estimate: Array, draws: Array, jackknife: Array, confidence: float = 0.95
) -> tuple[Array, Array]:
    """Limits of BCa intervals for several statistics at once.

    Parameters
    ----------
    estimate : float64, shape (K,)
    draws : float64, shape (K, B)
        Bootstrap replicates; NaN = undefined.
    jackknife : float64, shape (K, C)
        The statistic without each cluster in turn; NaN = undefined.
    confidence : float

    Returns
    -------
    low, high : float64, shape (K,)
        NaN where fewer than two clusters, or too many undefined draws, allow no interval.
    """
    ordered = np.sort(draws, axis=1)
    finite = np.isfinite(ordered).sum(axis=1)
    below = (draws < estimate[:, None]).sum(axis=1) + 0.5 * (draws == estimate[:, None]).sum(axis=1)
    share = below / np.maximum(finite, 1)
    # An estimate outside all draws would put z0 at infinity; half a draw is what B can resolve.
    edge = 0.5 / np.maximum(finite, 1)
    bias = ndtri(np.clip(share, edge, 1.0 - edge))[:, None]
    z = ndtri(np.array([0.5 - confidence / 2, 0.5 + confidence / 2]))[None, :]
    acceleration = _acceleration(jackknife)[:, None]
    levels = ndtr(bias + (bias + z) / (1.0 - acceleration * (bias + z)))
    limits = _quantiles(ordered, finite, levels)
    enough = finite >= (1.0 - MAX_UNDEFINED) * draws.shape[1]
    limits[~(enough & (jackknife.shape[1] > 1) & np.isfinite(estimate))] = np.nan
    return limits[:, 0], limits[:, 1]


def _acceleration(jackknife: Array) -> Array:
    """Skewness of the leave-one-out values over six (Efron & Tibshirani, eq. 14.15)."""
    known = np.isfinite(jackknife)
    mean = np.where(known, jackknife, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    away = np.where(known, mean[:, None] - jackknife, 0.0)
    spread = (away**2).sum(axis=1)
    cubes = (away**3).sum(axis=1)
    out: Array = np.zeros_like(spread)
    np.divide(cubes, 6.0 * spread**1.5, out=out, where=spread > 1e-300)
    return out


def _quantiles(ordered: Array, finite: NDArray[np.int64], levels: Array) -> Array:
    """Linear interpolation between order statistics; undefined draws are sorted last."""
    last = np.maximum(finite - 1, 0)[:, None]
    position = levels * last
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, last)
    lower = np.take_along_axis(ordered, low, axis=1)
    upper = np.take_along_axis(ordered, high, axis=1)
    return lower + (position - low) * (upper - lower)


@dataclass(frozen=True, eq=False)
class Resampled:
    """One metric: its values, bootstrap replicates and leave-one-out values.

    Attributes
    ----------
    value : float64, shape (D + 1,)
        The dimensions, then their mean.
    draws : float64, shape (D + 1, B)
    jackknife : float64, shape (D + 1, C)
    """

    value: Array
    draws: Array
    jackknife: Array

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """BCa limits, each shape (D + 1,)."""
        return bca_interval(self.value, self.draws, self.jackknife, confidence)

    def minus(self, other: Resampled) -> Resampled:
        """Paired difference; both must come from the same draws."""
        return Resampled(
            self.value - other.value,
            self.draws - other.draws,
            self.jackknife - other.jackknife,
        )


def with_mean(values: Array, averaged: NDArray[np.bool_]) -> Array:
    """Append the mean over the chosen dimensions to the last axis: (..., D) -> (..., D + 1)."""
    chosen = values[..., averaged]
    empty = np.full(values.shape[:-1], np.nan)
    mean = chosen.mean(axis=-1) if chosen.shape[-1] else empty
    return np.concatenate([values, mean[..., None]], axis=-1)


def resample(
    sums: Mapping[str, Array],
    metrics: Mapping[str, Callable[[Sums], Array]],
    counts: Array,
    averaged: Mapping[str, NDArray[np.bool_]],
) -> dict[str, Resampled]:
    """Bootstrap every metric over clusters.

    Parameters
    ----------
    sums : mapping of float64, shape (C, D) or (C, D, folds)
        From ``pairs.cluster_sums``.
    metrics : mapping
        Functions of sums, from ``metrics.sum_metrics``.
    counts : float64, shape (B, C)
        From ``draw_counts``.
    averaged : mapping of bool, shape (D,)
        By metric: dimensions that may enter the mean; those undefined on the whole corpus never do.

    Returns
    -------
    dict of Resampled, by metric
    """
    total = {name: values.sum(axis=0) for name, values in sums.items()}
    without = {name: total[name] - values for name, values in sums.items()}
    value = {name: function(total) for name, function in metrics.items()}
    mask = {name: averaged[name] & np.isfinite(value[name]) for name in metrics}
    parts: dict[str, list[Array]] = {name: [] for name in metrics}
    for start in range(0, len(counts), CHUNK_DRAWS):
        drawn = _weighted(sums, counts[start : start + CHUNK_DRAWS])
        for name, function in metrics.items():
            parts[name].append(with_mean(function(drawn), mask[name]))
    return {
        name: Resampled(
            with_mean(value[name], mask[name]),
            np.ascontiguousarray(np.concatenate(parts[name]).T),
            np.ascontiguousarray(with_mean(function(without), mask[name]).T),
        )
        for name, function in metrics.items()
    }


def _weighted(sums: Mapping[str, Array], counts: Array) -> dict[str, Array]:
    """All sums of all draws by one matrix product."""
    flat = np.concatenate([values.reshape(len(values), -1) for values in sums.values()], axis=1)
    product = counts @ flat
    drawn: dict[str, Array] = {}
    start = 0
    for name, values in sums.items():
        width = int(np.prod(values.shape[1:]))
        drawn[name] = product[:, start : start + width].reshape(-1, *values.shape[1:])
        start += width
    return drawn
