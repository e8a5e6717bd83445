r"""Strengths of takes from comparisons of pairs (Bradley & Terry 1952).

:math:`P(i > j) = σ(θ_i - θ_j)`. With :math:`w_{ij}` comparisons that i won over j (an expected
number, where a probability is all that is known of a pair) the strengths maximise

.. math:: \sum_{i \ne j} w_{ij} \log σ(θ_i - θ_j)
          + \frac{π}{2} \sum_i \log σ(θ_i) σ(-θ_i).

The second term is the prior: every take is also compared π times with an imagined take of strength
0, and wins half of them. So strengths are finite where one take wins always, and determined where
some takes were never compared. Its price: strengths are drawn towards 0, by little where π is.

Minorisation-maximisation (Hunter 2004, Annals of Statistics 32, 384-406) climbs from any start but
crawls near the top, where Newton's method, halving steps that do not climb, ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from pianoeval.errors import BadInputError, PianoevalError
from pianoeval.models.base import Float64

PRIOR = 0.1
_MM_STEPS, _NEWTON_STEPS, _HALVINGS = 50, 100, 40
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Strengths:
    """A fit.

    Attributes
    ----------
    values : float64, shape (takes,)
        θ, in log-odds.
    covariance : float64, shape (takes, takes)
        Inverse of the information at θ: what comparisons of this number leave unknown.
    """

    values: Float64
    covariance: Float64

    def difference_error(self) -> Float64:
        """Standard error of each difference of strengths, shape (takes, takes)."""
        own = np.diag(self.covariance)
        variance = own[:, None] + own[None, :] - 2 * self.covariance
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)), dtype=np.float64)


def fit_strengths(wins: Float64, prior: float = PRIOR) -> Strengths:
    """Maximise the likelihood above.

    Parameters
    ----------
    wins : float64, shape (takes, takes)
        How often the take of the row won over that of the column, ≥ 0; the diagonal is 0.
    prior : float
        π > 0.

    Raises
    ------
    BadInputError
        Not such a matrix, or no prior.
    """
    _check(wins, prior)
    theta = _climb(wins, prior)
    for _ in range(_NEWTON_STEPS):
        gradient, information = _slope(theta, wins, prior)
        step: Float64 = np.linalg.solve(information, gradient).astype(np.float64)
        if np.abs(step).max() < _TOLERANCE:
            return Strengths(theta + step, np.linalg.inv(information).astype(np.float64))
        theta = _ahead(theta, step, wins, prior)
    raise PianoevalError(
        "the strengths of the takes cannot be found", where="Bradley-Terry fit",
        allowed="numbers of comparisons that differ by less",
        next_step="compare fewer takes at a time",
    )  # fmt: skip


def _check(wins: Float64, prior: float) -> None:
    square = wins.ndim == 2 and wins.shape[0] == wins.shape[1] and len(wins) > 0
    if not square or not np.isfinite(wins).all() or (wins < 0).any() or np.diag(wins).any():
        raise BadInputError(
            f"not a table of comparisons, shape {wins.shape}", where="Bradley-Terry fit",
            allowed="a square of numbers ≥ 0 with an empty diagonal",
        )  # fmt: skip
    if not prior > 0:
        raise BadInputError(
            f"a prior of {prior:g} comparisons", where="Bradley-Terry fit", allowed="more than 0"
        )


def _climb(wins: Float64, prior: float) -> Float64:
    """Hunter's iteration, on γ = exp θ; the imagined take has γ = 1."""
    played, won = wins + wins.T, wins.sum(axis=1) + prior / 2
    gamma = np.ones(len(wins))
    for _ in range(_MM_STEPS):
        met = (played / (gamma[:, None] + gamma[None, :])).sum(axis=1) + prior / (gamma + 1)
        gamma = won / met
    return np.asarray(np.log(gamma), dtype=np.float64)


def log_likelihood(theta: Float64, wins: Float64, prior: float) -> float:
    """The function that is maximised."""
    apart = theta[:, None] - theta[None, :]
    pairs = float((wins * special.log_expit(apart)).sum())
    alone = special.log_expit(theta) + special.log_expit(-theta)
    return pairs + prior / 2 * float(alone.sum())


def _slope(theta: Float64, wins: Float64, prior: float) -> tuple[Float64, Float64]:
    """Gradient, and the information: the Hessian with its sign turned."""
    p = special.expit(theta[:, None] - theta[None, :])
    played = wins + wins.T
    gradient = (wins - played * p).sum(axis=1) + prior * (0.5 - special.expit(theta))
    shared = played * p * (1 - p)
    alone = prior * special.expit(theta) * special.expit(-theta)
    return gradient, np.diag(shared.sum(axis=1) + alone) - shared


def _ahead(theta: Float64, step: Float64, wins: Float64, prior: float) -> Float64:
    """The longest of halved steps that does not lead down."""
    here = log_likelihood(theta, wins, prior)
    for halving in range(_HALVINGS):
        there = theta + step / 2.0**halving
        # At the top the rise is lost in rounding.
        if log_likelihood(there, wins, prior) >= here - 1e-12 * abs(here):
            return np.asarray(there, dtype=np.float64)
    return theta
