"""Correlations, intervals and variance components against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway, spearmanr

from pianoeval.transfer.shift import (
    multivariate_energy,
    outside_share,
    two_sample_auc,
)
from pianoeval.transfer.statistics import (
    interval,
    partial_spearman,
    resamples,
    spearman,
    variance_parts,
)

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(4, 40), st.integers(1, 4))
def test_spearman_is_scipys_with_ties(seed: int, n: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, (n, columns)).astype(float), rng.integers(0, 4, n).astype(float)
    found = spearman(x, y)
    for i in range(columns):
        if np.ptp(x[:, i]) and np.ptp(y):
            assert found[i] == pytest.approx(spearmanr(x[:, i], y).statistic, abs=1e-9)
        else:
            assert np.isnan(found[i])


@example(seed=40605, n=8)
@given(seeds, st.integers(8, 60))
def test_partial_of_one_control_is_the_textbook_formula(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    x, y = rng.normal(size=n) + z, rng.normal(size=n) - z
    xy, xz, yz = (spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    found = partial_spearman(x[:, None], y, z[:, None])[0]
    if max(abs(xz), abs(yz)) > 1 - 1e-9:  # few values may be in one order: nothing is left of one
        assert np.isnan(found)
        return
    wanted = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert found == pytest.approx(wanted, abs=1e-7)


@example(seed=40605, n=8)
@given(seeds, st.integers(8, 60))
def test_partial_is_symmetric_and_bounded(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    x, y = rng.normal(size=n) + z, rng.normal(size=n) - z
    found = partial_spearman(x[:, None], y, z[:, None])[0]
    other = partial_spearman(y[:, None], x, z[:, None])[0]
    assert found == pytest.approx(other, abs=1e-9, nan_ok=True)
    assert np.isnan(found) or abs(found) <= 1 + 1e-9


def test_partial_of_two_controls_is_the_recursion() -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    x, y, z, w = data.T

    def one(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float(partial_spearman(a[:, None], b, c[:, None])[0])

    top = one(x, y, z) - one(x, w, z) * one(y, w, z)
    wanted = top / np.sqrt((1 - one(x, w, z) ** 2) * (1 - one(y, w, z) ** 2))
    found = partial_spearman(x[:, None], y, np.column_stack([z, w]))[0]
    assert found == pytest.approx(wanted, abs=1e-9)


def test_what_the_controls_explain_is_no_correlation() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=30), rng.normal(size=30)
    assert np.isnan(partial_spearman(np.exp(z)[:, None], y, z[:, None])[0])
    np.testing.assert_array_equal(
        partial_spearman(z[:, None], y, np.empty((30, 0))), spearman(z[:, None], y)
    )


def test_the_interval_is_a_literal_bootstrap_of_whole_groups() -> None:
    rng = np.random.default_rng(1)
    groups = [f"g{i}" for i in rng.integers(0, 7, 30)]
    values = rng.normal(size=(30, 2))
    low, high = interval(lambda rows: values[rows].mean(axis=0), groups, 200, 0.9, 3)
    names, twin = sorted(set(groups)), np.random.default_rng(3)
    means = []
    for _ in range(200):
        drawn = [names[i] for i in twin.integers(len(names), size=len(names))]
        rows = [row for name in drawn for row in range(30) if groups[row] == name]
        means.append(np.mean([values[row] for row in rows], axis=0))
    np.testing.assert_allclose([low, high], np.quantile(means, [0.05, 0.95], axis=0), atol=1e-12)


def test_copies_within_a_group_do_not_narrow_an_interval() -> None:
    rng = np.random.default_rng(2)
    values, groups = rng.normal(size=12), [f"g{i}" for i in range(12)]
    once = interval(lambda r: np.array([values[r].mean()]), groups, 300, 0.95, 0)
    many, names = np.repeat(values, 9), list(np.repeat(groups, 9))
    copied = interval(lambda r: np.array([many[r].mean()]), names, 300, 0.95, 0)
    np.testing.assert_allclose(once, copied, atol=1e-12)


def test_one_group_has_no_interval() -> None:
    low, high = interval(lambda rows: np.ones(3), ["a"] * 4, 100, 0.95, 0)
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    assert {len(rows) for rows in resamples(["a", "a", "b"], 50, 0)} <= {2, 3, 4}


@given(seeds, st.integers(2, 6), st.integers(2, 5))
def test_variance_parts_agree_with_f(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(k, n)) + 2 * rng.normal(size=(k, 1))
    groups = [f"g{i}" for i in range(k) for _ in range(n)]
    within, between = variance_parts(values.reshape(-1, 1), groups)
    assert within[0] == pytest.approx(values.var(axis=1, ddof=1).mean())
    f = f_oneway(*values).statistic
    assert between[0] == pytest.approx(max(0.0, within[0] * (f - 1) / n), rel=1e-6, abs=1e-12)


def test_variance_parts_find_what_was_put_in_with_unequal_groups() -> None:
    rng = np.random.default_rng(8)
    sizes = rng.integers(2, 6, 4000)
    groups = np.repeat(np.arange(4000), sizes)
    values = 0.5 * rng.normal(size=4000)[groups] + 0.2 * rng.normal(size=len(groups))
    within, between = variance_parts(values[:, None], [str(g) for g in groups])
    assert np.sqrt(within[0]) == pytest.approx(0.2, rel=0.02)
    assert np.sqrt(between[0]) == pytest.approx(0.5, rel=0.03)
    alone, _ = variance_parts(values[:5, None], ["a", "b", "c", "d", "e"])
    assert np.isnan(alone[0]), "nobody plays twice"


@settings(max_examples=25)
@given(seeds, st.integers(2, 9), st.integers(2, 9))
def test_energy_is_the_double_loop(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + 1

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm(p - q) for p in a for q in b]))

    wanted = (2 * mean(x, y) - mean(x, x) - mean(y, y)) / (2 * mean(x, y))
    assert multivariate_energy(x, y) == pytest.approx(wanted, abs=1e-9)
    assert multivariate_energy(x, x) == pytest.approx(0.0, abs=1e-12)


def test_two_samples_are_told_apart_only_where_they_differ() -> None:
    rng = np.random.default_rng(4)
    groups = [f"s{i % 20}" for i in range(200)] + [f"t{i % 20}" for i in range(200)]
    same = two_sample_auc(rng.normal(size=(200, 8)), rng.normal(size=(200, 8)), groups, 0)
    apart = two_sample_auc(rng.normal(size=(200, 8)), 3 + rng.normal(size=(200, 8)), groups, 0)
    assert 0.4 < same < 0.6
    assert apart > 0.99
    # What marks a group and not the corpus is no help: groups are held out whole.
    marks = rng.normal(size=(40, 8)) * 5
    of = np.array([i % 20 for i in range(200)])
    x = marks[of] + 0.01 * rng.normal(size=(200, 8))
    y = marks[20 + of] + 0.01 * rng.normal(size=(200, 8))
    assert two_sample_auc(x, y, groups, 0) < 0.85
    assert np.isnan(two_sample_auc(x, y, ["a"] * 200 + ["b"] * 200, 0))


def test_values_outside_the_range_are_counted_and_absent_ones_are_not() -> None:
    known = np.array([[0, 1, np.nan], [2, 3, np.nan]], np.float32)
    new = np.array([[1, 4, 7], [-1, np.nan, 7]], np.float32)
    assert outside_share(known, new) == pytest.approx(2 / 3)
