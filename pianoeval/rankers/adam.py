"""Adam over replicas: each has its own rate, decay and number of steps."""

from __future__ import annotations

import torch
from torch import Tensor

from pianoeval.rankers.networks import Weights

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Kingma and Ba 2015 (arXiv:1412.6980, algorithm 1), the L2 penalty in the gradient.

    As ``torch.optim.Adam`` with one optimiser a replica, which would take a call each.

    Parameters
    ----------
    weights : dict of (B, …)
        Changed in place.
    rate, decay : (B,)
    """

    def __init__(self, weights: Weights, rate: Tensor, decay: Tensor) -> None:
        self.weights, self.rate, self.decay = weights, rate, decay
        self.steps = torch.zeros(len(rate), dtype=torch.float64)
        self.mean = {name: torch.zeros_like(value) for name, value in weights.items()}
        self.square = {name: torch.zeros_like(value) for name, value in weights.items()}

    @torch.no_grad()
    def step(self, gradients: Weights) -> None:
        """One step of the first n replicas, of which ``gradients`` (n, …) are; the rest wait."""
        n = len(next(iter(gradients.values())))
        self.steps[:n] += 1
        root = (1 - _BETA2 ** self.steps[:n]).sqrt()
        rate = (self.rate[:n].double() * root / (1 - _BETA1 ** self.steps[:n])).float()
        floor = (_EPSILON * root).float()
        decays = bool((self.decay[:n] != 0).any())
        for name, gradient in gradients.items():
            weight, square = self.weights[name][:n], self.square[name][:n]
            mean = self.mean[name][:n]
            if decays:
                gradient = torch.addcmul(gradient, weight, _along(self.decay[:n], weight))
            mean.lerp_(gradient, 1 - _BETA1)
            square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
            change = square.sqrt().add_(_along(floor, weight))
            torch.div(mean, change, out=change)
            weight.sub_(change.mul_(_along(rate, weight)))

    def keep(self, kept: Tensor, weights: Weights) -> None:
        """Go on with the replicas where ``kept`` (B,) is true, whose weights are ``weights``."""
        self.weights = weights
        self.rate, self.decay, self.steps = (v[kept] for v in (self.rate, self.decay, self.steps))
        self.mean = {name: value[kept] for name, value in self.mean.items()}
        self.square = {name: value[kept] for name, value in self.square.items()}


def _along(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *([1] * (like.ndim - 1)))
