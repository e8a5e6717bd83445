"""Where the training of adapters begins, the frozen ranker, and the batches it goes through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows, Standardiser
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.difference import centred, logistic_slope
from pianoeval.rankers.pairs import TrainingPairs, no_pairs, pair_accuracy, training_pairs


@dataclass(frozen=True, eq=False)
class Start:
    """A ranker on the frozen encoder's pooled vectors.

    Features are standardised and divided by the root of their number, so that one learning rate
    suits scores and adapters.

    Attributes
    ----------
    scaler : Standardiser
        Learned on the pooled vectors of the takes that are learned from.
    weights : float64, shape (features, dimensions)
        Scores: log-odds for the logistic loss, in sd of the labels for the margin loss.
    axes : float64, shape (features, ≤ projection)
        Principal axes of takes within their segments, on which codes lie.
    penalty, accuracy : float
        λ, and what it reaches on the validation pairs.
    """

    scaler: Standardiser
    weights: Float64
    axes: Float64
    penalty: float
    accuracy: float

    def features(self, pooled: Float64) -> Float64:
        """Features of whole takes."""
        z = (pooled - self.scaler.mean) * self.scaler.inverse_scale
        return np.asarray(z / np.sqrt(pooled.shape[1]), dtype=np.float64)

    def features_of_crops(self, pooled: Tensor) -> Tensor:
        """The same of crops, float32, with gradients."""
        mean = torch.from_numpy(self.scaler.mean).to(pooled)
        scale = torch.from_numpy(self.scaler.inverse_scale / np.sqrt(pooled.shape[1])).to(pooled)
        return (pooled - mean) * scale


def validation_split(fold: RankFold) -> tuple[Rows, Rows]:
    """The fold's; raises ConfigError where it has none."""
    if fold.validation is None:
        raise ConfigError(
            f"fold {fold.name} has no validation pairs to stop on", where="rank.rankers",
            next_step="take the scheme out of 'rank.schemes', or choose another approach",
        )  # fmt: skip
    return fold.validation


def frozen_start(fold: RankFold, pooled: Float64, params: RankerParams) -> Start:
    """Ridge on differences of the frozen encoder's vectors, λ by accuracy on validation pairs.

    Parameters
    ----------
    pooled : float64, shape (clips, features)
        Of all clips that the fold has.

    Raises
    ------
    ConfigError
        No validation pair that counts.
    """
    fit, held = validation_split(fold)
    pairs = training_pairs(fold, held, params.pairs)
    if not (pairs.weight > 0).any():
        raise no_pairs(fold, params.pairs)
    scaler = Standardiser.fit(pooled[fold.train[fit]].astype(np.float32))
    z = (pooled[fold.train] - scaler.mean) * scaler.inverse_scale
    groups = fold.segment[fold.train[fit]]
    left, singular, right = np.linalg.svd(centred(z[fit], groups), full_matrices=False)
    onto = left.T @ centred(fold.y[fit], groups)
    apart = z[pairs.first] - z[pairs.second]
    found, trials = [], []
    for penalty in params.lambdas:
        found.append(right.T @ ((singular / (singular**2 + penalty))[:, None] * onto))
        trials.append(apart @ found[-1])
    accuracy = [pair_accuracy(trial, pairs) for trial in trials]
    best = int(np.argmax(accuracy))
    unit = logistic_slope(trials[best], pairs)
    if params.loss == "margin":
        unit = 1 / np.maximum(fold.y[fit].std(axis=0), 1e-12)
    scale = np.sqrt(pooled.shape[1])
    kept = min(params.projection, int((singular > 1e-9 * singular[0]).sum()))
    return Start(
        scaler, found[best] * unit * scale, right[:kept].T * scale,
        float(params.lambdas[best]), accuracy[best],
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Batch:
    """Takes of a step and their pairs.

    Attributes
    ----------
    rows : int64, shape (takes,)
        Of ``RankFold.x``.
    places : float64, shape (takes,)
        Where in its take each crop lies, 0 to 1; equal within a segment.
    first, second : int64, shape (pairs,)
        Positions in ``rows``.
    target, weight : float64, shape (pairs, dimensions)
    """

    rows: Rows
    places: Float64
    first: Rows
    second: Rows
    target: Float64
    weight: Float64


class Batches:
    """Endless batches of whole segments, in an order that the seed decides.

    Of a segment of more takes than a batch has room for, takes are drawn.

    Parameters
    ----------
    fit : int64
        Positions within ``fold.train`` that are learned from.
    size : int
        Takes a batch, at most.
    """

    def __init__(
        self, fold: RankFold, fit: Rows, params: RankerParams, size: int, seed: int
    ) -> None:
        self._fold, self._size = fold, size
        self._pairs = training_pairs(fold, fit, params.pairs)
        if not (self._pairs.weight > 0).any():
            raise no_pairs(fold, params.pairs)
        self._rng = np.random.default_rng([params.seed, seed])
        learned = np.unique(np.concatenate([self._pairs.first, self._pairs.second]))
        segment = fold.segment[fold.train[learned]]
        self._segments = [learned[segment == code] for code in np.unique(segment)]
        self._waiting = self._endless()

    def _endless(self) -> Iterator[list[Rows]]:
        """Segments of a batch, drawn takes of each; a pass over all segments after another."""
        while True:
            batch: list[Rows] = []
            for number in self._rng.permutation(len(self._segments)):
                takes = self._segments[number]
                room = min(len(takes), self._size)
                if batch and sum(len(part) for part in batch) + room > self._size:
                    yield batch
                    batch = []
                batch.append(np.sort(self._rng.choice(takes, room, replace=False)))
            yield batch

    def draw(self) -> Batch:
        """The next segments that fit."""
        takes = next(self._waiting)
        places = [self._rng.random() for _ in takes]
        positions = np.concatenate(takes)
        return self._batch(positions, np.repeat(places, [len(part) for part in takes]))

    def _batch(self, positions: Rows, places: Float64) -> Batch:
        pairs: TrainingPairs = self._pairs
        at = np.full(len(self._fold.train), -1, dtype=np.int64)
        at[positions] = np.arange(len(positions))
        first, second = at[pairs.first], at[pairs.second]
        here = (first >= 0) & (second >= 0)
        return Batch(
            self._fold.train[positions], places, first[here], second[here], pairs.target[here],
            pairs.weight[here],
        )  # fmt: skip
