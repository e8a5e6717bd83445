r"""Probes: can the piece, the player or the labels be read from a code?

The probe is kernel ridge regression of class indicators (a least-squares classifier) with a
Gaussian kernel on codes as they are, so that it reads what is not linear too (probes: Alain &
Bengio 2016, arXiv 1610.01644). Its width is the median distance and its penalty a fixed share of
the kernel's mean eigenvalue: nothing is chosen, so nothing can be chosen too well.

Every take is predicted by a probe that has not seen its unit (see ``questions``). With
:math:`H` the smoother of all takes and :math:`F` a unit, residuals without it are
:math:`(I - H_{FF})^{-1}(Y - HY)_F`, so predictions are a fixed matrix times :math:`Y`: refitting
on permuted classes costs one product. Leaving a take out makes its class rarer among those that
are left, so the chance level of a balanced question is a little below one in the number of its
classes; permuted classes have the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.ranked.questions import Index

Float64 = NDArray[np.float64]
RIDGE = 0.1  # of the mean eigenvalue of the centred kernel
_SQUARINGS = 2  # of scores: powers 1, 2 and 4
_SMOOTHINGS = (0.3, 0.1, 0.03, 0.01)


def centred(code: NDArray[np.float32]) -> Float64:
    """Codes less their mean, as far apart as they are: no value is scaled."""
    z = code.astype(np.float64)
    return np.asarray(z - z.mean(axis=0))


def squared_distances(z: Float64) -> Float64:
    """Between all rows, shape (n, n); exactly 0 on the diagonal."""
    square = (z**2).sum(axis=1)
    apart = np.maximum(square[:, None] + square - 2.0 * (z @ z.T), 0.0)
    np.fill_diagonal(apart, 0.0)
    return np.asarray(apart)


def leave_out_smoother(z: Float64, unit: Index) -> Float64:
    """Matrix that predicts each take from takes of other units.

    Parameters
    ----------
    z : float64, shape (n, values)
        Codes, centred.
    unit : int64, shape (n,)
        Two or more of them.

    Returns
    -------
    float64, shape (n, n)
        Times targets (n, …): predictions. 0 between takes of one unit.
    """
    n = len(z)
    smoother = full_smoother(kernel(squared_distances(z)))
    residual = np.eye(n) - smoother
    out = np.empty((n, n))
    for rows in np.split(
        np.argsort(unit, kind="stable"),
        np.flatnonzero(np.diff(np.sort(unit))) + 1,
    ):
        alone = np.linalg.solve(residual[np.ix_(rows, rows)], residual[rows])
        out[rows] = np.eye(n)[rows] - alone
        out[np.ix_(rows, rows)] = 0.0
    return out


def kernel(squared: Float64) -> Float64:
    """Gaussian kernel as wide as the median distance; of codes that are all alike, ones."""
    above = squared[np.triu_indices(len(squared), 1)]
    width = float(np.median(above[above > 0])) if (above > 0).any() else 1.0
    return np.asarray(np.exp(-squared / (2.0 * width)))


def full_smoother(gram: Float64) -> Float64:
    """Predictions of all takes from all takes: ridge with a free intercept, shape (n, n)."""
    n = len(gram)
    mean = gram.mean(axis=0)
    centred = gram - mean - mean[:, None] + gram.mean()
    penalty = RIDGE * np.trace(centred) / n
    if penalty <= 0:
        return np.full((n, n), 1.0 / n)
    fitted = np.linalg.solve(centred + penalty * np.eye(n), centred)
    return np.asarray(fitted + 1.0 / n)


def class_probe(smoother: Float64, classes: Index, unit: Index) -> tuple[Float64, Float64]:
    r"""Accuracy, and the information that the probe's probabilities hold about the class.

    Information is :math:`H(C) - \text{cross-entropy}` in nats, a lower bound of the mutual
    information in expectation, by what this probe can use (Barber & Agakov 2003, NIPS 16; Xu et
    al. 2020, ICLR, arXiv 2002.10689). Scores of indicators estimate probabilities:
    :math:`q(c) = (1 - w)\, s_c^γ / \sum_k s_k^γ + w\, n_c / n`, negative scores being 0. γ and w,
    of which w = 1 holds no information, are the best ones on the other half of the units.

    Parameters
    ----------
    smoother : float64, shape (n, n)
    classes : int64, shape (permutations + 1, n)

    Returns
    -------
    accuracy, information : float64, shape (permutations + 1,)
    """
    n = classes.shape[1]
    prior = np.bincount(classes[0]) / n
    half = np.unique(unit, return_inverse=True)[1] % 2 == 0
    entropy = float(-(prior * np.log(prior)).sum())
    right, bound = np.empty(len(classes)), np.empty(len(classes))
    one_hot, places = np.eye(len(prior)), np.arange(n)
    for number, row in enumerate(classes):
        scores = smoother @ one_hot[row]
        right[number] = (scores.argmax(axis=1) == row).mean()
        surprise = _surprise(scores, row, np.bincount(row, minlength=len(prior)) / n, places)
        chosen = np.where(
            half, surprise[~half].mean(axis=0).argmin(), surprise[half].mean(axis=0).argmin()
        )
        bound[number] = entropy - surprise[places, chosen].mean()
    return right, bound


def _surprise(scores: Float64, classes: Index, prior: Float64, places: Index) -> Float64:
    """−log q of each take's class for every γ and w, shape (n, choices)."""
    of_class = prior[classes]
    columns = [-np.log(of_class)]
    power = np.maximum(scores, 0.0)
    for _ in range(_SQUARINGS + 1):
        total = power.sum(axis=1)
        share = np.divide(power[places, classes], total, out=of_class.copy(), where=total > 0)
        columns += [-np.log((1.0 - w) * share + w * of_class) for w in _SMOOTHINGS]
        power = power * power
    return np.stack(columns, axis=1)


def residual_probe(smoother: Float64, residuals: Float64, orders: Index) -> Float64:
    """R² of labels less their piece's mean, averaged over dimensions that vary.

    Parameters
    ----------
    residuals : float64, shape (n, dimensions)
    orders : int64, shape (permutations + 1, n)

    Returns
    -------
    float64, shape (permutations + 1,)
        NaN where no dimension varies within pieces.
    """
    total = (residuals**2).sum(axis=0)
    varies = total > 0
    if not varies.any():
        return np.full(len(orders), np.nan)
    kept = residuals[:, varies]
    missed = [((kept[order] - smoother @ kept[order]) ** 2).sum(axis=0) for order in orders]
    return np.asarray((1.0 - np.stack(missed) / total[varies]).mean(axis=1))
