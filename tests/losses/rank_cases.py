"""Every loss of rankers with inputs that fit it, for what must hold of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pianoeval.losses.contrastive import info_nce, spread, supcon, triplet
from pianoeval.losses.listwise import lambdarank, listmle, listnet
from pianoeval.losses.mixed import anchored, concordance, mixed, ordered, squared
from pianoeval.losses.ordinal import coral_loss, corn_loss
from pianoeval.losses.pairwise import logistic_loss, margin_loss

REPLICAS = 3
# Of replica 0 nothing is padding, of replica 1 some, replica 2 has nothing else.
Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """A loss, what it is differentiated by, and the rest of its arguments, replicas first.

    ``takes`` (B, …) is false on padding; its axes are the leading ones of ``x``.
    """

    loss: Loss
    x: Tensor
    takes: Tensor
    rest: tuple[Tensor, ...]

    def value(self, x: Tensor | None = None) -> Tensor:
        return self.loss(self.x if x is None else x, *self.rest)

    def gradient(self) -> Tensor:
        leaf = self.x.clone().requires_grad_()
        (found,) = torch.autograd.grad(self.value(leaf).sum(), leaf)
        return found

    def of(self, replica: int) -> Case:
        one = slice(replica, replica + 1)
        rest = tuple(part[one] for part in self.rest)
        return Case(self.loss, self.x[one], self.takes[one], rest)

    def at(self, x: Tensor) -> Case:
        kind = x.dtype
        rest = tuple(p.to(kind) if p.is_floating_point() else p for p in self.rest)
        return replace(self, x=x, rest=rest)


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _each(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _pairs(seed: int, loss: Loss, *more: Tensor) -> Case:
    x = _draw(seed, REPLICAS, 7, 2)
    takes = torch.ones(REPLICAS, 7, dtype=torch.bool)
    takes[1, 4:], takes[2] = False, False
    weight = (_draw(seed + 1, *x.shape).abs() + 0.1) * takes[..., None]
    target = _draw(seed + 2, *x.shape).sigmoid()
    return Case(loss, x, takes, (target.where(takes[..., None], _each(torch.nan)), weight, *more))


def _lists(seed: int, loss: Loss, *more: Tensor) -> Case:
    x, labels = _draw(seed, REPLICAS, 3, 5, 2), _draw(seed + 1, REPLICAS, 3, 5, 2)
    takes = torch.ones(REPLICAS, 3, 5, dtype=torch.bool)
    takes[1, 0, 3:], takes[1, 1, 1:], takes[2] = False, False, False
    labels = labels.where(takes[..., None], _each(torch.nan))
    return Case(loss, x, takes, (labels, takes, *more))


def _codes(seed: int, loss: Loss, *more: Tensor) -> Case:
    takes = torch.ones(REPLICAS, 9, dtype=torch.bool)
    takes[1, 6:], takes[2] = False, False
    piece = torch.arange(9) // 3
    positive = (piece[:, None] == piece).expand(REPLICAS, 9, 9)
    return Case(loss, _draw(seed, REPLICAS, 9, 4), takes, (positive, takes, *more))


def _ordinal(seed: int, loss: Loss) -> Case:
    takes = torch.ones(REPLICAS, 6, dtype=torch.bool)
    takes[1, 4:], takes[2] = False, False
    draw = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 5, (REPLICAS, 6, 2), generator=draw)
    return Case(loss, _draw(seed, REPLICAS, 6, 2, 4), takes, (levels, takes))


def case(name: str, seed: int = 0) -> Case:
    """The loss of this name; parameters that may differ by replica do."""
    margin, share = _each(0.3, 0.5, 0.7), _each(0.2, 0.5, 0.9)
    made: dict[str, Callable[[], Case]] = {
        "margin": lambda: _pairs(seed, margin_loss, margin),
        "logistic": lambda: _pairs(seed, logistic_loss),
        "listnet": lambda: _lists(seed, listnet),
        "listmle": lambda: _lists(seed, listmle),
        "lambdarank": lambda: _lists(seed, lambdarank),
        "squared": lambda: _lists(seed, squared),
        "ordered": lambda: _lists(seed, ordered, margin),
        "concordance": lambda: _lists(seed, concordance),
        "mixed": lambda: _lists(seed, mixed, share, margin),
        "anchored": lambda: _lists(seed, anchored, share, margin),
        "info_nce": lambda: _codes(seed, info_nce, share),
        "supcon": lambda: _codes(seed, supcon, share),
        "triplet": lambda: _codes(seed, triplet, margin),
        "spread": lambda: _codes(seed, spread),
        "coral": lambda: _ordinal(seed, coral_loss),
        "corn": lambda: _ordinal(seed, corn_loss),
    }
    return made[name]()


NAMES = (
    "margin", "logistic", "listnet", "listmle", "lambdarank", "squared", "ordered", "concordance",
    "mixed", "anchored", "info_nce", "supcon", "triplet", "spread", "coral", "corn",
)  # fmt: skip
