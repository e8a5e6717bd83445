"""Means over the rows of each fold that count."""

from __future__ import annotations

from torch import Tensor


def share(counted: Tensor, like: Tensor) -> Tensor:
    """Weight of each row in a mean over the counted ones, (folds, rows, 1)."""
    rows = counted.to(like.dtype)
    return (rows / rows.sum(dim=1, keepdim=True))[:, :, None]


def mean(x: Tensor, counted: Tensor) -> Tensor:
    """Mean of each fold over counted rows and dimensions: (folds, rows, dimensions) to (folds,)."""
    return (x * share(counted, x)).sum(dim=1).mean(dim=1)
