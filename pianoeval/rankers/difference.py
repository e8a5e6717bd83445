r"""Ridge regression on differences of takes of one segment, in closed form.

Of a pair the difference of features predicts the difference of labels,

.. math:: \min_W \sum_{s} \frac{2}{n_s} \sum_{a<b \in s}
          \lVert (y_a - y_b) - W'(x_a - x_b) \rVert^2 + \lambda \lVert W \rVert^2,

which, as :math:`\sum_{a<b}(z_a - z_b)^2 = n_s \sum_a (z_a - \bar z_s)^2`, is ridge on takes from
which the mean of their segment is taken: what the passage itself is like can neither help nor
mislead. The unit of a feature is its spread within segments. A take's score is linear, so
:math:`P(A>B) = 1 - P(B>A)`.

λ is the one of best pair accuracy on the inner folds. Margins are log-odds: scores times the slope
of a logistic regression without intercept on inner out-of-fold pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows, Standardiser
from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction, score_margins
from pianoeval.rankers.pairs import TrainingPairs, pair_accuracy, training_pairs

_STEPS = 30
_STEEPEST = 1e4
_STILL = 1e-6  # spread within segments, in units of that over all takes, that is rounding


def centred(values: Float64, groups: Rows) -> Float64:
    """``values`` (n, …) less the mean of their group."""
    _, code, count = np.unique(groups, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), *values.shape[1:]))
    np.add.at(total, code, values)
    return np.asarray(values - (total / count.reshape(-1, *[1] * (values.ndim - 1)))[code])


@dataclass(frozen=True, eq=False)
class _Path:
    """Ridge solutions of all penalties on centred takes, through one decomposition."""

    z: Float64
    coordinates: Float64  # of the labels, on the left singular vectors
    right: Float64
    singular: Float64

    @classmethod
    def fit(cls, z: Float64, y: Float64) -> _Path:
        left, singular, right = np.linalg.svd(z, full_matrices=False)
        return cls(z, left.T @ y, right, singular)

    def weights(self, penalty: float) -> Float64:
        """Shape (features, dimensions)."""
        shrunk = self.singular / (self.singular**2 + penalty)
        return np.asarray(self.right.T @ (shrunk[:, None] * self.coordinates), dtype=np.float64)


def within_scaler(fold: RankFold) -> Standardiser:
    """Standardiser whose unit of a feature is its spread within segments of the training side.

    In units of the spread over all takes, what differs between pieces and hardly within one (keys,
    pitches) would weigh next to nothing, and what is alike in all pieces most.
    """
    plain = Standardiser.fit(fold.x[fold.train])
    inside = centred(plain.transform(fold.x[fold.train]), fold.segment[fold.train])
    spread = np.sqrt((inside**2).mean(axis=0))
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > _STILL)
    return Standardiser(plain.median, plain.mean, plain.inverse_scale * inverse)


def _fit(fold: RankFold, z: Float64, rows: Rows) -> _Path:
    groups = fold.segment[fold.train[rows]]
    return _Path.fit(centred(z[rows], groups), centred(fold.y[rows], groups))


def logistic_slope(scores: Float64, pairs: TrainingPairs) -> Float64:
    """Slope a dimension that turns score differences of ``pairs`` into log-odds, shape (D,).

    Newton's method on the weighted likelihood of the targets; 0 where scores go the wrong way.
    """
    slope = np.zeros(scores.shape[1])
    for d in range(scores.shape[1]):
        x, t, w = scores[:, d], pairs.target[:, d], pairs.weight[:, d]
        scale = np.sqrt(np.average(x**2, weights=w)) if w.sum() else 0.0
        if scale == 0:
            continue
        x, found = x / scale, 0.0
        for _ in range(_STEPS):
            p = special.expit(found * x)
            # A little of a normal prior: pairs that are all right would have an infinite slope.
            gradient = w @ ((t - p) * x) - 1e-3 * found
            found += gradient / (w @ (p * (1 - p) * x**2) + 1e-3)
        slope[d] = min(max(found, 0.0), _STEEPEST) / scale
    return slope


def predict_difference(
    folds: Sequence[RankFold], points: Sequence[RankerParams], run: RunParams
) -> list[list[RankPrediction]]:
    """Every point in every fold; see the module.

    Raises
    ------
    ConfigError
        A fold without inner folds to choose on.
    """
    return [[predict_fold(fold, params) for fold in folds] for params in points]


@dataclass(frozen=True, eq=False)
class DifferenceFit:
    """What is learned from the training takes of a fold: a line a dimension.

    Attributes
    ----------
    scaler : Standardiser
    weights : float64, shape (features, dimensions)
        Of standardised features.
    slope : float64, shape (dimensions,)
        Turns differences of scores into log-odds.
    penalty : float
        λ.
    accuracy : float
        On the inner out-of-fold pairs, by which λ was chosen.
    """

    scaler: Standardiser
    weights: Float64
    slope: Float64
    penalty: float
    accuracy: float


def predict_fold(fold: RankFold, params: RankerParams) -> RankPrediction:
    """Choose λ and the slopes on inner folds, learn from all training takes."""
    fit = fit_fold(fold, params)
    scores = fit.scaler.transform(fold.x[fold.test]) @ fit.weights * fit.slope
    return RankPrediction(
        score_margins(fold, scores), fit.accuracy,
        selection={"lambda": [fit.penalty], "slope": fit.slope.tolist()},
    )  # fmt: skip


def fit_fold(fold: RankFold, params: RankerParams) -> DifferenceFit:
    """The lines themselves, which an exported ranker keeps; raises ConfigError as above."""
    if not fold.inner:
        raise ConfigError(f"fold {fold.name} has no inner folds to choose λ on")
    scaler = within_scaler(fold)
    inside = scaler.transform(fold.x[fold.train])
    held_pairs = [training_pairs(fold, held, params.pairs) for _, held in fold.inner]
    paths = [_fit(fold, inside, fit) for fit, _ in fold.inner]
    trials = []
    for penalty in params.lambdas:
        apart = [
            (inside[p.first] - inside[p.second]) @ path.weights(penalty)
            for p, path in zip(held_pairs, paths, strict=True)
        ]
        trials.append(np.concatenate(apart))
    pairs = joined(held_pairs)
    accuracy = [pair_accuracy(margins, pairs) for margins in trials]
    best = int(np.nanargmax(accuracy)) if np.isfinite(accuracy).any() else len(accuracy) // 2
    slope = logistic_slope(trials[best], pairs)
    weights = _fit(fold, inside, np.arange(len(fold.train))).weights(params.lambdas[best])
    return DifferenceFit(scaler, weights, slope, float(params.lambdas[best]), accuracy[best])


def weights_at(fold: RankFold, rows: Rows, penalty: float) -> Float64:
    """Weights of one penalty, learned from the training takes at positions ``rows`` alone.

    Scaled as :func:`fit_fold` scales, by all training takes; shape (features, dimensions).
    """
    scaler = within_scaler(fold)
    return _fit(fold, scaler.transform(fold.x[fold.train]), rows).weights(penalty)


def joined(parts: Sequence[TrainingPairs]) -> TrainingPairs:
    """One after the other."""
    names = ("first", "second", "difference", "target", "weight")
    return TrainingPairs(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))
