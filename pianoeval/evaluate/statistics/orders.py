"""Order of one column of numbers, and what is left of it without each cluster.

The rank of a clip without cluster c is its rank less the clips of c below it and half of those
equal to it: one cumulative count in sorted order holds these for all clusters. The clips below
(above) a clip are a set of bits, so pairs are compared sixty-four at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Index

Bits = NDArray[np.uint64]

# Leave-one-out ranks take clips x clusters numbers; so many at a time (16 MB).
BLOCK_NUMBERS = 2_000_000


@dataclass(frozen=True, eq=False)
class Order:
    """Where each value stands among all.

    Attributes
    ----------
    rows : int64, shape (m,)
        Positions from the lowest value to the highest.
    start, end : int64, shape (m,)
        How many values are lower; lower or equal.
    """

    rows: Index
    start: Index
    end: Index

    @classmethod
    def of(cls, values: Array) -> Order:
        """Order of finite values, shape (m,)."""
        rows = np.argsort(values, kind="stable")
        ordered = values[rows]
        first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        size = np.diff(np.append(first, len(values)))
        start, end = np.empty_like(rows), np.empty_like(rows)
        start[rows] = np.repeat(first, size)
        end[rows] = np.repeat(first + size, size)
        return cls(rows, start, end)

    def cumulative(
        self, cluster: Index, first: int, last: int, weight: Array | None = None
    ) -> Array:
        """How many of the k lowest values are in each cluster first..last-1, shape (m + 1, ...)."""
        m = len(self.rows)
        code = cluster[self.rows] - first
        inside = np.flatnonzero((code >= 0) & (code < last - first))
        counts = np.zeros((m + 1, last - first))
        ones = 1.0 if weight is None else weight[self.rows[inside]]
        counts[inside + 1, code[inside]] = ones
        np.cumsum(counts, axis=0, out=counts)
        return counts


class Side:
    """Ranks and orders of one column, for all clusters."""

    def __init__(self, values: Array, cluster: Index, n_clusters: int) -> None:
        self.order = Order.of(values)
        self.cluster = cluster
        self.n_clusters = n_clusters
        self.size = np.append(np.bincount(cluster, minlength=n_clusters), 0)
        self.width = max(1, BLOCK_NUMBERS // max(1, len(values)))
        self._kept: list[Array] | None = None
        self._bits: tuple[Bits, Bits] | None = None

    def keep(self) -> None:
        """Hold what later calls would compute again."""
        self._kept = [self.deviations(*block) for block in self.blocks()]
        self._bits = self.bits()

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges of clusters; the last one is empty, which leaves out nothing."""
        edges = range(0, self.n_clusters + 1, self.width)
        return [(a, min(a + self.width, self.n_clusters + 1)) for a in edges]

    def deviations(self, first: int, last: int) -> Array:
        """Midranks without each cluster, less their mean, 0 in the cluster; (m, last - first)."""
        if self._kept is not None:
            return self._kept[first // self.width]
        order, m = self.order, len(self.cluster)
        counts = order.cumulative(self.cluster, first, last)
        away = counts[order.start]
        away += counts[order.end]
        away *= -0.5
        away += (0.5 * (order.start + order.end + 1))[:, None]
        away -= 0.5 * (m - self.size[first:last] + 1)
        own = np.flatnonzero((self.cluster >= first) & (self.cluster < last))
        away[own, self.cluster[own] - first] = 0.0
        return away

    def bits(self) -> tuple[Bits, Bits]:
        """Which clips are lower than each clip, and which are higher; (m, words) each."""
        if self._bits is not None:
            return self._bits
        m, order = len(self.cluster), self.order
        sets = np.zeros((m + 1, (m + 63) // 64), np.uint64)
        one = np.left_shift(np.uint64(1), (order.rows % 64).astype(np.uint64))
        sets[np.arange(1, m + 1), order.rows // 64] = one
        np.bitwise_or.accumulate(sets, axis=0, out=sets)
        return sets[order.start], sets[-1] ^ sets[order.end]

    def tied(self) -> Array:
        """Ordered pairs of different clips that are equal, without each cluster; (C + 1,)."""
        order, cluster = self.order, self.cluster
        # Equal values of one cluster: positions in sorted order that share start and cluster.
        key = order.start * self.n_clusters + cluster
        _, code, count = np.unique(key, return_inverse=True, return_counts=True)
        row = (order.end - order.start - 1).astype(np.float64)
        inside = (count[code.reshape(-1)] - 1).astype(np.float64)
        return without_each(row, inside, cluster, self.n_clusters)


def without_each(row: Array, inside: Array, cluster: Index, n_clusters: int) -> Array:
    """Sum over ordered pairs without each cluster, then without none.

    ``row`` is each clip's sum over all partners, ``inside`` over those of its own cluster.
    """
    touched = np.bincount(cluster, 2.0 * row - inside, n_clusters)
    return np.append(row.sum() - touched, row.sum())


def same_cluster(cluster: Index) -> Bits:
    """Which clips are of each clip's cluster, shape (m, words)."""
    m = len(cluster)
    sets = np.zeros((int(cluster.max()) + 1 if m else 0, (m + 63) // 64), np.uint64)
    place = np.arange(m)
    one = np.left_shift(np.uint64(1), (place % 64).astype(np.uint64))
    np.bitwise_or.at(sets, (cluster, place // 64), one)
    return sets[cluster]
