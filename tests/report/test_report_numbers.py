"""Which rows are chosen and how they are worded, against values set by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import make_results, make_summary

from pianoeval.report import CorpusReport, metrics_summary, select, words
from pianoeval.report.curves import layer_model, layer_views
from pianoeval.report.data import RESULT_COLUMNS
from pianoeval.report.scores import metric_table


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    common = {
        "corpus": "c", "task": "rating", "scheme": "segment", "subset": "all", "dimension": "mean",
        "metric": "r2_pooled", "ci_low": math.nan, "ci_high": math.nan, "interval": "",
        "n_clips": 10, "n_clusters": 5, "seed": "", "config_hash": "h", "commit": "k",
    }  # fmt: skip
    return pd.DataFrame([{**common, **row} for row in rows], columns=list(RESULT_COLUMNS))


def report_of(*rows: dict[str, Any], **summary: Any) -> CorpusReport:
    return CorpusReport("c", table_of(*rows), summary)


SYMBOLIC = {"features": "symbolic", "model": "ridge", "value": 0.5}
AUDIO = {"features": "mel", "model": "mlp", "value": 0.4}
LOOKUP = {"features": "lookup", "model": "player_mean", "value": 0.1}
MEAN = {"features": "none", "model": "training_mean", "value": -0.1}
CEILING = {"features": "ceiling", "model": "icc_1k", "value": 0.9}


def test_one_line_of_the_headline() -> None:
    [line] = select.headline(report_of(AUDIO, LOOKUP, MEAN, CEILING, SYMBOLIC), "r2_pooled")
    assert line.best.key == "symbolic/ridge"
    assert line.audio is not None
    assert line.audio.key == "mel/mlp"
    assert line.baseline is not None
    assert line.baseline.key == "lookup/player_mean"
    assert line.ceiling is not None
    assert line.share == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert line.advantage is None


def test_the_training_mean_may_be_the_best_baseline() -> None:
    [line] = select.headline(report_of(SYMBOLIC, {**LOOKUP, "value": -0.3}, MEAN), "r2_pooled")
    assert line.baseline is not None
    assert line.baseline.features == "none"
    assert line.lookup is not None
    assert line.lookup.value == -0.3
    assert line.share is None


def test_of_equal_baselines_the_training_mean_is_named() -> None:
    """Lookups of groups that training has not seen are the training mean."""
    equal = {**LOOKUP, "value": MEAN["value"]}
    [line] = select.headline(report_of(SYMBOLIC, equal, MEAN), "r2_pooled")
    assert line.baseline is not None
    assert line.baseline.key == "none/training_mean"


def test_of_several_ceilings_the_stated_one_then_the_lowest() -> None:
    other = {**CEILING, "model": "split_half", "value": 0.95}
    found = metric_table(report_of(SYMBOLIC, CEILING, other), "r2_pooled").ceiling("segment")
    assert found is not None
    assert found.value == 0.9
    named = [{**CEILING, "model": name, "value": v} for name, v in (("a", 0.8), ("b", 0.7))]
    found = metric_table(report_of(SYMBOLIC, *named), "r2_pooled").ceiling("segment")
    assert found is not None
    assert found.value == 0.7


def test_exact_labels_have_a_ceiling_of_one() -> None:
    assert metric_table(report_of(SYMBOLIC), "r2_pooled").ceiling("segment") is None
    found = metric_table(report_of(SYMBOLIC, simulated=True), "r2_pooled").ceiling("segment")
    assert found is not None
    assert found.value == 1.0


@pytest.mark.parametrize(("low", "clear"), [(0.2, True), (-0.2, False)])
def test_the_paired_difference_comes_from_the_summary(low: float, clear: bool) -> None:
    compared = {
        "best": {"features": "symbolic", "model": "ridge"},
        "baseline": {"features": "lookup", "model": "player_mean"},
        "advantage": {"value": 0.4, "ci_low": low, "ci_high": 0.6},
    }
    headlines = {"segment": {"all": {"r2_pooled": compared}}}
    [line] = select.headline(report_of(SYMBOLIC, LOOKUP, headlines=headlines), "r2_pooled")
    assert line.advantage == (0.4, low, 0.6)
    assert line.clear is clear
    compared["best"] = {"features": "mel", "model": "mlp"}
    [line] = select.headline(report_of(SYMBOLIC, LOOKUP, headlines=headlines), "r2_pooled")
    assert line.advantage is None


def test_seeds_are_told_apart() -> None:
    rows = [{**AUDIO, "seed": seed, "value": v} for seed, v in (("1", 0.4), ("2", 0.45))]
    found = metric_table(report_of(SYMBOLIC, *rows), "r2_pooled").scores("segment")
    assert [s.name for s in found] == [
        "ridge on symbolic features", "mlp on mel (seed 2)", "mlp on mel (seed 1)",
    ]  # fmt: skip


@given(st.lists(st.floats(-2, 1), min_size=1, max_size=8, unique=True))
def test_the_best_is_the_largest_and_never_a_baseline(values: list[float]) -> None:
    rows = [{**AUDIO, "model": f"m{i}", "value": v} for i, v in enumerate(values)]
    line = select.headline(report_of(*rows, {**LOOKUP, "value": 5.0}), "r2_pooled")[0]
    assert line.best.value == max(values)
    assert line.baseline is not None
    assert line.baseline.value == 5.0


def test_metrics_have_few_readable_keys(percepiano: CorpusReport, studio: CorpusReport) -> None:
    found = metrics_summary([studio, percepiano])
    assert list(found) == ["studio", "percepiano"]
    movement = found["percepiano"]["movement"]
    assert list(movement) == ["best_model", "r2_pooled", "pairwise_005", "best_lookup", "ceiling"]
    assert movement["best_model"] == "symbolic/ensemble"
    assert movement["r2_pooled"] == 0.171
    assert movement["best_lookup"] == -0.133
    assert movement["ceiling"] == 0.717
    assert found["studio"]["movement"]["ceiling"] == 1.0
    json.dumps(found, allow_nan=False)


def test_pairs_are_counted_on_human_clips() -> None:
    report = CorpusReport("percepiano", make_results(), make_summary())
    assert metric_table(report, "pairwise_005").subset == "human"
    assert metric_table(report, "r2_pooled").subset == "all"


def test_layers_in_order(percepiano: CorpusReport) -> None:
    views = layer_views(percepiano)
    assert views == {"transkun": [f"transkun-{x}" for x in (*range(1, 7), "ctx")]}
    assert layer_model(metric_table(percepiano, "r2_pooled"), views["transkun"]) == "ridge"


def test_two_layers_are_no_curve() -> None:
    rows = [{**AUDIO, "features": f"mert-{i}"} for i in (7, 12)]
    assert layer_views(report_of(*rows)) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1714, "0.171"), (-0.133, "−0.133"), (-0.0001, "0.000"), (None, "–"), (math.nan, "–")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("pairwise_0", "pairwise, any Δ"),
        ("pairwise_005", "pairwise |Δ| > 0.05"),
        ("pairwise_010", "pairwise |Δ| > 0.10"),
        ("pairwise_0125", "pairwise |Δ| > 0.125"),
        ("pairwise_150", "pairwise |Δ| > 1.50"),
        ("r2_pooled", "R² pooled"),
        ("acc_n", "acc n"),
    ],
)
def test_metric_names(metric: str, text: str) -> None:
    assert words.metric_name(metric) == text


def test_schemes_from_the_leakiest_to_the_strictest() -> None:
    shuffled = ["movement_player", "zebra", "segment", "movement", "player", "content"]
    ordered = sorted(shuffled, key=words.scheme_rank)
    assert ordered == ["segment", "content", "player", "movement", "movement_player", "zebra"]


def test_row_names() -> None:
    assert words.row_name("lookup", "movement_player_mean") == "lookup by movement × player"
    assert words.row_name("transkun-4", "extra_trees") == "extra trees on transkun-4"
    assert words.row_name("none", "training_mean") == "training mean"
    assert words.row_name("ceiling", "icc_1k") == "ICC(1,k)"
    assert words.joined(["a", "b", "c"]) == "a, b and c"
