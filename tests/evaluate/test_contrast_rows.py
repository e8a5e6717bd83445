"""Values, intervals and comparisons of heads against other implementations and by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import contrast_cases as cases
import evaluation_cases
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score

from pianoeval.errors import BadInputError, ConfigError, CorruptDataError
from pianoeval.evaluate.contrast.compare import COMPARED_COLUMNS, compare_heads, compared_table
from pianoeval.evaluate.contrast.corpus import HeadEvaluation, evaluate_heads, head_hash
from pianoeval.evaluate.contrast.rows import (
    CONTRASTIVE_COLUMNS,
    Judged,
    contrastive_table,
    judge,
    seed_mean,
)
from pianoeval.evaluate.contrast.trial import Trial, make_trials
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.statistics.bootstrap import draw_counts, resample
from pianoeval.evaluate.statistics.metrics import sum_metrics
from pianoeval.evaluate.statistics.sums import clip_sums, cluster_sums
from pianoeval.params import Params

# As docs and consumers know it: written out, not imported.
COLUMNS = [
    "corpus", "task", "scheme", "kind", "head", "approach", "store", "dimension", "metric",
    "statistic", "value", "ci_low", "ci_high", "interval", "n_clips", "n_clusters", "n_folds",
    "seed", "n_seeds", "config_hash", "commit",
]  # fmt: skip


@pytest.fixture(scope="module")
def params() -> Params:
    return cases.params()


@pytest.fixture(scope="module")
def inputs(params: Params) -> dict[str, Any]:
    manifest = evaluation_cases.manifest(n_players=7)
    labels = evaluation_cases.labels(manifest)
    folds = make_folds(manifest, params.folds)
    predictions, _ = cases.head_tables(manifest, labels, folds)
    return {
        "manifest": manifest, "labels": labels, "folds": folds, "predictions": predictions,
        "ratings": evaluation_cases.ratings(labels), "params": params, "commit": "abc",
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(inputs: dict[str, Any]) -> HeadEvaluation:
    return evaluate_heads(**inputs)


@pytest.fixture(scope="module")
def table(found: HeadEvaluation) -> pd.DataFrame:
    return contrastive_table(found.rows)


@pytest.fixture(scope="module")
def trial(inputs: dict[str, Any]) -> Trial:
    wanted = ("manifest", "labels", "folds", "predictions", "params")
    return make_trials(**{name: inputs[name] for name in wanted})[0]


@pytest.fixture(scope="module")
def judged(trial: Trial, params: Params) -> Judged:
    return judge(trial, params.evaluate)


def told(inputs: dict[str, Any], head: str, seed: int, dimension: str) -> pd.DataFrame:
    """Predictions beside labels, by pandas alone."""
    p, labels = inputs["predictions"], inputs["labels"]
    own = p[(p["head"] == head) & (p["scheme"] == "player") & (p["seed"] == seed)]
    rated = labels.loc[labels["dimension"] == dimension, ["clip", "value"]]
    return own[own["dimension"] == dimension].merge(rated, on="clip")


def cell(table: pd.DataFrame, **wanted: object) -> pd.Series:
    same = np.ones(len(table), bool)
    for name, value in {"scheme": "player", **wanted}.items():
        same &= (table[name] == value).fillna(False).to_numpy(bool)
    [row] = [line for _, line in table[same].iterrows()]
    return row


def test_columns_are_the_documented_ones(table: pd.DataFrame) -> None:
    assert list(table.columns) == COLUMNS == CONTRASTIVE_COLUMNS


def test_values_of_each_seed_are_those_of_sklearn_and_scipy(
    inputs: dict[str, Any], table: pd.DataFrame
) -> None:
    for head, seed in itertools.product(("pcconv", "plain"), (0, 2)):
        both = told(inputs, head, seed, "timing")
        y, p = both["value"], both["predicted"]
        by_fold = [r2_score(part["value"], part["predicted"]) for _, part in both.groupby("fold")]
        wanted = {
            "r2_pooled": r2_score(y, p), "r2_fold_mean": np.mean(by_fold),
            "pearson": stats.pearsonr(y, p).statistic, "mae": mean_absolute_error(y, p),
        }  # fmt: skip
        for metric, value in wanted.items():
            row = cell(table, head=head, dimension="timing", metric=metric, statistic="seed",
                       seed=seed)  # fmt: skip
            assert row["value"] == pytest.approx(value, rel=1e-9)
            assert row["ci_low"] < row["value"] < row["ci_high"] or metric == "r2_fold_mean"


def test_mean_sd_and_the_averaged_prediction(inputs: dict[str, Any], table: pd.DataFrame) -> None:
    parts = [told(inputs, "joint", seed, "pedal") for seed in (0, 1, 2)]
    single = [r2_score(part["value"], part["predicted"]) for part in parts]
    together = np.mean([part["predicted"] for part in parts], axis=0)
    wanted = {
        "mean": np.mean(single), "sd": np.std(single, ddof=1),
        "averaged": r2_score(parts[0]["value"], together),
    }  # fmt: skip
    for statistic, value in wanted.items():
        row = cell(table, head="joint", dimension="pedal", metric="r2_pooled", statistic=statistic)
        assert row["value"] == pytest.approx(value, rel=1e-9)
        assert row["n_seeds"] == 3
        assert pd.isna(row["seed"])
    spread = cell(table, head="joint", dimension="pedal", metric="r2_pooled", statistic="sd")
    assert np.isnan(spread["ci_low"])
    assert spread["interval"] == ""


def test_the_mean_over_dimensions_is_that_of_its_rows(table: pd.DataFrame) -> None:
    values = [
        cell(table, head="joint", dimension=d, metric="mae", statistic="mean")["value"]
        for d in ("timing", "pedal", "mean")
    ]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2)


def test_a_draw_is_the_mean_over_seeds_of_drawn_clips(trial: Trial, params: Params) -> None:
    """One draw taken literally: clips repeated as often as their group and player were."""
    draws = draw_counts(trial.design, 5, 3)
    p = trial.heads["pcconv"]
    metric = {"r2_pooled": sum_metrics(())["r2_pooled"]}
    everything = {"r2_pooled": np.ones(2, bool)}
    drawn = seed_mean(
        resample(clip_sums(trial.design, trial.y, p), metric, draws, everything)["r2_pooled"]
    )
    for b in range(5):
        design = trial.design
        weight = draws.content[design.cluster, b] * draws.player[design.player, b]
        rows = np.repeat(np.arange(len(weight)), weight.astype(int))
        slow = [np.mean([r2_score(trial.y[rows, d], one[rows, d]) for one in p]) for d in range(2)]
        assert drawn.draws[:2, b] == pytest.approx(slow, rel=1e-4)
        assert drawn.draws[2, b] == pytest.approx(np.mean(slow), rel=1e-4)


def test_sums_of_clips_are_those_of_all_units(trial: Trial) -> None:
    p = trial.heads["joint"]
    whole, part = cluster_sums(trial.design, trial.y, p, [0.0]), clip_sums(trial.design, trial.y, p)
    assert set(part.units) == {"clips"}
    for name, values in part.units["clips"].sums.items():
        assert np.array_equal(values, whole.units["clips"].sums[name])


def test_a_network_that_says_one_thing_has_no_correlation_and_no_mean_of_it(
    inputs: dict[str, Any], table: pd.DataFrame
) -> None:
    p = inputs["predictions"].copy()
    p.attrs = inputs["predictions"].attrs
    dead = (p["head"] == "pcconv") & (p["dimension"] == "pedal") & (p["seed"] == 1)
    p.loc[dead, "predicted"] = 0.5
    rows = contrastive_table(evaluate_heads(**{**inputs, "predictions": p}).rows)
    own = rows[(rows["head"] == "pcconv") & (rows["scheme"] == "player")]
    found = own[own["metric"] == "pearson"]
    told = {
        (row.dimension, row.statistic) if pd.isna(row.seed) else (row.dimension, row.seed)
        for row in found.itertuples()
    }
    assert told == {
        *[("timing", s) for s in (0, 1, 2, "mean", "sd", "averaged")],
        *[("pedal", s) for s in (0, 2, "averaged")], *[("mean", s) for s in (0, 2, "averaged")],
    }  # fmt: skip
    before = table[(table["head"] == "pcconv") & (table["metric"] == "pearson")]
    before = before[(before["scheme"] == "player") & (before["seed"] == 0)]
    assert found.loc[found["seed"] == 0, "value"].tolist() == before["value"].tolist()
    assert (own["metric"] == "r2_pooled").sum() == 3 * 6  # R² of it is defined


def test_labels_that_do_not_vary_are_not_compared(inputs: dict[str, Any]) -> None:
    labels = inputs["labels"].copy()
    labels.loc[labels["dimension"] == "pedal", "value"] = 0.5
    found = evaluate_heads(**{**inputs, "labels": labels})
    compared = compared_table(found.comparisons)
    assert set(compared["dimension"]) == {"timing", "mean"}
    assert compared["difference"].notna().all()
    own = compared[(compared["scheme"] == "player") & (compared["dimension"] == "timing")]
    wanted = stats.false_discovery_control(own["p_permutation"])
    assert own["q_permutation"].to_numpy() == pytest.approx(wanted)
    rows = contrastive_table(found.rows)
    r2 = rows[(rows["metric"] == "r2_pooled") & (rows["kind"] == "head")]
    assert "pedal" not in set(r2["dimension"])


def test_baselines_stand_on_the_same_clips(inputs: dict[str, Any], table: pd.DataFrame) -> None:
    row = cell(table, head="none/training_mean", dimension="timing", metric="r2_pooled")
    folds = inputs["folds"][inputs["folds"]["scheme"] == "player"].set_index("clip")["fold"]
    labels = inputs["labels"][inputs["labels"]["dimension"] == "timing"].set_index("clip")["value"]
    fold = folds.loc[labels.index]
    means = {f: labels[fold != f].mean() for f in set(fold)}
    assert row["value"] == pytest.approx(r2_score(labels, fold.map(means)), abs=1e-6)
    assert (row["kind"], row["statistic"], row["approach"]) == ("baseline", "", "training_mean")
    assert pd.isna(row["n_seeds"])


def test_the_ceiling_is_the_agreement_of_raters(
    inputs: dict[str, Any], table: pd.DataFrame
) -> None:
    ratings = inputs["ratings"]
    wide = ratings[ratings["dimension"] == "pedal"].pivot(
        index="clip", columns="rater", values="value"
    )
    between = 6 * wide.mean(axis=1).var()
    within = wide.var(axis=1).mean()
    row = cell(table, kind="ceiling", dimension="pedal")
    assert row["value"] == pytest.approx(1 - within / between)
    without = contrastive_table(evaluate_heads(**{**inputs, "ratings": None}).rows)
    assert "ceiling" not in set(without["kind"])
    one_rater = ratings[ratings["rater"] == "r0"]
    alone = contrastive_table(evaluate_heads(**{**inputs, "ratings": one_rater}).rows)
    assert "ceiling" not in set(alone["kind"])


def test_what_the_truth_scores_is_a_ceiling(inputs: dict[str, Any]) -> None:
    labels = inputs["labels"].pivot(index="clip", columns="dimension", values="value")
    truth = (0.9 * labels + 0.04).reset_index().sample(frac=1.0, random_state=0)
    found = evaluate_heads(**inputs, truth=truth)
    rows = contrastive_table(found.rows)
    row = cell(rows, head="ceiling/truth", dimension="timing", metric="r2_pooled")
    assert row["value"] == pytest.approx(r2_score(labels["timing"], 0.9 * labels["timing"] + 0.04))
    assert (row["kind"], row["approach"]) == ("ceiling", "truth")
    assert not {row["b"] for row in found.comparisons} & {"ceiling/truth"}
    without = evaluate_heads(**inputs)
    assert compared_table(found.comparisons).equals(compared_table(without.comparisons))
    of_one = contrastive_table(evaluate_heads(**inputs, truth=truth.drop(columns="pedal")).rows)
    assert "ceiling/truth" not in set(of_one["head"])
    with pytest.raises(CorruptDataError, match="no true labels of"):
        evaluate_heads(**inputs, truth=truth.head(3))


def test_points_have_rows_and_shares_but_are_never_compared(
    found: HeadEvaluation, table: pd.DataFrame
) -> None:
    points = table[table["kind"] == "point"]
    assert set(points["metric"]) == {"r2_pooled", "chosen_share"}
    shares = points[(points["metric"] == "chosen_share") & (points["scheme"] == "player")]
    mean = shares[shares["dimension"] == "mean"].set_index("head")["value"]
    assert mean["joint:margin=1,bins=3"] == pytest.approx(1 / 3)
    assert mean["joint:margin=2,bins=5"] == pytest.approx(2 / 3)
    assert mean.sum() == pytest.approx(1)
    names = {row[side] for row in found.comparisons for side in ("a", "b")}
    assert not [name for name in names if ":" in name]
    assert {"joint", "pcconv", "plain"} < names


def by_group(trial: Trial, head: str, dimension: int) -> np.ndarray:
    """What each content group adds to R², by a loop over clips."""
    y = trial.y[:, dimension]
    total = ((y - y.mean()) ** 2).sum()
    out = np.zeros(trial.design.n_clusters)
    for i, group in enumerate(trial.design.cluster):
        errors = [(y[i] - one[i, dimension]) ** 2 for one in trial.heads[head]]
        out[group] -= np.mean(errors) / total
    return out


def test_a_comparison_is_the_sign_flip_over_content_groups(
    trial: Trial, found: HeadEvaluation
) -> None:
    compared = compared_table(found.comparisons)
    row = cell(compared, dimension="timing", a="pcconv", b="plain")
    gap = by_group(trial, "pcconv", 0) - by_group(trial, "plain", 0)
    assert row["difference"] == pytest.approx(gap.sum(), rel=1e-9)
    assert row["difference"] == pytest.approx(row["value_a"] - row["value_b"])
    assert row["n_clusters"] == len(gap) == 6
    flips = np.array(list(itertools.product((1, -1), repeat=len(gap)))) @ gap
    p = np.mean(np.abs(flips) >= abs(gap.sum()) - 1e-12)
    assert row["p_permutation"] == pytest.approx(p)
    assert row["ci_low"] < row["difference"] < row["ci_high"]


def test_the_second_dimension_is_compared_on_its_own_labels(
    trial: Trial, found: HeadEvaluation
) -> None:
    row = cell(compared_table(found.comparisons), dimension="pedal", a="pcconv", b="plain")
    gap = by_group(trial, "pcconv", 1) - by_group(trial, "plain", 1)
    flips = np.array(list(itertools.product((1, -1), repeat=len(gap)))) @ gap
    p = np.mean(np.abs(flips) >= abs(gap.sum()) - 1e-12)
    assert row["p_permutation"] == pytest.approx(p)
    assert row["difference"] == pytest.approx(gap.sum(), rel=1e-9)


def test_the_baseline_that_is_compared_is_the_best(
    found: HeadEvaluation, table: pd.DataFrame
) -> None:
    rows = table[(table["kind"] == "baseline") & (table["scheme"] == "player")]
    means = rows[(rows["dimension"] == "mean") & (rows["metric"] == "r2_pooled")]
    assert means["value"].nunique() > 1
    compared = {row["b"] for row in found.comparisons if row["scheme"] == "player"}
    [name] = [b for b in compared if "/" in b]
    assert means.set_index("head")["value"][name] == means["value"].max()


def test_q_is_over_all_pairs_and_dimensions(found: HeadEvaluation) -> None:
    compared = compared_table(found.comparisons)
    assert list(compared.columns) == COMPARED_COLUMNS
    own = compared[compared["scheme"] == "player"]
    for part in (own[own["dimension"] != "mean"], own[own["dimension"] == "mean"]):
        wanted = stats.false_discovery_control(part["p_permutation"])
        assert part["q_permutation"].to_numpy() == pytest.approx(wanted)
    assert len(own) == 6 * 3


def test_seeds_are_counted_in_pairs(judged: Judged, found: HeadEvaluation) -> None:
    a, b = judged.of_seeds["joint"], judged.of_seeds["pcconv"]
    compared = compared_table(found.comparisons)
    for place, dimension in enumerate(("timing", "pedal", "mean")):
        row = cell(compared, dimension=dimension, a="joint", b="pcconv")
        assert row["n_seeds_ahead"] == int((a[:, place] > b[:, place]).sum())
        assert row["n_seeds"] == 3


def test_one_dimension_is_compared_once(inputs: dict[str, Any], params: Params) -> None:
    predictions = inputs["predictions"]
    one = predictions[predictions["dimension"] == "pedal"]
    one.attrs = {"dimensions": ["pedal"], "selection": []}
    compared = evaluate_heads(**{**inputs, "predictions": one}).comparisons
    assert {row["dimension"] for row in compared} == {"mean"}


def test_one_seed_has_no_spread_and_one_head_is_compared_with_the_baseline(
    inputs: dict[str, Any],
) -> None:
    predictions = inputs["predictions"]
    one = predictions[(predictions["seed"] == 1) & (predictions["head"] == "plain")]
    one.attrs = {"dimensions": ["timing", "pedal"]}
    found = evaluate_heads(**{**inputs, "predictions": one})
    rows = contrastive_table(found.rows)
    assert set(rows.loc[rows["kind"] == "head", "statistic"]) == {"seed", "mean", "averaged"}
    assert {
        (row["a"], row["b"].split("/")[0] in ("none", "lookup")) for row in found.comparisons
    } == {("plain", True)}


def test_clips_that_a_head_lacks_are_left_out_of_all(
    inputs: dict[str, Any], trial: Trial, params: Params
) -> None:
    p = inputs["predictions"]
    lost = trial.design.clips[3]
    part = p[~((p["clip"] == lost) & (p["head"] == "plain"))]
    part.attrs = p.attrs
    found = evaluate_heads(**{**inputs, "predictions": part})
    rows = contrastive_table(found.rows)
    assert found.dropped == {"player": 1, "movement": 1}
    assert set(rows.loc[rows["metric"] == "r2_pooled", "n_clips"]) == {len(trial.y) - 1}


def test_only_tested_folds_are_judged(inputs: dict[str, Any]) -> None:
    predictions, _ = cases.head_tables(
        inputs["manifest"], inputs["labels"], inputs["folds"], n_folds=1
    )
    found = evaluate_heads(**{**inputs, "predictions": predictions})
    rows = contrastive_table(found.rows)
    of_fold = inputs["folds"][
        (inputs["folds"]["scheme"] == "player") & (inputs["folds"]["fold"] == 0)
    ]
    own = rows[(rows["scheme"] == "player") & (rows["metric"] == "r2_pooled")]
    assert set(own["n_clips"]) == {len(of_fold)}
    assert set(own["n_folds"]) == {1}
    assert found.dropped == {"player": 0, "movement": 0}


def refused(inputs: dict[str, Any], table: pd.DataFrame, **changes: Any) -> str:
    kinds = (CorruptDataError, BadInputError, ConfigError)
    with pytest.raises(kinds) as raised:
        evaluate_heads(**{**inputs, "predictions": table, **changes})
    assert raised.value.next_step
    return str(raised.value)


def test_what_does_not_fit_is_refused(inputs: dict[str, Any]) -> None:
    p = inputs["predictions"]

    def changed(rows: pd.DataFrame) -> pd.DataFrame:
        rows.attrs = p.attrs
        return rows

    assert "seeds [0, 1]" in refused(
        inputs, changed(p[~((p["head"] == "plain") & (p["seed"] == 2))])
    )
    assert "'grace'" in refused(inputs, changed(p.assign(dimension="grace")))
    assert "twice" in refused(inputs, changed(pd.concat([p, p.head(1)])))
    assert "other folds" in refused(inputs, changed(p.assign(fold=0)))
    halves = (p["head"] == "plain") ^ p["clip"].isin(sorted(set(p["clip"]))[::2])
    assert "every head" in refused(inputs, changed(p[halves]))
    other = cases.params(probe={
        "task": "expertise", "ridge": {"lambdas": [1.0]}, "mlp": {}, "extra_trees": {},
        "boosting": {}, "ensemble": ["ridge"],
    })  # fmt: skip
    assert "no labels of task" in refused(inputs, p, params=other)


def test_no_heads_no_rows(inputs: dict[str, Any]) -> None:
    found = evaluate_heads(**{**inputs, "predictions": inputs["predictions"].head(0)})
    assert (found.rows, found.comparisons, found.dropped) == ([], [], {})


def test_the_hash_knows_what_a_head_depends_on(params: Params) -> None:
    own = head_hash(params, "toy", "pcconv")
    assert own != head_hash(params, "toy", "joint")
    contours = cases.params(contours={"instrument": "piano", "fmax_hz": 3000.0})
    assert head_hash(contours, "toy", "pcconv") != own
    probe = params.probe.model_dump()
    probe["mlp"]["seed"] += 1  # of the cut on which training stops
    assert head_hash(cases.params(probe=probe), "toy", "pcconv") != own
    heads = {**cases.HEADS, "another": {"approach": "joint"}}
    more = cases.params(contrast={**params.contrast.model_dump(), "heads": heads})
    assert head_hash(more, "toy", "pcconv") == own


def test_evaluation_is_repeatable(inputs: dict[str, Any], found: HeadEvaluation) -> None:
    again = evaluate_heads(**inputs)
    first, second = contrastive_table(found.rows), contrastive_table(again.rows)
    assert first.to_csv() == second.to_csv()
    assert compared_table(found.comparisons).to_csv() == compared_table(again.comparisons).to_csv()


def test_comparisons_need_two_rows(trial: Trial, judged: Judged, inputs: dict[str, Any],
                                   params: Params) -> None:  # fmt: skip
    alone = replace(judged, trial=replace(trial, heads={}))
    assert compare_heads(alone, inputs["manifest"], params.evaluate) == []
