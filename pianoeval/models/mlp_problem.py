"""Data of ``models.mlp``: several folds as one batch, scaled by what each fold learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Fold, Standardiser
from pianoeval.params import MlpParams

WITHOUT_MLP = "remove mlp and layer_mlp from views.*.models in params.yaml, or label more clips"


@dataclass
class PaddedRows:
    """Padded row numbers of several folds: ``index`` (folds, longest), ``length`` (folds,)."""

    index: Tensor
    length: Tensor

    @classmethod
    def pad(cls, rows: Sequence[np.ndarray]) -> PaddedRows:
        """Pad by repeating the first row of each fold; the copies are never counted."""
        longest = max(len(r) for r in rows)
        index = np.repeat(np.array([r[:1] for r in rows], dtype=np.int64), longest, axis=1)
        for number, row in enumerate(rows):
            index[number, : len(row)] = row
        return cls(torch.from_numpy(index), torch.tensor([len(r) for r in rows]))


class Problem:
    """Several folds as one batch; folds are in descending order of their number of fit rows."""

    def __init__(self, folds: Sequence[Fold], params: MlpParams) -> None:
        self.params = params
        fits, helds = zip(*(_split(fold) for fold in folds), strict=True)
        order = sorted(range(len(folds)), key=lambda i: -len(fits[i]))
        self.folds = [folds[i] for i in order]
        self.order = order
        self.fit = [self.folds[j].train[fits[i]] for j, i in enumerate(order)]
        self.held = [self.folds[j].train[helds[i]] for j, i in enumerate(order)]
        x, self.layering = folds[0].x, folds[0].layering
        self.x = torch.from_numpy(np.ascontiguousarray(x))
        self.has_missing = bool(np.isnan(x).any())
        scalers = [Standardiser.fit(x[rows]) for rows in self.fit]
        self.median = _stack([s.median for s in scalers])
        self.mean = _stack([s.mean for s in scalers])
        self.inverse_scale = _stack([s.inverse_scale for s in scalers])
        self.label_scale = [
            _label_scale(self.folds[j].y[fits[i]], params) for j, i in enumerate(order)
        ]
        # NaN wherever a fold has no label to learn from: a slip would poison its loss at once.
        self.y = torch.full((len(folds), len(x), folds[0].y.shape[1]), torch.nan)
        for number, fold in enumerate(self.folds):
            centre, scale = self.label_scale[number]
            labels = ((fold.y - centre) / scale).astype(np.float32)
            self.y[number, torch.from_numpy(fold.train)] = torch.from_numpy(labels)

    def inputs(self, alive: Tensor, rows: Tensor) -> Tensor:
        """Standardised features of ``rows`` (folds, n) of the folds ``alive``: (folds, n, p)."""
        x = self.x[rows]
        if self.has_missing:
            x = torch.where(torch.isnan(x), self.median[alive], x)
        return (x - self.mean[alive]) * self.inverse_scale[alive]

    def targets(self, alive: Tensor, rows: Tensor) -> Tensor:
        """Labels of training rows, (folds, n, dimensions)."""
        return self.y[alive[:, None], rows]


def _split(fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    if fold.validation is None or not all(len(part) for part in fold.validation):
        raise ConfigError(
            f"fold {fold.name} has no validation group for early stopping",
            allowed="whole groups with 2 clips of unequal labels, beside 2 clips to fit on",
            next_step=WITHOUT_MLP,
        )
    return fold.validation


def _label_scale(y: Float64, params: MlpParams) -> tuple[Float64, Float64]:
    """Mean and spread of each dimension's labels; a spread of 0 is left alone."""
    if not params.standardise_labels:
        return np.zeros(y.shape[1]), np.ones(y.shape[1])
    spread = y.std(axis=0)
    return y.mean(axis=0), np.where(spread > 0, spread, 1.0)


def _stack(vectors: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(vectors).astype(np.float32))[:, None, :]
