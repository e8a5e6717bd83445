from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pianoeval.evaluate.bootstrap import bca_interval, draw_counts, resample
from pianoeval.evaluate.metrics import sum_metrics
from pianoeval.evaluate.pairs import cluster_sums, make_design


def test_bca_equals_scipy_on_scipys_own_draws() -> None:
    random = np.random.default_rng(0)
    sample = random.gamma(2.0, size=25)
    expected = stats.bootstrap(
        (sample,), np.var, n_resamples=999, method="BCa", random_state=1, vectorized=True
    )
    draws = np.asarray(expected.bootstrap_distribution)[None, :]
    jackknife = np.array([[np.delete(sample, i).var() for i in range(25)]])
    low, high = bca_interval(np.array([sample.var()]), draws, jackknife)
    interval = expected.confidence_interval
    assert low[0] == pytest.approx(interval.low, rel=1e-9)
    assert high[0] == pytest.approx(interval.high, rel=1e-9)


@pytest.fixture(scope="module")
def case() -> tuple:
    manifest = cases.manifest(n_movements=3, n_segments=8, n_players=5)
    random = np.random.default_rng(2)
    fold = pd.Series(random.integers(0, 3, len(manifest)), index=manifest["clip"].to_numpy())
    design = make_design(manifest, fold)
    y = random.normal(0.5, 0.1, (len(manifest), 3))
    p = 0.5 * y + random.normal(0.25, 0.05, y.shape)
    metrics = sum_metrics((0.0, 0.05))
    averaged = {name: np.ones(3, bool) for name in metrics}
    counts = draw_counts(design.n_clusters, 300, 1)
    drawn = resample(cluster_sums(design, y, p, (0.0, 0.05)), metrics, counts, averaged)
    return design, y, p, counts, drawn


def test_draws_equal_metrics_of_literally_resampled_clips(case: tuple) -> None:
    """A drawn cluster brings its clips as often as it was drawn."""
    design, y, p, counts, drawn = case
    for draw in (0, 17, 299):
        rows = np.concatenate(
            [
                np.tile(np.flatnonzero(design.cluster == c), int(k))
                for c, k in enumerate(counts[draw])
            ]
        )
        a, b = y[rows, 1], p[rows, 1]
        r2 = 1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum()
        assert drawn["r2_pooled"].draws[1, draw] == pytest.approx(r2)
        assert drawn["pearson"].draws[1, draw] == pytest.approx(np.corrcoef(a, b)[0, 1])
        rs = []
        for k in range(3):
            f = design.fold[rows] == k
            rs.append(1 - ((a - b)[f] ** 2).sum() / ((a[f] - a[f].mean()) ** 2).sum())
        assert drawn["r2_fold_mean"].draws[1, draw] == pytest.approx(np.mean(rs))
        joint = [drawn["mse"].draws[d, draw] for d in range(3)]
        assert drawn["mse"].draws[3, draw] == pytest.approx(np.mean(joint))
        first, second = design.pairs.T
        weight = counts[draw][design.cluster[first]]
        right = np.sign(y[first, 1] - y[second, 1]) == np.sign(p[first, 1] - p[second, 1])
        assert drawn["pairwise_0"].draws[1, draw] == pytest.approx(
            np.average(right, weights=weight)
        )


def test_jackknife_leaves_out_one_cluster(case: tuple) -> None:
    design, y, p, _, drawn = case
    keep = design.cluster != 4
    a, b = y[keep, 0], p[keep, 0]
    r2 = 1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum()
    assert drawn["r2_pooled"].jackknife[0, 4] == pytest.approx(r2)


def test_interval_against_scipys_cluster_bootstrap(case: tuple) -> None:
    """Same method, other draws: equal up to Monte Carlo error."""
    design, y, p, _, _ = case
    members = [np.flatnonzero(design.cluster == c) for c in range(design.n_clusters)]

    def r2(clusters: np.ndarray) -> float:
        rows = np.concatenate([members[c] for c in clusters])
        a, b = y[rows, 0], p[rows, 0]
        return float(1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum())

    theirs = stats.bootstrap(
        (np.arange(design.n_clusters),), r2, n_resamples=2000, method="BCa", vectorized=False,
        random_state=0,
    ).confidence_interval  # fmt: skip
    metrics = {"r2_pooled": sum_metrics(())["r2_pooled"]}
    drawn = resample(
        cluster_sums(design, y, p, ()), metrics, draw_counts(design.n_clusters, 10_000, 0),
        {"r2_pooled": np.ones(3, bool)},
    )  # fmt: skip
    low, high = drawn["r2_pooled"].interval(0.95)
    width = theirs.high - theirs.low
    assert low[0] == pytest.approx(theirs.low, abs=0.06 * width)
    assert high[0] == pytest.approx(theirs.high, abs=0.06 * width)


def test_paired_difference_is_narrower_than_the_parts(case: tuple) -> None:
    *_, drawn = case
    zero = drawn["mse"].minus(drawn["mse"])
    low, high = zero.interval(0.95)
    assert (low == 0).all()
    assert (high == 0).all()


def test_coverage_of_the_mean_of_normal_clusters() -> None:
    """95 % intervals hold the truth in about 95 of 100 samples of 40 clusters."""
    random = np.random.default_rng(5)
    samples = random.normal(size=(400, 40))
    counts = draw_counts(40, 1000, 0)
    draws = samples @ counts.T / 40
    jackknife = (samples.sum(axis=1, keepdims=True) - samples) / 39
    low, high = bca_interval(samples.mean(axis=1), draws, jackknife)
    assert 0.90 <= np.mean((low < 0) & (high > 0)) <= 0.98


def test_one_cluster_or_many_undefined_draws_give_no_interval() -> None:
    draws = np.tile(np.arange(10.0), (2, 1))
    draws[1, :3] = np.nan
    low, _ = bca_interval(np.array([4.0, 5.0]), draws, np.array([[1.0, 2.0], [1.0, 2.0]]))
    assert np.isfinite(low[0])
    assert np.isnan(low[1])
    low, _ = bca_interval(np.array([4.0]), draws[:1], np.array([[1.0]]))
    assert np.isnan(low[0])


def test_draws_are_seeded_and_complete() -> None:
    assert (draw_counts(7, 50, 3) == draw_counts(7, 50, 3)).all()
    assert (draw_counts(7, 50, 3).sum(axis=1) == 7).all()
    assert (draw_counts(7, 50, 3) != draw_counts(7, 50, 4)).any()
