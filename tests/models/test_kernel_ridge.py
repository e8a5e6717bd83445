"""Kernel regression: its equations written out, what it estimates, what it never sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_data import make_fold
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from pianoeval.errors import ConfigError
from pianoeval.models.base import Fold
from pianoeval.models.kernel_ridge import (
    Outputs,
    estimate_effect,
    predict_kernel_ridge,
    predict_views,
    restricted_likelihood,
    same_group,
    squared_distances,
)
from pianoeval.params import KernelRidgeParams

ONE = KernelRidgeParams(gammas=[0.5], lambdas=[0.7], effects=[0.0], output_power=0.0, clip=50.0)


def grouped(fold: Fold, n_groups: int = 5) -> Fold:
    """The fold with the groups of its inner divisions."""
    return replace(fold, groups=np.arange(fold.n_train) % n_groups)


def standardised(fold: Fold) -> np.ndarray:
    train = fold.x[fold.train].astype(float)
    rows = fold.x[np.concatenate([fold.train, fold.test])].astype(float)
    return (rows - train.mean(axis=0)) / train.std(axis=0)


def test_without_an_effect_it_is_the_gaussian_process_of_scikit_learn() -> None:
    fold = make_fold()
    z, n = standardised(fold), fold.n_train
    length = np.sqrt(z.shape[1] / (2 * 0.5))  # exp(-γ |a - b|² / p)
    mean, spread = fold.y.mean(axis=0), fold.y.std(axis=0)
    twin = GaussianProcessRegressor(RBF(length), alpha=0.7, optimizer=None)
    expected = twin.fit(z[:n], (fold.y - mean) / spread).predict(z[n:]) * spread + mean
    [found] = predict_kernel_ridge([fold], ONE)
    np.testing.assert_allclose(found.values, expected, rtol=1e-9)


def test_of_several_views_the_kernel_is_their_product() -> None:
    fold = make_fold()
    halves = [replace(fold, x=fold.x[:, :3]), replace(fold, x=fold.x[:, 3:])]
    together = np.mean([squared_distances(half, 50.0) for half in halves], axis=0)
    z, n = standardised(fold), fold.n_train
    k = np.ones((len(z), len(z)))
    for part in (z[:, :3], z[:, 3:]):
        for i, a in enumerate(part):
            k[i] *= [np.exp(-0.25 * np.mean((a - b) ** 2)) for b in part]
    np.testing.assert_allclose(np.exp(-0.5 * together), k, rtol=1e-9)
    mean = fold.y.mean(axis=0)
    expected = k[n:, :n] @ np.linalg.solve(k[:n, :n] + 0.7 * np.eye(n), fold.y - mean) + mean
    np.testing.assert_allclose(predict_views(halves, ONE).values, expected, rtol=1e-9)


def test_the_effect_of_a_group_is_in_what_is_learned_not_in_what_is_predicted() -> None:
    fold = grouped(make_fold())
    params = ONE.model_copy(update={"effects": [0.4]})
    k, n = np.exp(-0.5 * squared_distances(fold, 50.0)), fold.n_train
    covariance = k[:n, :n] + 0.7 * np.eye(n)
    for i in range(n):
        for j in range(n):
            covariance[i, j] += 0.4 * (i % 5 == j % 5)
    mean = fold.y.mean(axis=0)
    expected = k[n:, :n] @ np.linalg.solve(covariance, fold.y - mean) + mean
    [found] = predict_kernel_ridge([fold], params)
    np.testing.assert_allclose(found.values, expected, rtol=1e-9)
    assert found.selection["effect"] == [0.4]


def test_levels_of_groups_that_features_do_not_show_are_not_learned_as_if_they_did() -> None:
    """A feature that says the group as well as the label misleads in a new group."""
    rng = np.random.default_rng(3)
    n, n_groups = 360, 12
    group = np.arange(n) % n_groups
    level, hint = rng.normal(size=n_groups), rng.normal(size=n_groups)
    cause = rng.normal(size=n)
    x = np.stack([cause, hint[group]], axis=1).astype(np.float32)
    y = (cause + 1.5 * level[group] + 0.3 * rng.normal(size=n))[:, None]
    test, train = np.flatnonzero(group >= 9), np.flatnonzero(group < 9)
    of = group[train]
    inner = [(np.flatnonzero(of % 3 != k), np.flatnonzero(of % 3 == k)) for k in range(3)]
    fold = Fold("toy/0", x, train, test, y[train], inner, groups=of)
    params = KernelRidgeParams(effects=[0.0, 0.1, 0.3, 1.0, 3.0])
    [mixed] = predict_kernel_ridge([fold], params)
    [plain] = predict_kernel_ridge([replace(fold, groups=None)], params)
    assert mixed.selection["effect"][0] > 0
    assert plain.selection["effect"] == [0.0]
    errors = [np.square(one.values - cause[test, None]).mean() for one in (mixed, plain)]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("true", [0.0, 1.0])
def test_the_variance_of_the_effect_is_found_again(true: float) -> None:
    rng = np.random.default_rng(1)
    n, n_groups = 240, 24
    z = rng.normal(size=(n, 2))
    kernel = np.exp(-0.5 * ((z[:, None] - z[None]) ** 2).mean(axis=2))
    group = np.arange(n) % n_groups
    covariance = kernel + true * same_group(group, n) + 0.5 * np.eye(n)
    y = rng.multivariate_normal(np.zeros(n), covariance, size=4).T
    outputs = Outputs.fit(y, 0.0)
    grid = np.array([0.1, 0.25, 0.5, 1.0, 2.0])
    found = estimate_effect(kernel, group, outputs, grid, [0.0, 0.03, 0.3, 1.0, 3.0])
    assert found <= 0.03 if true == 0 else 0.3 <= found <= 3.0


def test_the_restricted_likelihood_is_that_of_contrasts() -> None:
    """Differences between penalties are those of the density of n - 1 error contrasts."""
    rng = np.random.default_rng(5)
    n = 9
    root = rng.normal(size=(n, n))
    covariance, y = root @ root.T, rng.normal(size=(n, 1))
    outputs = Outputs.fit(y, 0.0)
    grid = np.array([0.2, 1.0, 5.0])
    contrasts = np.linalg.svd(np.ones((1, n)))[2][1:]  # orthonormal, each sums to 0
    expected = []
    for penalty in grid:
        v = contrasts @ (covariance + penalty * np.eye(n)) @ contrasts.T
        value = contrasts @ outputs.values[:, 0]
        variance = value @ np.linalg.solve(v, value) / (n - 1)
        expected.append(multivariate_normal(np.zeros(n - 1), variance * v).logpdf(value))
    found = restricted_likelihood(covariance, outputs, grid)
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-9)


def test_penalties_of_components_rise_as_their_variance_falls() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 1)) + 0.2 * rng.normal(size=(50, 4))
    for power in (0.0, 0.5, 1.0):
        outputs = Outputs.fit(y, power)
        variance = outputs.values.var(axis=0)
        np.testing.assert_allclose(outputs.strain, (variance.max() / variance) ** power)
        np.testing.assert_allclose(outputs.back(outputs.values), y, atol=1e-12)
        np.testing.assert_allclose(np.cov(outputs.values.T, ddof=0), np.diag(variance), atol=1e-12)


def test_choices_are_those_of_the_least_error_on_inner_folds() -> None:
    fold = make_fold()
    params = KernelRidgeParams(
        gammas=[0.02, 5.0], lambdas=[0.01, 0.3, 30.0], effects=[0.0], output_power=0.5
    )
    [chosen] = predict_kernel_ridge([fold], params)
    errors = {}
    for gamma in params.gammas:
        for penalty in params.lambdas:
            one = params.model_copy(update={"gammas": [gamma], "lambdas": [penalty]})
            total = 0.0
            for fit, held in fold.inner:
                # Scale and components are those of the fold's training side, as ridge's scale is.
                k = np.exp(-gamma * squared_distances(fold, one.clip))
                out = Outputs.fit(fold.y, 0.5)
                for j in range(out.values.shape[1]):
                    q = out.values[:, j]
                    inside = k[np.ix_(fit, fit)] + penalty * out.strain[j] * np.eye(len(fit))
                    mean = q[fit].mean()
                    p = k[np.ix_(held, fit)] @ np.linalg.solve(inside, q[fit] - mean) + mean
                    total += float(((q[held] - p) ** 2).sum())
            errors[gamma, penalty] = total
    best = min(errors, key=lambda key: errors[key])
    assert (chosen.selection["gamma"], chosen.selection["lambda"]) == ([best[0]], [best[1]])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_test_clips_change_nothing_but_their_own_predictions(seed: int) -> None:
    fold = grouped(make_fold(seed=seed))
    [found] = predict_kernel_ridge([fold], KernelRidgeParams())
    x = fold.x.copy()
    x[fold.test[1:]] += np.random.default_rng(seed).normal(size=x[fold.test[1:]].shape)
    [other] = predict_kernel_ridge([replace(fold, x=x.astype(np.float32))], KernelRidgeParams())
    assert other.selection == found.selection
    np.testing.assert_allclose(other.values[0], found.values[0], rtol=1e-9)
    [again] = predict_kernel_ridge([fold], KernelRidgeParams())
    assert again.values.tobytes() == found.values.tobytes()


def test_values_far_out_are_cut_off() -> None:
    fold = make_fold()
    x = fold.x.copy()
    x[fold.test[0]] = 1e6
    apart = squared_distances(replace(fold, x=x), 3.0)
    assert np.isfinite(apart).all()
    assert apart.max() <= 36


@pytest.mark.parametrize("broken", ["constant labels", "one constant", "missing", "twins"])
def test_odd_but_good_input(broken: str) -> None:
    fold = grouped(make_fold())
    x, y = fold.x.copy(), fold.y.copy()
    if broken == "constant labels":
        y[:] = 0.4
    elif broken == "one constant":
        y[:, 0] = 0.4
    elif broken == "missing":
        x[::3, 0], x[:, 1] = np.nan, np.nan
    else:
        x[fold.train[1]] = x[fold.train[0]]
    [found] = predict_kernel_ridge([replace(fold, x=x, y=y)], KernelRidgeParams())
    assert np.isfinite(found.values).all()
    if "constant" in broken:
        np.testing.assert_allclose(found.values[:, 0], 0.4)


def test_one_group_alone_has_no_effect() -> None:
    fold = make_fold()
    [found] = predict_kernel_ridge(
        [replace(fold, groups=np.zeros(fold.n_train, np.int64))], KernelRidgeParams()
    )
    assert found.selection["effect"] == [0.0]


def test_what_it_refuses() -> None:
    fold = make_fold()
    with pytest.raises(ConfigError, match="inner folds"):
        predict_kernel_ridge([replace(fold, inner=[])], KernelRidgeParams())
    with pytest.raises(ConfigError, match="none"):
        predict_kernel_ridge([replace(fold, x=fold.x[:, :0])], KernelRidgeParams())
