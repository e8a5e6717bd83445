"""Two-way cluster bootstrap over content groups and players, without a loop over draws.

Clips that share notes are not independent, nor are clips that share a player. Both are resampled
with replacement, independently of one another, and the weight of a clip in a draw is how often its
content group was taken times how often its player was: the pigeonhole bootstrap (Owen 2007, Ann.
Appl. Stat. 1, 386-411). It counts the variance between content groups and between players once and
the rest up to three times (his theorem 3), so it is mildly conservative; one-way resampling counts
the factor that it leaves out not at all, as in two-way clustered standard errors (Cameron, Gelbach
& Miller 2011, J. Bus. Econ. Stat. 29, 238-249). The weight of a pair of clips of one segment is
that of the group times that of each of its players. Segments that are taken whole (spread inside a
segment, NDCG) have the weight of their group. With a single player, of weight 1, all this is the
one-way cluster bootstrap (Field & Welsh 2007, J. R. Stat. Soc. B 69, 369-390).

All draws times all sums are matrix products, and metrics are functions of those sums. Intervals
are BCa (``bca``), the acceleration from leaving out one content group or one player at a time.
Every model and dimension sees the same draws, so means over dimensions and differences between
models are resampled jointly.

Where leaving out a level or drawing without it makes a metric undefined, that draw is left out; if
more than 5 % are, there is no interval (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics.bca import bca_interval
from pianoeval.evaluate.statistics.draws import CONTENT, PLAYER, Draws, weighted_sums
from pianoeval.evaluate.statistics.metrics import Array, Metric
from pianoeval.evaluate.statistics.pairs import Design
from pianoeval.evaluate.statistics.sums import CellSums

# Numbers of one sum that are held at a time; so many stay in a core's cache.
CHUNK_NUMBERS = 1 << 17
CHUNK_DRAWS = (100, 2000)


def draw_counts(design: Design, n_draws: int, seed: int) -> Draws:
    """Independent draws of content groups and of players; each draw holds as many as there are."""
    content = _multinomial(design.n_clusters, n_draws, np.random.default_rng(seed))
    player = _multinomial(design.n_players, n_draws, np.random.default_rng([seed, 1]))
    return Draws(content, player, (CONTENT, PLAYER) if design.n_players > 1 else (CONTENT,))


def _multinomial(n: int, n_draws: int, random: np.random.Generator) -> Array:
    counts = random.multinomial(n, np.full(n, 1.0 / n), size=n_draws)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Resampled:
    """One metric: its values, bootstrap replicates and leave-one-out values.

    Attributes
    ----------
    value : float64, shape (D + 1,)
        The dimensions, then their mean. Of several models: (models, D + 1), the others likewise.
    draws : float32, shape (D + 1, B)
    jackknife : float64, shape (D + 1, J)
        Without each level of each factor in turn.
    factors : dict of int
        Levels of each resampled factor, in the order of ``jackknife``.
    """

    value: Array
    draws: NDArray[np.float32]
    jackknife: Array
    factors: Mapping[str, int]

    @property
    def method(self) -> str:
        """What was resampled: ``content×player`` or ``content``."""
        return "×".join(self.factors)

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """BCa limits, each of the shape of ``value``."""
        shape = self.value.shape
        low, high = bca_interval(
            self.value.reshape(-1),
            self.draws.reshape(-1, self.draws.shape[-1]),
            self.jackknife.reshape(-1, self.jackknife.shape[-1]),
            confidence,
            list(self.factors.values()),
        )
        return low.reshape(shape), high.reshape(shape)

    def minus(self, other: Resampled) -> Resampled:
        """Paired difference; both must come from the same draws."""
        return replace(
            self,
            value=self.value - other.value,
            draws=self.draws - other.draws,
            jackknife=self.jackknife - other.jackknife,
        )

    def of(self, model: int) -> Resampled:
        """One of several models."""
        return replace(
            self,
            value=self.value[model],
            draws=self.draws[model],
            jackknife=self.jackknife[model],
        )

    def mean_only(self) -> Resampled:
        """The mean over dimensions, copied: the rest can be given back."""
        return replace(
            self,
            value=self.value[..., -1:].copy(),
            draws=self.draws[..., -1:, :].copy(),
            jackknife=self.jackknife[..., -1:, :].copy(),
        )


def with_mean(values: Array, averaged: NDArray[np.bool_]) -> Array:
    """Append the mean over the chosen dimensions to the last axis: (..., D) -> (..., D + 1)."""
    chosen = values[..., averaged]
    empty = np.full(values.shape[:-1], np.nan)
    mean = chosen.mean(axis=-1) if chosen.shape[-1] else empty
    return np.concatenate([values, mean[..., None]], axis=-1)


def resample(
    sums: CellSums,
    metrics: Mapping[str, Metric],
    draws: Draws,
    averaged: Mapping[str, NDArray[np.bool_]],
) -> dict[str, Resampled]:
    """Bootstrap metrics over content groups and players.

    Parameters
    ----------
    sums : CellSums
        From ``sums.cluster_sums``.
    metrics : mapping of Metric
    draws : Draws
    averaged : mapping of bool, shape (D,)
        By metric: dimensions that may enter the mean; those undefined on the whole corpus never do.

    Returns
    -------
    dict of Resampled, by metric
        With a leading axis of models where predictions had one. Metrics over whole segments vary
        with the content groups alone.
    """
    value = {name: found[..., 0] for name, found in _apply(sums, metrics, _all_once(sums)).items()}
    mask = {name: averaged[name] & np.isfinite(value[name]) for name in metrics}
    left = _filled(sums, metrics, draws.without_each(), mask, np.dtype(np.float64))
    drawn = _filled(sums, metrics, draws, mask, np.dtype(np.float32))
    out: dict[str, Resampled] = {}
    sizes = {factor: len(getattr(draws, factor)) for factor in draws.factors}
    for name, metric in metrics.items():
        factors = sizes if metric.unit != "segments" else {CONTENT: len(draws.content)}
        mean = _mean(value[name][..., None], mask[name])
        found = Resampled(
            np.concatenate([value[name], mean], axis=1),
            drawn[name],
            left[name][..., : sum(factors.values())],
            factors,
        )
        out[name] = found.of(0) if sums.one_model else found
    return out


def total(sums: CellSums, metrics: Mapping[str, Metric]) -> dict[str, Array]:
    """Every metric of the whole corpus; shape (D,), of several models (models, D)."""
    found = _apply(sums, metrics, _all_once(sums))
    return {name: v[0, :, 0] if sums.one_model else v[..., 0] for name, v in found.items()}


def _all_once(sums: CellSums) -> Draws:
    return Draws(np.ones((sums.n_clusters, 1)), np.ones((sums.n_players, 1)), (CONTENT,))


def _filled(
    sums: CellSums,
    metrics: Mapping[str, Metric],
    draws: Draws,
    mask: Mapping[str, NDArray[np.bool_]],
    dtype: np.dtype[np.floating],
) -> dict[str, NDArray[Any]]:
    """Metrics and their means over dimensions, (models, D + 1, B), a chunk of draws at a time."""
    n_models, n_dimensions = next(iter(mask.values())).shape
    shape = (n_models, n_dimensions + 1, draws.n_draws)
    out = {name: np.empty(shape, dtype) for name in metrics}
    step = int(np.clip(CHUNK_NUMBERS // (n_models * n_dimensions), *CHUNK_DRAWS))
    for start in range(0, draws.n_draws, step):
        stop = min(start + step, draws.n_draws)
        for name, found in _apply(sums, metrics, draws.part(start, stop)).items():
            out[name][:, :-1, start:stop] = found
            out[name][:, -1, start:stop] = _mean(found, mask[name])
    return out


def _mean(values: Array, mask: NDArray[np.bool_]) -> Array:
    """Mean over each model's chosen dimensions: (models, D, B) -> (models, B); NaN without any."""
    if mask.all():
        mean: Array = values.mean(axis=1)
        return mean
    parts = [one[chosen].mean(axis=0) if chosen.any() else np.full(one.shape[1], np.nan)
             for one, chosen in zip(values, mask, strict=True)]  # fmt: skip
    return np.stack(parts)


def _apply(sums: CellSums, metrics: Mapping[str, Metric], draws: Draws) -> dict[str, Array]:
    """Metrics of each draw, (models, D, B)."""
    drawn = weighted_sums(sums, metrics, draws)
    return {name: metric(drawn) for name, metric in metrics.items()}
