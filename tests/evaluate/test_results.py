from __future__ import annotations

import json
from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.evaluate.leaks import LeakError
from pianoeval.evaluate.results import evaluate_corpus
from pianoeval.evaluate.splits import make_folds
from pianoeval.evaluate.tables import RESULT_COLUMNS

SCHEMES = ["segment", "content", "player", "movement", "movement_player"]


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    manifest = cases.manifest(n_segments=6)
    labels = cases.labels(manifest)
    params = cases.params()
    folds = make_folds(manifest, params.folds)
    return {
        "manifest": manifest,
        "labels": labels,
        "folds": folds,
        "predictions": {"symbolic": cases.predictions(labels, folds)},
        "ratings": cases.ratings(labels),
        "params": params,
        "commit": "abc123",
    }


@pytest.fixture(scope="module")
def evaluated(inputs: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    return evaluate_corpus(**inputs)


def test_contract(evaluated: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    results, summary = evaluated
    assert list(results.columns) == RESULT_COLUMNS
    assert set(results["scheme"]) == set(SCHEMES)
    assert set(results["subset"]) == {"all", "human"}
    assert set(results["features"]) == {"none", "lookup", "symbolic", "ceiling"}
    assert {"r2_pooled", "r2_fold_mean", "pairwise_0", "pairwise_005", "pairwise_010", "spearman",
            "kendall", "mse", "mae", "pearson", "ccc"} <= set(results["metric"])  # fmt: skip
    assert np.isfinite(results["value"]).all()
    keys = ["scheme", "subset", "features", "model", "dimension", "metric", "seed"]
    assert not results.duplicated(keys).any()
    assert set(results["commit"]) == {"abc123"}
    ours = results[results["features"] == "symbolic"]
    assert ours["config_hash"].nunique() == 1
    assert ours["config_hash"].iloc[0] != results.query("features == 'none'")["config_hash"].iloc[0]
    with_interval = ours[~ours["metric"].isin(["spearman", "kendall"])]
    assert (with_interval["ci_low"] <= with_interval["ci_high"]).all()
    assert (ours.query("subset == 'human'")["n_clips"] == 54).all()
    json.dumps(summary, allow_nan=False)


def test_values_against_scikit_learn(
    inputs: dict[str, Any], evaluated: tuple[pd.DataFrame, dict[str, Any]]
) -> None:
    results, _ = evaluated
    table = inputs["predictions"]["symbolic"].merge(inputs["labels"], on=["clip", "dimension"])
    for scheme in SCHEMES:
        part = table[table["scheme"] == scheme]
        expected = [
            r2_score(rows["value"], rows["prediction"]) for _, rows in part.groupby("dimension")
        ]
        found = results.query(
            "scheme == @scheme and features == 'symbolic' and metric == 'r2_pooled'"
            " and subset == 'all'"
        ).set_index("dimension")["value"]
        assert found[["pedal", "timing"]].tolist() == pytest.approx(expected)
        assert found["mean"] == pytest.approx(np.mean(expected))


def test_ceilings_and_headlines(evaluated: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    results, summary = evaluated
    rows = results.query(
        "features == 'ceiling' and model == 'icc_1k' and dimension == 'mean' and subset == 'all'"
    )
    assert set(rows["scheme"]) == set(SCHEMES)
    line = summary["headlines"]["movement"]["all"]["r2_pooled"]
    assert line["best"]["features"] == "symbolic"
    assert line["ceiling"] == pytest.approx(rows["value"].iloc[0])
    difference = line["best"]["value"] - line["baseline"]["value"]
    assert line["advantage"]["value"] == pytest.approx(difference)
    assert line["advantage"]["ci_low"] > 0
    room = line["ceiling"] - line["baseline"]["value"]
    assert line["share_of_way"] == pytest.approx(difference / room)
    assert summary["leaks"]["movement"]["movement"] == 0
    assert any("3 movements" in note for note in summary["notes"])
    assert summary["simulated"] is False
    assert line["audio_minus_symbolic"] is None


def test_audio_and_symbolic_are_compared_pair_by_pair(inputs: dict[str, Any]) -> None:
    """By hand: the difference of the two R², drawn over the same content groups."""
    weaker = cases.predictions(inputs["labels"], inputs["folds"], noise=0.06, seed=5)
    both = {**inputs["predictions"], "mel": weaker}
    _, summary = evaluate_corpus(**{**inputs, "predictions": both})
    for scheme in SCHEMES:
        line = summary["headlines"][scheme]["all"]["r2_pooled"]
        found, best = line["audio_minus_symbolic"], line["best_by_features"]
        assert found["audio"] == {"features": "mel", "model": "ridge", "seed": 0}
        assert found["symbolic"]["features"] == "symbolic"
        expected = best["mel"]["value"] - best["symbolic"]["value"]
        assert found["value"] == pytest.approx(expected)
        assert found["ci_low"] < found["value"] < found["ci_high"]
    same = {**inputs["predictions"], "mel": inputs["predictions"]["symbolic"]}
    _, summary = evaluate_corpus(**{**inputs, "predictions": same})
    found = summary["headlines"]["movement"]["all"]["r2_pooled"]["audio_minus_symbolic"]
    assert [found[k] for k in ("value", "ci_low", "ci_high")] == [0.0, 0.0, 0.0]


def test_unknown_reliability_excludes_no_dimension(inputs: dict[str, Any]) -> None:
    one = inputs["ratings"].query("rater == 'r0'")
    results, summary = evaluate_corpus(**{**inputs, "ratings": one})
    assert summary["ranking_excluded"] == []
    assert summary["reliability_unknown"] == ["timing", "pedal"]
    assert not any("do not agree" in note for note in summary["notes"])
    assert any("is unknown (one rater a clip" in note for note in summary["notes"])
    assert not ((results["features"] == "ceiling") & (results["model"] == "within_segment")).any()
    pairs = results.query("features == 'symbolic' and metric == 'pairwise_0'")
    assert "mean" in set(pairs["dimension"])
    json.dumps(summary, allow_nan=False)


def test_order_of_rows_changes_nothing(inputs: dict[str, Any]) -> None:
    shuffled = dict(inputs)
    for name in ("manifest", "labels", "folds", "ratings"):
        shuffled[name] = inputs[name].sample(frac=1.0, random_state=1)
    table = inputs["predictions"]["symbolic"].sample(frac=1.0, random_state=2)
    shuffled["predictions"] = {"symbolic": table}
    shuffled["labels"] = shuffled["labels"].sort_values("dimension", ascending=False)
    schemes = {name: i for i, name in enumerate(SCHEMES)}
    order = shuffled["folds"]["scheme"].map(schemes).argsort(kind="stable")
    shuffled["folds"] = shuffled["folds"].iloc[order]
    keys = RESULT_COLUMNS[:8]
    one, other = (evaluate_corpus(**case)[0].sort_values(keys) for case in (inputs, shuffled))
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), other.reset_index(drop=True), rtol=1e-9
    )


def test_known_truth_has_no_ceiling_and_one_subset(inputs: dict[str, Any]) -> None:
    manifest = inputs["manifest"].assign(source="synthetic", is_score_render=False)
    results, summary = evaluate_corpus(**{**inputs, "manifest": manifest, "ratings": None})
    assert "ceiling" not in set(results["features"])
    assert set(results["subset"]) == {"all"}
    assert summary["simulated"] is True
    assert any("every ceiling is 1" in note for note in summary["notes"])


def test_models_are_compared_on_the_clips_they_share(inputs: dict[str, Any]) -> None:
    table = inputs["predictions"]["symbolic"]
    fewer = table[table["clip"] != table["clip"].iloc[0]]
    results, summary = evaluate_corpus(
        **{**inputs, "predictions": {"symbolic": table, "mel": fewer}}
    )
    whole = results.query("subset == 'all'")
    assert set(whole["n_clips"]) == {len(inputs["manifest"]) - 1}
    assert any("1 labelled clips lack" in note for note in summary["notes"])


def test_dimensions_without_agreement_leave_the_mean_of_pairs(inputs: dict[str, Any]) -> None:
    ratings = inputs["ratings"].copy()
    random = np.random.default_rng(0)
    noise = ratings["dimension"] == "pedal"
    ratings.loc[noise, "value"] = random.normal(0.5, 0.2, int(noise.sum()))
    results, summary = evaluate_corpus(**{**inputs, "ratings": ratings})
    assert summary["ranking_excluded"] == ["pedal"]
    part = results.query(
        "features == 'symbolic' and subset == 'all' and scheme == 'segment'"
    ).set_index(["metric", "dimension"])["value"]
    assert part["pairwise_0", "mean"] == part["pairwise_0", "timing"]
    r2 = (part["r2_pooled", "timing"] + part["r2_pooled", "pedal"]) / 2
    assert part["r2_pooled", "mean"] == pytest.approx(r2)


def test_faults_have_one_error_each(inputs: dict[str, Any]) -> None:
    table = inputs["predictions"]["symbolic"]
    with pytest.raises(ConfigError, match="no labels of task"):
        evaluate_corpus(**{**inputs, "labels": inputs["labels"].assign(task="expertise")})
    for bad, message in (
        (table.drop(columns="fold"), "lack fold"),
        (table.assign(fold=table["fold"] + 1), "on other folds"),
        (pd.concat([table, table.iloc[:1]]), "same clip twice"),
        (table.assign(clip=table["clip"] + "?"), "the manifest lacks"),
    ):
        with pytest.raises(CorruptDataError, match=message):
            evaluate_corpus(**{**inputs, "predictions": {"symbolic": bad}})
    leaky = inputs["manifest"].assign(player="one")
    with pytest.raises(LeakError, match="player"):
        evaluate_corpus(**{**inputs, "manifest": leaky})
