r"""Regression losses of many folds at once, differentiable by autograd.

All take ``output`` and ``target`` (folds, rows, dimensions) and ``counted``, bool (folds, rows),
false where a row is padding, and give one loss a fold, (folds,): folds meet nowhere. A fold needs a
counted row. Errors are in units of the labels as they come, which ``models.mlp`` standardises.

``mse``     mean of :math:`e^2` over rows and dimensions (eq. 3 of Dhiman 2026)
``mae``     mean of :math:`|e|`
``huber``   mean of :math:`e^2/2` up to :math:`|e| = \delta`, of :math:`\delta(|e| - \delta/2)`
            beyond (Huber 1964, Ann. Math. Stat. 35, 73-101)
``ccc``     1 − Lin's concordance correlation (Lin 1989, Biometrics 45, 255-268), a dimension at a
            time over the rows of the batch, averaged over dimensions
``hybrid``  :math:`\alpha\,\mathrm{mse} + (1 - \alpha)\,\mathrm{ccc}`

``bootstrap`` and what it is named after are in :mod:`~pianoeval.losses.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pianoeval.losses import bootstrap
from pianoeval.losses.rows import mean as _mean
from pianoeval.losses.rows import share as _share
from pianoeval.params import MlpParams

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
# Below this the spread of outputs and targets counts as none; labels have a spread of about one.
_NO_SPREAD = 1e-8


def mse(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean squared error of each fold."""
    return _mean((output - target).square(), counted)


def mae(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean absolute error of each fold; its gradient is 0 where the error is."""
    return _mean((output - target).abs(), counted)


def huber(output: Tensor, target: Tensor, counted: Tensor, delta: float) -> Tensor:
    """Squared up to ``delta``, linear beyond."""
    size = (output - target).abs()
    within = size.clamp(max=delta)
    return _mean(within * (size - 0.5 * within), counted)


def ccc(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    r"""One minus the concordance correlation, averaged over dimensions: 0 to 2.

    :math:`1 - \rho_c = \overline{(x-y)^2} / (s_x^2 + s_y^2 + (\bar x - \bar y)^2)`, which is Lin's
    :math:`1 - 2 s_{xy} / (\dots)` without its cancellation. Where neither output nor target
    varies and their means agree, it is 0 and so is its gradient; of a constant target it is 1.
    """
    share = _share(counted, output)

    def mean(x: Tensor) -> Tensor:
        return (x * share).sum(dim=1, keepdim=True)

    centre_x, centre_y = mean(output), mean(target)
    spread = mean((output - centre_x).square() + (target - centre_y).square())
    spread = spread + (centre_x - centre_y).square()
    apart = mean((output - target).square()) / spread.clamp(min=_NO_SPREAD)
    return apart.mean(dim=(1, 2))


def hybrid(output: Tensor, target: Tensor, counted: Tensor, alpha: float) -> Tensor:
    """A share ``alpha`` of ``mse``, the rest ``ccc``."""
    return alpha * mse(output, target, counted) + (1.0 - alpha) * ccc(output, target, counted)


def loss_of(params: MlpParams) -> Loss:
    """The loss that ``params.loss`` names, with its parameters."""
    losses: dict[str, Loss] = {
        "mse": mse,
        "mae": mae,
        "huber": partial(huber, delta=params.huber_delta),
        "ccc": ccc,
        "hybrid": partial(hybrid, alpha=params.hybrid_alpha),
        "bootstrap": partial(bootstrap.squared, beta=params.bootstrap_beta),
        "bootstrap_soft": partial(bootstrap.soft, beta=params.bootstrap_beta),
        "bootstrap_hard": partial(bootstrap.hard, beta=params.bootstrap_beta),
    }
    return losses[params.loss]


def output_gradient(loss: Loss, output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Gradient of each fold's loss by its outputs, (folds, rows, dimensions); 0 on padding."""
    with torch.enable_grad():
        leaf = output.detach().requires_grad_()
        total = loss(leaf, target, counted).sum()
        return torch.autograd.grad(total, leaf)[0]
