r"""Ridge regression on differences of takes of one segment, in closed form.

Of a pair the difference of features predicts the difference of labels,

.. math:: \min_W \sum_{s} \frac{1}{n_s} \sum_{a<b \in s}
          \lVert (y_a - y_b) - W'(x_a - x_b) \rVert^2 + \lambda \lVert W \rVert^2,

which, as :math:`\sum_{a<b}(z_a - z_b)^2 = n_s \sum_a (z_a - \bar z_s)^2`, is ridge on takes from
which the mean of their segment is taken: what the passage itself is like can neither help nor
mislead. The unit of a feature is its spread within segments. A take's score is linear, so
:math:`P(A>B) = 1 - P(B>A)`.

λ is the one of best pair accuracy on the inner folds. Margins are log-odds: scores times the slope
of a logistic regression without intercept on inner out-of-fold pairs. Where no inner fold holds a
pair (players who played each segment once, one at a time), the validation split stands in for them,
and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows, Standardiser
from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction, score_margins
from pianoeval.rankers.pairs import TrainingPairs, no_pairs, pair_accuracy, training_pairs

_log = logging.getLogger(__name__)
_STEPS = 30
_STEEPEST = 1e4
_WIDE = 4096  # values, beyond which singular vectors take some ten times as long as products
_STILL = 1e-6  # spread within segments, in units of that over all takes, that is rounding


def centred(values: Float64, groups: Rows) -> Float64:
    """``values`` (n, …) less the mean of their group."""
    _, code, count = np.unique(groups, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), *values.shape[1:]))
    np.add.at(total, code, values)
    return np.asarray(values - (total / count.reshape(-1, *[1] * (values.ndim - 1)))[code])


@dataclass(frozen=True, eq=False)
class _Path:
    """Ridge solutions of all penalties on centred takes, through one decomposition.

    That of the takes' values; beyond ``_WIDE`` values, of their products, (n, n).
    """

    z: Float64
    coordinates: Float64  # of the labels, on the left singular vectors
    singular: Float64
    right: Float64 | None
    left: Float64

    @classmethod
    def fit(cls, z: Float64, y: Float64) -> _Path:
        right = None
        if z.shape[1] > max(_WIDE, len(z)):
            power, left = np.linalg.eigh(z @ z.T)
            singular = np.sqrt(np.maximum(power, 0.0))
        else:
            left, singular, right = np.linalg.svd(z, full_matrices=False)
        return cls(z, left.T @ y, singular, right, left)

    def weights(self, penalty: float) -> Float64:
        """Shape (features, dimensions)."""
        if self.right is None:
            shrunk = self.coordinates / (self.singular**2 + penalty)[:, None]
            return np.asarray(self.z.T @ (self.left @ shrunk), dtype=np.float64)
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
    splits, held_pairs = _splits_with_pairs(fold, params)
    trials: list[list[Float64]] = [[] for _ in params.lambdas]
    for (fit, _), held in zip(splits, held_pairs, strict=True):
        path = _fit(fold, inside, fit)
        apart = inside[held.first] - inside[held.second]
        for trial, penalty in zip(trials, params.lambdas, strict=True):
            trial.append(apart @ path.weights(penalty))
    margins = [np.concatenate(trial) for trial in trials]
    pairs = joined(held_pairs)
    accuracy = [pair_accuracy(one, pairs) for one in margins]
    best = int(np.argmax(accuracy))
    slope = logistic_slope(margins[best], pairs)
    weights = _fit(fold, inside, np.arange(len(fold.train))).weights(params.lambdas[best])
    return DifferenceFit(scaler, weights, slope, float(params.lambdas[best]), accuracy[best])


def _splits_with_pairs(
    fold: RankFold, params: RankerParams
) -> tuple[Sequence[tuple[Rows, Rows]], list[TrainingPairs]]:
    """What λ and slopes are chosen on: the inner folds, or else the validation split.

    Raises
    ------
    ConfigError
        None of them holds two takes of one segment whose labels differ by enough.
    """
    for splits in (fold.inner, [fold.validation] if fold.validation else []):
        pairs = [training_pairs(fold, held, params.pairs) for _, held in splits]
        if any((one.weight > 0).any() for one in pairs):
            if splits is not fold.inner:
                _log.warning("ridge on differences %s: no inner pairs; λ is chosen on the "
                             "validation split", fold.name)  # fmt: skip
            return splits, pairs
    raise no_pairs(fold, params.pairs)


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
