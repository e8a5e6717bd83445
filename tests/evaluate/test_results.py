from __future__ import annotations

import json
from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.evaluate.protocol.controls import relabel
from pianoeval.evaluate.protocol.leaks import LeakError
from pianoeval.evaluate.tables import RESULT_COLUMNS

SCHEMES = ["segment", "content", "player", "movement", "movement_player"]


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return cases.evaluation_inputs(6)


@pytest.fixture(scope="module")
def evaluated(inputs: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    return cases.evaluate_corpus(**inputs)


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
    bounded = results[results["interval"] != ""]
    single = 1e-6  # limits come from replicates in single precision
    assert (bounded["ci_low"] <= bounded["value"] + single).all()
    assert (bounded["value"] <= bounded["ci_high"] + single).all()
    assert results[results["interval"] == ""][["ci_low", "ci_high"]].isna().all(axis=None)
    assert set(results.query("features == 'ceiling'")["interval"]) == {""}
    methods = ours.query("subset == 'all'").groupby("metric")["interval"].agg(set)
    assert methods["spearman"] == methods["kendall"] == {"jackknife"}
    assert methods["r2_pooled"] == methods["ndcg"] == methods["mae"] == {"content"}
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
    assert any("3 movements" in note and "p = .25" in note for note in summary["notes"])
    assert any("fewer than 6 players" in note for note in summary["notes"])
    assert summary["bootstrap"]["method"] == "BCa, clusters = content groups"
    assert "one_way" not in line["best"]
    assert summary["simulated"] is False
    assert line["audio_minus_symbolic"] is None


def test_audio_and_symbolic_are_compared_pair_by_pair(with_players: dict[str, Any]) -> None:
    """By hand: the difference of the two R², drawn over the same content groups."""
    inputs = with_players
    weaker = cases.predictions(inputs["labels"], inputs["folds"], noise=0.06, seed=5)
    both = {**inputs["predictions"], "mel": weaker}
    _, summary = cases.evaluate_corpus(**{**inputs, "predictions": both})
    for scheme in ("segment", "movement"):
        line = summary["headlines"][scheme]["all"]["r2_pooled"]
        found, best = line["audio_minus_symbolic"], line["best_by_features"]
        assert found["audio"] == {"features": "mel", "model": "ridge", "seed": 0}
        assert found["symbolic"]["features"] == "symbolic"
        expected = best["mel"]["value"] - best["symbolic"]["value"]
        assert found["value"] == pytest.approx(expected)
        assert found["ci_low"] < found["value"] < found["ci_high"]
    same = {**inputs["predictions"], "mel": inputs["predictions"]["symbolic"]}
    _, summary = cases.evaluate_corpus(**{**inputs, "predictions": same})
    found = summary["headlines"]["movement"]["all"]["r2_pooled"]["audio_minus_symbolic"]
    assert [found[k] for k in ("value", "ci_low", "ci_high")] == [0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def with_players(inputs: dict[str, Any]) -> dict[str, Any]:
    """Four players are enough to be resampled, two schemes are enough to look at."""
    folds = inputs["folds"][inputs["folds"]["scheme"].isin(["segment", "movement"])]
    params = cases.params(evaluate={"n_bootstrap": 500, "min_players": 4}, run={"workers": 1})
    table = inputs["predictions"]["symbolic"]
    table = table[table["scheme"].isin(["segment", "movement"])]
    return {**inputs, "folds": folds, "params": params, "predictions": {"symbolic": table}}


def test_groups_and_players_are_resampled_at_once(with_players: dict[str, Any]) -> None:
    results, summary = cases.evaluate_corpus(**with_players)
    human = results.query("subset == 'human' and features == 'symbolic'")
    assert set(human["interval"]) == {"content", "jackknife"}  # three players without the deadpan
    ours = results.query("subset == 'all' and features == 'symbolic'")
    methods = ours.groupby("metric")["interval"].agg(set)
    whole = {"intra_segment_std", "dispersion_ratio", "ndcg"}
    for metric, found in methods.items():
        ranks = {"jackknife"} if metric in ("spearman", "kendall") else {"content×player"}
        assert found == ({"content"} if metric in whole else ranks), metric
    line = summary["headlines"]["movement"]["all"]
    for metric in ("r2_pooled", "pairwise_005"):
        one_way = line[metric]["best"]["one_way"]
        assert set(one_way) == {"content", "player"}
        assert all(low < line[metric]["best"]["value"] < high for low, high in one_way.values())
    assert "one_way" not in line["pairwise_0"]["best"]
    sizes = {(size["scheme"], size["subset"]): size["players"] for size in summary["sizes"]}
    assert (sizes["movement", "all"], sizes["movement", "human"]) == (4, 1)
    assert any("segment (human), movement (human)" in note for note in summary["notes"])
    assert "content groups × players" in summary["bootstrap"]["method"]


def test_threads_change_no_bit(with_players: dict[str, Any]) -> None:
    two = cases.params(evaluate={"n_bootstrap": 500, "min_players": 4}, run={"workers": 2})
    one, other = (cases.evaluate_corpus(**{**with_players, "params": p}) for p in
                  (with_players["params"], two))  # fmt: skip
    pd.testing.assert_frame_equal(one[0], other[0], check_exact=True)
    assert one[1] == other[1]


def _of_control(case: dict[str, Any], control: str, noise: float) -> pd.DataFrame:
    """Predictions that know the exchanged labels up to noise."""
    manifest = case["manifest"].sort_values("clip")
    clips = manifest["clip"].tolist()
    values, dimensions = label_matrix(case["labels"], "rating", clips)
    seed = case["params"].probe.controls.seed
    exchanged = pd.DataFrame(relabel(manifest, clips, values, control, seed), clips, dimensions)
    long = exchanged.rename_axis("clip").reset_index()
    long = long.melt("clip", var_name="dimension").assign(task="rating")
    return cases.predictions(long, case["folds"], noise=noise)


def test_controls_are_judged_by_their_own_labels_and_win_nothing(
    with_players: dict[str, Any],
) -> None:
    plain, _ = cases.evaluate_corpus(**with_players)
    random = np.random.default_rng(3)
    useless = with_players["predictions"]["symbolic"].copy()
    useless["prediction"] = random.normal(0.5, 0.02, len(useless))
    # Controls need not have predicted every clip, and take none away from the models.
    useless = useless[useless["clip"] != useless["clip"].iloc[0]]
    found = {
        **with_players["predictions"],
        "symbolic:swapped_pieces": _of_control(with_players, "swapped_pieces", noise=0.001),
        "symbolic:shuffled_labels": useless,
    }
    results, summary = cases.evaluate_corpus(**{**with_players, "predictions": found})
    control = results["features"].str.contains(":")
    pd.testing.assert_frame_equal(
        results[~control].reset_index(drop=True), plain.reset_index(drop=True)
    )
    for scheme in ("segment", "movement"):
        lines = summary["controls"][scheme]
        assert lines["symbolic:swapped_pieces"]["r2_pooled"]["value"] > 0.95
        assert lines["symbolic:shuffled_labels"]["r2_pooled"]["value"] < 0
        assert set(lines["symbolic:shuffled_labels"]["r2_pooled"]) == {"value", "ci_low", "ci_high"}
        line = summary["headlines"][scheme]["all"]["r2_pooled"]
        assert line["n_compared"] == 1
        assert line["best"]["features"] == "symbolic"
    counts = results[control].query("subset == 'all' and metric == 'mse' and dimension == 'mean'")
    assert sorted(set(counts["n_clips"])) == [71, 72]
    json.dumps(summary, allow_nan=False)


def test_predictable_shuffled_labels_stop_the_run(with_players: dict[str, Any]) -> None:
    found = {
        **with_players["predictions"],
        "symbolic:shuffled_labels": _of_control(with_players, "shuffled_labels", noise=0.01),
    }
    with pytest.raises(LeakError, match="symbolic/ridge predicts shuffled labels"):
        cases.evaluate_corpus(**{**with_players, "predictions": found})


def test_learning_curves_have_headline_metrics_and_shrink_nothing(
    with_players: dict[str, Any],
) -> None:
    table = with_players["predictions"]["symbolic"]
    few = table[(table["scheme"] == "movement") & (table["clip"] != table["clip"].iloc[0])]
    found = {**with_players["predictions"], "symbolic:train_25": few}
    results, summary = cases.evaluate_corpus(**{**with_players, "predictions": found})
    curve = results[results["features"] == "symbolic:train_25"]
    assert set(curve["scheme"]) == {"movement"}
    assert set(curve["metric"]) == {"r2_pooled", "pairwise_005"}
    assert set(curve.query("subset == 'all'")["n_clips"]) == {71}
    assert set(curve.query("subset == 'all'")["interval"]) == {"content×player"}
    models = results.query("features == 'symbolic' and subset == 'all'")
    assert set(models["n_clips"]) == {72}
    assert not any("lack a prediction" in note for note in summary["notes"])
    assert "symbolic:train_25" not in summary["headlines"]["movement"]["all"]["r2_pooled"][
        "best_by_features"
    ]  # fmt: skip


def test_classes_have_metrics_of_their_own(with_players: dict[str, Any]) -> None:
    labels = with_players["labels"].assign(task="difficulty")
    labels["value"] = np.round(labels["value"] * 10)
    table = cases.predictions(labels, with_players["folds"], noise=0.6)
    probe = with_players["params"].probe.model_dump() | {"task": "difficulty"}
    params = cases.params(evaluate={"n_bootstrap": 500, "min_players": 4}, probe=probe)
    case = {**with_players, "labels": labels, "predictions": {"symbolic": table}, "ratings": None}
    results, _ = cases.evaluate_corpus(**{**case, "params": params})
    ours = results.query("features == 'symbolic' and scheme == 'segment' and subset == 'all'")
    found = ours.set_index(["metric", "dimension"])
    assert {"acc_0", "acc_1", "accuracy", "f1_macro", "r2_pooled"} <= set(ours["metric"])
    assert set(ours[ours["metric"] == "acc_1"]["interval"]) == {"content×player"}
    both = table[table["scheme"] == "segment"].merge(labels, on=["clip", "dimension"])
    one = both[both["dimension"] == "timing"]
    guess = np.floor(one["prediction"] + 0.5).clip(one["value"].min(), one["value"].max())
    right = (guess == one["value"]).mean()
    assert found.loc[("accuracy", "timing"), "value"] == pytest.approx(right)


def test_unknown_reliability_excludes_no_dimension(with_players: dict[str, Any]) -> None:
    inputs = with_players
    one = inputs["ratings"].query("rater == 'r0'")
    results, summary = cases.evaluate_corpus(**{**inputs, "ratings": one})
    assert summary["ranking_excluded"] == []
    assert summary["reliability_unknown"] == ["timing", "pedal"]
    assert not any("do not agree" in note for note in summary["notes"])
    assert any("is unknown (one rater a clip" in note for note in summary["notes"])
    assert not ((results["features"] == "ceiling") & (results["model"] == "within_segment")).any()
    pairs = results.query("features == 'symbolic' and metric == 'pairwise_0'")
    assert "mean" in set(pairs["dimension"])
    json.dumps(summary, allow_nan=False)


def test_order_of_rows_changes_nothing(with_players: dict[str, Any]) -> None:
    inputs = with_players
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
    one, other = (cases.evaluate_corpus(**case)[0].sort_values(keys) for case in (inputs, shuffled))
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), other.reset_index(drop=True), rtol=1e-9
    )


def test_known_truth_has_no_ceiling_and_one_subset(with_players: dict[str, Any]) -> None:
    inputs = with_players
    manifest = inputs["manifest"].assign(source="synthetic", is_score_render=False)
    results, summary = cases.evaluate_corpus(**{**inputs, "manifest": manifest, "ratings": None})
    assert "ceiling" not in set(results["features"])
    assert set(results["subset"]) == {"all"}
    assert summary["simulated"] is True
    assert any("every ceiling is 1" in note for note in summary["notes"])


def test_models_are_compared_on_the_clips_they_share(with_players: dict[str, Any]) -> None:
    inputs = with_players
    table = inputs["predictions"]["symbolic"]
    fewer = table[table["clip"] != table["clip"].iloc[0]]
    results, summary = cases.evaluate_corpus(
        **{**inputs, "predictions": {"symbolic": table, "mel": fewer}}
    )
    whole = results.query("subset == 'all'")
    assert set(whole["n_clips"]) == {len(inputs["manifest"]) - 1}
    assert any("1 labelled clips lack" in note for note in summary["notes"])


def test_dimensions_without_agreement_leave_the_mean_of_pairs(with_players: dict[str, Any]) -> None:
    inputs = with_players
    ratings = inputs["ratings"].copy()
    random = np.random.default_rng(0)
    noise = ratings["dimension"] == "pedal"
    ratings.loc[noise, "value"] = random.normal(0.5, 0.2, int(noise.sum()))
    results, summary = cases.evaluate_corpus(**{**inputs, "ratings": ratings})
    assert summary["ranking_excluded"] == ["pedal"]
    part = results.query(
        "features == 'symbolic' and subset == 'all' and scheme == 'segment'"
    ).set_index(["metric", "dimension"])["value"]
    assert part["pairwise_0", "mean"] == part["pairwise_0", "timing"]
    r2 = (part["r2_pooled", "timing"] + part["r2_pooled", "pedal"]) / 2
    assert part["r2_pooled", "mean"] == pytest.approx(r2)


def test_faults_have_one_error_each(inputs: dict[str, Any], with_players: dict[str, Any]) -> None:
    table = with_players["predictions"]["symbolic"]
    with pytest.raises(ConfigError, match="no labels of task"):
        cases.evaluate_corpus(**{**inputs, "labels": inputs["labels"].assign(task="expertise")})
    for bad, message in (
        (table.drop(columns="fold"), "lack fold"),
        (table.assign(fold=table["fold"] + 1), "on other folds"),
        (pd.concat([table, table.iloc[:1]]), "same clip twice"),
        (table.assign(clip=table["clip"] + "?"), "the manifest lacks"),
    ):
        with pytest.raises(CorruptDataError, match=message):
            cases.evaluate_corpus(**{**with_players, "predictions": {"symbolic": bad}})
    leaky = inputs["manifest"].assign(player="one")
    with pytest.raises(LeakError, match="player"):
        cases.evaluate_corpus(**{**inputs, "manifest": leaky})
