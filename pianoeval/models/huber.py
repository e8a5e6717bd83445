r"""Huber's loss for kernel ridge, from one eigendecomposition for all penalties.

Of one component, r the residuals and s their standard deviation,

.. math:: \min_f \; 2 \sum_i \rho(r_i) + \lambda \|f\|^2, \quad
          \rho(r) = r^2/2 \text{ for } |r| \le \delta s, \;
          \delta s (|r| - \delta s / 2) \text{ beyond}

(Huber, 1964). Iterative reweighting (Holland and Welsch, 1977) solves
:math:`(K + \lambda W^{-1}) a = y - \mu` for weights :math:`w_i = \min(1, \delta s / |r_i|)` again
and again, each time with another matrix for every component and every λ. The same minimum is
reached with the labels replaced in place of the weights (Huber, 1981, section 7.8): least squares
on :math:`\tilde y = f + \psi(r)`, r cut off at ± δs, again and again, whose matrix stays. At
either end :math:`\lambda a = \psi(r) = W r`.

s is 1.4826 times the median size of the residuals of least squares with the same λ: the standard
deviation if they were normal (Holland and Welsch), which clips far out do not raise.
"""

from __future__ import annotations

import numpy as np

from pianoeval.models.base import Float64

_ROUNDS = 200
_ENOUGH = 1e-6  # standard deviations of residuals by which no fitted value changes any more
_TO_SD = 1.4826


def huber_path(
    power: Float64, vectors: Float64, y: Float64, penalties: Float64, delta: float
) -> tuple[Float64, Float64]:
    """Coefficients and means for each λ.

    Parameters
    ----------
    power, vectors : float64, shape (n,) and (n, n)
        Eigenvalues, none below 0, and eigenvectors of the kernel.
    y : float64, shape (n, components)
    penalties : float64, shape (grid, components)
    delta : float
        In standard deviations of the residuals.

    Returns
    -------
    coefficients : float64, shape (grid, n, components)
        In eigenvectors: fitted values are ``vectors @ (power * coefficients) + mean``.
    mean : float64, shape (grid, components)
    """
    n, n_components = y.shape
    # One column for each λ and component.
    wanted, penalty = np.tile(y, len(penalties)), penalties.ravel()
    shrink = 1.0 / (power[:, None] + penalty)
    mean = wanted.mean(axis=0)
    coefficients = (vectors.T @ (wanted - mean)) * shrink
    fitted = vectors @ (power[:, None] * coefficients) + mean
    spread = _TO_SD * np.median(np.abs(wanted - fitted), axis=0)
    going = np.flatnonzero(spread > 1e-12 * np.maximum(wanted.std(axis=0), 1e-300))
    for _ in range(_ROUNDS):
        if not going.size:
            break
        at, reach = fitted[:, going], delta * spread[going]
        pseudo = at + np.clip(wanted[:, going] - at, -reach, reach)
        mean[going] = pseudo.mean(axis=0)
        coefficients[:, going] = (vectors.T @ (pseudo - mean[going])) * shrink[:, going]
        fitted[:, going] = vectors @ (power[:, None] * coefficients[:, going]) + mean[going]
        change = np.abs(fitted[:, going] - at).max(axis=0)
        going = going[change > _ENOUGH * spread[going]]
    shape = (n, len(penalties), n_components)
    return coefficients.reshape(shape).transpose(1, 0, 2), mean.reshape(shape[1:])
