"""Sequences of one fold as its model reads them: scaled, narrowed, padded in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.errors import ConfigError
from pianoeval.features.sequences import Sequences
from pianoeval.models.base import Float32, Float64, Fold, Rows, Standardiser
from pianoeval.models.network import epoch_order
from pianoeval.params import MlpParams, SequenceParams

Scale = Literal["clips", "rows"]
_SHUFFLE = 3  # purpose of the random stream; models.network has 0 to 2
_SORTED_BATCHES = 8  # clips of like length share a batch, among so many batches
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Batch:
    """Clips of like length: ``values`` (clips, longest, dim), 0 where ``real`` is false."""

    values: Tensor
    real: Tensor
    extra: Tensor


class FoldData:
    """What a fold's clips hold, scaled by its fit clips alone.

    Attributes
    ----------
    values : float32, shape (rows of the fold's clips, dim)
    extra : float32, shape (clips of the view, further)
        Columns of ``x`` that belong to no layer, as the level, standardised.

    Parameters
    ----------
    fit : int64
        Rows of ``x`` that are learned from.
    scale : str
        ``clips``: rows are divided by the spread of clips' means, so that their plain mean is the
        vector that the perceptron reads. ``rows``: by the spread of rows.
    """

    def __init__(self, fold: Fold, fit: Rows, params: SequenceParams, scale: Scale) -> None:
        sequences = _sequences(fold)
        clips = np.concatenate([fold.train, fold.test])
        self._length = np.zeros(len(sequences), np.int64)
        self._length[clips] = sequences.length[clips]
        ends = np.cumsum(self._length)
        self._start = ends - self._length
        rows = np.concatenate([np.arange(sequences.rows(c).start, sequences.rows(c).stop)
                               for c in np.sort(clips)])  # fmt: skip
        values = sequences.values[rows]
        fitted = np.zeros(len(sequences), bool)
        fitted[fit] = True
        of_fit = np.repeat(fitted, self._length)
        values = _standardise(values, values[of_fit])
        if values.shape[1] > params.pca_above:
            values = values @ _components(values[of_fit], params.pca_components)
        if scale == "clips":
            values = values * _clip_scale(values, self._start[fit], self._length[fit])
        elif values.shape[1] != sequences.dim:
            values = _standardise(values, values[of_fit])
        self.values = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        layers = fold.layering
        more = fold.x[:, layers.n_layers * layers.width :] if layers else fold.x
        scaler = Standardiser.fit(more[fit])
        self.extra = torch.from_numpy(scaler.transform(more).astype(np.float32))

    def batch(self, clips: Rows) -> Batch:
        """The clips, in this order."""
        length, start = torch.from_numpy(self._length[clips]), torch.from_numpy(self._start[clips])
        steps = torch.arange(int(length.max()))
        real = steps[None, :] < length[:, None]
        index = torch.where(real, start[:, None] + steps[None, :], start[:, None])
        values = self.values[index] * real[:, :, None]
        return Batch(values, real, self.extra[torch.from_numpy(clips)])

    def order(self, clips: Rows, epoch: int, params: MlpParams) -> Iterator[NDArray[np.int64]]:
        """Positions in ``clips``, a batch at a time, each clip once an epoch."""
        positions = epoch_order(len(clips), epoch, params)
        size, batches = params.batch_size, []
        for begin in range(0, len(positions), size * _SORTED_BATCHES):
            part = positions[begin : begin + size * _SORTED_BATCHES]
            part = part[np.argsort(self._length[clips[part]], kind="stable")]
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        rng = np.random.default_rng([params.seed, _SHUFFLE, epoch])
        return (batches[number] for number in rng.permutation(len(batches)))


def _sequences(fold: Fold) -> Sequences:
    if fold.sequences is None:
        raise ConfigError(
            f"fold {fold.name} has no sequences to read", where="views.*.models",
            allowed="attention, lstm: features with pool.sequence_hz above 0, or notes",
            next_step="set pool.sequence_hz in params.yaml, or take the model out of the view",
        )  # fmt: skip
    return fold.sequences


def _standardise(values: Float32, fit: Float32) -> Float32:
    """Scaled by the rows ``fit``; missing values become their mean."""
    scaler = Standardiser.fit(fit)
    out = np.empty_like(values)
    for begin in range(0, len(values), _BLOCK_ROWS):
        out[begin : begin + _BLOCK_ROWS] = scaler.transform(values[begin : begin + _BLOCK_ROWS])
    return out


def _components(fit: Float32, n_components: int) -> Float32:
    """Directions of greatest spread, (dim, ≤ n_components), each with its largest part positive."""
    total: Float64 = np.zeros((fit.shape[1], fit.shape[1]))
    for begin in range(0, len(fit), _BLOCK_ROWS):
        part = fit[begin : begin + _BLOCK_ROWS]
        total += part.T @ part
    values, vectors = np.linalg.eigh(total)
    keep = np.argsort(values)[::-1][:n_components]
    vectors = vectors[:, keep[values[keep] > 1e-10 * values.max()]]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return np.asarray(vectors * np.sign(largest), np.float32)


def _clip_scale(values: Float32, start: Rows, length: Rows) -> Float32:
    """One over the spread of clips' means, (dim,); 0 where these do not vary."""
    clips = zip(start, length, strict=True)
    means = np.stack([values[s : s + n].mean(axis=0, dtype=np.float64) for s, n in clips])
    return Standardiser.fit(means.astype(np.float32)).inverse_scale.astype(np.float32)
