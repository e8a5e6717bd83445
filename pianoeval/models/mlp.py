r"""The two-layer perceptron of Dhiman (2026), all folds trained as one batched problem.

Definition (his eq. 2): :math:`\hat y = W_2\,\mathrm{ReLU}(\mathrm{Dropout}(W_1 z + b_1)) + b_2`,
mean squared error over all dimensions (eq. 3), or another of ``pianoeval.losses``, Adam with L2
weight decay, early stopping on the validation R² (mean over dimensions), the best epoch's weights
kept. Unlike there, the validation clips are a group *inside the training clips*; the reported fold
is never looked at.

Conventions: inputs are standardised on the training clips without the validation clips, so that
these are as unseen as the test clips. So are labels (``standardise_labels``; the paper is silent):
on raw labels, whose spread is a tenth of the initial outputs', pooled R² on PercePiano's segment
folds was −.31 instead of .53. Initial weights are uniform in ±1/√(fan in), as ``torch.nn.Linear``.

``layer_mlp`` has a learned weighted sum of layers before it (``models.layer_mix``), with a learning
rate of its own: Adam moves a logit by about one rate a step; 0.0001 would leave all layers equal.

Batching: weights carry a leading fold axis and folds meet only in ``torch.bmm``. Random numbers
are drawn from streams keyed by (seed, purpose, epoch) that all folds share: a fold sees the same
initial weights, order and dropout masks whether it is trained alone or with others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.losses.regression import loss_of
from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.layer_mix import mix, write_mix_gradient
from pianoeval.models.mlp_problem import WITHOUT_MLP, PaddedRows, Problem
from pianoeval.models.network import (
    dropout_masks,
    epoch_order,
    forward,
    initial_weights,
    write_gradients,
)
from pianoeval.params import LayerMlpParams, MlpParams

_log = logging.getLogger(__name__)
_BYTES_PER_VALUE = 4 * 5  # weights, gradient, two moments, best weights; float32


class _Batch:
    """State of the folds still in training."""

    def __init__(self, problem: Problem, layers: LayerMlpParams | None) -> None:
        n_folds, n_inputs = len(problem.folds), problem.x.shape[1]
        self.problem, self.layers = problem, layers
        self.layering = problem.layering if layers else None
        self.loss = None if problem.params.loss == "mse" else loss_of(problem.params)
        if self.layering:
            n_inputs -= (self.layering.n_layers - 1) * self.layering.width
        first = initial_weights(n_inputs, problem.y.shape[2], problem.params)
        if self.layering:
            first.append(torch.zeros(1, self.layering.n_layers))
        self.alive = torch.arange(n_folds)
        self.weights = [w.expand(n_folds, *w.shape).clone() for w in first]
        self.gradients = [torch.empty_like(w) for w in self.weights]
        self.best = [w.clone() for w in self.weights]
        self.best_r2 = torch.full((n_folds,), -torch.inf, dtype=torch.float64)
        self.best_epoch = torch.full((n_folds,), -1)
        self._optimise([{} for _ in range(n_folds * len(first))])

    def _optimise(self, states: list[dict[str, Any]]) -> None:
        """One optimiser over all folds; a fold without a gradient is left alone by a step."""
        self.parameters = [torch.nn.Parameter(part) for w in self.weights for part in w]
        params, n_network = self.problem.params, 4 * len(self.alive)
        groups: list[dict[str, Any]] = [{"params": self.parameters[:n_network]}]
        if self.layers:
            own = {"lr": self.layers.learning_rate, "weight_decay": 0.0}
            groups.append({"params": self.parameters[n_network:], **own})
        self.optimiser = torch.optim.Adam(
            groups, lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
        )
        for parameter, state in zip(self.parameters, states, strict=True):
            if state:
                self.optimiser.state[parameter] = state

    def train_epoch(self, epoch: int) -> None:
        """One pass over the fit rows of every fold; a fold with fewer batches rests at the end."""
        params, size = self.problem.params, self.problem.params.batch_size
        fits = [self.problem.fit[fold] for fold in self.alive.tolist()]
        rows = PaddedRows.pad([r[epoch_order(len(r), epoch, params)] for r in fits])
        masks = dropout_masks(epoch, params)
        for start in range(0, rows.index.shape[1], size):
            count = (rows.length - start).clamp(0, size)
            active = int((count > 0).sum())
            index = rows.index[:active, start : start + size]
            self._step(index, count[:active], next(masks)[: index.shape[1]])

    @torch.no_grad()
    def _step(self, index: Tensor, count: Tensor, mask: Tensor) -> None:
        """One Adam step of the first ``len(index)`` folds on their next ``count`` rows."""
        n = len(index)
        z = self.problem.inputs(self.alive[:n], index)
        y = self.problem.targets(self.alive[:n], index)
        counted = torch.arange(index.shape[1])[None, :] < count[:, None]
        weights = [w[:n] for w in self.weights]
        gradients = [g[:n] for g in self.gradients]
        if self.layering is None:
            write_gradients(gradients, weights, z, y, counted, mask, self.loss)
        else:
            mixed = mix(weights[4], z, self.layering)
            back = write_gradients(gradients[:4], weights[:4], mixed, y, counted, mask, self.loss)
            by_sum = torch.bmm(back, weights[0][:, : self.layering.width].transpose(1, 2))
            write_mix_gradient(gradients[4], weights[4], z, by_sum, self.layering)
        n_folds = len(self.alive)
        for position, parameter in enumerate(self.parameters):
            slot, fold = divmod(position, n_folds)
            parameter.grad = self.gradients[slot][fold] if fold < n else None
        self.optimiser.step()

    @torch.no_grad()
    def validate(self, epoch: int) -> None:
        """Validation R² of every fold; where it is the best so far, keep the weights."""
        helds = PaddedRows.pad([self.problem.held[fold] for fold in self.alive.tolist()])
        output = self._output(self.weights, self.problem.inputs(self.alive, helds.index)).double()
        truth = self.problem.targets(self.alive, helds.index).double()
        for slot, length in enumerate(helds.length.tolist()):
            name = self.problem.folds[int(self.alive[slot])].name
            r2 = _mean_r2(truth[slot, :length], output[slot, :length], name)
            if r2 > self.best_r2[slot]:
                self.best_r2[slot], self.best_epoch[slot] = r2, epoch
                for best, weight in zip(self.best, self.weights, strict=True):
                    best[slot] = weight[slot]

    @torch.no_grad()
    def finish(self, done: Tensor) -> dict[int, FoldPrediction]:
        """Predict the folds where ``done`` is true with their best weights and drop them."""
        finished = {}
        for slot in torch.nonzero(done).flatten().tolist():
            fold = int(self.alive[slot])
            rows = torch.from_numpy(self.problem.folds[fold].test)[None, :]
            z = self.problem.inputs(self.alive[slot : slot + 1], rows)
            best = [weights[slot : slot + 1] for weights in self.best]
            values = self._output(best, z)[0]
            epoch, r2 = int(self.best_epoch[slot]), float(self.best_r2[slot])
            name = self.problem.folds[fold].name
            _log.debug("mlp %s: epoch %d, validation R² %.3f", name, epoch, r2)
            chosen = {"epoch": [float(epoch)], "validation_r2": [r2]}
            if self.layering:
                chosen["layer_weights"] = best[4].softmax(-1).flatten().tolist()
            centre, scale = self.problem.label_scale[fold]
            finished[fold] = FoldPrediction(values.double().numpy() * scale + centre, chosen)
        if finished and len(finished) < len(done):
            self._keep(~done)
        return finished

    def _output(self, weights: Sequence[Tensor], z: Tensor) -> Tensor:
        if self.layering is not None:
            z = mix(weights[4], z, self.layering)
        return forward(weights, z)

    def _keep(self, kept: Tensor) -> None:
        flags = kept.tolist() * len(self.weights)
        old = zip(self.parameters, flags, strict=True)
        states = [self.optimiser.state[parameter] for parameter, stays in old if stays]
        for tensors in (self.weights, self.gradients, self.best):
            tensors[:] = [tensor[kept] for tensor in tensors]
        self.alive = self.alive[kept]
        self.best_r2, self.best_epoch = self.best_r2[kept], self.best_epoch[kept]
        self._optimise(states)


def _mean_r2(truth: Tensor, output: Tensor, name: str) -> float:
    """R² averaged over the dimensions that vary; (rows, dimensions) each."""
    spread = (truth - truth.mean(dim=0)).square().sum(dim=0)
    varies = spread > 0
    if not bool(varies.any()):
        raise ConfigError(
            f"no dimension varies within the validation group of fold {name}", next_step=WITHOUT_MLP
        )
    residual = (truth - output).square().sum(dim=0)
    r2 = float((1 - residual[varies] / spread[varies]).mean())
    if not np.isfinite(r2):
        raise PianoevalError(
            f"mlp diverged in fold {name}", next_step="lower probe.mlp.learning_rate"
        )
    return r2


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads wait for one another: on a shared machine two were slower than one by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    folds: Sequence[Fold], params: MlpParams, layers: LayerMlpParams | None
) -> list[FoldPrediction]:
    problem = Problem(folds, params)
    batch = _Batch(problem, layers)
    finished: dict[int, FoldPrediction] = {}
    for epoch in range(1, params.max_epochs + 1):
        batch.train_epoch(epoch)
        batch.validate(epoch)
        last = epoch == params.max_epochs
        done = (epoch - batch.best_epoch >= params.patience) | last
        finished |= batch.finish(done)
        if len(finished) == len(folds):
            break
    position = {original: number for number, original in enumerate(problem.order)}
    return [finished[position[number]] for number in range(len(folds))]


def predict_mlp(
    folds: Sequence[Fold], params: MlpParams, layers: LayerMlpParams | None = None
) -> list[FoldPrediction]:
    """Train one perceptron a fold, as many folds at a time as ``memory_mb`` allows.

    Parameters
    ----------
    layers : LayerMlpParams, optional
        Put a learned weighted sum of layers before it.

    Raises
    ------
    ConfigError
        A fold without a usable validation group, or features that are no layers.
    PianoevalError
        The loss diverged.
    """
    if not folds:
        return []
    if layers and folds[0].layering is None:
        raise ConfigError(
            "layer_mlp weights layers, and these features have none", where="views.*.models",
            allowed="layer_mlp for views of an encoder", next_step="take it out of the view",
        )  # fmt: skip
    values = params.hidden * (folds[0].x.shape[1] + folds[0].y.shape[1] + 1)
    at_once = max(1, int(params.memory_mb * 2**20 / (_BYTES_PER_VALUE * values)))
    predictions = []
    with _one_thread():
        for start in range(0, len(folds), at_once):
            predictions += _train(folds[start : start + at_once], params, layers)
    return predictions
