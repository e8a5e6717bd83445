"""Takes of one piece in order: probabilities, strengths, and ranks that admit what is not known.

Of each dimension a ranker gives every pair log-odds. A Bradley-Terry fit, one comparison a pair
won by its probability, gives each take a strength. How far a difference of strengths depends on
what the ranker learned from is told by the rankers that learned without one part of the music each
(delete-one jackknife over G parts: :math:`s^2 = (G-1)/G \\sum_g (δ_g - \\bar δ)^2`, Student's t
with G - 1 degrees of freedom).

Two takes are told apart only if that interval does not hold 0 and their log-odds are beyond those
within which the ranker tossed a coin in cross-validation. In the order of strengths a new rank
begins where every take above is told apart from every take below; between, takes share a rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pianoeval.judging.bradley_terry import fit_strengths
from pianoeval.models.base import Float64, Rows


@dataclass(frozen=True, eq=False)
class Ranking:
    """Takes in one dimension.

    Attributes
    ----------
    dimension : str
    low_first : bool
        Whether the lowest take has rank 1: where the labels say that lower is better.
    probability : float64, shape (takes, takes)
        That the take of the row is higher than that of the column; 1/2 on the diagonal.
    strength, error : float64, shape (takes,)
        Bradley-Terry strengths, and what other music to learn from might have changed in them.
    round_error : float64, shape (takes,)
        Standard errors if each pair had been compared once, by listeners of these probabilities.
    told : bool, shape (takes, takes)
        Which takes can be told apart.
    order : int64, shape (takes,)
        Takes by strength, that of rank 1 first; of equal ones the first named first.
    rank, best, worst : int64, shape (takes,)
        The rank that a take shares with those it is linked to, and the ranks that are possible: one
        more than the takes told to come before it, and all less those told to come after.
    """

    dimension: str
    low_first: bool
    probability: Float64
    strength: Float64
    error: Float64
    round_error: Float64
    told: NDArray[np.bool_]
    order: Rows
    rank: Rows
    best: Rows
    worst: Rows

    @property
    def shared(self) -> NDArray[np.bool_]:
        """Which takes share their rank with another."""
        return np.asarray((self.rank[:, None] == self.rank[None, :]).sum(axis=1) > 1)

    def before(self, first: int, second: int) -> float:
        """Probability that one take belongs before another."""
        return float(self.probability[(second, first) if self.low_first else (first, second)])


def rank_takes(
    scores: Float64,
    left_out: Float64,
    dimensions: Sequence[Mapping[str, Any]],
    quality: Mapping[str, Any],
) -> list[Ranking]:
    """Rank takes of one piece in every dimension.

    Parameters
    ----------
    scores, left_out : float64, shapes (takes, dimensions), (parts, takes, dimensions)
        As ``ExportedRanker.scores`` gives them.
    dimensions : sequence of mapping
        Entries of ``ExportedRanker.config["dimensions"]``: ``name``, ``higher_is_better``.
    quality : mapping
        ``ExportedRanker.config["quality"]``: ``level`` of intervals, ``coin_toss`` by dimension.
    """
    level, known = float(quality["level"]), quality["dimensions"]
    return [
        _rank(scores[:, d], left_out[:, :, d], entry, known[entry["name"]]["coin_toss"], level)
        for d, entry in enumerate(dimensions)
    ]


def _rank(
    score: Float64,
    left_out: Float64,
    entry: Mapping[str, Any],
    coin_toss: float | None,
    level: float,
) -> Ranking:
    fit = fit_strengths(_wins(score))
    parts = np.stack([fit_strengths(_wins(one)).values for one in left_out])
    n_parts = len(parts)
    apart = parts[:, :, None] - parts[:, None, :]
    error = _jackknife(apart)
    difference = fit.values[:, None] - fit.values[None, :]
    # A ranker that never beat a coin tells nothing apart.
    threshold = np.inf if coin_toss is None else coin_toss
    reach = stats.t.ppf((1 + level) / 2, n_parts - 1) * error
    odds = score[:, None] - score[None, :]
    told = (np.abs(difference) > reach) & (np.abs(odds) > threshold)
    low_first = entry["higher_is_better"] is False
    sign = -1 if low_first else 1
    order = np.argsort(-sign * fit.values, kind="stable").astype(np.int64)
    before = told & (sign * difference > 0)
    return Ranking(
        str(entry["name"]), low_first, special.expit(odds), fit.values, _jackknife(parts),
        np.sqrt(np.diag(fit.covariance)), told, order, shared_ranks(told, order),
        1 + before.sum(axis=0), len(score) - before.sum(axis=1),
    )  # fmt: skip


def _wins(score: Float64) -> Float64:
    """Expected wins of one comparison a pair."""
    wins = special.expit(score[:, None] - score[None, :])
    np.fill_diagonal(wins, 0.0)
    return np.asarray(wins, dtype=np.float64)


def _jackknife(parts: Float64) -> Float64:
    """Standard error over the first axis, each of whose entries leaves out one part."""
    n = len(parts)
    spread = ((parts - parts.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(np.sqrt((n - 1) / n * spread), dtype=np.float64)


def shared_ranks(told: NDArray[np.bool_], order: Rows) -> Rows:
    """Rank of each take, shape (takes,); equal within blocks of ``order`` that nothing divides.

    Parameters
    ----------
    told : bool, shape (takes, takes)
    order : int64, shape (takes,)
    """
    sorted_ = told[np.ix_(order, order)]
    rank = np.ones(len(order), dtype=np.int64)
    for place in range(1, len(order)):
        divided = bool(sorted_[:place, place:].all())
        rank[place] = place + 1 if divided else rank[place - 1]
    found = np.empty_like(rank)
    found[order] = rank
    return found
