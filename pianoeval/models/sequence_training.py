"""Training of heads that read a clip's frames or notes in time, then the perceptron of ``mlp``.

A fold is trained by itself: its clips are scaled by its fit clips, Adam runs over batches of
clips of like length, and the epoch with the best R² (mean over dimensions) on the validation group
*inside the training clips* is kept. Hidden width, dropout, batch size, epochs, patience, loss and
seed are those of ``probe.mlp``; the learning rate is one of its own, since weights before a pooling
see gradients averaged over time. Random numbers are torch's, seeded anew for each fold and given
back afterwards: a fold is trained alike alone and among others.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.losses.regression import loss_of
from pianoeval.models.base import Float64, Fold, FoldPrediction, Rows
from pianoeval.models.sequence_data import FoldData, Scale
from pianoeval.params import MlpParams, SequenceParams

_log = logging.getLogger(__name__)
_WITHOUT = "take attention and lstm out of views.*.models in params.yaml, or label more clips"

# Makes of values (clips, longest, dim) and what of them is real (clips, longest) a vector a clip.
Pooling = torch.nn.Module
MakePooling = Callable[[int], tuple[Pooling, int]]


class Head(torch.nn.Module):
    """A pooling, then eq. 2 of Dhiman (2026): linear, dropout, ReLU, linear."""

    def __init__(
        self, make: MakePooling, dim: int, extra: int, out: int, params: MlpParams
    ) -> None:
        super().__init__()
        self.pooling, width = make(dim)
        self.perceptron = torch.nn.Sequential(
            torch.nn.Linear(width + extra, params.hidden), torch.nn.Dropout(params.dropout),
            torch.nn.ReLU(), torch.nn.Linear(params.hidden, out),
        )  # fmt: skip

    def forward(self, values: Tensor, real: Tensor, extra: Tensor) -> Tensor:
        """Predictions of clips, (clips, dimensions)."""
        pooled = self.pooling(values, real)
        found: Tensor = self.perceptron(torch.cat([pooled, extra], dim=1))
        return found


def predict_sequences(
    folds: Sequence[Fold],
    make: MakePooling,
    scale: Scale,
    params: MlpParams,
    frames: SequenceParams,
) -> list[FoldPrediction]:
    """Train a head a fold.

    Parameters
    ----------
    make : callable
        The pooling for sequences of a width, and the width of what it makes of them.
    scale : str
        How rows are scaled, see ``sequence_data.FoldData``.

    Raises
    ------
    ConfigError
        No sequences, or a fold without a usable validation group.
    PianoevalError
        The loss diverged.
    """
    with _reproducible():
        return [_predict(fold, make, scale, params, frames) for fold in folds]


def _predict(
    fold: Fold, make: MakePooling, scale: Scale, params: MlpParams, frames: SequenceParams
) -> FoldPrediction:
    fit, held = _split(fold)
    data = FoldData(fold, fold.train[fit], frames, scale)
    centre, spread = _label_scale(fold.y[fit], params)
    y = (fold.y - centre) / spread
    torch.manual_seed(params.seed)
    head = Head(make, data.values.shape[1], data.extra.shape[1], y.shape[1], params)
    adam = torch.optim.Adam(
        head.parameters(), lr=frames.learning_rate, weight_decay=params.weight_decay
    )
    best, best_epoch, best_r2 = copy.deepcopy(head.state_dict()), 0, -np.inf
    for epoch in range(1, params.max_epochs + 1):
        _train_epoch(head, adam, data, (fold.train[fit], y[fit]), epoch, params)
        output = _output(head, data, fold.train[held], params)
        r2 = _validation_r2(y[held], output, fold.name)
        if r2 > best_r2:
            best, best_epoch, best_r2 = copy.deepcopy(head.state_dict()), epoch, r2
        elif epoch - best_epoch >= params.patience:
            break
    head.load_state_dict(best)
    values = _output(head, data, fold.test, params) * spread + centre
    _log.debug("%s: epoch %d, validation R² %.3f", fold.name, best_epoch, best_r2)
    return FoldPrediction(values, {"epoch": [float(best_epoch)], "validation_r2": [best_r2]})


def _train_epoch(
    head: Head,
    adam: torch.optim.Optimizer,
    data: FoldData,
    labelled: tuple[Rows, Float64],
    epoch: int,
    params: MlpParams,
) -> None:
    clips, y = labelled
    loss = loss_of(params)
    targets = torch.from_numpy(y.astype(np.float32))
    head.train()
    for positions in data.order(clips, epoch, params):
        batch = data.batch(clips[positions])
        output = head(batch.values, batch.real, batch.extra)
        counted = torch.ones(1, len(positions), dtype=torch.bool)
        adam.zero_grad()
        loss(output[None], targets[positions][None], counted).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()


@torch.no_grad()
def _output(head: Head, data: FoldData, clips: Rows, params: MlpParams) -> Float64:
    """Predictions, (clips, dimensions), in units of the scaled labels."""
    head.eval()
    parts = []
    for begin in range(0, len(clips), params.batch_size):
        batch = data.batch(clips[begin : begin + params.batch_size])
        parts.append(head(batch.values, batch.real, batch.extra).double().numpy())
    return np.concatenate(parts)


def _split(fold: Fold) -> tuple[Rows, Rows]:
    if fold.validation is None or not all(len(part) for part in fold.validation):
        raise ConfigError(
            f"fold {fold.name} has no validation group for early stopping",
            allowed="whole groups with 2 clips of unequal labels, beside 2 clips to fit on",
            next_step=_WITHOUT,
        )
    return fold.validation


def _label_scale(y: Float64, params: MlpParams) -> tuple[Float64, Float64]:
    if not params.standardise_labels:
        return np.zeros(y.shape[1]), np.ones(y.shape[1])
    spread = y.std(axis=0)
    return y.mean(axis=0), np.where(spread > 0, spread, 1.0)


def _validation_r2(truth: Float64, output: Float64, name: str) -> float:
    """R² averaged over the dimensions that vary."""
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    varies: NDArray[np.bool_] = spread > 0
    if not varies.any():
        raise ConfigError(
            f"no dimension varies within the validation group of fold {name}", next_step=_WITHOUT
        )
    residual = np.square(truth - output).sum(axis=0)
    r2 = float((1 - residual[varies] / spread[varies]).mean())
    if not np.isfinite(r2):
        raise PianoevalError(
            f"training diverged in fold {name}", next_step="lower probe.sequence.learning_rate"
        )
    return r2


@contextmanager
def _reproducible() -> Iterator[None]:
    """One thread, deterministic sums, and torch's random state as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
