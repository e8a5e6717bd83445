"""Fit takes of one fold laid out by segment, and what their pairs and labels are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows
from pianoeval.params_rank import PairParams
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.pairs import TrainingPairs, training_pairs

ALL_PAIRS = PairParams()


@dataclass(frozen=True, eq=False)
class FoldLists:
    """Fit takes of a fold by segment.

    Attributes
    ----------
    rows : int64, (segments, n)
        Rows of ``RankFold.x``; padding repeats the first.
    mask, single : bool, (segments, n)
    piece : int64, (segments, n)
    pair : int64, (segments, n(n − 1)/2)
        Row of the table of pairs; 0 is a pair that weighs nothing.
    pairs : TrainingPairs
        That table, without its row 0.
    """

    rows: Rows
    mask: NDArray[np.bool_]
    single: NDArray[np.bool_]
    piece: Rows
    pair: Rows
    pairs: TrainingPairs


def fold_lists(fold: RankFold, fit: Rows, params: PairParams, longest: int) -> FoldLists:
    """Lay out the training takes at positions ``fit``, ``longest`` a segment."""
    rows = fold.train[fit]
    pairs = training_pairs(fold, fit, params)
    segments, segment = np.unique(fold.segment[rows], return_inverse=True)
    order = np.argsort(segment, kind="stable")
    count = np.bincount(segment)
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    first = rows[order][np.cumsum(count) - count]
    shape = (len(segments), longest)
    laid = np.repeat(first[:, None], longest, axis=1)
    laid[segment, place] = rows
    mask, single = np.zeros(shape, bool), np.zeros(shape, bool)
    mask[segment, place] = True
    once = np.unique(fold.identity[rows], return_index=True)[1]
    single[segment[once], place[once]] = True
    of_piece = np.unique(fold.piece[rows], return_inverse=True)[1]
    piece = np.zeros(shape, dtype=np.int64)
    piece[segment, place] = of_piece
    number = np.full((longest, longest), -1, dtype=np.int64)
    upper = np.triu_indices(longest, 1)
    number[upper] = np.arange(len(upper[0]))
    at = np.full(len(fold.train), -1, dtype=np.int64)
    at[fit] = np.arange(len(fit))
    a, b = at[pairs.first], at[pairs.second]
    pair = np.zeros((len(segments), len(upper[0])), dtype=np.int64)
    pair[segment[a], number[place[a], place[b]]] = np.arange(1, len(pairs) + 1)
    return FoldLists(laid, mask, single, piece, pair, pairs)


def longest_list(fold: RankFold, fit: Rows) -> int:
    """Most takes that a segment has among the training takes at positions ``fit``."""
    return int(np.bincount(fold.segment[fold.train[fit]]).max())


def split_of(fold: RankFold) -> tuple[Rows, Rows]:
    """The fold's (fit, held), both with pairs.

    Raises
    ------
    ConfigError
        There is no pair of unequal labels to learn from, or none to stop on.
    """
    found = fold.validation
    if found is not None:
        held = [training_pairs(fold, part, ALL_PAIRS) for part in found]
        if all((pairs.weight > 0).any() for pairs in held):
            return found
    raise ConfigError(
        f"fold {fold.name} has no validation pairs on which training could stop",
        where="rank.rankers",
        allowed="two takes of one segment with unequal labels, beside two to learn from",
        next_step="take the scheme out of rank.schemes, or use approach difference, in params.yaml",
    )


def places(held: Rows, pairs: TrainingPairs) -> Rows:
    """Positions of the pairs' takes within ``held``, (pairs, 2)."""
    at = {int(position): number for number, position in enumerate(held)}
    both = np.stack([pairs.first, pairs.second], axis=1)
    return np.array([[at[int(a)], at[int(b)]] for a, b in both], dtype=np.int64).reshape(-1, 2)


def standardised(y: Float64) -> Float64:
    """Labels less their mean, in their standard deviations; a spread of 0 is left alone."""
    spread = y.std(axis=0)
    return np.asarray((y - y.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def closeness(pairs: TrainingPairs) -> Float64:
    """Rank of each difference among those that count, a dimension at a time: 0 the largest.

    Equal differences share a rank; the mean is 1/2. (pairs, dimensions)
    """
    found = np.zeros_like(pairs.difference)
    for d in range(found.shape[1]):
        known = np.flatnonzero(pairs.weight[:, d] > 0)
        # Ratings are means of whole numbers: equal differences may differ by rounding alone.
        size = np.round(np.abs(pairs.difference[known, d]), 9)
        found[known, d] = (stats.rankdata(-size) - 0.5) / max(len(known), 1)
    return found
