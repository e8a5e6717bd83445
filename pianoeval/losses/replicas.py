"""Means of each replica, and parameters that a replica may have of its own."""

from __future__ import annotations

import torch
from torch import Tensor

# A parameter of a loss: one for all replicas, or one each, shape (B,).
Each = float | Tensor


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of each replica over all other axes, (B, …) to (B,); 0 where nothing weighs.

    ``values`` must be finite where ``weight`` is 0, too.
    """
    total = weight.flatten(1).sum(dim=1)
    found = (values * weight).flatten(1).sum(dim=1)
    return found / total.where(total > 0, total.new_ones(()))


def each(value: Each, like: Tensor) -> Each:
    """A parameter of each replica, shaped to be broadcast over ``like``, (B, …)."""
    if isinstance(value, Tensor) and value.ndim == 1:
        return value.to(like).reshape(-1, *([1] * (like.ndim - 1)))
    return value


def lowest(like: Tensor) -> float:
    """Logarithm of what is as good as 0; of −inf, gradients would be NaN."""
    return float(torch.finfo(like.dtype).min) / 4
