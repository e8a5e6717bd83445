"""Tests of tests: against scipy, enumeration, printed values, and simulation under the null."""

from __future__ import annotations

import itertools
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import r2_score

from pianoeval.evaluate.statistics.significance import (
    benjamini_hochberg,
    cohen_d,
    cohen_q,
    paired_t,
    paired_wilcoxon,
    sign_flip,
    smallest_p,
    williams,
)

# r_ya, r_yb, r_ab, n, t, p (None = not printed), decimals of t; each as printed by the source.
WILLIAMS = [
    # Silver, Hittner & May 2006, depcor (Appl. Psychol. Meas. 30, 152), as quoted with t and p in
    # the tests of the R package cocor (tests/testthat/tests.r, "Test williams1959").
    (0.3, 0.4, 0.5, 100, -1.0767, 0.2843, 4),
    # R package psych, r.test, printed in J. Vanhove's post "Assessing differences of significance"
    # (janhove/janhove.github.io, _posts/2014-10-28-…). Its p is left out: psych took n - 2 degrees
    # of freedom until 30 November 2014.
    (0.5, 0.1, 0.7, 30, 3.38, None, 2),
    (0.5, 0.1, 0.1, 30, 1.76, None, 2),
    (0.5, 0.1, 0.8, 30, 4.64, None, 2),
    # R package bruceR, reference page of cor_diff: t(97) = -4.56, p = 1e-05.
    (0.2, 0.45, 0.8, 100, -4.56, 1e-05, 2),
]


@given(arrays(np.float64, (7, 3), elements=st.floats(-10, 10, width=32)))
def test_the_t_test_is_that_of_scipy(x: np.ndarray) -> None:
    x = x + np.arange(7)[:, None] * 1e-3  # never constant
    t, p = paired_t(x)
    expected = stats.ttest_1samp(x, 0.0, axis=0)
    np.testing.assert_allclose(t, expected.statistic, rtol=1e-6)
    np.testing.assert_allclose(p, expected.pvalue, rtol=1e-6)
    np.testing.assert_allclose(t, cohen_d(x) * np.sqrt(7))
    assert float(paired_t(x[:, 0])[0]) == pytest.approx(t[0])


def test_the_published_t_follows_from_the_published_d() -> None:
    """Paired t = -10.71 and d = .31 on the 1,202 clips of PercePiano (2026): t = d √n."""
    assert 0.305 * math.sqrt(1202) < 10.71 < 0.315 * math.sqrt(1202)
    x = np.random.default_rng(0).normal(size=1202)
    x = 0.31 + (x - x.mean()) / x.std(ddof=1)
    assert float(cohen_d(x)) == pytest.approx(0.31)
    assert float(paired_t(x)[0]) == pytest.approx(10.71, abs=0.05)


def test_no_differences_are_no_effect_and_too_few_are_none() -> None:
    t, p = paired_t(np.zeros((5, 2)))
    assert t.tolist() == [0, 0]
    assert p.tolist() == [1, 1]
    assert cohen_d(np.zeros(5)) == 0
    assert paired_wilcoxon(np.zeros(5)) == 1
    assert np.isnan(paired_t(np.ones((1, 2)))).all()
    assert np.isnan(cohen_d(np.ones(1)))
    assert np.isnan(paired_wilcoxon(np.zeros((0, 2)))).all()


def test_wilcoxon_is_exact_on_few_differences() -> None:
    x = np.random.default_rng(1).normal(0.4, 1.0, size=9)
    ranks = stats.rankdata(np.abs(x))
    centre = ranks.sum() / 2
    sums = [ranks[list(s)].sum() for r in range(10) for s in itertools.combinations(range(9), r)]
    far = np.abs(np.array(sums) - centre) >= abs(ranks[x > 0].sum() - centre) - 1e-9
    assert float(paired_wilcoxon(x)) == pytest.approx(far.mean())


def test_wilcoxon_of_a_column_does_not_depend_on_the_others() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(20, 4))
    x[0, 1] = 0.0  # a zero
    x[3, 2] = -x[4, 2]  # a tie
    x[:, 3] = 0.0
    together = paired_wilcoxon(x)
    for column in range(3):
        assert together[column] == pytest.approx(stats.wilcoxon(x[:, column]).pvalue)
    assert together[3] == 1
    large = random.normal(0.1, 1.0, size=(300, 2))
    expected = [stats.wilcoxon(column).pvalue for column in large.T]
    np.testing.assert_allclose(paired_wilcoxon(large), expected)


def test_cohen_q_is_the_difference_of_fishers_z() -> None:
    # Fisher's table: z(.50) = .549, z(.30) = .310.
    assert float(cohen_q(0.5, 0.3)) == pytest.approx(0.549 - 0.310, abs=1e-3)
    np.testing.assert_allclose(cohen_q(np.array([0.2, -0.4]), np.array([0.2, 0.4]))[0], 0.0)
    assert cohen_q(1.0, 0.3) == np.inf


@pytest.mark.parametrize(("r_ya", "r_yb", "r_ab", "n", "t", "p", "decimals"), WILLIAMS)
def test_williams_gives_the_printed_values(
    r_ya: float, r_yb: float, r_ab: float, n: int, t: float, p: float | None, decimals: int
) -> None:
    found_t, found_p = williams(r_ya, r_yb, r_ab, n)
    assert round(float(found_t), decimals) == t
    if p is not None:
        as_printed = ".4f" if p > 1e-3 else ".0e"
        assert format(float(found_p), as_printed) == format(p, as_printed)


def test_williams_gives_the_printed_value_on_correlations_rounded_in_print() -> None:
    # R package rmcorr, vignette on comparing correlations, printed by cocor: n = 177, df = 174.
    assert float(williams(0.8066, 0.2383, 0.2255, 177)[0]) == pytest.approx(9.3823, abs=2e-3)


_R = st.floats(-0.95, 0.95)


@given(_R, _R, _R, st.integers(4, 2000))
def test_williams_is_antisymmetric(r_ya: float, r_yb: float, r_ab: float, n: int) -> None:
    if 1 - r_ya**2 - r_yb**2 - r_ab**2 + 2 * r_ya * r_yb * r_ab <= 1e-9:
        return  # no such correlations
    t, p = williams(r_ya, r_yb, r_ab, n)
    other, same = williams(r_yb, r_ya, r_ab, n)
    assert float(t) == pytest.approx(-float(other))
    assert float(p) == pytest.approx(float(same))
    assert 0 <= p <= 1
    assert np.sign(t) == np.sign(r_ya - r_yb)


def test_williams_is_calibrated_under_the_null() -> None:
    random = np.random.default_rng(3)
    n, runs = 60, 4000
    shared = np.linalg.cholesky(np.array([[1, 0.5, 0.5], [0.5, 1, 0.6], [0.5, 0.6, 1]]))
    x = random.normal(size=(runs, n, 3)) @ shared.T
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    r = np.einsum("rni,rnj->rij", x, x) / n
    _, p = williams(r[:, 0, 1], r[:, 0, 2], r[:, 1, 2], n)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    # Taking the correlations as independent would have been far too timid here.
    naive = np.abs(cohen_q(r[:, 0, 1], r[:, 0, 2])) / math.sqrt(2 / (n - 3))
    assert (naive > 1.96).mean() < 0.02 < 0.04 < (p < 0.05).mean() < 0.06


def test_williams_of_the_same_predictions_and_of_too_few() -> None:
    t, p = williams(np.array([0.5, 1.0]), np.array([0.5, 1.0]), 1.0, 30)
    assert t.tolist() == [0, 0]
    assert p.tolist() == [1, 1]
    assert np.isnan(williams(0.5, 0.1, 0.3, 3)).all()


@given(arrays(np.float64, (6,), elements=st.floats(-5, 5, width=16)))
@settings(max_examples=50)
def test_sign_flip_enumerates_all_patterns(x: np.ndarray) -> None:
    sums = [abs(np.dot(signs, x)) for signs in itertools.product((-1, 1), repeat=6)]
    expected = np.mean(np.array(sums) >= abs(x.sum()) - 1e-9)
    assert float(sign_flip(x, 64, 0)) == pytest.approx(expected)
    assert float(sign_flip(-x, 64, 1)) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1.0, 1 / 3, 1e-4 / 7, 1.1])
@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_sums_that_are_equal_on_paper_count_as_equal(scale: float, order: tuple[int, ...]) -> None:
    """.7 = .1 + .2 - .3 + .7 = -.1 - .2 + .3 + .7: ten of sixteen patterns are as far from 0."""
    x = np.array([0.1, 0.2, -0.3, 0.7])[list(order)] * scale
    assert sign_flip(x, 16, 0) == 10 / 16


def test_sign_flip_is_scipys_permutation_test_of_samples() -> None:
    x = np.random.default_rng(4).normal(0.5, 1.0, size=(9, 3))
    expected = stats.permutation_test(
        (x,), lambda d, axis: d.sum(axis=axis), permutation_type="samples", axis=0,
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    np.testing.assert_allclose(sign_flip(x, 1000, 0), expected.pvalue)


def test_random_draws_approach_the_enumeration() -> None:
    x = np.random.default_rng(5).normal(0.4, 1.0, size=(12, 4))
    exact, drawn = sign_flip(x, 5000, 0), sign_flip(x, 4000, 0)
    assert (np.abs(exact - drawn) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-3).all()
    np.testing.assert_allclose(drawn * 4001, np.round(drawn * 4001))
    assert sign_flip(np.ones(40), 999, 0) == 1 / 1000  # never 0
    assert sign_flip(x[:, 1], 4000, 0) == drawn[1]  # columns do not see one another
    assert sign_flip(x, 4000, 1).tolist() != drawn.tolist()


def test_sign_flip_without_and_with_undefined_contributions() -> None:
    x = np.array([[0.0, 1.0, np.nan], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]])
    p = sign_flip(x, 100, 0)
    assert p[:2].tolist() == [1.0, 0.5]
    assert np.isnan(p[2])


def test_the_p_of_a_column_does_not_depend_on_the_others() -> None:
    """Few groups are enumerated though another column has many; groups of zeros change nothing."""
    random = np.random.default_rng(8)
    x = random.normal(0.3, 1.0, size=(30, 4))
    x[5:, 1] = 0.0  # 32 patterns
    x[:7, 2] = 0.0
    x[:5, 3], x[10:, 3] = 0.0, 0.0
    together = sign_flip(x, 2000, 0)
    assert together.tolist() == [float(sign_flip(column, 2000, 0)) for column in x.T]
    assert together[1] == sign_flip(x[:5, 1], 2000, 0) >= smallest_p(5, 2000)
    assert together[3] * 32 == round(together[3] * 32)


@pytest.mark.parametrize("n_clusters", [1, 2, 4, 5, 6, 9, 12])
def test_the_smallest_p_is_reached_and_never_undercut(n_clusters: int) -> None:
    assert sign_flip(np.ones(n_clusters), 4096, 0) == smallest_p(n_clusters, 4096)
    random = np.random.default_rng(n_clusters).normal(3.0, 1.0, size=(n_clusters, 50))
    assert sign_flip(random, 4096, 0).min() >= smallest_p(n_clusters, 4096)


def test_four_movements_cannot_show_anything() -> None:
    assert smallest_p(4, 10_000) == 0.125
    assert smallest_p(5, 10_000) > 0.05 > smallest_p(6, 10_000)
    assert smallest_p(45, 10_000) == 1 / 10_001
    assert smallest_p(0, 10_000) == 1.0


def test_swapping_models_within_clusters_is_flipping_signs() -> None:
    """Every exchange of two models in whole clusters, the metric computed anew each time."""
    random = np.random.default_rng(6)
    y = random.normal(size=(30, 2))
    a, b = (y + random.normal(0, scale, y.shape) for scale in (0.8, 1.2))
    cluster = np.repeat(np.arange(6), 5)
    variation = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    gains = (((y - b) ** 2 - (y - a) ** 2) / variation).mean(axis=1)
    observed = abs(r2_score(y, a) - r2_score(y, b))
    reached = 0
    for swapped in product([False, True], repeat=6):
        rows = np.array(swapped)[cluster][:, None]
        one, other = np.where(rows, b, a), np.where(rows, a, b)
        reached += abs(r2_score(y, one) - r2_score(y, other)) >= observed - 1e-9
    p = sign_flip(np.bincount(cluster, gains), 64, 0)
    assert float(p) == pytest.approx(reached / 64)


def test_clusters_are_what_keeps_the_level() -> None:
    """Clips of a group share their notes: taken as independent, they show what is not there."""
    random = np.random.default_rng(7)
    groups, clips, runs = 20, 15, 1000
    shared = random.normal(size=(groups, 1, runs))
    x = shared + random.normal(size=(groups, clips, runs))
    _, naive = paired_t(x.reshape(-1, runs))
    by_group = x.sum(axis=1)
    assert (naive < 0.05).mean() > 0.4
    assert 0.03 < (sign_flip(by_group, 1000, 0) < 0.05).mean() < 0.07
    assert 0.03 < (paired_t(by_group)[1] < 0.05).mean() < 0.07
    assert (paired_wilcoxon(by_group) < 0.05).mean() < 0.07


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_benjamini_hochberg_is_that_of_scipy(p: np.ndarray) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_what_was_not_tested_is_not_counted() -> None:
    q = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert q[[0, 2]].tolist() == [0.02, 0.04]
    assert np.isnan(q[1])
    assert len(benjamini_hochberg(np.zeros(0))) == 0


def test_no_clusters_show_nothing() -> None:
    assert sign_flip(np.zeros((0, 2)), 100, 0).tolist() == [1, 1]
