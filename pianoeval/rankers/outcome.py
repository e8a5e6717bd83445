"""What seeds of one point in one fold say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianoeval.models.base import Float32, Float64
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.difference import logistic_slope
from pianoeval.rankers.pairs import TrainingPairs, pair_accuracy

# Log-odds that margins are scaled to, at the root of their mean square, where validation pairs do
# not say that they are better than chance: next to nothing, in the order that was learned.
_NEXT_TO_NOTHING = 0.01


@dataclass(frozen=True, eq=False)
class Outcome:
    """One trained replica.

    Attributes
    ----------
    held_pairs : TrainingPairs
    held, reported : float64, shape (pairs, dimensions)
        Margins of the validation pairs and of the reported pairs, on a scale of their own.
    codes : dict of float32, shape (len(test), values)
    epoch : int
    asymmetry : float, optional
        Share of pairs and dimensions that the two orders decide differently.
    """

    held_pairs: TrainingPairs
    held: Float64
    reported: Float64
    codes: dict[str, Float32]
    epoch: int
    asymmetry: float | None


def combined(fold: RankFold, seeds: Sequence[Outcome]) -> RankPrediction:
    """Mean margins of the seeds as log-odds; codes are the first seed's, for codes have no mean."""
    pairs = seeds[0].held_pairs
    held = np.mean([one.held for one in seeds], axis=0)
    slope = pooled_slope(held, pairs)
    selection = {"epoch": [float(one.epoch) for one in seeds], "slope": [slope]}
    apart = [one.asymmetry for one in seeds if one.asymmetry is not None]
    if apart:
        selection["asymmetry"] = apart
    return RankPrediction(
        slope * np.mean([one.reported for one in seeds], axis=0), pair_accuracy(held, pairs),
        seeds[0].codes, selection,
    )  # fmt: skip


def pooled_slope(margins: Float64, pairs: TrainingPairs) -> float:
    """One slope for all dimensions: a validation group has few pairs; above 0, or 0 of nothing."""
    flat = TrainingPairs(
        np.repeat(pairs.first, margins.shape[1]), np.repeat(pairs.second, margins.shape[1]),
        *(v.reshape(-1, 1) for v in (pairs.difference, pairs.target, pairs.weight)),
    )  # fmt: skip
    slope = float(logistic_slope(margins.reshape(-1, 1), flat)[0])
    size = float(np.sqrt(np.square(margins).mean()))
    return max(slope, _NEXT_TO_NOTHING / size) if size > 0 else 0.0
