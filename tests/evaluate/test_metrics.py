from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from pianoeval.errors import ConfigError
from pianoeval.evaluate.metrics import kendall, margin_name, spearman, sum_metrics
from pianoeval.evaluate.pairs import Design, cluster_sums, make_design

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
    sums = cluster_sums(design, y, p, MARGINS)
    total = {name: values.sum(axis=0) for name, values in sums.items()}
    return {name: function(total) for name, function in sum_metrics(MARGINS).items()}


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
        assert spearman(y, p)[d] == pytest.approx(stats.spearmanr(a, b).statistic)
        assert kendall(y, p)[d] == pytest.approx(stats.kendalltau(a, b).statistic)


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
    assert sums["pairwise_010_pairs"].sum() == 0
    assert sums["pairwise_005_pairs"].sum() == 1
    assert sums["pairwise_005_hits"].sum() == 0


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
    total = {name: values.sum(axis=0) for name, values in flat.items()}
    found = {name: function(total) for name, function in sum_metrics(MARGINS).items()}
    assert np.isnan(found["pearson"]).all()
    assert (found["pairwise_0"] == 0.5).all()
    assert (found["dispersion_ratio"] == 0).all()
    same = cluster_sums(design, np.full_like(y, 0.4), y * 0 + 0.1, MARGINS)
    total = {name: values.sum(axis=0) for name, values in same.items()}
    assert np.isnan(sum_metrics(MARGINS)["r2_pooled"](total)).all()
    assert np.isnan(spearman(y, np.full_like(y, 0.37))).all()


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
    total = {k: v.sum(axis=0) for k, v in cluster_sums(design, y, p, (0.0,)).items()}
    assert sum_metrics((0.0,))["pairwise_0"](total)[0] == 0.5
    everywhere = make_design(manifest, fold * 0)
    total = {k: v.sum(axis=0) for k, v in cluster_sums(everywhere, y, p, (0.0,)).items()}
    assert sum_metrics((0.0,))["pairwise_0"](total)[0] < 0.45


def test_no_two_margins_share_a_name() -> None:
    named = [margin_name(m) for m in (0.0, 0.05, 0.1, 0.12, 0.125, 1.25, 0.001)]
    assert named == [
        "pairwise_0", "pairwise_005", "pairwise_010", "pairwise_012", "pairwise_0125",
        "pairwise_125", "pairwise_0001",
    ]  # fmt: skip
    assert len({margin_name(i / 1000) for i in range(10_000)}) == 10_000


@pytest.mark.parametrize("margin", [-0.05, 10.0, 0.1255, float("nan"), float("inf")])
def test_a_margin_without_a_name_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match="margin"):
        margin_name(margin)
