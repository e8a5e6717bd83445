from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from pianoeval.errors import ConfigError
from pianoeval.evaluate.statistics.bootstrap import total
from pianoeval.evaluate.statistics.metrics import headline_pairs, margin_name, sum_metrics
from pianoeval.evaluate.statistics.pairs import Design, make_design
from pianoeval.evaluate.statistics.sums import cluster_sums

MARGINS = (0.0, 0.05, 0.1)


@pytest.fixture(scope="module")
def case() -> tuple[pd.DataFrame, Design, np.ndarray, np.ndarray]:
    """A corpus with ties in ratings and predictions, a gap, and a byte-identical pair."""
    random = np.random.default_rng(3)
    manifest = cases.manifest(n_movements=2, n_segments=4, n_players=6)
    manifest.loc[1, "sha256"] = manifest.loc[0, "sha256"]
    fold = pd.Series(random.integers(0, 3, len(manifest)), index=manifest["clip"].to_numpy())
    design = make_design(manifest, fold)
    y = np.round(random.uniform(0.2, 0.8, (len(manifest), 2)) * 20) / 20
    p = np.round(0.5 * y + random.normal(0.3, 0.05, y.shape), 2)
    y[5, 1] = np.nan
    return manifest.set_index("clip").loc[list(design.clips)], design, y, p


def _values(case: tuple[pd.DataFrame, Design, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    _, design, y, p = case
    return total(cluster_sums(design, y, p, MARGINS), sum_metrics(MARGINS))


def test_against_scikit_learn_and_scipy(case: tuple) -> None:
    _, design, y, p = case
    found = _values(case)
    for d in range(2):
        rated = np.isfinite(y[:, d])
        a, b, fold = y[rated, d], p[rated, d], design.fold[rated]
        expected = {
            "r2_pooled": sk.r2_score(a, b),
            "r2_fold_mean": np.mean([sk.r2_score(a[fold == k], b[fold == k]) for k in range(3)]),
            "mse": sk.mean_squared_error(a, b),
            "mae": sk.mean_absolute_error(a, b),
            "pearson": stats.pearsonr(a, b).statistic,
            "ccc": 2 * np.cov(a, b, ddof=0)[0, 1]
            / (a.var() + b.var() + (a.mean() - b.mean()) ** 2),
        }  # fmt: skip
        for name, value in expected.items():
            assert found[name][d] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("margin", MARGINS)
def test_pairwise_accuracy_against_a_literal_loop(case: tuple, margin: float) -> None:
    table, design, y, p = case
    found = _values(case)[margin_name(margin)]
    for d in range(2):
        hits = pairs = 0.0
        for i in range(len(y)):
            for j in range(i):
                same = table["segment"].iloc[i] == table["segment"].iloc[j]
                same = same and design.fold[i] == design.fold[j]
                copy = table["sha256"].iloc[i] == table["sha256"].iloc[j]
                difference = y[i, d] - y[j, d]
                if not same or copy or not abs(difference) > margin + 1e-9:
                    continue
                pairs += 1
                predicted = p[i, d] - p[j, d]
                hits += 0.5 if predicted == 0 else float((predicted > 0) == (difference > 0))
        assert found[d] == pytest.approx(hits / pairs, abs=1e-12)


def test_a_difference_equal_to_the_margin_does_not_count() -> None:
    manifest = cases.manifest(n_movements=1, n_segments=1, n_players=2)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"].to_numpy()))
    y, p = np.array([[0.3], [0.2]]), np.array([[0.1], [0.2]])
    sums = cluster_sums(design, y, p, MARGINS)
    assert 0.3 - 0.2 != 0.1
    pairs = sums.units["pairs"].sums
    assert pairs["pairwise_010_pairs"].sum() == 0
    assert pairs["pairwise_005_pairs"].sum() == 1
    assert pairs["pairwise_005_hits"].sum() == 0


def test_within_segment_spread_against_a_literal_loop(case: tuple) -> None:
    table, _, y, p = case
    found = _values(case)
    for d in range(2):
        stds, inside_y, inside_p = [], 0.0, 0.0
        for segment in sorted(set(table["segment"])):
            rows = (table["segment"] == segment).to_numpy() & np.isfinite(y[:, d])
            stds.append(p[rows, d].std(ddof=1))
            inside_y += ((y[rows, d] - y[rows, d].mean()) ** 2).sum()
            inside_p += ((p[rows, d] - p[rows, d].mean()) ** 2).sum()
        assert found["intra_segment_std"][d] == pytest.approx(np.mean(stds))
        assert found["dispersion_ratio"][d] == pytest.approx(np.sqrt(inside_p / inside_y))


def test_constants_leave_metrics_undefined_rather_than_wrong(case: tuple) -> None:
    _, design, y, _ = case
    flat = cluster_sums(design, y, np.full_like(y, 0.37), MARGINS)
    found = total(flat, sum_metrics(MARGINS))
    assert np.isnan(found["pearson"]).all()
    assert (found["pairwise_0"] == 0.5).all()
    assert found["dispersion_ratio"] == pytest.approx(0.0, abs=1e-12)
    same = cluster_sums(design, np.full_like(y, 0.4), y * 0 + 0.1, MARGINS)
    assert np.isnan(total(same, sum_metrics(MARGINS))["r2_pooled"]).all()
    assert np.isnan(total(same, sum_metrics(MARGINS))["r2_fold_mean"]).all()


def test_a_fold_without_variance_is_left_out_of_the_mean(case: tuple) -> None:
    _, design, y, p = case
    flat = np.where((design.fold == 1)[:, None], 0.4, y)
    found = total(cluster_sums(design, flat, p, ()), sum_metrics(()))["r2_fold_mean"]
    expected = [sk.r2_score(y[design.fold == k, 0], p[design.fold == k, 0]) for k in (0, 2)]
    assert found[0] == pytest.approx(np.mean(expected), abs=1e-12)


def test_several_models_at_once_equal_each_alone(case: tuple) -> None:
    _, design, y, p = case
    both = total(cluster_sums(design, y, np.stack([p, 0.5 * p]), MARGINS), sum_metrics(MARGINS))
    for i, one in enumerate((p, 0.5 * p)):
        alone = total(cluster_sums(design, y, one, MARGINS), sum_metrics(MARGINS))
        for name, value in alone.items():
            np.testing.assert_allclose(both[name][i], value, rtol=1e-12)


def test_training_means_are_not_compared_across_folds() -> None:
    """Left-out means order held-out groups backwards; within a fold they tie."""
    manifest = cases.manifest(n_movements=1, n_segments=3, n_players=8)
    table = cases.labels(manifest, ("timing",))
    y = table.set_index("clip").loc[manifest["clip"], "value"].to_numpy()[:, None]
    player = manifest["player"].to_numpy()
    fold = pd.Series(pd.factorize(player)[0] // 2, index=manifest["clip"].to_numpy())
    design = make_design(manifest, fold)
    order = manifest["clip"].tolist()
    rows = [order.index(clip) for clip in design.clips]
    y, codes = y[rows], design.fold
    p = np.array([[y[codes != code].mean()] for code in codes])
    metrics = sum_metrics((0.0,))
    assert total(cluster_sums(design, y, p, (0.0,)), metrics)["pairwise_0"][0] == 0.5
    everywhere = make_design(manifest, fold * 0)
    assert total(cluster_sums(everywhere, y, p, (0.0,)), metrics)["pairwise_0"][0] < 0.45


def test_no_two_margins_share_a_name() -> None:
    named = [margin_name(m) for m in (0.0, 0.05, 0.1, 0.12, 0.125, 1.25, 0.001)]
    assert named == [
        "pairwise_0", "pairwise_005", "pairwise_010", "pairwise_012", "pairwise_0125",
        "pairwise_125", "pairwise_0001",
    ]  # fmt: skip
    assert len({margin_name(i / 1000) for i in range(10_000)}) == 10_000


def test_the_pairwise_metric_of_headlines() -> None:
    assert headline_pairs((0.0, 0.1, 0.05)) == "pairwise_005"
    assert headline_pairs((0.1, 0.02)) == "pairwise_002"
    assert headline_pairs(()) is None


@pytest.mark.parametrize("margin", [-0.05, 10.0, 0.1255, float("nan"), float("inf")])
def test_a_margin_without_a_name_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin"):
        margin_name(margin)
