"""Comparisons of models, against loops, scikit-learn and scipy on the raw predictions."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import manifest
from scipy import stats
from sklearn.metrics import r2_score

from pianoeval.evaluate import comparisons
from pianoeval.evaluate.paired import make_items
from pianoeval.evaluate.statistics.bootstrap import Resampled
from pianoeval.evaluate.statistics.pairs import Design, make_design
from pianoeval.evaluate.statistics.significance import benjamini_hochberg, williams
from pianoeval.evaluate.tables import ModelKey
from pianoeval.evaluate.verdicts import verdict
from pianoeval.params import EvaluateParams

A, B, C = (ModelKey(f, "ridge", 0) for f in ("symbolic", "mel", "transkun"))
NONE = ModelKey("none", "training_mean", None)
PARAMS = EvaluateParams(n_bootstrap=500, margins=[0.0, 0.05])
R2, PAIRS = "r2_pooled", "pairwise_005"
ALL = np.ones(3, bool)


def _case(
    n_movements: int = 3, seed: int = 0, noise: tuple[float, ...] = (0.5, 0.8, 1.2)
) -> tuple[pd.DataFrame, Design, np.ndarray, dict[ModelKey, np.ndarray]]:
    """Two content groups a movement; some ratings missing; one model a scale of noise."""
    random = np.random.default_rng(seed)
    table = manifest(n_movements, 4, 4)
    folds = pd.Series(
        table["movement"].str[1:].astype(int).to_numpy(), index=table["clip"], name="fold"
    )
    design = make_design(table, folds)
    y = random.normal(size=(len(table), 3)) * [1.0, 0.3, 2.0]
    y[random.random(y.shape) < 0.1] = np.nan
    filled = np.where(np.isfinite(y), y, 0.0)
    found = {
        key: filled + random.normal(0, scale, y.shape) * [1.0, 0.3, 2.0]
        for key, scale in zip((A, B, C), noise, strict=False)
    }
    return table, design, y, found


def _r2(y: np.ndarray, p: np.ndarray) -> float:
    rated = np.isfinite(y)
    return float(np.mean([r2_score(y[r, d], p[r, d]) for d, r in enumerate(rated.T)]))


def _pairwise(design: Design, y: np.ndarray, p: np.ndarray, dimension: int) -> float:
    hits = []
    for i, j in design.pairs:
        rated, predicted = y[i, dimension] - y[j, dimension], p[i, dimension] - p[j, dimension]
        if abs(rated) > 0.05:
            hits.append(float(rated * predicted > 0))
    return float(np.mean(hits))


def _means(metric: str, values: dict[ModelKey, float]) -> dict[ModelKey, dict[str, Resampled]]:
    """Resampled means with a known spread: the same wobble for all, and one of each model's."""
    random = np.random.default_rng(9)
    shared = random.normal(0, 0.1, 500)
    out = {}
    for key, value in values.items():
        draws = value + shared + random.normal(0, 0.01, 500)
        jackknife = value + random.normal(0, 0.01, 6)
        one = Resampled(
            np.array([value]), draws[None].astype(np.float32), jackknife[None], {"content": 6}
        )
        out[key] = {metric: one}
    return out


def _compare(
    case: tuple[pd.DataFrame, Design, np.ndarray, dict[ModelKey, np.ndarray]],
    metric: str = R2,
    scheme: str = "movement",
    averaged: np.ndarray = ALL,
) -> list[dict[str, Any]]:
    table, design, y, found = case
    dimensions = np.flatnonzero(averaged)
    values = {
        key: _r2(y[:, averaged], p[:, averaged])
        if metric == R2
        else float(np.mean([_pairwise(design, y, p, d) for d in dimensions]))
        for key, p in found.items()
    }
    means = _means(metric, values)
    return comparisons.compare_models(
        scheme, "all", metric, design, y, found, means, averaged, table, PARAMS
    )


@pytest.mark.parametrize("metric", [R2, PAIRS])
@pytest.mark.parametrize("averaged", [ALL, np.array([True, False, True])])
def test_contributions_of_the_groups_sum_to_the_difference(
    metric: str, averaged: np.ndarray
) -> None:
    """Values come from scikit-learn and a loop over pairs; p from their very difference."""
    case = _case()
    _, design, y, found = case
    items = make_items(metric, design, y, averaged, PARAMS.margins)
    gains = {key: items.gains(p, design.cluster) for key, p in found.items()}
    rows = _compare(case, metric, averaged=averaged)
    assert [(row["a"], row["b"]) for row in rows] == [
        ("symbolic/ridge", "mel/ridge"), ("symbolic/ridge", "transkun/ridge"),
        ("mel/ridge", "transkun/ridge"),
    ]  # fmt: skip
    for row, (a, b) in zip(rows, itertools.combinations(found, 2), strict=True):
        assert row["difference"] == pytest.approx((gains[a] - gains[b]).sum())
        assert row["difference"] == pytest.approx(row["value_a"] - row["value_b"])


def test_pairs_at_the_margin_do_not_count_and_ties_count_half() -> None:
    case = _case()
    _, design, y, found = case
    steps = np.round(np.where(np.isfinite(y), y, 0.0) * 2)
    y[:] = steps * 0.05  # neighbours differ by the margin, and by rounding more
    for p in found.values():
        p[:] = np.round(p)
    items = make_items(PAIRS, design, y, ALL, PARAMS.margins)
    for p in found.values():
        expected = []
        for d in range(3):
            rated = np.diff(steps[design.pairs, d])[:, 0]
            predicted = np.diff(p[design.pairs, d])[:, 0]
            hit = np.where(predicted == 0, 0.5, predicted * rated > 0)
            expected.append(hit[np.abs(rated) > 1].mean())
        assert items.gains(p, design.cluster).sum() == pytest.approx(np.mean(expected))


def test_permutation_is_an_exchange_of_predictions_within_content_groups() -> None:
    case = _case(n_movements=2, noise=(0.7, 0.9))  # 4 groups: 16 exchanges
    _, design, y, found = case
    observed = _r2(y, found[A]) - _r2(y, found[B])
    reached = 0
    for swapped in itertools.product((False, True), repeat=4):
        rows = np.array(swapped)[design.cluster][:, None]
        a, b = np.where(rows, found[B], found[A]), np.where(rows, found[A], found[B])
        reached += abs(_r2(y, a) - _r2(y, b)) >= abs(observed) - 1e-12
    (row,) = _compare(case)
    assert row["p_permutation"] == pytest.approx(reached / 16)
    assert row["smallest_p"] == 0.125
    assert row["n_clusters"] == 4


def test_group_columns_are_those_of_a_loop() -> None:
    case = _case()
    _, design, y, found = case
    levels = []
    for group in range(design.n_clusters):
        inside = design.cluster == group
        per_dimension = [
            np.nanmean((y[inside, d] - found[B][inside, d]) ** 2)
            - np.nanmean((y[inside, d] - found[A][inside, d]) ** 2)
            for d in range(3)
        ]
        levels.append(np.mean(per_dimension / np.nanvar(y, axis=0)))
    row = _compare(case)[0]
    expected = stats.ttest_1samp(levels, 0.0)
    assert row["t_cluster"] == pytest.approx(expected.statistic)
    assert row["p_t_cluster"] == pytest.approx(expected.pvalue)
    assert row["p_wilcoxon_cluster"] == pytest.approx(stats.wilcoxon(levels).pvalue)


def test_group_columns_of_pairs_leave_out_groups_without_pairs() -> None:
    case = _case()
    _, design, y, found = case
    y[(design.cluster == 0)] = np.nan
    y[design.cluster == 0, 0] = 0.5  # rated, but never apart
    levels = []
    for group in range(1, design.n_clusters):
        inside = design.pairs[design.cluster[design.pairs[:, 0]] == group]
        part = Design(*(inside if n == "pairs" else v for n, v in vars(design).items()))
        own = [[_pairwise(part, y, found[k], d) for d in range(3)] for k in (A, B)]
        levels.append(np.mean(np.subtract(*own)))
    row = _compare(case, PAIRS)[0]
    assert row["n_clusters"] == len(levels) == 5
    assert row["t_cluster"] == pytest.approx(stats.ttest_1samp(levels, 0.0).statistic)


def test_clip_columns_are_the_published_tests_on_squared_errors() -> None:
    case = _case()
    _, _, y, found = case
    y[0] = np.nan  # a clip that nobody rated
    error = {key: np.nanmean((y[1:] - p[1:]) ** 2, axis=1) for key, p in found.items()}
    row = _compare(case)[0]
    expected = stats.ttest_rel(error[B], error[A])  # above 0: a has the smaller error
    assert row["n_clips"] == len(error[A])
    assert row["t_clip"] == pytest.approx(expected.statistic)
    assert row["p_t_clip"] == pytest.approx(expected.pvalue)
    assert row["p_wilcoxon_clip"] == pytest.approx(stats.wilcoxon(error[B], error[A]).pvalue)
    assert row["cohen_d_clip"] * np.sqrt(row["n_clips"]) == pytest.approx(row["t_clip"])


def test_correlations_pool_centred_dimensions() -> None:
    case = _case()
    _, _, y, found = case
    found[A] += [5.0, -3.0, 0.0]  # a shift of a dimension is no correlation
    rated = np.isfinite(y)
    columns = []
    for values in (y, found[A], found[B]):
        masked = np.where(rated, values, np.nan)
        columns.append((masked - np.nanmean(masked, axis=0))[rated])
    r = np.corrcoef(columns)
    row = _compare(case)[0]
    assert row["r_a"] == pytest.approx(r[0, 1])
    assert row["r_b"] == pytest.approx(r[0, 2])
    assert row["cohen_q"] == pytest.approx(np.arctanh(r[0, 1]) - np.arctanh(r[0, 2]))
    t, p = williams(r[0, 1], r[0, 2], r[1, 2], int(rated.any(axis=1).sum()))
    assert (row["williams_t"], row["williams_p"]) == pytest.approx((float(t), float(p)))


@pytest.mark.parametrize("metric", [R2, PAIRS])
def test_the_order_of_two_models_changes_signs_alone(metric: str) -> None:
    table, design, y, found = _case(noise=(0.7, 0.9))
    (row,) = _compare((table, design, y, found), metric)
    (turned,) = _compare((table, design, y, dict(reversed(found.items()))), metric)
    for name in ("difference", "t_cluster", "t_clip", "cohen_d_clip", "cohen_q", "williams_t"):
        assert row[name] == pytest.approx(-turned[name])
    for name in (
        "p_permutation", "p_t_cluster", "p_wilcoxon_cluster", "p_t_clip", "p_wilcoxon_clip",
        "williams_p", "p_unit",
    ):  # fmt: skip
        assert row[name] == pytest.approx(turned[name])
    assert row["n_units_ahead"] == turned["n_units_behind"] > 0
    leader, loser = ("a", "b") if row["difference"] > 0 else ("b", "a")
    assert f"{row[leader]} is ahead in" in row["verdict"]
    assert f"{row[loser]} is ahead" not in row["verdict"]


def test_limits_are_those_of_the_paired_draws() -> None:
    table, design, y, found = _case()
    values = {key: _r2(y, p) for key, p in found.items()}
    means = _means(R2, values)
    rows = comparisons.compare_models(
        "content", "all", R2, design, y, found, means, ALL, table, PARAMS
    )
    for row, (a, b) in zip(rows, itertools.combinations(found, 2), strict=True):
        low, high = means[a][R2].minus(means[b][R2]).interval(0.95)
        assert (row["ci_low"], row["ci_high"]) == (low[0], high[0])
        assert row["ci_high"] - row["ci_low"] < 0.1  # the shared wobble cancels
        assert row["interval"] == "content"
    q = benjamini_hochberg(np.array([row["p_permutation"] for row in rows]))
    assert [row["q_permutation"] for row in rows] == q.tolist()


def test_only_schemes_that_hold_out_music_count_units() -> None:
    case = _case(n_movements=4, noise=(0.3, 1.5))
    (row,) = _compare(case, scheme="movement")
    assert (row["unit"], row["n_units"], row["n_units_ahead"]) == ("movement", 4, 4)
    assert row["p_unit"] == 0.125
    assert "is better than mel/ridge" in row["verdict"]
    assert "symbolic/ridge is ahead in 4 of 4 held-out movements" in row["verdict"]
    assert "4 cannot give a two-sided test below p = .125" in row["verdict"]
    table, design, _, found = case
    first = (table.set_index("clip").loc[list(design.clips), "movement"] == "m0").to_numpy()
    kept = found[B].copy()
    found[B][first] = found[A][first]  # nobody is ahead there
    level = _compare(case, scheme="movement")[0]
    assert (level["n_units_ahead"], level["n_units_behind"]) == (3, 0)
    found[B] = kept
    (row,) = _compare(case, scheme="composition")
    assert (row["unit"], row["n_units"]) == ("composition", 2)
    (row,) = _compare(case, scheme="content")
    assert (row["unit"], row["n_units"]) == ("", 0)
    assert np.isnan(row["p_unit"])
    assert "movement" not in row["verdict"]


def test_four_groups_can_show_nothing_however_large_the_difference() -> None:
    (row,) = _compare(_case(n_movements=2, noise=(0.1, 3.0)), scheme="content")
    assert row["difference"] > 1
    assert row["ci_low"] > 0
    assert "no difference can be shown here, whatever its size" in row["verdict"]
    assert "4 content groups cannot give" in row["verdict"]
    assert "better" not in row["verdict"]


def test_equal_predictions_are_said_to_be_equal() -> None:
    table, design, y, found = _case(noise=(0.5, 0.5))
    found[B] = found[A].copy()
    means = _means(R2, {A: 0.5, B: 0.5})
    means[B] = means[A]
    (row,) = comparisons.compare_models(
        "movement", "all", R2, design, y, found, means, ALL, table, PARAMS
    )
    assert (row["difference"], row["ci_low"], row["ci_high"]) == (0, 0, 0)
    assert (row["p_permutation"], row["p_t_clip"], row["williams_p"]) == (1, 1, 1)
    assert row["verdict"] == (
        "symbolic/ridge and mel/ridge score the same in R² in each of 6 content groups."
    )


def test_a_constant_model_has_no_correlation_and_no_williams() -> None:
    table, design, y, found = _case(noise=(0.5,))
    found[NONE] = np.zeros_like(y)
    (row,) = _compare((table, design, y, found))
    assert np.isfinite(row["r_a"])
    assert np.isnan([row["r_b"], row["cohen_q"], row["williams_t"], row["williams_p"]]).all()
    assert row["p_permutation"] == 2 / 64


def test_a_model_without_the_metric_is_left_out() -> None:
    table, design, y, found = _case()
    means = _means(R2, {A: 0.5, B: np.nan, C: 0.1})
    rows = comparisons.compare_models(
        "content", "all", R2, design, y, found, means, ALL, table, PARAMS
    )
    assert [(row["a"], row["b"]) for row in rows] == [("symbolic/ridge", "transkun/ridge")]
    del means[C][R2]
    assert (
        comparisons.compare_models(
            "content", "all", R2, design, y, found, means, ALL, table, PARAMS
        )
        == []
    )


def test_the_table_survives_a_file_with_its_verdicts() -> None:
    rows = _compare(_case(n_movements=4), scheme="movement") + _compare(_case(), scheme="content")
    table = comparisons.comparisons_table(rows)
    assert set(rows[0]) == set(comparisons.COMPARISON_COLUMNS) == set(table.columns)
    read = pd.read_csv(io.StringIO(table.to_csv(index=False, float_format="%.6g")))
    assert [verdict(row) for row in read.to_dict("records")] == table["verdict"].tolist()
    assert list(comparisons.comparisons_table([]).columns) == comparisons.COMPARISON_COLUMNS


_ROW: dict[str, Any] = {
    "metric": R2, "a": "symbolic/ridge", "b": "mel/ridge", "difference": -0.0504, "ci_low": -0.0801,
    "ci_high": -0.0199, "p_permutation": 0.0012, "q_permutation": 0.00301, "smallest_p": 1e-4,
    "interval": "content", "n_clusters": 45, "n_units": 0, "t_clip": -5.0, "p_t_clip": 1e-6,
}  # fmt: skip


def test_verdict_names_the_better_model_first() -> None:
    assert verdict(_ROW) == (
        "mel/ridge is better than symbolic/ridge by .050 in R² (95 % interval .020 to .080; "
        "p = .001, corrected q = .003 over 45 content groups)."
    )


def test_verdict_says_what_remains_possible() -> None:
    row = _ROW | {"ci_high": 0.03, "p_permutation": 0.2, "q_permutation": 0.4}
    assert verdict(row) == (
        "No difference in R² is shown between mel/ridge and symbolic/ridge: .050 (95 % interval "
        "−.030 to .080; p = .200, corrected q = .400 over 45 content groups); the interval allows "
        "mel/ridge to be better by up to .080 or worse by up to .030. A t-test over clips as if "
        "they were independent would give p < .001."
    )
    assert "t-test" not in verdict(row | {"metric": PAIRS})
    assert "t-test" not in verdict(row | {"t_clip": 5.0})
    assert "pairwise accuracy" in verdict(row | {"metric": PAIRS})


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"q_permutation": 0.06}, "the permutation test does not bear it out"),
        ({"ci_high": 0.00001}, "the interval does not bear it out (95 % interval −.000 to .080"),
        (
            {"ci_high": 0.001, "interval": "content×player"},
            "the interval, which resamples players too, does not bear it out",
        ),
        ({"ci_low": np.nan, "ci_high": np.nan}, "there is no interval that could bear it out (no"),
    ],
)
def test_interval_and_permutation_must_agree(change: dict[str, float], doubt: str) -> None:
    text = verdict(_ROW | change)
    assert "mel/ridge is ahead of symbolic/ridge by .050 in R², but this is not shown" in text
    assert doubt in text
    assert "better" not in text


def test_verdict_tells_few_groups_from_few_that_differ() -> None:
    text = verdict(_ROW | {"smallest_p": 0.25})
    assert "the content groups they differ in cannot give" in text
    assert "below p = .250" in text
    assert "4 content groups cannot give" in verdict(_ROW | {"smallest_p": 0.125, "n_clusters": 4})


def test_verdict_tests_units_where_there_are_enough() -> None:
    row = _ROW | {
        "unit": "movement", "n_units": 9, "n_units_ahead": 2, "n_units_behind": 6, "p_unit": 0.03,
    }  # fmt: skip
    assert verdict(row).endswith(
        " mel/ridge is ahead in 6 of 9 held-out movements (sign flip over movements: p = .030)."
    )


def test_no_model_is_ahead_where_there_is_no_difference() -> None:
    """Groups may cancel; and sums that are equal on paper may differ by rounding."""
    level = _ROW | {"difference": 0.0, "ci_low": -0.1, "ci_high": 0.1, "p_permutation": 1.0,
                    "q_permutation": 1.0, "t_clip": 0.0, "p_t_clip": 1.0}  # fmt: skip
    assert verdict(level).startswith("No difference in R² is shown between symbolic/ridge and mel")
    few = verdict(level | {"smallest_p": 0.5, "n_clusters": 2})
    assert few.startswith("symbolic/ridge and mel/ridge score the same in R² on the whole (95 %")
    assert "ahead" not in few
    tiny = level | {"difference": -1e-17, "smallest_p": 1.0, "ci_low": np.nan, "ci_high": np.nan,
                    "n_clusters": 1}  # fmt: skip
    assert verdict(tiny) == (
        "mel/ridge and symbolic/ridge score the same in R² in each of 1 content group."
    )


def test_p_at_the_level_is_enough_whatever_the_confidence() -> None:
    """1 − .9 is a little below .1."""
    row = _ROW | {"p_permutation": 0.1, "q_permutation": 0.1}
    assert "is better than" in verdict(row, 0.9)
    assert "is better than" not in verdict(row, 0.95)


def test_only_first_views_and_baselines_are_compared() -> None:
    views = {"symbolic": {"symbolic": {}}, "transkun": {"transkun": {}, "transkun-4": {}}}
    names = ["none", "lookup", "symbolic", "transkun", "transkun-4", "symbolic:shuffled_labels",
             "symbolic:train_25", "mel"]  # fmt: skip
    keys = [ModelKey(name, "ridge", 0) for name in names]
    found = comparisons.compared_models(keys, views)
    assert [key.features for key in found] == ["none", "lookup", "symbolic", "transkun"]


def test_seeds_are_named_only_where_there_are_several() -> None:
    keys = [A, ModelKey("mel", "mlp", 1), ModelKey("mel", "mlp", 2)]
    assert comparisons.model_names(keys) == [
        "symbolic/ridge", "mel/mlp (seed 1)", "mel/mlp (seed 2)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subset", "has_human", "margins", "expected"),
    [
        ("all", True, [0.0, 0.05, 0.1], [R2]),
        ("human", True, [0.0, 0.05, 0.1], [PAIRS]),
        ("all", False, [0.0, 0.05, 0.1], [R2, PAIRS]),
        ("all", False, [0.2, 0.1, 0.0], [R2, "pairwise_010"]),
        ("all", False, [0.0], [R2, "pairwise_0"]),
        ("all", False, [], [R2]),
    ],
)
def test_metrics_of_a_subset(
    subset: str, has_human: bool, margins: list[float], expected: list[str]
) -> None:
    assert comparisons.compared_metrics(subset, has_human, margins) == expected
