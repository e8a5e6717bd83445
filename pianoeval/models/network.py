"""The two-layer perceptron of ``models.mlp``: weights, random streams, output, gradients.

Every tensor carries a leading fold axis; folds meet only in ``torch.bmm``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pianoeval.losses.regression import Loss, output_gradient
from pianoeval.params import MlpParams

_INIT, _ORDER, _DROPOUT = 0, 1, 2  # purposes of the random streams


def initial_weights(n_features: int, n_outputs: int, params: MlpParams) -> list[Tensor]:
    """W1 (features, hidden), b1 (1, hidden), W2 (hidden, outputs), b2 (1, outputs), float32."""
    rng = np.random.default_rng([params.seed, _INIT])
    shapes = [(n_features, params.hidden), (1, params.hidden)]
    shapes += [(params.hidden, n_outputs), (1, n_outputs)]
    fans = [n_features, n_features, params.hidden, params.hidden]
    return [
        torch.from_numpy((2 * rng.random(shape, dtype=np.float32) - 1) / np.float32(fan**0.5))
        for shape, fan in zip(shapes, fans, strict=True)
    ]


def epoch_order(n_rows: int, epoch: int, params: MlpParams) -> np.ndarray:
    """Order in which the rows are visited in an epoch, int64, shape (n_rows,)."""
    return np.random.default_rng([params.seed, _ORDER, epoch]).permutation(n_rows)


def dropout_masks(epoch: int, params: MlpParams) -> Iterator[Tensor]:
    """Endless masks (batch, hidden), 0 or 1/(1 − dropout), one a step of the epoch."""
    rng = np.random.default_rng([params.seed, _DROPOUT, epoch])
    keep = 1.0 - params.dropout
    while True:
        kept = rng.random((params.batch_size, params.hidden), dtype=np.float32) < keep
        yield torch.from_numpy(kept.astype(np.float32) / np.float32(keep))


def forward(weights: Sequence[Tensor], z: Tensor) -> Tensor:
    """Eq. 2 without dropout, for every fold: (folds, rows, features) → (folds, rows, outputs)."""
    hidden = torch.baddbmm(weights[1], z, weights[0])
    return torch.baddbmm(weights[3], hidden.relu_(), weights[2])


def write_gradients(
    gradients: Sequence[Tensor],
    weights: Sequence[Tensor],
    z: Tensor,
    y: Tensor,
    counted: Tensor,
    mask: Tensor,
    loss: Loss | None = None,
) -> Tensor:
    """Gradient of each fold's loss by its weights, by hand and into given buffers.

    Autograd would allocate every gradient anew at each step, which for wide views costs more than
    the arithmetic (tests hold it against autograd).

    Parameters
    ----------
    gradients, weights : W1, b1, W2, b2, each with a leading fold axis
    z, y : (folds, rows, features), (folds, rows, outputs)
    counted : bool, (folds, rows); rows that are padding are false
    mask : (rows, hidden), dropout, shared by the folds
    loss : callable, optional
        None is the mean squared error (eq. 3), by hand too; else autograd from loss to output.

    Returns
    -------
    Tensor, shape (folds, rows, hidden)
        Gradient by the hidden layer's input, for whatever lies before ``z``.
    """
    active = torch.baddbmm(weights[1], z, weights[0]).mul_(mask).relu_()
    error = torch.baddbmm(weights[3], active, weights[2])
    if loss is None:
        share = 2.0 * counted / (counted.sum(dim=1, keepdim=True) * y.shape[2])
        error.sub_(y).mul_(share[:, :, None])
    else:
        error = output_gradient(loss, error, y, counted)
    torch.bmm(active.transpose(1, 2), error, out=gradients[2])
    torch.sum(error, dim=1, keepdim=True, out=gradients[3])
    back = torch.bmm(error, weights[2].transpose(1, 2)).mul_(mask).mul_(active > 0)
    torch.bmm(z.transpose(1, 2), back, out=gradients[0])
    torch.sum(back, dim=1, keepdim=True, out=gradients[1])
    return back
