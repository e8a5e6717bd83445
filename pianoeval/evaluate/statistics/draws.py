"""Draws of content groups and players, and the sums of each draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics.metrics import Array, Metric
from pianoeval.evaluate.statistics.sums import FOLD, Cells, CellSums

CONTENT, PLAYER = "content", "player"


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each content group and each player was taken.

    Attributes
    ----------
    content : float64, shape (C, B)
    player : float64, shape (P, B)
    factors : tuple of str
        What varies: ``content``, ``player`` or both.
    """

    content: Array
    player: Array
    factors: tuple[str, ...]

    @property
    def n_draws(self) -> int:
        return int(self.content.shape[1])

    def only(self, factor: str) -> Draws:
        """The same draws of one factor, the other as it is."""
        content = self.content if factor == CONTENT else np.ones_like(self.content)
        player = self.player if factor == PLAYER else np.ones_like(self.player)
        return Draws(content, player, (factor,))

    def without_each(self) -> Draws:
        """Every level of every factor left out in turn, one after the other."""
        sizes = [len(getattr(self, factor)) for factor in self.factors]
        content, player = (np.ones((len(x), sum(sizes))) for x in (self.content, self.player))
        start = 0
        for factor, size in zip(self.factors, sizes, strict=True):
            kept = content if factor == CONTENT else player
            kept[np.arange(size), start + np.arange(size)] = 0.0
            start += size
        return replace(self, content=content, player=player)

    def part(self, start: int, stop: int) -> Draws:
        """Some of the draws."""
        return replace(self, content=self.content[:, start:stop], player=self.player[:, start:stop])


def weighted_sums(sums: CellSums, metrics: Mapping[str, Metric], draws: Draws) -> dict[str, Array]:
    """The sums that metrics read, of each draw."""
    drawn: dict[str, Array] = {}
    for unit in dict.fromkeys(metric.unit for metric in metrics.values()):
        needs = [name for m in metrics.values() if m.unit == unit for name in m.needs]
        drawn |= _weighted(sums.units[unit], list(dict.fromkeys(needs)), draws)
    return drawn


def _weighted(cells: Cells, needs: list[str], draws: Draws) -> dict[str, Array]:
    """Sums of each draw: the cells' sums times the weights of the cells.

    Fold sums are products of the cells of that fold alone, and add up to the total.
    """
    weights: dict[np.dtype[np.floating], NDArray[Any]] = {}
    by_fold = {name.removeprefix(FOLD) for name in needs if name.startswith(FOLD)}
    drawn: dict[str, Array] = {}
    for name in dict.fromkeys(name.removeprefix(FOLD) for name in needs):
        values = cells.sums[name]
        if values.dtype not in weights:
            weights[values.dtype] = _weights(cells, draws, values.dtype)
        weight = weights[values.dtype]
        flat = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
        shape = (*values.shape[:-1], weight.shape[1])
        if name in by_fold:
            limits = zip(cells.edges[:-1], cells.edges[1:], strict=True)
            folds = np.stack([flat[:, a:b] @ weight[a:b] for a, b in limits])
            drawn[FOLD + name] = folds.reshape(-1, *shape)
            drawn[name] = drawn[FOLD + name].sum(axis=0)
        else:
            product = (flat @ weight).astype(np.float64, copy=False).reshape(shape)
            # Classes go last, where metrics expect them.
            drawn[name] = product if product.ndim == 3 else np.moveaxis(product, 2, 3)
    return drawn


def _weights(cells: Cells, draws: Draws, dtype: np.dtype[np.floating]) -> NDArray[Any]:
    """Weight of each cell in each draw, (M, B)."""
    weight = draws.content.astype(dtype)[cells.group]
    for player in cells.players.T:
        weight *= draws.player.astype(dtype)[player]
    return weight
