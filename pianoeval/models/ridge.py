r"""Ridge regression in closed form, its penalty chosen on inner group-aware folds.

Definition: :math:`\hat\beta = \arg\min \|Y - Z\beta - \beta_0\|^2 + \lambda\|\beta\|^2` (Hoerl and
Kennard, 1970), λ on the scale of ``sklearn.linear_model.Ridge(alpha=λ)``, intercept unpenalised.

One eigendecomposition a (inner) fold serves the whole λ grid: of ZᵀZ (primal) or, with more
features than training clips, of ZZᵀ (dual); both are the squared SVD of Z.

Scaling: columns are scaled by the standard deviation of the fold's *training clips*; inner folds
keep that scale and recompute only the centre. The scale of an inner fold's held clips is the one
thing they share with its fit clips (no label is involved), and it lets one Gram matrix serve all
inner folds.

Selection: one λ for all outputs, by the smallest inner out-of-fold squared error in units of each
output's variance; or λ per output (``per_output: true``). One is the default: under ``movement``
there are three inner groups, too few to choose nineteen penalties well (PercePiano, pooled R² on
170 symbolic features: shared .523 segment, .128 movement; per output .523, .097).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Fold, FoldPrediction, Rows, centre_gram
from pianoeval.params import RidgeParams

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Centred features of ``fit`` clips decomposed; it serves any labels of theirs."""

    left: Float64  # (out, rank)
    power: Float64  # (rank,) squared singular values of the centred features
    vectors: Float64  # (features or fit clips, rank)
    inside: Float64 | None  # (fit clips, features) centred; None in the dual form
    fit: Rows

    def solve(self, y: Float64) -> _Solution:
        """The path of solutions for labels ``y``, shape (training clips, outputs)."""
        mean = y[self.fit].mean(axis=0)
        centred = y[self.fit] - mean
        projected = centred if self.inside is None else self.inside.T @ centred
        return _Solution(self.left, self.power, self.vectors.T @ projected, mean)


@dataclass(frozen=True, eq=False)
class _Solution:
    """``predict(λ) = left · diag(1 / (power + λ)) · right + mean``."""

    left: Float64  # (out, rank)
    power: Float64  # (rank,)
    right: Float64  # (rank, outputs)
    mean: Float64  # (outputs,)

    def predict(self, penalty: Float64) -> Float64:
        """Predictions (out, outputs) with one penalty an output, shape (outputs,)."""
        shrunk = self.right / (self.power[:, None] + penalty[None, :])
        return np.asarray(self.left @ shrunk + self.mean, dtype=np.float64)


def _primal(z: Float64, fit: Rows, out: Rows) -> _Spectrum:
    centre = z[fit].mean(axis=0)
    inside, outside = z[fit] - centre, z[out] - centre
    power, vectors = np.linalg.eigh(inside.T @ inside)
    return _Spectrum(outside @ vectors, np.maximum(power, 0.0), vectors, inside, fit)


def _dual(gram: Float64, fit: Rows, out: Rows) -> _Spectrum:
    power, vectors = np.linalg.eigh(centre_gram(gram, fit, fit))
    left = centre_gram(gram, fit, out) @ vectors
    return _Spectrum(left, np.maximum(power, 0.0), vectors, None, fit)


def _choose(errors: Float64, y: Float64, grid: Float64, params: RidgeParams) -> Float64:
    """Penalty of each output from inner squared errors, shape (grid, outputs)."""
    if params.per_output:
        return np.asarray(grid[errors.argmin(axis=0)], dtype=np.float64)
    variance = y.var(axis=0)
    varies = variance > 0
    relative = (errors[:, varies] / variance[varies]).sum(axis=1)
    return np.full(y.shape[1], grid[relative.argmin()])


def _warn_at_edge(name: str, chosen: Float64, grid: Float64) -> None:
    for edge, side in ((grid[0], "smallest"), (grid[-1], "largest")):
        count = int((chosen == edge).sum())
        if count and len(grid) > 1:
            _log.warning(
                "ridge %s: λ = %g, the %s of probe.ridge.lambdas, for %d of %d outputs",
                name, edge, side, count, len(chosen),
            )  # fmt: skip


def predict_ridge_fold(fold: Fold, params: RidgeParams) -> FoldPrediction:
    """Choose λ on ``fold.inner``, refit on all training clips, predict the test clips.

    Raises
    ------
    ConfigError
        A penalty ≤ 0, or no inner fold to choose on.
    """
    return predict_ridge_label_sets(fold, [fold.y], params)[0]


def predict_ridge_label_sets(
    fold: Fold,
    label_sets: Sequence[Float64],
    params: RidgeParams,
    told: Sequence[bool] | None = None,
) -> list[FoldPrediction]:
    """:func:`predict_ridge_fold` for several labellings of the same training clips.

    Decompositions know no labels, so they are shared; each labelling chooses its own λ, and gets
    the bits that it would get alone.

    Parameters
    ----------
    label_sets : sequence of float64, shape (n_train, outputs)
        Used instead of ``fold.y``.
    told : sequence of bool, optional
        For which of them a penalty at the edge of the grid is worth a warning, all by default:
        with labels that say nothing the largest is the right one.
    """
    grid = np.sort(np.asarray(params.lambdas, dtype=np.float64))
    if not fold.inner and len(grid) > 1:
        raise ConfigError(f"fold {fold.name} has no inner folds to choose λ on")
    rows = fold.gram if fold.is_wide else fold.standardised()
    decompose = _dual if fold.is_wide else _primal
    errors = [np.zeros((len(grid), y.shape[1])) for y in label_sets]
    for fit, held in fold.inner:
        spectrum = decompose(rows, fit, held)
        for y, total in zip(label_sets, errors, strict=True):
            solution = spectrum.solve(y)
            for index, penalty in enumerate(grid):
                residual = y[held] - solution.predict(np.full(y.shape[1], penalty))
                total[index] += np.einsum("ij,ij->j", residual, residual)
    everything = np.arange(fold.n_train)
    test = np.arange(fold.n_train, fold.n_train + len(fold.test))
    final = decompose(rows, everything, test)
    found = []
    warned = told if told is not None else [True] * len(label_sets)
    for y, total, warn in zip(label_sets, errors, warned, strict=True):
        chosen = _choose(total, y, grid, params)
        if warn:
            _warn_at_edge(fold.name, chosen, grid)
        found.append(FoldPrediction(final.solve(y).predict(chosen), {"lambda": chosen.tolist()}))
    return found


def predict_ridge(folds: Sequence[Fold], params: RidgeParams) -> list[FoldPrediction]:
    """:func:`predict_ridge_fold` for each fold."""
    return [predict_ridge_fold(fold, params) for fold in folds]
