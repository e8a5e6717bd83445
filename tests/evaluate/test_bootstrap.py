from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from pianoeval.evaluate.statistics.bca import bca_interval
from pianoeval.evaluate.statistics.bootstrap import (
    Resampled,
    draw_counts,
    resample,
    total,
)
from pianoeval.evaluate.statistics.draws import Draws, weighted_sums
from pianoeval.evaluate.statistics.metrics import Metric, sum_metrics
from pianoeval.evaluate.statistics.pairs import Design, make_design
from pianoeval.evaluate.statistics.ranking import ndcg, ndcg_sums
from pianoeval.evaluate.statistics.sums import cluster_sums

MARGINS = (0.0, 0.05)
METRICS = sum_metrics(MARGINS) | {"ndcg": Metric(ndcg, ("ndcg", "ndcg_lists"), "segments")}
AVERAGED = {name: np.ones(2, bool) for name in METRICS}
Case = tuple[Design, np.ndarray, np.ndarray, Draws, dict[str, Resampled]]


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


def test_bca_of_two_factors_equals_scipy_on_two_samples() -> None:
    random = np.random.default_rng(4)
    one, other = random.gamma(1.0, size=9), random.gamma(3.0, size=23)

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis=axis) / b.mean(axis=axis)

    expected = stats.bootstrap((one, other), ratio, n_resamples=999, method="BCa", random_state=1)
    jackknife = [ratio(np.delete(one, i), other) for i in range(9)]
    jackknife += [ratio(one, np.delete(other, i)) for i in range(23)]
    low, high = bca_interval(
        np.array([ratio(one, other)]), np.asarray(expected.bootstrap_distribution)[None, :],
        np.array([jackknife]), factors=(9, 23),
    )  # fmt: skip
    assert low[0] == pytest.approx(expected.confidence_interval.low, rel=1e-9)
    assert high[0] == pytest.approx(expected.confidence_interval.high, rel=1e-9)


def _case(min_players: int) -> Case:
    """Two takes a player, so that pairs of one player occur; a byte-identical pair, a gap, ties."""
    manifest = cases.manifest(n_movements=3, n_segments=4, n_players=7, takes=2)
    manifest = manifest[np.random.default_rng(9).random(len(manifest)) < 0.8]
    manifest = manifest.reset_index(drop=True)
    manifest.loc[1, "sha256"] = manifest.loc[0, "sha256"]
    random = np.random.default_rng(2)
    fold = pd.Series(random.integers(0, 3, len(manifest)), index=manifest["clip"].to_numpy())
    design = make_design(manifest, fold, min_players)
    y = np.round(random.normal(0.5, 0.1, (len(manifest), 2)), 2)
    p = np.round(0.5 * y + random.normal(0.25, 0.05, y.shape), 2)
    y[5, 1] = np.nan
    draws = draw_counts(design, 300, 1)
    return (
        design,
        y,
        p,
        draws,
        resample(cluster_sums(design, y, p, MARGINS), METRICS, draws, AVERAGED),
    )


@pytest.fixture(scope="module")
def two_way() -> Case:
    return _case(min_players=7)


@pytest.fixture(scope="module")
def one_way() -> Case:
    return _case(min_players=8)


def _copies(
    design: Design, content: np.ndarray, player: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Each drawn content group with its clips, each as often as its player was drawn."""
    for group, times in enumerate(content):
        rows = np.flatnonzero(design.cluster == group)
        for _ in range(int(times)):
            yield group, np.repeat(rows, player[design.player[rows]].astype(int))


def _literal_clips(design: Design, y: np.ndarray, p: np.ndarray, rows: np.ndarray) -> dict:
    a, b, fold = y[rows], p[rows], design.fold[rows]
    rated = np.isfinite(a)
    a, b, fold = a[rated], b[rated], fold[rated]
    shift = (a.mean() - b.mean()) ** 2
    return {
        "r2_pooled": r2_score(a, b),
        "r2_fold_mean": np.mean([r2_score(a[fold == k], b[fold == k]) for k in set(fold)]),
        "mse": ((a - b) ** 2).mean(),
        "mae": np.abs(a - b).mean(),
        "pearson": stats.pearsonr(a, b).statistic,
        "ccc": 2 * np.cov(a, b, ddof=0)[0, 1] / (a.var() + b.var() + shift),
    }


def _literal_pairs(design: Design, y: np.ndarray, p: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Hits and pairs of each margin among the copies of one drawn group."""
    allowed = {frozenset(pair) for pair in design.pairs.tolist()}
    found = np.zeros((len(MARGINS), 2))
    for i, one in enumerate(rows):
        for other in rows[:i]:
            difference = y[one] - y[other]
            if frozenset((int(one), int(other))) not in allowed:
                continue
            predicted = p[one] - p[other]
            hit = 0.5 if predicted == 0 else float((predicted > 0) == (difference > 0))
            for m, margin in enumerate(MARGINS):
                if abs(difference) > margin + 1e-9:
                    found[m] += hit, 1
    return found


def _literal_segments(design: Design, y: np.ndarray, p: np.ndarray, content: np.ndarray) -> dict:
    stds, inside_y, inside_p = [], 0.0, 0.0
    for segment in range(design.segment.max() + 1):
        rows = np.flatnonzero((design.segment == segment) & np.isfinite(y))
        for _ in range(int(content[design.cluster[rows[0]]])):
            stds.append(p[rows].std(ddof=1))
            inside_y += ((y[rows] - y[rows].mean()) ** 2).sum()
            inside_p += ((p[rows] - p[rows].mean()) ** 2).sum()
    lists = {n: v[:, 0] @ content for n, v in ndcg_sums(design, y[:, None], p[:, None]).items()}
    return {
        "intra_segment_std": np.mean(stds),
        "dispersion_ratio": np.sqrt(inside_p / inside_y),
        "ndcg": lists["ndcg"] / lists["ndcg_lists"],
    }


def _literal(
    design: Design, y: np.ndarray, p: np.ndarray, content: np.ndarray, player: np.ndarray
) -> dict[str, float]:
    """Every metric of one dimension of a corpus whose clips are repeated as drawn."""
    copies = [rows for _, rows in _copies(design, content, player)]
    pairs = sum(_literal_pairs(design, y, p, rows) for rows in copies)
    found = _literal_clips(design, y, p, np.concatenate(copies))
    found |= _literal_segments(design, y, p, content)
    names = ("pairwise_0", "pairwise_005")
    return found | {name: pairs[m, 0] / pairs[m, 1] for m, name in enumerate(names)}


@pytest.mark.parametrize("which", ["two_way", "one_way"])
def test_draws_equal_metrics_of_literally_resampled_clips(
    which: str, request: pytest.FixtureRequest
) -> None:
    design, y, p, draws, drawn = request.getfixturevalue(which)
    assert design.n_players == (7 if which == "two_way" else 1)
    assert (design.player[design.pairs[:, 0]] == design.player[design.pairs[:, 1]]).any()
    for draw in (0, 17, 299):
        content, player = draws.content[:, draw], draws.player[:, draw]
        for d in range(2):
            expected = _literal(design, y[:, d], p[:, d], content, player)
            assert set(expected) == set(drawn)
            for name, value in expected.items():
                assert drawn[name].draws[d, draw] == pytest.approx(value, rel=1e-6, abs=1e-6), name
        both = [drawn["mse"].draws[d, draw] for d in range(2)]
        assert drawn["mse"].draws[2, draw] == pytest.approx(np.mean(both), rel=1e-6)


def test_jackknife_leaves_out_content_groups_then_players(two_way: Case) -> None:
    design, y, p, _, drawn = two_way
    every = np.ones(design.n_clusters), np.ones(7)
    for level, (content, player) in {
        4: (np.delete(np.eye(design.n_clusters), 4, 0).sum(0), every[1]),
        design.n_clusters + 2: (every[0], np.delete(np.eye(7), 2, 0).sum(0)),
    }.items():
        expected = _literal(design, y[:, 0], p[:, 0], content, player)
        for name, value in expected.items():
            found = drawn[name]
            if METRICS[name].unit != "segments":
                assert found.jackknife[0, level] == pytest.approx(value, abs=1e-9), name
                assert dict(found.factors) == {"content": design.n_clusters, "player": 7}
                assert found.method == "content×player"
            else:
                assert found.jackknife.shape[1] == design.n_clusters
                assert found.method == "content"


def test_one_way_draws_of_a_two_way_design_are_those_of_a_one_way_design(
    one_way: Case, two_way: Case
) -> None:
    design, y, p, draws, _ = two_way
    sums = cluster_sums(design, y, p, MARGINS)
    content = resample(sums, METRICS, draws.only("content"), AVERAGED)
    for name, expected in one_way[4].items():
        assert content[name].method == expected.method == "content"
        np.testing.assert_allclose(content[name].draws, expected.draws, rtol=1e-6)
        np.testing.assert_allclose(
            content[name].interval(0.9), expected.interval(0.9), rtol=1e-5, equal_nan=True
        )
    player = resample(sums, METRICS, draws.only("player"), AVERAGED)["mse"]
    assert (player.method, player.jackknife.shape[1]) == ("player", 7)


def test_single_precision_moves_no_limit(two_way: Case) -> None:
    """Pairs are added up, and replicates kept, in single precision."""
    design, y, p, draws, drawn = two_way
    sums = cluster_sums(design, y, p, MARGINS)
    units = {
        unit: replace(cells, sums={k: v.astype(np.float64) for k, v in cells.sums.items()})
        for unit, cells in sums.units.items()
    }
    exact = weighted_sums(replace(sums, units=units), METRICS, draws)
    for name, metric in METRICS.items():
        found, replicates = drawn[name], metric(exact)[0]
        double = replace(
            found, value=found.value[:2], draws=replicates, jackknife=found.jackknife[:2]
        )
        for one, other in zip(found.interval(0.95), double.interval(0.95), strict=True):
            np.testing.assert_allclose(one[:2], other, atol=1e-6)
        if metric.unit == "pairs":
            np.testing.assert_array_equal(found.draws[:2], replicates.astype(np.float32))


def test_several_models_share_the_draws_and_differ_in_pairs(two_way: Case) -> None:
    design, y, p, draws, drawn = two_way
    both = resample(
        cluster_sums(design, y, np.stack([p, p + 0.02]), MARGINS), METRICS, draws, AVERAGED
    )
    np.testing.assert_allclose(both["mse"].of(0).draws, drawn["mse"].draws, rtol=1e-6)
    difference = both["mae"].of(1).minus(both["mae"].of(0))
    expected = both["mae"].draws[1] - both["mae"].draws[0]
    np.testing.assert_array_equal(difference.draws, expected)
    same = both["mse"].of(0).minus(both["mse"].of(0))
    assert (np.array(same.interval(0.95)) == 0).all()
    assert same.mean_only().value.shape == (1,)


def test_interval_against_scipys_cluster_bootstrap() -> None:
    """Same method, other draws: equal up to Monte Carlo error."""
    manifest = cases.manifest(n_movements=3, n_segments=8, n_players=5)
    random = np.random.default_rng(2)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"].to_numpy()))
    y = random.normal(0.5, 0.1, (len(manifest), 1))
    p = 0.5 * y + random.normal(0.25, 0.05, y.shape)
    members = [np.flatnonzero(design.cluster == c) for c in range(design.n_clusters)]

    def r2(clusters: np.ndarray) -> float:
        a, b = (x[np.concatenate([members[c] for c in clusters]), 0] for x in (y, p))
        return float(1 - ((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum())

    theirs = stats.bootstrap(
        (np.arange(design.n_clusters),), r2, n_resamples=2000, method="BCa", vectorized=False,
        random_state=0,
    ).confidence_interval  # fmt: skip
    metrics, every = {"r2_pooled": METRICS["r2_pooled"]}, {"r2_pooled": np.ones(1, bool)}
    draws = draw_counts(design, 10_000, 0)
    drawn = resample(cluster_sums(design, y, p, ()), metrics, draws, every)
    low, high = drawn["r2_pooled"].interval(0.95)
    width = theirs.high - theirs.low
    assert low[0] == pytest.approx(theirs.low, abs=0.06 * width)
    assert high[0] == pytest.approx(theirs.high, abs=0.06 * width)


def test_two_way_interval_against_scipys_bootstrap_of_two_samples(two_way: Case) -> None:
    """scipy draws content groups and players as two samples, and leaves out one of each in turn."""
    design, y, p, _, _ = two_way
    a, b = y[:, 0], p[:, 0]

    def r2(groups: np.ndarray, players: np.ndarray) -> float:
        weight = np.bincount(groups, minlength=design.n_clusters)[design.cluster]
        weight = weight * np.bincount(players, minlength=7)[design.player]
        away = a - (weight * a).sum() / weight.sum()
        return float(1 - (weight * (a - b) ** 2).sum() / (weight * away**2).sum())

    theirs = stats.bootstrap(
        (np.arange(design.n_clusters), np.arange(7)), r2, n_resamples=2000,
        method="BCa", vectorized=False, random_state=0,
    ).confidence_interval  # fmt: skip
    metrics = {"r2_pooled": METRICS["r2_pooled"]}
    draws = draw_counts(design, 10_000, 0)
    drawn = resample(cluster_sums(design, y, p, ()), metrics, draws, AVERAGED)["r2_pooled"]
    low, high = drawn.interval(0.95)
    width = theirs.high - theirs.low
    assert low[0] == pytest.approx(theirs.low, abs=0.08 * width)
    assert high[0] == pytest.approx(theirs.high, abs=0.08 * width)


def _crossed(n_groups: int, n_players: int, repetitions: int) -> tuple[Design, np.ndarray]:
    """Every player plays every group once; the error of a clip is 10 + group + player + noise."""
    random = np.random.default_rng(5)
    group, player = (x.ravel() for x in np.indices((n_groups, n_players)))
    names = np.array([f"clip{i:03d}" for i in range(len(group))], dtype=object)
    none = np.zeros((0, 2), np.int64)
    design = Design(names, group, group, np.zeros(len(group), np.int64), none, player)
    effects = [random.normal(size=(n, repetitions)) for n in (n_groups, n_players, len(group))]
    return design, 10.0 + effects[0][group] + effects[1][player] + 0.5 * effects[2]


def test_coverage_under_crossed_random_effects() -> None:
    """Of 1,000 corpora, 95 % two-way intervals hold the truth in over 90 %, one-way ones do not.

    Each repetition is a dimension of one made-up corpus, its mean absolute error a mean of effects.
    """
    design, errors = _crossed(12, 10, 1000)
    sums = cluster_sums(design, errors, np.zeros_like(errors), ())
    draws = draw_counts(design, 1000, 0)
    coverage = {}
    for name, chosen in {
        "both": draws, "content": draws.only("content"), "player": draws.only("player")
    }.items():  # fmt: skip
        metrics = {"mae": METRICS["mae"]}
        found = resample(sums, metrics, chosen, {"mae": np.ones(1000, bool)})["mae"]
        low, high = (limit[:-1] for limit in found.interval(0.95))
        coverage[name] = np.mean((low < 10.0) & (high > 10.0))
    assert 0.90 <= coverage["both"] <= 0.97
    assert coverage["content"] < 0.82
    assert coverage["player"] < 0.82


def test_no_interval_without_levels_or_with_undefined_or_biased_draws() -> None:
    draws = np.tile(np.arange(10.0), (2, 1))
    draws[1, :3] = np.nan
    jackknife = np.array([[1.0, 2.0], [1.0, 2.0]])
    low, _ = bca_interval(np.array([4.0, 5.0]), draws, jackknife)
    assert np.isfinite(low[0])
    assert np.isnan(low[1])
    assert np.isnan(bca_interval(np.array([4.0]), draws[:1], np.array([[1.0]]))[0])
    assert np.isnan(bca_interval(np.array([4.0]), draws[:1], jackknife[:1], factors=(1, 1))[0])
    # All replicates lie above the estimate: quantiles that do not hold it mean nothing.
    outside = bca_interval(np.array([-5.0]), draws[:1], jackknife[:1])
    assert np.isnan(outside).all()


def test_draws_are_seeded_complete_and_independent(two_way: Case, one_way: Case) -> None:
    design = two_way[0]
    one, again, other = (draw_counts(design, 50, seed) for seed in (3, 3, 4))
    assert (one.content == again.content).all()
    assert (one.player == again.player).all()
    assert (one.content != other.content).any()
    assert (one.player != other.player).any()
    assert (one.content.sum(axis=0) == design.n_clusters).all()
    assert (one.player.sum(axis=0) == 7).all()
    assert one.factors == ("content", "player")
    single = draw_counts(one_way[0], 50, 3)
    assert (single.player == 1).all()
    assert single.factors == ("content",)
    assert (single.content == one.content).all()


def test_clips_without_a_player_are_resampled_one_way() -> None:
    manifest = cases.manifest(n_movements=1, n_players=8)
    manifest.loc[3, "player"] = None
    design = make_design(manifest, pd.Series(0, index=manifest["clip"].to_numpy()))
    assert design.n_players == 1


def test_values_need_no_draws(two_way: Case) -> None:
    design, y, p, _, drawn = two_way
    for name, value in total(cluster_sums(design, y, p, MARGINS), METRICS).items():
        np.testing.assert_array_equal(value, drawn[name].value[:2])
