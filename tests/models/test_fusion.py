"""Fusion weights against slow solvers of the written-out problems."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pianoeval.models.fusion import Blend, average, stacked, weighted


def problem(
    members: int, clips: int = 40, dimensions: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Members that know the labels to a different degree, with errors in common."""
    rng = np.random.default_rng(seed)
    scale = np.array([0.05, 0.2, 1.0])[:dimensions]
    truth = rng.normal(size=(clips, dimensions))
    common = rng.normal(size=(clips, dimensions))
    noise = rng.normal(size=(members, clips, dimensions))
    know = rng.uniform(0.2, 1.0, size=(members, 1, 1))
    p = (know * truth + 0.3 * common + 0.4 * noise) * scale + 0.5
    y = truth * scale + 0.6
    group = np.arange(clips) % 4
    inner = [(np.flatnonzero(group != g), np.flatnonzero(group == g)) for g in range(4)]
    return p, y, inner


def relative_error(y: np.ndarray, found: np.ndarray, spread: np.ndarray) -> float:
    return float((((y - found) / spread) ** 2).sum())


@pytest.mark.parametrize(("members", "seed"), [(2, 0), (2, 1), (3, 2), (4, 3), (5, 4)])
def test_convex_weights_are_the_best_on_the_simplex(members: int, seed: int) -> None:
    p, y, _ = problem(members, seed=seed)
    blend = weighted(p, y)

    def error(w: np.ndarray) -> float:
        return relative_error(y, np.tensordot(w, p, 1), y.std(axis=0)) / y.size

    start = np.full(members, 1 / members)
    slow = minimize(
        error, start, method="SLSQP", bounds=[(0, 1)] * members, tol=1e-14,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    w = blend.weights[:, 0]
    assert (blend.weights == w[:, None]).all()
    assert not blend.offset.any()
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1)
    assert error(w) <= slow.fun + 1e-9
    np.testing.assert_allclose(w, slow.x, atol=2e-4)


@given(members=st.integers(2, 4), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_convex_weights_do_no_worse_than_any_member_or_the_mean(members: int, seed: int) -> None:
    p, y, _ = problem(members, clips=17, seed=seed)
    spread = y.std(axis=0)
    best = relative_error(y, weighted(p, y).predict(p), spread)
    others = [*p, average(members, y.shape[1]).predict(p)]
    assert best <= min(relative_error(y, found, spread) for found in others) * (1 + 1e-6)


def slow_stack(
    p: np.ndarray, y: np.ndarray, spread: np.ndarray, penalty: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (members, D) and offset (D,) by a general solver on the rows themselves."""
    members, _, dimensions = p.shape
    t = (y - y.mean(axis=0)) / spread
    z = (p - p.mean(axis=1, keepdims=True)) / spread

    def solve(error: object) -> np.ndarray:
        found = minimize(
            error, np.full(members, 0.5), method="L-BFGS-B", bounds=[(0, None)] * members,
            options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000},
        )  # fmt: skip
        return np.asarray(found.x)

    shared = solve(lambda w: ((t - np.tensordot(w, z, 1)) ** 2).sum() / len(y))
    weights = np.repeat(shared[:, None], dimensions, axis=1)
    if penalty is not None:
        for d in range(dimensions):

            def own(w: np.ndarray, d: int = d) -> float:
                fit = ((t[:, d] - np.tensordot(w, z[:, :, d], 1)) ** 2).mean()
                return float(fit + penalty * ((w - shared) ** 2).sum())

            weights[:, d] = solve(own)
    return weights, y.mean(axis=0) - (weights * p.mean(axis=1)).sum(axis=0)


@pytest.mark.parametrize(("members", "seed"), [(2, 0), (3, 1), (3, 5)])
def test_stacking_is_what_a_literal_twin_finds(members: int, seed: int) -> None:
    p, y, inner = problem(members, seed=seed)
    penalties = [0.05, 1.0]
    spread = y.std(axis=0)
    errors = {}
    for penalty in (None, *penalties):
        errors[penalty] = 0.0
        for fit, held in inner:
            w, offset = slow_stack(p[:, fit], y[fit], spread, penalty)
            found = (w[:, None, :] * p[:, held]).sum(axis=0) + offset
            errors[penalty] += relative_error(y[held], found, spread)
    chosen = min(errors, key=lambda name: errors[name])
    w, offset = slow_stack(p, y, spread, chosen)
    blend = stacked(p, y, inner, penalties)
    assert blend.penalty == chosen
    np.testing.assert_allclose(blend.weights, w, atol=1e-4)
    np.testing.assert_allclose(blend.offset, offset, atol=1e-4)


def test_each_candidate_can_win() -> None:
    """Dimensions with weights of their own are left to them; those alike share."""
    rng = np.random.default_rng(3)
    n, inner = 240, problem(2, 240)[2]
    p = rng.normal(size=(2, n, 2))
    unlike = np.stack([p[0, :, 0], p[1, :, 1]], axis=1) + 0.1 * rng.normal(size=(n, 2))
    blend = stacked(p, unlike, inner, [1e-4])
    assert blend.penalty == 1e-4
    np.testing.assert_allclose(blend.weights, np.eye(2), atol=0.05)
    alike = p.sum(axis=0) + 2.0 * rng.normal(size=(n, 2))
    blend = stacked(p, alike, inner, [1e-4])
    assert blend.penalty is None
    assert (blend.weights[:, :1] == blend.weights).all()


def test_a_member_that_harms_is_left_out_and_a_shrunken_one_is_stretched() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 3))
    p = np.stack([0.5 * y + 0.2, -y])
    inner = problem(2, 200)[2]
    blend = stacked(p, y, inner, [1.0])
    np.testing.assert_allclose(blend.weights[1], 0.0, atol=1e-6)
    np.testing.assert_allclose(blend.predict(p), y, atol=1e-5)


@pytest.mark.parametrize("members", [2, 3])
def test_members_that_say_the_same_share_equally(members: int) -> None:
    p, y, inner = problem(1, seed=1)
    same = np.repeat(p, members, axis=0)
    for blend in (weighted(same, y), stacked(same, y, inner, [0.1])):
        assert np.isfinite(blend.weights).all()
        np.testing.assert_allclose(blend.weights, blend.weights[:1].repeat(members, 0), rtol=1e-3)


def test_a_dimension_that_does_not_vary_is_no_harm() -> None:
    p, y, inner = problem(2)
    without = weighted(p[..., :2], y[:, :2])
    y[:, 2] = 0.5
    p[..., 2] = 0.5
    np.testing.assert_allclose(weighted(p, y).weights[:, 0], without.weights[:, 0])
    blend = stacked(p, y, inner, [0.1])
    assert np.isfinite(blend.weights).all()
    np.testing.assert_allclose(blend.predict(p)[:, 2], 0.5)


def test_the_bits_do_not_depend_on_memory_layout() -> None:
    p, y, inner = problem(3)
    one = stacked(p, y, inner, [0.1, 1.0])
    two = stacked(np.asfortranarray(p), np.asfortranarray(y), inner, [1.0, 0.1])
    assert one.penalty == two.penalty
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-9)
    again = stacked(p.copy(), y.copy(), inner, [0.1, 1.0])
    assert one.weights.tobytes() == again.weights.tobytes()


def test_a_blend_is_a_sum() -> None:
    p = np.arange(12.0).reshape(2, 3, 2)
    blend = Blend(np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0.1, -1.0]))
    expected = [[1.0 * p[0, i, 0] + 0.5 * p[1, i, 0] + 0.1, 2.0 * p[0, i, 1] - 1] for i in range(3)]
    np.testing.assert_allclose(blend.predict(p), expected)
    np.testing.assert_allclose(average(2, 2).predict(p), p.mean(axis=0))
