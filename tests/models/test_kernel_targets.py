"""Robust loss and transformed targets of the kernel head: their equations written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_data import make_fold
from scipy.optimize import minimize
from scipy.special import huber
from scipy.stats import norm

from pianoeval.errors import ConfigError
from pianoeval.models.base import Fold
from pianoeval.models.huber import huber_path
from pianoeval.models.kernel_ridge import Outputs, predict_kernel_ridge, squared_distances
from pianoeval.models.targets import targets
from pianoeval.params import KernelRidgeParams
from pianoeval.params_probe import TargetKind

KINDS: list[TargetKind] = ["raw", "rank", "group"]
ONE = KernelRidgeParams(lambdas=[0.7], effects=[0.0], output_power=0.0)


def grouped(fold: Fold, n_groups: int = 5) -> Fold:
    return replace(fold, groups=np.arange(fold.n_train) % n_groups)


def rough(fold: Fold, share: float = 0.2) -> Fold:
    """Some training labels are far off."""
    rng = np.random.default_rng(7)
    y = fold.y.copy()
    bad = rng.choice(len(y), int(share * len(y)), replace=False)
    y[bad] += rng.choice([-1.0, 1.0], (len(bad), y.shape[1])) * 8 * y.std()
    return replace(fold, y=y)


def reweighted(
    k: np.ndarray, y: np.ndarray, penalty: float, delta: float
) -> tuple[np.ndarray, float]:
    """Holland and Welsch: a solve for each set of weights, until they stay. Coefficients, mean."""
    n = len(y)
    weights, spread = np.ones(n), 0.0
    for turn in range(400):
        inverse = np.linalg.inv(k + penalty * np.diag(1 / weights))
        # The mean is that of fitted values and cut residuals: 1'(K a + λ a) = 0.
        row = np.ones(n) @ (k + penalty * np.eye(n)) @ inverse
        mean = float(row @ y / row.sum())
        a = inverse @ (y - mean)
        residual = y - mean - k @ a
        if turn == 0:
            spread = 1.4826 * float(np.median(np.abs(residual)))
        weights = np.minimum(1.0, delta * spread / np.abs(residual))
    return a, mean


@pytest.mark.parametrize("delta", [0.5, 1.345])
def test_the_robust_fit_is_that_of_iterative_reweighting(delta: float) -> None:
    fold = rough(make_fold())
    k, n = np.exp(-0.5 * squared_distances(fold, 3.0)), fold.n_train
    power, vectors = np.linalg.eigh(k[:n, :n])
    grid = np.array([0.3, 2.0])
    right, mean = huber_path(
        np.maximum(power, 0), vectors, fold.y, np.repeat(grid[:, None], 3, axis=1), delta
    )
    for place, penalty in enumerate(grid):
        for j in range(3):
            a, middle = reweighted(k[:n, :n], fold.y[:, j], penalty, delta)
            assert (
                np.abs(penalty * a) < np.abs(fold.y[:, j] - middle - k[:n, :n] @ a) - 1e-9
            ).any()
            np.testing.assert_allclose(vectors @ right[place, :, j], a, atol=2e-5)
            np.testing.assert_allclose(mean[place, j], middle, atol=2e-5)


def test_the_robust_fit_minimises_hubers_loss() -> None:
    """Of the mean that it found; scipy's general minimiser is the judge."""
    fold = rough(make_fold())
    n = fold.n_train
    k = np.exp(-0.5 * squared_distances(fold, 3.0))[:n, :n]
    y, penalty, delta = fold.y[:, :1], 0.5, 1.0
    power, vectors = np.linalg.eigh(k)
    right, mean = huber_path(power, vectors, y, np.array([[penalty]]), delta)
    plain = np.linalg.solve(k + penalty * np.eye(n), y[:, 0] - y.mean())
    reach = delta * 1.4826 * float(np.median(np.abs(penalty * plain)))
    centred = y[:, 0] - mean[0, 0]

    def loss(a: np.ndarray) -> float:
        return float(2 * huber(reach, centred - k @ a).sum() + penalty * a @ k @ a)

    found = vectors @ right[0, :, 0]
    best = minimize(loss, np.zeros(n), method="BFGS", options={"maxiter": 2000, "gtol": 1e-9})
    assert loss(found) <= best.fun * (1 + 1e-6)
    assert loss(found) < loss(plain) * 0.999


def test_far_off_labels_weigh_less() -> None:
    clean, truth = make_fold(200, n_test=60), {}
    fold = rough(clean)
    for name, of, deltas in (
        ("clean", clean, [0.0]),
        ("plain", fold, [0.0]),
        ("robust", fold, [1.0]),
    ):
        [made] = predict_kernel_ridge([of], ONE.model_copy(update={"huber_deltas": deltas}))
        truth[name] = made.values
    errors = [np.square(truth[n] - truth["clean"]).mean() for n in ("plain", "robust")]
    assert errors[1] < 0.5 * errors[0]


def test_a_wide_delta_is_least_squares() -> None:
    fold = grouped(make_fold())
    [plain] = predict_kernel_ridge([fold], KernelRidgeParams())
    [wide] = predict_kernel_ridge([fold], KernelRidgeParams(huber_deltas=[1e6]))
    np.testing.assert_allclose(wide.values, plain.values, rtol=1e-9)
    assert wide.selection == plain.selection | {"huber_delta": [1e6]}


def test_delta_is_chosen_on_inner_folds() -> None:
    params = KernelRidgeParams(huber_deltas=[0.0, 0.7])
    [chosen] = predict_kernel_ridge([rough(make_fold(120))], params)
    assert chosen.selection["huber_delta"] == [0.7]
    [one] = predict_kernel_ridge([rough(make_fold(120))], KernelRidgeParams(huber_deltas=[0.7]))
    np.testing.assert_array_equal(one.values, chosen.values)


def literal(
    kind: str, y: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is learned; what 0.3 and what 9 of it are as labels."""
    n, dimensions = y.shape
    wanted, low, high = np.zeros_like(y), np.zeros(dimensions), np.zeros(dimensions)
    for d in range(dimensions):
        column = y[:, d]
        if kind == "rank":
            for i, value in enumerate(column):
                rank = (column < value).sum() + ((column == value).sum() + 1) / 2
                wanted[i, d] = norm.ppf(rank / (n + 1))
            above, below = wanted[:, d] >= 0.3, wanted[:, d] <= 0.3
            right, left = wanted[above, d].min(), wanted[below, d].max()
            a, b = column[wanted[:, d] == left][0], column[wanted[:, d] == right][0]
            low[d] = a + (b - a) * (0.3 - left) / (right - left)
            high[d] = column.max()
        else:
            spreads = []
            for group in set(groups.tolist()):
                of = column[groups == group]
                spreads.append(of.std())
                wanted[groups == group, d] = (of - of.mean()) / of.std()
            low[d] = column.mean() + 0.3 * np.mean(spreads)
            high[d] = column.mean() + 9 * np.mean(spreads)
    return wanted, low, high


@pytest.mark.parametrize("kind", ["rank", "group"])
def test_targets_are_as_written_out(kind: TargetKind) -> None:
    rng = np.random.default_rng(2)
    y, groups = rng.integers(1, 8, (40, 3)) / 7, np.arange(40) % 4 * 10
    expected, low, high = literal(kind, y, groups)
    wanted, back = targets(kind, y, groups)
    np.testing.assert_allclose(wanted, expected, atol=1e-12)
    np.testing.assert_allclose(back(np.full((1, 3), 0.3))[0], low)
    np.testing.assert_allclose(back(np.full((2, 3), 9.0)), [high, high])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_ranks_lead_back_exactly(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, (17, 3)) / 4 if ties else rng.random((17, 3))
    y[:, 2] = 0.25
    wanted, back = targets("rank", y, None)
    np.testing.assert_array_equal(back(wanted), y)
    outside = back(np.array([[-99.0] * 3, [99.0] * 3]))
    np.testing.assert_array_equal(outside, [y.min(axis=0), y.max(axis=0)])


def test_ranks_do_not_see_how_labels_are_scaled() -> None:
    y = np.random.default_rng(0).random((30, 2))
    np.testing.assert_array_equal(targets("rank", y, None)[0], targets("rank", y**3, None)[0])


def test_levels_and_spreads_of_groups_play_no_part() -> None:
    rng = np.random.default_rng(0)
    y, groups = rng.random((40, 2)), np.arange(40) % 4
    moved = y * rng.uniform(0.5, 2, (4, 1))[groups] + rng.normal(size=(4, 1))[groups]
    one, two = (targets("group", labels, groups)[0] for labels in (y, moved))
    np.testing.assert_allclose(one, two, atol=1e-9)


@pytest.mark.parametrize("alone", ["one clip", "no variation", "nothing varies"])
def test_groups_that_do_not_vary_are_typical_ones(alone: str) -> None:
    rng = np.random.default_rng(0)
    y, groups = rng.random((21, 2)), np.r_[np.arange(20) % 4, 9]
    if alone == "no variation":
        y[groups == 1, 0] = 0.5
    if alone == "nothing varies":
        y[:, 0] = 0.5
    wanted, back = targets("group", y, groups)
    assert np.isfinite(wanted).all()
    assert wanted[-1].tolist() == [0, 0]
    varying = [y[groups == g, 0].std() for g in range(4) if np.ptp(y[groups == g, 0]) > 0]
    step = back(np.ones((1, 2)))[0, 0] - back(np.zeros((1, 2)))[0, 0]
    np.testing.assert_allclose(step, np.mean(varying) if varying else 1.0)


def test_within_groups_needs_groups() -> None:
    with pytest.raises(ConfigError, match="holds out"):
        predict_kernel_ridge([make_fold()], KernelRidgeParams(targets="group"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deltas", [[0.0], [0.0, 1.0]])
def test_choices_with_targets_are_those_of_labels_on_inner_folds(
    kind: TargetKind, deltas: list[float]
) -> None:
    """Every candidate as a fold of its own, learned on the fit clips alone but for the features."""
    fold = grouped(rough(make_fold(), 0.1))
    params = KernelRidgeParams(
        lambdas=[0.05, 0.5, 5.0], effects=[0.0], output_power=0.0, huber_deltas=deltas, targets=kind
    )
    [chosen] = predict_kernel_ridge([fold], params)
    k = np.exp(-0.5 * squared_distances(fold, 3.0))
    errors = {}
    for delta in deltas:
        for penalty in params.lambdas:
            total = 0.0
            for fit, held in fold.inner:
                # Raw labels are turned as on the whole training side; the rest on the fit clips.
                whole = Outputs.fit(fold.y, 0.0)
                part = Outputs.fit(fold.y[fit], 0.0, kind, fold.groups[fit])
                out, t = (whole, whole.values[fit]) if kind == "raw" else (part, part.values)
                p = np.zeros((len(held), t.shape[1]))
                inside = k[np.ix_(fit, fit)]
                for j in range(t.shape[1]):
                    a, mean = reweighted(inside, t[:, j], penalty, delta or 1e9)
                    p[:, j] = k[np.ix_(held, fit)] @ a + mean
                total += float((((out.back(p) - fold.y[held]) / fold.y.std(axis=0)) ** 2).sum())
            errors[delta, penalty] = total
    best = min(errors, key=lambda key: errors[key])
    assert chosen.selection["lambda"] == [best[1]]
    assert chosen.selection.get("huber_delta", [0.0]) == [best[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_other_test_clips_change_nothing(kind: TargetKind) -> None:
    params = KernelRidgeParams(targets=kind, huber_deltas=[0.0, 1.0], lambdas=[0.1, 1.0])
    fold = grouped(make_fold())
    [found] = predict_kernel_ridge([fold], params)
    x = fold.x.copy()
    x[fold.test[1:]] += 1.0
    [other] = predict_kernel_ridge([replace(fold, x=x)], params)
    assert other.selection == found.selection
    np.testing.assert_allclose(other.values[0], found.values[0], rtol=1e-9)
    [again] = predict_kernel_ridge([fold], params)
    assert again.values.tobytes() == found.values.tobytes()


@pytest.mark.parametrize("kind", ["rank", "group"])
def test_odd_labels(kind: TargetKind) -> None:
    fold = grouped(make_fold())
    y = fold.y.copy()
    y[:, 0] = 0.4
    params = KernelRidgeParams(targets=kind, huber_deltas=[1.0], lambdas=[0.1, 1.0])
    [found] = predict_kernel_ridge([replace(fold, y=y)], params)
    assert np.isfinite(found.values).all()
    np.testing.assert_allclose(found.values[:, 0], 0.4)


def test_defaults_are_written_nowhere() -> None:
    """Keys of items that were made before these fields existed stay."""
    assert not {"huber_deltas", "targets"} & set(KernelRidgeParams().model_dump())
    written = KernelRidgeParams(targets="rank", huber_deltas=[1.0]).model_dump()
    assert (written["targets"], written["huber_deltas"]) == ("rank", [1.0])
