"""Pairs of takes that are learned from: targets, and how much each counts.

A pair is two takes of one segment that are not byte-identical. Its target in a dimension is 1 where
the first take has the higher label, 0 where the second has it; pairs of equal labels, or of labels
that differ by less than ``min_difference``, weigh nothing there.

Agreement: with standard errors :math:`s_a, s_b` of two labels that differ by Δ, the first is truly
the higher with probability :math:`p = Φ(Δ / \\sqrt{s_a^2 + s_b^2})` (normal errors, no prior), and
the pair counts for :math:`|2p - 1|`. Where no error is known it counts fully.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows
from pianoeval.params_rank import PairParams
from pianoeval.rankers.base import RankFold

# Ratings are means of whole numbers: equal ones may differ by rounding alone.
TIE = 1e-9


@dataclass(frozen=True, eq=False)
class TrainingPairs:
    """Pairs of training takes.

    Attributes
    ----------
    first, second : int64, shape (pairs,)
        Positions within ``RankFold.train``.
    difference : float64, shape (pairs, dimensions)
        Label of the first less that of the second.
    target : float64, shape (pairs, dimensions)
        Wanted probability that the first is the higher one.
    weight : float64, shape (pairs, dimensions)
        At least 0.
    """

    first: Rows
    second: Rows
    difference: Float64
    target: Float64
    weight: Float64

    def __len__(self) -> int:
        return len(self.first)


def training_pairs(fold: RankFold, within: Rows, params: PairParams) -> TrainingPairs:
    """All pairs among the training takes at positions ``within``, each once, first < second."""
    rows = fold.train[within]
    parts = [np.zeros((0, 2), dtype=np.int64)]
    order = np.argsort(fold.segment[rows], kind="stable")
    cuts = np.flatnonzero(np.diff(fold.segment[rows][order])) + 1
    for same in np.split(order, cuts):
        a, b = np.triu_indices(len(same), 1)
        parts.append(np.stack([same[a], same[b]], axis=1))
    pairs = np.sort(np.concatenate(parts), axis=1)
    pairs = pairs[fold.identity[rows[pairs[:, 0]]] != fold.identity[rows[pairs[:, 1]]]]
    first, second = within[pairs[:, 0]], within[pairs[:, 1]]
    difference = fold.y[first] - fold.y[second]
    known = np.abs(difference) > max(TIE, params.min_difference - TIE)
    weight = known.astype(np.float64)
    if params.weights == "agreement":
        spread = np.sqrt(fold.error[first] ** 2 + fold.error[second] ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            sure = np.abs(2 * special.ndtr(difference / spread) - 1)
        weight *= np.where(np.isfinite(sure), sure, 1.0)
    target = np.where(difference > 0, 1.0 - params.smoothing, params.smoothing)
    return TrainingPairs(first, second, difference, np.where(known, target, 0.5), weight)


def pair_accuracy(margins: Float64, pairs: TrainingPairs) -> float:
    """Share of pairs in the right order, dimensions averaged; half for a margin of 0.

    NaN where no dimension has a pair of unequal labels.
    """
    known = pairs.weight > 0
    right = np.where(margins == 0, 0.5, (margins > 0) == (pairs.difference > 0))
    n = known.sum(axis=0)
    if not (n > 0).any():
        return float("nan")
    share = (right * known).sum(axis=0)[n > 0] / n[n > 0]
    return float(share.mean())


def no_pairs(fold: RankFold, params: PairParams) -> ConfigError:
    """That no pair of the training side counts."""
    return ConfigError(
        f"fold {fold.name} has no pair of takes of one segment whose labels differ by more than"
        f" {params.min_difference:g}, as pairs that are learned from must",
        where="rank.rankers.*.pairs.min_difference",
        next_step="lower it in params.yaml, or take the scheme out of rank.schemes",
    )
