r"""What a regression learns in place of the labels, and the way back: learned where it learns.

raw     the labels.
rank    normal scores (van der Waerden, 1952): :math:`t = \Phi^{-1}(r / (n + 1))`, r the rank of a
        label within its dimension, of equal ones the mean. Back by the quantiles of the labels
        learned from, linear between them; nothing beyond the least and the largest.
group   labels less the mean of their group, over the standard deviation in it: what a player or a
        movement is like plays no part. Back by the mean of all labels and the mean of the groups'
        standard deviations, as of a new group neither is known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm, rankdata

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float64, Rows
from pianoeval.params_probe import TargetKind

Back = Callable[[Float64], Float64]


def targets(kind: TargetKind, y: Float64, groups: Rows | None) -> tuple[Float64, Back]:
    """What is learned, shape (clips, dimensions), and what makes labels of predictions of it.

    Parameters
    ----------
    y : float64, shape (clips, dimensions)
        Labels of the clips that are learned from; of others nothing is known.
    groups : int64, shape (clips,), optional
        Of those that the scheme holds out; ``group`` needs them.

    Raises
    ------
    ConfigError
        ``group`` where groups are unknown.
    """
    if kind == "raw":
        return y, _same
    return _scores(y) if kind == "rank" else _within(y, groups)


def _same(values: Float64) -> Float64:
    return values


def _scores(y: Float64) -> tuple[Float64, Back]:
    scores = norm.ppf(rankdata(y, axis=0) / (len(y) + 1.0))
    known = []
    for score, label in zip(scores.T, y.T, strict=True):
        at, first = np.unique(score, return_index=True)
        known.append((at, label[first]))

    def back(values: Float64) -> Float64:
        columns = [np.interp(one, *pair) for one, pair in zip(values.T, known, strict=True)]
        return np.stack(columns, axis=1)

    return np.asarray(scores, dtype=np.float64), back


def _within(y: Float64, groups: Rows | None) -> tuple[Float64, Back]:
    """Groups that do not vary in a dimension, as those of one clip, are the typical ones there."""
    if groups is None:
        raise ConfigError(
            "targets 'group' need the groups that a scheme holds out, and here are none",
            where="probe.kernel_ridge.targets", allowed="raw, rank",
        )  # fmt: skip
    _, of = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(of == group) for group in range(of.max() + 1)]
    means = np.stack([y[rows].mean(axis=0) for rows in members])
    spreads = np.stack([y[rows].std(axis=0) for rows in members])
    varies = spreads > 0
    typical = spreads.sum(axis=0) / np.maximum(varies.sum(axis=0), 1)
    typical[~varies.any(axis=0)] = 1.0
    spreads = np.where(varies, spreads, typical)
    centre = y.mean(axis=0)
    return (y - means[of]) / spreads[of], lambda values: values * typical + centre
