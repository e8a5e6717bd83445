r"""Late fusion: the predictions of several models as one, by weights that are learned, or not.

All is learned from *nested* predictions: of each training clip by members that were not trained on
it (``training.nested``), so that a member that learns its training clips by heart is not believed.

average     :math:`\hat y = \frac 1M \sum_m p_m`; nothing is learned.
weighted    :math:`\hat y = \sum_m w_m p_m`, one weight a member for all dimensions, w ≥ 0,
            :math:`\sum w = 1`; the w of the smallest squared error, each dimension in units of its
            variance.
stacked     :math:`\hat y_d = \bar y_d + \sum_m w_{md} (p_{md} - \bar p_{md})`, w ≥ 0 but of any
            sum (Breiman, "Stacked regressions", 1996, section 2: nonnegative weights are what makes
            stacking work). First s, shared by all dimensions; then for each dimension
            :math:`\min \|t_d - Z_d w_d\|^2 / n + \lambda \|w_d - s\|^2`. λ, one for all dimensions,
            is chosen on the inner folds; λ → ∞, which leaves s, is always among the candidates:
            nested predictions of three movements cannot carry weights of nineteen dimensions that
            know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from pianoeval.models.base import Float64, Rows

# Members whose predictions are alike leave the weights open: so little pulls them to equal shares.
_EQUALISER = 1e-9


@dataclass(frozen=True, eq=False)
class Blend:
    """Weights of members.

    Attributes
    ----------
    weights : float64, shape (members, dimensions)
    offset : float64, shape (dimensions,)
    penalty : float or None
        λ of ``stacked``; None = ∞, the weights are shared by all dimensions.
    """

    weights: Float64
    offset: Float64
    penalty: float | None = None

    def predict(self, p: Float64) -> Float64:
        """Fused predictions (clips, dimensions) of the members' ``p`` (members, clips, same)."""
        total = np.zeros(p.shape[1:])
        for weight, one in zip(self.weights, p, strict=True):
            total += weight * one
        return total + self.offset


def average(n_members: int, n_dimensions: int) -> Blend:
    """Equal weights."""
    return Blend(np.full((n_members, n_dimensions), 1.0 / n_members), np.zeros(n_dimensions))


def weighted(p: Float64, y: Float64) -> Blend:
    """Convex weights shared by all dimensions.

    With Σw = 1 the error is E·w, E = y − p_m side by side, and the w of the smallest |E·w| on the
    simplex is the nonnegative minimiser of |E·w|² + (Σw − 1)², divided by its sum: along a ray the
    sum takes the one value that is best for its direction, which keeps the order of directions.

    Parameters
    ----------
    p : float64, shape (members, clips, dimensions)
        Nested predictions of the training clips.
    y : float64, shape (clips, dimensions)
    """
    spread = y.std(axis=0)
    varies = spread > 0
    scale = np.sqrt(y.size) * np.where(varies, spread, 1.0)
    errors = ((y - p) / scale)[..., varies].reshape(len(p), -1)
    gram = errors @ errors.T
    found = _nonnegative(gram + np.ones_like(gram) * _unit(gram), np.full(len(p), _unit(gram)))
    shares = found / found.sum() if found.sum() > 0 else np.full(len(p), 1.0 / len(p))
    return Blend(np.repeat(shares[:, None], y.shape[1], axis=1), np.zeros(y.shape[1]))


def _unit(gram: Float64) -> float:
    """Weight of the condition Σw = 1, of the size of the errors; its value changes nothing."""
    mean = float(np.diag(gram).mean())
    return mean if mean > 0 else 1.0


def _nonnegative(gram: Float64, target: Float64) -> Float64:
    """The w ≥ 0 that minimises w·G·w − 2 b·w, shape (members,)."""
    pull = _EQUALISER * max(float(np.trace(gram)), np.finfo(float).tiny)
    root = np.linalg.cholesky(gram + pull * np.eye(len(gram)))
    return np.asarray(nnls(root.T, np.linalg.solve(root, target))[0], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Moments:
    """What stacking needs of a set of clips: means, and moments in units of the label's spread."""

    y_mean: Float64  # (dimensions,)
    p_mean: Float64  # (members, dimensions)
    gram: Float64  # (dimensions, members, members)
    target: Float64  # (dimensions, members)

    @classmethod
    def of(cls, p: Float64, y: Float64, spread: Float64) -> _Moments:
        y_mean, p_mean = y.mean(axis=0), p.mean(axis=1)
        t = (y - y_mean) / spread
        z = (p - p_mean[:, None, :]) / spread
        by_dimension = z.transpose(2, 0, 1)  # (dimensions, members, clips)
        gram = by_dimension @ by_dimension.transpose(0, 2, 1) / len(y)
        target = (by_dimension @ t.T[:, :, None])[..., 0] / len(y)
        return cls(y_mean, p_mean, gram, target)

    def shared(self) -> Float64:
        """Weights of all dimensions together, (members,)."""
        return _nonnegative(self.gram.sum(axis=0), self.target.sum(axis=0))

    def blend(self, shared: Float64, penalty: float | None) -> Blend:
        """Weights of each dimension, pulled to the shared ones by ``penalty``."""
        weights = np.repeat(shared[:, None], len(self.y_mean), axis=1)
        if penalty is not None:
            pull = penalty * np.eye(len(shared))
            for d, (gram, target) in enumerate(zip(self.gram, self.target, strict=True)):
                weights[:, d] = _nonnegative(gram + pull, target + penalty * shared)
        return Blend(weights, self.y_mean - (weights * self.p_mean).sum(axis=0), penalty)


def stacked(
    p: Float64, y: Float64, inner: Sequence[tuple[Rows, Rows]], penalties: Sequence[float]
) -> Blend:
    """Nonnegative weights a dimension, pulled to shared ones as far as the inner folds ask for.

    Parameters
    ----------
    p : float64, shape (members, clips, dimensions)
        Nested predictions of the training clips.
    y : float64, shape (clips, dimensions)
    inner : sequence of (fit, held)
        Positions of training clips: the folds that made ``p``. λ is that of the smallest squared
        error on the held clips, of equal ones the largest.
    penalties : sequence of float
        Candidates beside ∞; λ is in units of the variance of a dimension's labels.
    """
    spread = np.where(y.std(axis=0) > 0, y.std(axis=0), 1.0)
    candidates = [None, *sorted(penalties, reverse=True)]
    errors = np.zeros(len(candidates))
    for fit, held in inner:
        moments = _Moments.of(p[:, fit], y[fit], spread)
        shared = moments.shared()
        for number, penalty in enumerate(candidates):
            found = moments.blend(shared, penalty).predict(p[:, held])
            errors[number] += (((y[held] - found) / spread) ** 2).sum()
    whole = _Moments.of(p, y, spread)
    return whole.blend(whole.shared(), candidates[int(errors.argmin())])
