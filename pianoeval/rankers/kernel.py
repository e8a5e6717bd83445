r"""Kernel ridge on takes compared within their segment, with levels of players.

Of each view the values of a take, less the mean of its segment's takes, are divided by their spread
within segments and cut off at ± ``clip``: :math:`z`. With :math:`p_m` values and a share
:math:`w_m` of view m the kernel is

.. math:: k(a, b) = \sum_m w_m z_{am}'z_{bm} / p_m
          \quad\text{or}\quad \exp(-\gamma \sum_m w_m \lVert z_{am} - z_{bm} \rVert^2 / p_m),

the first with ``gamma`` 0. Values that differ between pieces and hardly within one, which raw
spread would make small or large by accident, count like any other.

**Model.** Labels of take i of segment s, player p and movement m:

.. math:: y_i = \mu_s + f(z_i) + g_m(z_i) + u_p + e_i, \quad \mathrm{cov} =
          \sigma^2 (k (1 + \tau [m = m']) + \rho [p = p'] + \lambda r_i [i = i'])

with a flat prior of :math:`\mu_s`: what the passage is like can neither help nor mislead. Takes of
one player err alike, so twelve players are fewer than a thousand takes; movements have slopes of
their own. Both are unknown for what is reported and are left out there (Laird and Ware, 1982, with
f in place of fixed effects). :math:`r_i` is 1, or with ``pairs.weights: agreement`` one half plus
half the squared standard error of the take's labels, in units of their mean.

**Labels** are turned to principal components within segments with penalties
:math:`\lambda (d_1/d_j)^\kappa`, as in ``models.kernel_ridge``.

λ has the least squared error on inner folds, means of segments taken out; margins are scores times
a logistic slope learned on inner out-of-fold pairs. Where these hold no pair, λ is the middle one,
margins are in units of the labels' spread, and the log says so. Takes that are reported are
centred on the takes they are compared with, by features alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows, Standardiser
from pianoeval.params import RunParams
from pianoeval.params_rank import KernelRankParams, RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction, score_margins
from pianoeval.rankers.difference import centred, joined, logistic_slope
from pianoeval.rankers.pairs import pair_accuracy, training_pairs

_log = logging.getLogger(__name__)
_LEAST_SHARE = 1e-3  # of the largest component's variance; keeps penalties of the rest finite
_CONSTANT = 1e-7
_SURE, _UNSURE = 0.25, 4.0  # limits of a take's squared error, in units of the mean


def predict_kernel(
    folds: Sequence[RankFold], points: Sequence[RankerParams], run: RunParams
) -> list[list[RankPrediction]]:
    """Every point in every fold; see the module.

    Raises
    ------
    ConfigError
        A fold without inner folds, or as many shares as there are no views.
    """
    return [[predict_fold(fold, params) for fold in folds] for params in points]


def predict_fold(fold: RankFold, params: RankerParams) -> RankPrediction:
    """Choose λ and the slopes on inner folds, learn from all training takes."""
    if not fold.inner:
        raise ConfigError(f"fold {fold.name} has no inner folds to choose λ on")
    n = len(fold.train)
    kernel = take_kernel(fold, params.kernel)
    inside = kernel[:n, :n] + _effects(fold, kernel[:n, :n], params.kernel)
    y = centred(fold.y, fold.segment[fold.train])
    outputs = _Outputs.fit(y, params.kernel.output_power)
    model = _Model(fold, kernel, inside, outputs, _noise(fold, params))
    penalty, slope, accuracy = _chosen(model, params)
    scores = model.path(np.arange(n)).scores(kernel[n:, :n], penalty) * slope
    return RankPrediction(
        score_margins(fold, scores), accuracy,
        selection={"lambda": [penalty], "slope": slope.tolist()},
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Model:
    """What does not depend on λ."""

    fold: RankFold
    kernel: Float64  # of training takes, then of reported ones
    inside: Float64  # of training takes, with effects
    outputs: _Outputs
    noise: Float64

    def path(self, rows: Rows) -> _Path:
        """Learned from training takes at positions ``rows``."""
        part = self.inside[np.ix_(rows, rows)]
        return _Path.fit(part, self.fold, rows, self.outputs, self.noise)


def _chosen(model: _Model, params: RankerParams) -> tuple[float, Float64, float]:
    """λ, slopes and pair accuracy on inner folds."""
    fold, grid = model.fold, np.sort(np.asarray(params.kernel.lambdas, dtype=np.float64))
    errors = np.zeros(len(grid))
    margins: list[list[Float64]] = [[] for _ in grid]
    parts = [training_pairs(fold, held, params.pairs) for _, held in fold.inner]
    together = joined(parts)
    if not (together.weight > 0).any():
        # Held groups are single takes of their segments: nothing can be chosen on pairs of them.
        penalty = float(grid[len(grid) // 2])
        _log.warning("kernel ranker %s: no inner pairs; λ = %g unchosen", fold.name, penalty)
        return penalty, 1.0 / model.outputs.spread, float("nan")
    for (fit, held), pairs in zip(fold.inner, parts, strict=True):
        path, groups = model.path(fit), fold.segment[fold.train[held]]
        wanted = centred(fold.y[held], groups)
        position = np.zeros(len(fold.train), dtype=np.int64)
        position[held] = np.arange(len(held))
        for number, penalty in enumerate(grid):
            found = path.scores(model.kernel[np.ix_(held, fit)], float(penalty))
            errors[number] += (
                ((centred(found, groups) - wanted) / model.outputs.spread) ** 2
            ).sum()
            margins[number].append(found[position[pairs.first]] - found[position[pairs.second]])
    best = int(errors.argmin())
    apart = np.concatenate(margins[best])
    return float(grid[best]), logistic_slope(apart, together), pair_accuracy(apart, together)


def take_kernel(fold: RankFold, block: KernelRankParams) -> Float64:
    """k of training takes, then of reported ones: (n_train + n_test, n_train + n_test).

    Raises
    ------
    ConfigError
        Shares are not one a view, or no view has a value that differs within segments.
    """
    widths = fold.widths or (fold.x.shape[1],)
    shares = block.shares or [1.0] * len(widths)
    if len(shares) != len(widths):
        raise ConfigError(
            f"{len(shares)} shares for {len(widths)} views", where="rank.rankers.*.kernel.shares",
            allowed="one a view, or none for equal shares", next_step="edit params.yaml",
        )  # fmt: skip
    total = np.zeros((len(fold.train) + len(fold.test),) * 2)
    edges = np.cumsum([0, *widths])
    for share, start, stop in zip(shares, edges[:-1], edges[1:], strict=True):
        z = within_segments(fold, slice(int(start), int(stop)), block.clip)
        used = int((z[: len(fold.train)] != 0).any(axis=0).sum())
        total += share * (z @ z.T) / max(used, 1)
    if not total.any():
        raise ConfigError(
            f"fold {fold.name}: no feature differs between takes of a segment",
            where="rank.rankers.*.views",
            next_step="name views of how clips are played in params.yaml",
        )  # fmt: skip
    if block.gamma == 0:
        return total
    length = np.diag(total)
    apart = np.maximum(length[:, None] + length[None, :] - 2 * total, 0.0)
    np.fill_diagonal(apart, 0.0)
    return np.asarray(np.exp(-block.gamma * apart), dtype=np.float64)


def within_segments(fold: RankFold, columns: slice, clip: float) -> Float64:
    """Values less the mean of the segment's takes, in units of their spread, cut off.

    Training takes are centred on training takes, reported ones on reported ones.

    Returns
    -------
    float64, shape (n_train + n_test, columns)
        0 in a column that does not vary within segments of the training side.
    """
    x = fold.x[:, columns]
    filled = Standardiser.fit(x[fold.train]).transform(x)  # missing values become the median
    train = centred(filled[fold.train], fold.segment[fold.train])
    test = centred(filled[fold.test], fold.segment[fold.test])
    spread = np.sqrt((train**2).mean(axis=0))
    varies = spread > _CONSTANT
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
    z = np.concatenate([train, test]) * inverse
    return np.asarray(np.clip(z, -clip, clip), dtype=np.float64)


def _effects(fold: RankFold, kernel: Float64, block: KernelRankParams) -> Float64:
    """What takes of one player, and slopes of one movement, share on the training side: (n, n)."""
    return np.asarray(
        block.player * _same(fold.player, fold.train)
        + block.movement * _same(fold.movement, fold.train) * kernel,
        dtype=np.float64,
    )


def _same(codes: Rows | None, rows: Rows) -> Float64:
    """1 where two takes have one code that is known (at least 0)."""
    if codes is None:
        return np.zeros((len(rows), len(rows)))
    own = codes[rows]
    return np.asarray((own[:, None] == own[None, :]) & (own[:, None] >= 0), dtype=np.float64)


def _noise(fold: RankFold, params: RankerParams) -> Float64:
    """r of training takes, shape (n,)."""
    flat = np.ones(len(fold.train))
    if params.pairs.weights == "equal" or not np.isfinite(fold.error).any():
        return flat
    square = fold.error**2
    known = np.isfinite(square)
    mean = np.where(known, square, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    relative = np.where(known & (mean > 0), square / np.where(mean > 0, mean, 1.0), 1.0)
    return np.asarray(0.5 + 0.5 * np.clip(relative.mean(axis=1), _SURE, _UNSURE))


@dataclass(frozen=True, eq=False)
class _Outputs:
    """Labels as components within segments, and the way back."""

    spread: Float64  # (dimensions,), within segments
    vectors: Float64  # (dimensions, components)
    strain: Float64  # (components,), what λ is multiplied by

    @classmethod
    def fit(cls, y: Float64, power: float) -> _Outputs:
        """Learn from centred labels, shape (n_train, dimensions)."""
        spread = np.sqrt((y**2).mean(axis=0))
        spread = np.where(spread > 0, spread, 1.0)
        z = y / spread
        variance, vectors = np.linalg.eigh(z.T @ z / len(z))
        largest = float(variance[-1]) if variance[-1] > 0 else 1.0
        strain = (largest / np.maximum(variance, _LEAST_SHARE * largest)) ** power
        return cls(spread, vectors, strain)


@dataclass(frozen=True, eq=False)
class _Path:
    """A covariance decomposed, levels of segments projected out; it serves every λ."""

    power: Float64  # (n,)
    vectors: Float64  # (n, n)
    turned: Float64  # (n, components), labels in these coordinates
    weight: Float64  # (n,), r^-1/2
    outputs: _Outputs

    @classmethod
    def fit(
        cls, covariance: Float64, fold: RankFold, rows: Rows, outputs: _Outputs, noise: Float64
    ) -> _Path:
        """Of training takes at positions ``rows``, effects included."""
        weight = 1.0 / np.sqrt(noise[rows])
        groups = fold.segment[fold.train[rows]]
        scaled = without_levels(weight[:, None] * covariance * weight, weight, groups)
        scaled = without_levels(scaled.T, weight, groups)
        y = (fold.y[rows] / outputs.spread) @ outputs.vectors
        y = without_levels(weight[:, None] * y, weight, groups)
        power, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
        return cls(np.maximum(power, 0.0), vectors, vectors.T @ y, weight, outputs)

    def scores(self, across: Float64, penalty: float) -> Float64:
        """Of takes with the kernel ``across`` (out, n), up to the segment's level: (out, D)."""
        shrunk = self.turned / (self.power[:, None] + penalty * self.outputs.strain)
        found = across @ (self.weight[:, None] * (self.vectors @ shrunk))
        return np.asarray(found @ self.outputs.vectors.T * self.outputs.spread, dtype=np.float64)


def without_levels(values: Float64, weight: Float64, groups: Rows) -> Float64:
    """``values`` (n, …) less their projection on ``weight`` within each group.

    With weights r^-1/2 that is generalised least squares with a level of each group of its own;
    with equal weights, centring.
    """
    _, code = np.unique(groups, return_inverse=True)
    total = np.zeros(code.max() + 1)
    np.add.at(total, code, weight**2)
    direction = weight / np.sqrt(total[code])
    along = np.zeros((len(total), values.shape[1]))
    np.add.at(along, code, direction[:, None] * values)
    return np.asarray(values - direction[:, None] * along[code], dtype=np.float64)
