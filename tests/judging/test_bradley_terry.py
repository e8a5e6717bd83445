"""Bradley-Terry strengths against an optimiser that knows nothing of the method."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from pianoeval.errors import BadInputError
from pianoeval.judging.bradley_terry import PRIOR, fit_strengths, log_likelihood


def slow_likelihood(theta: np.ndarray, wins: np.ndarray, prior: float) -> float:
    """Pair by pair; the imagined take has strength 0, and half of its comparisons are won."""
    total = 0.0
    for i in range(len(theta)):
        for j in range(len(theta)):
            if i != j:
                total += wins[i, j] * np.log(1 / (1 + np.exp(theta[j] - theta[i])))
        total += prior / 2 * np.log(1 / (1 + np.exp(-theta[i])))
        total += prior / 2 * np.log(1 / (1 + np.exp(theta[i])))
    return total


def random_wins(seed: int, n: int, scale: float = 3.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    wins = random.uniform(0, scale, (n, n)) * (random.uniform(size=(n, n)) < 0.7)
    np.fill_diagonal(wins, 0.0)
    return wins


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("prior", [0.01, PRIOR, 2.0])
def test_an_optimiser_finds_the_same_strengths(n: int, prior: float) -> None:
    wins = random_wins(n, n)
    found = optimize.minimize(
        lambda theta: -slow_likelihood(theta, wins, prior), np.zeros(n), method="BFGS",
        options={"gtol": 1e-9},
    )  # fmt: skip
    fit = fit_strengths(wins, prior)
    np.testing.assert_allclose(fit.values, found.x, atol=2e-5)
    assert log_likelihood(fit.values, wins, prior) == pytest.approx(
        slow_likelihood(fit.values, wins, prior)
    )


def test_standard_errors_are_those_of_the_curvature() -> None:
    wins, step = random_wins(4, 4), 1e-4
    fit = fit_strengths(wins, 0.5)
    hessian = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                theta = fit.values.copy()
                theta[i] += a * step
                theta[j] += b * step
                hessian[i, j] += a * b * slow_likelihood(theta, wins, 0.5) / (4 * step**2)
    covariance = np.linalg.inv(-hessian)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-4)
    error = fit.difference_error()
    wanted = np.sqrt(covariance[0, 0] + covariance[2, 2] - 2 * covariance[0, 2])
    assert error[0, 2] == pytest.approx(wanted, rel=1e-4)
    assert (np.diag(error) == 0).all()


def test_known_strengths_are_recovered_from_many_comparisons() -> None:
    random = np.random.default_rng(3)
    true = np.array([1.5, 0.3, 0.0, -0.6, -1.2])
    wins = np.zeros((5, 5))
    for i in range(5):
        for j in range(i + 1, 5):
            wins[i, j] = random.binomial(4000, special.expit(true[i] - true[j]))
            wins[j, i] = 4000 - wins[i, j]
    fit = fit_strengths(wins)
    error = fit.difference_error()
    apart = (fit.values[:, None] - fit.values) - (true[:, None] - true)
    off = ~np.eye(5, dtype=bool)
    assert np.abs(apart[off] / error[off]).max() < 3.5
    assert error[off].max() < 0.06


def test_a_take_that_always_wins_has_a_finite_strength_set_by_the_prior() -> None:
    """Of two takes: 2 θ maximises log σ(2θ) + π log σ(θ) σ(-θ), one equation in one unknown."""
    for prior in (0.01, 0.1, 1.0):
        values = fit_strengths(np.array([[0.0, 1.0], [0.0, 0.0]]), prior).values
        root = optimize.brentq(
            lambda t, p=prior: 2 * special.expit(-2 * t) - p * (2 * special.expit(t) - 1), 0, 50
        )
        np.testing.assert_allclose(values, [root, -root], rtol=1e-6)


def test_takes_that_never_met_are_ranked_apart_from_one_another() -> None:
    wins = np.zeros((5, 5))
    wins[:2, :2] = [[0, 3], [1, 0]]
    wins[2:4, 2:4] = [[0, 1], [9, 0]]
    fit = fit_strengths(wins)
    np.testing.assert_allclose(fit.values[:2], fit_strengths(wins[:2, :2]).values, atol=1e-8)
    np.testing.assert_allclose(fit.values[2:4], fit_strengths(wins[2:4, 2:4]).values, atol=1e-8)
    assert fit.values[4] == pytest.approx(0.0, abs=1e-12)
    assert fit.covariance[4, 4] == pytest.approx(4 / PRIOR)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.sampled_from([0.1, 3.0, 1e4]))
def test_the_order_of_takes_and_the_direction_do_not_matter(
    seed: int, n: int, scale: float
) -> None:
    wins = random_wins(seed, n, scale)
    values = fit_strengths(wins).values
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(fit_strengths(wins[np.ix_(order, order)]).values, values[order],
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(fit_strengths(wins.T).values, -values, atol=1e-6)
    assert special.expit(values).sum() == pytest.approx(n / 2)


@pytest.mark.parametrize("scale", [0.0, 5.0, 300.0])
def test_probabilities_of_scores_far_apart_are_fitted(scale: float) -> None:
    scores = np.linspace(-1, 1, 40) * scale
    wins = special.expit(scores[:, None] - scores)
    np.fill_diagonal(wins, 0.0)
    values = fit_strengths(wins).values
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all() if scale else np.abs(values).max() < 1e-9


@pytest.mark.parametrize(
    ("wins", "prior"),
    [
        (np.zeros((2, 3)), 0.1), (np.zeros((0, 0)), 0.1), (np.eye(2), 0.1),
        (np.array([[0, -1.0], [0, 0]]), 0.1), (np.array([[0, np.nan], [0, 0]]), 0.1),
        (np.zeros((2, 2)), 0.0), (np.zeros((2, 2)), np.nan),
    ],
)  # fmt: skip
def test_what_is_no_table_of_comparisons_is_refused(wins: np.ndarray, prior: float) -> None:
    with pytest.raises(BadInputError):
        fit_strengths(wins, prior)
