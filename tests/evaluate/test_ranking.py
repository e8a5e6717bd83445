from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import ndcg_score

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.statistics import orders
from pianoeval.evaluate.statistics.pairs import Design, make_design
from pianoeval.evaluate.statistics.ranking import (
    Ranking,
    jackknife_interval,
    ndcg,
    ndcg_sums,
    rank_statistics,
)


def scipy_value(name: str, y: np.ndarray, p: np.ndarray) -> float:
    rated = np.isfinite(y)
    y, p = y[rated], p[rated]
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(p) == 0:
        return float("nan")
    function = stats.spearmanr if name == "spearman" else stats.kendalltau
    return float(function(y, p).statistic)


def check(y: np.ndarray, p: np.ndarray, cluster: np.ndarray, n_clusters: int) -> None:
    found = rank_statistics(y, p, cluster, n_clusters)
    assert list(found) == ["spearman", "kendall"]
    for name, (value, without) in found.items():
        assert without.shape == (n_clusters, y.shape[1])
        for d in range(y.shape[1]):
            expected = [scipy_value(name, y[:, d], p[:, d])]
            for c in range(n_clusters):
                left = cluster != c
                expected.append(scipy_value(name, y[left, d], p[left, d]))
            actual = [value[d], *without[:, d]]
            np.testing.assert_allclose(actual, expected, atol=1e-12, err_msg=name)


@pytest.fixture
def tied() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ties on both sides, gaps, clusters of very different size in no order."""
    random = np.random.default_rng(5)
    y = np.round(random.normal(size=(150, 3)), 1)
    p = np.round(0.6 * y + random.normal(size=y.shape), 1)
    y[random.random(y.shape) < 0.15] = np.nan
    return y, p, random.choice(7, 150, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.04, 0.01])


def test_values_and_leave_one_out_equal_scipy_on_the_remaining_clips(tied: tuple) -> None:
    check(*tied, 7)


def test_clusters_in_several_blocks_give_the_same(
    tied: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, p, cluster = tied
    whole = rank_statistics(y, p, cluster, 7)
    monkeypatch.setattr(orders, "BLOCK_NUMBERS", 2 * len(y))
    monkeypatch.setattr("pianoeval.evaluate.statistics.ranking.KEPT_NUMBERS", 0)
    parts = rank_statistics(y, p, cluster, 7)
    for name in whole:
        for one, other in zip(whole[name], parts[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-13)


@given(
    arrays(np.int8, (12, 2), elements=st.integers(0, 4)),
    arrays(np.int8, (12, 2), elements=st.integers(0, 4)),
    arrays(np.int64, 12, elements=st.integers(0, 3)),
)
def test_any_ties_and_clusters(y: np.ndarray, p: np.ndarray, cluster: np.ndarray) -> None:
    check(np.where(y == 4, np.nan, y), p.astype(float), cluster, 4)


def test_one_ranking_serves_several_models(tied: tuple) -> None:
    y, p, cluster = tied
    shared = Ranking(y, cluster, 7)
    for other in (p, -p, np.round(p)):
        expected = rank_statistics(y, other, cluster, 7)
        for name, (value, without) in shared.statistics(other).items():
            np.testing.assert_array_equal(value, expected[name][0])
            np.testing.assert_array_equal(without, expected[name][1])


def test_a_cluster_without_rated_clips_leaves_the_value_as_it_is(tied: tuple) -> None:
    y, p, cluster = tied
    for value, without in rank_statistics(y, p, cluster, 8).values():
        np.testing.assert_array_equal(without[7], value)


def test_a_rated_clip_without_prediction_is_refused(tied: tuple) -> None:
    y, p, cluster = tied
    rated, gap = np.flatnonzero(np.isfinite(y[:, 0]))[3], np.flatnonzero(np.isnan(y[:, 0]))[0]
    p[gap, 0] = np.nan
    rank_statistics(y, p, cluster, 7)
    p[rated, 0] = np.nan
    with pytest.raises(CorruptDataError, match="rated clip has no prediction"):
        rank_statistics(y, p, cluster, 7)


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    """Leaving one out of a mean gives back the textbook standard error."""
    x = np.random.default_rng(1).normal(3.0, 2.0, 12)
    without = (x.sum() - x) / 11
    low, high = jackknife_interval(np.array([x.mean()]), without[:, None], 0.9, "none")
    expected = stats.t.interval(0.9, 11, x.mean(), stats.sem(x))
    np.testing.assert_allclose([low[0], high[0]], expected)


def test_jackknife_of_a_correlation_is_taken_on_fishers_scale() -> None:
    without = np.array([[0.5], [0.62], [0.58], [0.71]])
    z = np.arctanh(without[:, 0])
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 / 4 * ((z - z.mean()) ** 2).sum())
    low, high = jackknife_interval(np.array([0.6]), without, 0.95, "fisher")
    assert low[0] == pytest.approx(np.tanh(np.arctanh(0.6) - half))
    assert high[0] == pytest.approx(np.tanh(np.arctanh(0.6) + half))
    low, high = jackknife_interval(np.array([0.6]), without, 0.95, "logit")
    assert 0 < low[0] < 0.6 < high[0] < 1


@pytest.mark.parametrize(
    ("value", "without"),
    [
        (1.0, [0.9, 0.8]),
        (0.9, [1.0, 0.8]),
        (0.9, [np.nan, 0.8]),
        (0.9, [0.9]),
        (np.nan, [0.9, 0.8]),
    ],
)
def test_no_interval_where_the_scale_or_the_clusters_allow_none(
    value: float, without: list[float]
) -> None:
    limits = jackknife_interval(np.array([value]), np.array(without)[:, None], 0.95, "fisher")
    assert np.isnan(limits).all()


def test_clusters_without_ratings_do_not_narrow_the_jackknife() -> None:
    """Three clusters hold ratings of the first column, all eight of the second."""
    random = np.random.default_rng(3)
    without = 0.4 + 0.1 * random.normal(size=(8, 2))
    counted = np.ones((8, 2), bool)
    counted[3:, 0] = False
    without[3:, 0] = 0.4
    value = np.array([0.4, 0.4])
    low, high = jackknife_interval(value, without, 0.95, "fisher", counted)
    three = jackknife_interval(value[:1], without[:3, :1], 0.95, "fisher")
    eight = jackknife_interval(value, without, 0.95, "fisher")
    assert (low[0], high[0]) == pytest.approx((three[0][0], three[1][0]))
    assert (low[1], high[1]) == pytest.approx((eight[0][1], eight[1][1]))
    assert high[0] - low[0] > 1.2 * (eight[1][0] - eight[0][0])
    counted[1:, 0] = False
    assert np.isnan(jackknife_interval(value, without, 0.95, "none", counted)[0][0])


def test_jackknife_covers_the_truth_and_clips_as_independent_would_not() -> None:
    """30 clusters that share part of their values; true correlation .5 between the clips' ranks."""
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(30), 8)
    truth = 6 / np.pi * np.arcsin(0.25)  # Spearman's for a Pearson correlation of .5
    runs, covered, naive = 300, 0, 0
    for _ in range(runs):
        shared = random.normal(size=(2, 30))[:, cluster] * np.sqrt(0.6)
        own = random.normal(size=(2, 240)) * np.sqrt(0.4)
        y, noise = shared + own
        p = 0.5 * y + np.sqrt(0.75) * noise
        value, without = rank_statistics(y[:, None], p[:, None], cluster, 30)["spearman"]
        low, high = jackknife_interval(value, without, 0.95, "fisher")
        covered += int(low[0] <= truth <= high[0])
        half = 1.96 / np.sqrt(237)
        naive += int(abs(np.arctanh(value[0]) - np.arctanh(truth)) <= half)
    assert 0.90 <= covered / runs <= 0.98
    assert naive / runs < 0.85


@pytest.fixture
def lists() -> tuple[pd.DataFrame, Design, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    manifest = cases.manifest(n_movements=2, n_segments=4, n_players=7)
    fold = pd.Series(random.integers(0, 3, len(manifest)), index=manifest["clip"].to_numpy())
    design = make_design(manifest, fold)
    y = np.round(random.uniform(0.2, 0.8, (len(manifest), 2)) * 10) / 10
    p = np.round(0.5 * y + random.normal(0.3, 0.1, y.shape), 1)
    y[random.random(y.shape) < 0.1] = np.nan
    y[design.segment == 2, 0] = 0.4
    return manifest.set_index("clip").loc[list(design.clips)], design, y, p


def test_ndcg_equals_scikit_learn_list_by_list(lists: tuple) -> None:
    table, design, y, p = lists
    sums = ndcg_sums(design, y, p)
    assert sums["ndcg"].shape == (design.n_clusters, 2)
    for d in range(2):
        values = np.zeros(design.n_clusters)
        counts = np.zeros(design.n_clusters)
        for segment in set(table["segment"]):
            for fold in range(3):
                rows = (table["segment"] == segment).to_numpy() & (design.fold == fold)
                rows &= np.isfinite(y[:, d])
                if rows.sum() < 2 or np.ptp(y[rows, d]) == 0:
                    continue
                gain = y[rows, d] - y[rows, d].min()
                values[design.cluster[rows][0]] += ndcg_score([gain], [p[rows, d]])
                counts[design.cluster[rows][0]] += 1
        assert counts.sum() > 10
        np.testing.assert_allclose(sums["ndcg"][:, d], values, atol=1e-12)
        np.testing.assert_array_equal(sums["ndcg_lists"][:, d], counts)
        total = {name: part.sum(axis=0) for name, part in sums.items()}
        assert ndcg(total)[d] == pytest.approx(values.sum() / counts.sum())


def test_ndcg_ignores_shifts_and_knows_the_best_order(lists: tuple) -> None:
    _, design, y, p = lists
    sums, moved = ndcg_sums(design, y, p), ndcg_sums(design, y + 3.0, 2.0 * p - 7.0)
    np.testing.assert_allclose(sums["ndcg"], moved["ndcg"], atol=1e-9)
    best = ndcg_sums(design, y, np.where(np.isfinite(y), y, 0.0))
    np.testing.assert_allclose(best["ndcg"], best["ndcg_lists"], atol=1e-12)
    flat = ndcg_sums(design, y, np.zeros_like(y))
    assert (flat["ndcg"] <= best["ndcg"]).all()
    assert flat["ndcg"].sum() < 0.95 * best["ndcg"].sum()


def test_without_any_list_ndcg_is_undefined() -> None:
    manifest = cases.manifest(n_movements=1, n_segments=2, n_players=1)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"].to_numpy()))
    sums = ndcg_sums(design, np.array([[0.1], [0.2]]), np.array([[0.1], [0.2]]))
    assert sums["ndcg_lists"].sum() == 0
    assert np.isnan(ndcg({name: part.sum(axis=0) for name, part in sums.items()})).all()
