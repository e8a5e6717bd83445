r"""Kernel ridge regression on one or several views, with a random effect of what is held out.

Of clips described by M views the kernel is one product over them,

.. math:: k(a, b) = \exp\Big(-\frac{\gamma}{M} \sum_m D_m(a, b)\Big),

:math:`D_m` the mean squared difference of a view's values, standardised on the training clips and
cut off at ± ``clip`` standard deviations. Two clips are alike only where every view finds them so:
how a passage is played counts for passages that look alike in the score, which sums of kernels, or
of models, do not express.

**Outputs.** Standardised labels are turned to their principal components on the training side;
component j, of variance :math:`d_j`, has the penalty :math:`\lambda (d_1 / d_j)^\tau`. What all
dimensions say together is believed more than what one says alone (the idea of Breiman and Friedman,
"Predicting multivariate responses in multiple linear regression", 1997, with one exponent in place
of a shrinkage a coordinate). τ = 0: one penalty for all.

**Effect.** A scheme holds groups out (movements, segments, players), and those of the training
side differ by more than their features say. Each is a draw from :math:`N(0, \sigma^2\rho)`:

.. math:: y = \mu 1 + f + Z u + e, \quad
          \mathrm{cov}(y) = \sigma^2 (K + \rho Z Z' + \lambda I),

and a new group's effect is unknown, so it is predicted by
:math:`\mu + k' (K + \rho ZZ' + \lambda I)^{-1}(y - \mu)`: the mixed model of Laird and Ware
(1982) with f in place of fixed effects. ρ is not selected but estimated: with λ it maximises the
restricted likelihood (Patterson and Thompson, 1971; σ² profiled out, a σ² for each component) over
``effects``. Of λ the likelihood knows nothing that new groups would bear out, so λ (and γ and δ,
where there is a choice) is the one of the least squared error on the inner folds, as in
``models.ridge``.

**Loss** δ > 0: Huber's in place of the squared one (``models.huber``); ρ is estimated as without.
**Targets** other than the labels: ``models.targets``. They are learned on what is fitted, on inner
folds too, and errors are those of labels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Fold, FoldPrediction, Rows, Standardiser
from pianoeval.models.huber import huber_path
from pianoeval.models.targets import Back, targets
from pianoeval.params_probe import KernelRidgeParams, TargetKind

_log = logging.getLogger(__name__)
_LEAST_SHARE = 1e-3  # of the largest component's variance; keeps penalties of the rest finite


def predict_kernel_ridge(folds: Sequence[Fold], params: KernelRidgeParams) -> list[FoldPrediction]:
    """One view: :func:`predict_views` for each fold."""
    return [predict_views([fold], params) for fold in folds]


def predict_views(members: Sequence[Fold], params: KernelRidgeParams) -> FoldPrediction:
    """Choose on inner folds, learn from all training clips, predict the test clips.

    Parameters
    ----------
    members : sequence of Fold
        One fold of each view: the same rows, labels and divisions.

    Returns
    -------
    FoldPrediction
        ``selection`` has ``gamma``, ``lambda`` and ``effect``, the ρ of that γ.

    Raises
    ------
    ConfigError
        A view without vectors, or no inner folds to choose on.
    """
    first = members[0]
    grid = np.sort(np.asarray(params.lambdas, dtype=np.float64))
    if not first.inner and len(grid) * len(params.gammas) * len(params.huber_deltas) > 1:
        raise ConfigError(f"fold {first.name} has no inner folds to choose λ on")
    apart = np.mean([squared_distances(fold, params.clip) for fold in members], axis=0)
    outputs = Outputs.fit(first.y, params.output_power, params.targets, first.groups)
    candidates = []
    for gamma in params.gammas:
        kernel, inside, _ = _covariance(apart, gamma, first, outputs, params)
        errors = _inner_errors(kernel, inside, first, outputs, params)
        for delta, row in zip(params.huber_deltas, errors, strict=True):
            candidates.append((row.min(), gamma, delta, grid[int(row.argmin())]))
    _, gamma, delta, penalty = min(candidates, key=lambda one: one[0])
    _warn_at_edge(first.name, penalty, grid)
    kernel, inside, rho = _covariance(apart, gamma, first, outputs, params)
    train, test = np.arange(first.n_train), np.arange(first.n_train, len(apart))
    path = _Path.of(inside, outputs.values, outputs.strain)
    [found] = path.predict(kernel[np.ix_(test, train)], np.array([penalty]), delta)
    selection = {"gamma": [float(gamma)], "lambda": [float(penalty)], "effect": [float(rho)]}
    if params.huber_deltas != [0.0]:
        selection["huber_delta"] = [float(delta)]
    return FoldPrediction(outputs.back(found), selection)


def squared_distances(fold: Fold, clip: float) -> Float64:
    """Mean squared difference of all clips of a fold, training clips first: (n, n).

    Values that are constant on the training side are left out of the mean.

    Raises
    ------
    ConfigError
        The view has no vectors.
    """
    if fold.x.shape[1] == 0:
        raise ConfigError(
            f"fold {fold.name}: a kernel compares vectors, and the view has none", where="views",
            next_step="name kernel_ridge, or the fusion 'kernel', for other views in params.yaml",
        )  # fmt: skip
    scaler = Standardiser.fit(fold.x[fold.train])
    z = scaler.transform(fold.x[np.concatenate([fold.train, fold.test])])
    np.clip(z, -clip, clip, out=z)
    upper = blas.dsyrk(1.0, z.T, trans=True)
    gram = np.triu(upper) + np.triu(upper, 1).T
    length = np.diag(gram).copy()
    apart = np.maximum(length[:, None] + length[None, :] - 2.0 * gram, 0.0)
    np.fill_diagonal(apart, 0.0)
    return np.asarray(apart / max(int((scaler.inverse_scale > 0).sum()), 1), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Outputs:
    """Labels as components, and the way back.

    Attributes
    ----------
    values : float64, shape (n_train, components)
        Uncorrelated on the training side, mean 0, in the order of rising variance.
    strain : float64, shape (components,)
        What λ is multiplied by: 1 for the component of the largest variance.
    turn : float64, shape (components, dimensions)
    mean : float64, shape (dimensions,)
    undo : callable
        From what was learned in place of the labels to labels.
    """

    values: Float64
    strain: Float64
    turn: Float64
    mean: Float64
    undo: Back

    @classmethod
    def fit(
        cls, y: Float64, power: float, kind: TargetKind = "raw", groups: Rows | None = None
    ) -> Outputs:
        """Learn from labels of the training clips, shape (n_train, dimensions)."""
        wanted, undo = targets(kind, y, groups)
        mean, spread = wanted.mean(axis=0), wanted.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        z = (wanted - mean) / spread
        variance, vectors = np.linalg.eigh(z.T @ z / len(z))
        largest = float(variance[-1]) if variance[-1] > 0 else 1.0
        strain = (largest / np.maximum(variance, _LEAST_SHARE * largest)) ** power
        return cls(z @ vectors, strain, vectors.T * spread, mean, undo)

    def back(self, values: Float64) -> Float64:
        """Predicted components as labels, shape (clips, dimensions)."""
        return np.asarray(self.undo(values @ self.turn + self.mean), dtype=np.float64)


def same_group(groups: Rows | None, n: int) -> Float64:
    """Z Z': 1 where two training clips are of one group, (n, n); zero where groups are unknown."""
    if groups is None:
        return np.zeros((n, n))
    return np.asarray(groups[:, None] == groups[None, :], dtype=np.float64)


def estimate_effect(
    kernel: Float64, groups: Rows | None, outputs: Outputs, grid: Float64, effects: Sequence[float]
) -> float:
    """The ρ of ``effects`` that, with its best λ, has the largest restricted likelihood.

    Of equal ones the smallest; 0 where groups are unknown or there is one alone, whose effect is
    the mean.
    """
    if groups is None or len(np.unique(groups)) < 2 or max(effects) <= 0:
        return 0.0
    together = same_group(groups, len(kernel))
    ordered = sorted(effects)
    best = [restricted_likelihood(kernel + rho * together, outputs, grid).max() for rho in ordered]
    return float(ordered[int(np.argmax(best))])


def restricted_likelihood(covariance: Float64, outputs: Outputs, grid: Float64) -> Float64:
    r"""Log-likelihood of each λ of the grid, up to a constant: shape (grid,).

    Of one component, V the covariance with :math:`\lambda_j` on its diagonal, μ by generalised
    least squares and :math:`\hat\sigma^2 = r'V^{-1}r/(n-1)`:
    :math:`-\frac12[(n-1)\log\hat\sigma^2 + \log|V| + \log(1'V^{-1}1)]` (Harville, 1977,
    with σ² profiled out). Components that do not vary are left out.
    """
    n = len(covariance)
    power, vectors = np.linalg.eigh(covariance)
    power = np.maximum(power, 0.0)
    varies = outputs.values.var(axis=0) > 1e-12
    ones, z = vectors.sum(axis=0), vectors.T @ outputs.values[:, varies]
    found = np.zeros(len(grid))
    for number, penalty in enumerate(grid):
        inverse = 1.0 / (power[:, None] + penalty * outputs.strain[varies])
        known = (ones[:, None] ** 2 * inverse).sum(axis=0)
        slope = (ones[:, None] * inverse * z).sum(axis=0)
        residual = (z**2 * inverse).sum(axis=0) - slope**2 / known
        terms = (n - 1) * np.log(residual / (n - 1)) - np.log(inverse).sum(axis=0) + np.log(known)
        found[number] = -0.5 * terms.sum()
    return found


def _covariance(
    apart: Float64, gamma: float, fold: Fold, outputs: Outputs, params: KernelRidgeParams
) -> tuple[Float64, Float64, float]:
    """Kernel of all clips; that of training clips with the effect; ρ."""
    n, grid = fold.n_train, np.sort(np.asarray(params.lambdas, dtype=np.float64))
    kernel = np.exp(-gamma * apart)
    inside = kernel[:n, :n].copy()
    rho = estimate_effect(inside, fold.groups, outputs, grid, params.effects)
    inside += rho * same_group(fold.groups, n)
    return kernel, inside, rho


def _inner_errors(
    kernel: Float64, inside: Float64, fold: Fold, outputs: Outputs, params: KernelRidgeParams
) -> Float64:
    """Squared errors of held clips, labels in units of their spread: (deltas, grid)."""
    grid = np.sort(np.asarray(params.lambdas, dtype=np.float64))
    spread = fold.y.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    errors = np.zeros((len(params.huber_deltas), len(grid)))
    for fit, held in fold.inner:
        part, values = outputs, outputs.values[fit]
        if params.targets != "raw":  # quantiles and levels of held clips must not be known
            groups = None if fold.groups is None else fold.groups[fit]
            part = Outputs.fit(fold.y[fit], params.output_power, params.targets, groups)
            values = part.values
        path = _Path.of(inside[np.ix_(fit, fit)], values, part.strain)
        for number, delta in enumerate(params.huber_deltas):
            found = path.predict(kernel[np.ix_(held, fit)], grid, delta)
            for place, one in enumerate(found):
                wrong = (part.back(one) - fold.y[held]) / spread
                errors[number, place] += (wrong**2).sum()
    return errors


@dataclass(frozen=True, eq=False)
class _Path:
    """A covariance decomposed; it serves every λ and every loss."""

    power: Float64  # (n,)
    vectors: Float64  # (n, n)
    values: Float64  # (n, components), what is learned
    strain: Float64  # (components,)

    @classmethod
    def of(cls, inside: Float64, values: Float64, strain: Float64) -> _Path:
        """Of training clips, effect included."""
        power, vectors = np.linalg.eigh(inside)
        return cls(np.maximum(power, 0.0), vectors, values, strain)

    def predict(self, across: Float64, grid: Float64, delta: float) -> Float64:
        """Components predicted with each λ, shape (grid, out, components).

        Parameters
        ----------
        across : float64, shape (out, n)
            The kernel without the effect: what is predicted is a clip of a new group.
        """
        left = across @ self.vectors
        if delta > 0:
            penalties = grid[:, None] * self.strain
            right, mean = huber_path(self.power, self.vectors, self.values, penalties, delta)
            return np.asarray(left @ right + mean[:, None, :], dtype=np.float64)
        middle = self.values.mean(axis=0)
        turned = self.vectors.T @ (self.values - middle)
        found = [left @ (turned / (self.power[:, None] + lam * self.strain)) for lam in grid]
        return np.asarray(np.stack(found) + middle, dtype=np.float64)


def _warn_at_edge(name: str, penalty: float, grid: Float64) -> None:
    if len(grid) > 1 and penalty in (grid[0], grid[-1]):
        _log.warning(
            "kernel ridge %s: λ = %g is at the edge of probe.kernel_ridge.lambdas", name, penalty
        )
