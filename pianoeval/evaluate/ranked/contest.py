"""Pairs of takes under one scheme, and what each row of the results says of them.

A row says of each pair by how much the first take is the higher one: a ranker its log-odds, a model
that predicts labels the difference of two predictions. Only the sign counts in accuracies, so both
are judged alike; what needs probabilities is computed of rankers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Design, Index, row_adder
from pianoeval.evaluate.tables import positions

Kind = Literal["ranker", "point", "model", "baseline"]
# Margins are stored in single precision: an additive one differs from its scores by rounding.
ADDITIVE = 1e-4
# Scores that agree so far are equal.
SCORE_DIGITS = 6


@dataclass(frozen=True)
class Entry:
    """A row of the results: a ranker, a point of its sweep, or a model that predicts labels.

    Attributes
    ----------
    kind : {"ranker", "point", "model", "baseline"}
    features : str
        Name of the view; of a ranker the names of all that it reads, joined by ``+``.
    model : str
        Of a ranker its own name.
    seed : int or None
    """

    kind: Kind
    features: str
    model: str
    seed: int | None

    @property
    def name(self) -> str:
        """``rank/<ranker>`` or ``features/model``."""
        ranks = self.kind in ("ranker", "point")
        return f"rank/{self.model}" if ranks else f"{self.features}/{self.model}"


@dataclass(frozen=True, eq=False)
class Contest:
    """All rows that are judged on the same pairs.

    Attributes
    ----------
    scheme, subset : str
    design : Design
        Takes, and their pairs: two takes of one segment and one fold, not byte-identical.
    y : float64, shape (n, D)
        Labels; NaN = not rated.
    margins : dict of float64, shape (pairs, D), by entry
        Above 0: the first take is said to be the higher one; 0 = no telling.
    scores : dict of float64, shape (n, D), by entry
        Predicted labels, of entries that predict them.
    """

    scheme: str
    subset: str
    design: Design
    y: Array
    margins: Mapping[Entry, Array]
    scores: Mapping[Entry, Array]

    @cached_property
    def difference(self) -> Array:
        """Label of the first take less that of the second, shape (pairs, D)."""
        first, second = self.design.pairs.T
        return np.asarray(self.y[first] - self.y[second])

    @cached_property
    def lists(self) -> Index:
        """Code of the list that each take is in, a list being a segment within a fold, (n,)."""
        n_folds = int(self.design.fold.max()) + 1
        codes = self.design.segment * n_folds + self.design.fold
        found: Index = np.unique(codes, return_inverse=True)[1].reshape(-1)
        return found

    @cached_property
    def home(self) -> Index:
        """Content group of each list."""
        home = np.zeros(int(self.lists.max()) + 1, np.int64)
        home[self.lists] = self.design.cluster
        return home

    @property
    def list_of_pair(self) -> Index:
        """Code of each pair's list, shape (pairs,)."""
        found: Index = self.lists[self.design.pairs[:, 0]]
        return found

    def list_scores(self, entry: Entry) -> Array:
        """Scores of takes whose differences are nearest to the margins, shape (n, D).

        Within each list :math:`s_i = \\frac{1}{n} \\sum_j m_{ij}`, the least-squares solution on
        all pairs of the list (Jiang, Lim, Yao & Ye 2011, Math. Program. 127, 203-244); byte-
        identical takes, which are no pair, count as a margin of 0. Means within a list are 0.
        """
        margins = self.margins[entry]
        first, second = self.design.pairs.T
        n = len(self.y)
        total = row_adder(first, n) @ margins - row_adder(second, n) @ margins
        size = np.bincount(self.lists)[self.lists]
        return np.asarray(total / size[:, None])

    def is_additive(self, entry: Entry) -> bool:
        """Whether all margins are differences of scores, so that no three takes can be cyclic."""
        scores, margins = self.list_scores(entry), self.margins[entry]
        first, second = self.design.pairs.T
        away = np.abs(scores[first] - scores[second] - margins).max(initial=0.0)
        return bool(away <= ADDITIVE * np.abs(margins).max(initial=0.0))


def pair_places(design: Design, first: Index, second: Index) -> tuple[Index, Index]:
    """Where pairs stand among those of the design, and whether they stand the other way round.

    Parameters
    ----------
    first, second : int64, shape (m,)
        Rows of takes; -1 = none of the design.

    Returns
    -------
    place : int64, shape (m,)
        Row of ``design.pairs``; -1 = no pair of the design.
    sign : int64, shape (m,)
        -1 where first and second have changed places, else 1.
    """
    n = len(design.clips)
    known = np.sort(design.pairs, axis=1)
    order = np.argsort(known[:, 0] * n + known[:, 1])
    keys = (known[:, 0] * n + known[:, 1])[order]
    wanted = np.minimum(first, second) * n + np.maximum(first, second)
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    place = np.full(len(first), -1, np.int64)
    if len(keys):
        inside = (np.minimum(first, second) >= 0) & (keys[at] == wanted)
        place[inside] = order[at[inside]]
    turned = (place >= 0) & (design.pairs[place, 0] != first) if len(keys) else place > 0
    return place, np.where(turned, -1, 1).astype(np.int64)


def rows_of(design: Design, clips: NDArray[np.object_]) -> Index:
    """Row of each clip in the design; -1 = none."""
    return np.asarray(positions(list(design.clips), clips), dtype=np.int64)
