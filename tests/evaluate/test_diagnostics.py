"""Diagnostics against scipy, scikit-learn and brute force, and on planted faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from pianoeval.evaluate.diagnostics.assemble import diagnose
from pianoeval.evaluate.diagnostics.calibration import calibration
from pianoeval.evaluate.diagnostics.error_correlation import error_correlation
from pianoeval.evaluate.diagnostics.group_errors import group_errors
from pianoeval.evaluate.diagnostics.jsonable import number, numbers
from pianoeval.evaluate.diagnostics.judged import Judged, Noise
from pianoeval.evaluate.diagnostics.learning import learning_curves
from pianoeval.evaluate.diagnostics.pair_confusion import headline_margin, pair_confusion
from pianoeval.evaluate.diagnostics.residuals import residual_correlations
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.statistics.ceiling import pairwise_ceiling
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import make_design
from pianoeval.evaluate.tables import results_table

DIMENSIONS = ["timing", "pedal"]


def case(random: np.random.Generator, **changes: Any) -> Judged:
    """48 clips in six content groups and one fold; two models that know the label up to noise."""
    manifest = cases.manifest().sort_values("clip", ignore_index=True)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"]))
    y = 0.5 + 0.1 * random.normal(size=(len(manifest), 2))
    models = {name: y + 0.1 * random.normal(size=y.shape) for name in ("a/ridge", "b/ridge")}
    return replace(
        Judged(DIMENSIONS, manifest, design, y, models, np.ones(2, bool), None), **changes
    )


def jackknife(
    statistic: Callable[[np.ndarray[Any, Any]], float], cluster: Array, fisher: bool = False
) -> tuple[float, float]:
    """Limits by computing the statistic again on the rows without each cluster."""
    to, back = (np.arctanh, np.tanh) if fisher else (lambda x: x, lambda x: x)
    groups = np.unique(cluster)
    left = np.array([to(statistic(cluster != c)) for c in groups])
    n = len(groups)
    error = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    reach = stats.t.ppf(0.975, n - 1) * error
    value = to(statistic(np.ones(len(cluster), bool)))
    return float(back(value - reach)), float(back(value + reach))


def close(found: Any, wanted: Any) -> bool:
    """Six digits are kept."""
    return bool(np.allclose(np.array(found, float), np.array(wanted, float), rtol=2e-5, atol=1e-9))


def test_numbers_of_json() -> None:
    assert number(1 / 3) == 0.333333
    assert number(np.nan) is None
    assert numbers(np.array([[1.0, np.inf], [-np.nan, 2.5]])) == [[1.0, None], [None, 2.5]]


# --- errors shared by models


def test_error_correlation_is_the_mean_over_dimensions(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    judged.y[3, 0] = np.nan
    found = error_correlation(judged, 0.95)
    errors = [judged.y - p for p in judged.models.values()]

    def mean_r(rows: np.ndarray[Any, Any]) -> float:
        rs = []
        for d in range(2):
            known = rows & np.isfinite(judged.y[:, d])
            rs.append(stats.pearsonr(errors[0][known, d], errors[1][known, d]).statistic)
        return float(np.mean(rs))

    everything = np.ones(len(judged.y), bool)
    assert close(found["matrix"], [[1, mean_r(everything)], [mean_r(everything), 1]])
    low, high = jackknife(mean_r, judged.design.cluster, fisher=True)
    assert close([found["ci_low"][0][1], found["ci_high"][1][0]], [low, high])
    assert found["ci_low"][0][0] is None  # 1 by definition has no interval
    assert found["label_noise"] is None


def test_models_that_share_an_error(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    shared = random_state.normal(size=judged.y.shape)
    own = random_state.normal(size=(2, *judged.y.shape)) * 0.1
    models = {name: judged.y + shared + e for name, e in zip("ab", own, strict=True)}
    apart = error_correlation(judged, 0.95)["matrix"][0][1]
    alike = error_correlation(replace(judged, models=models), 0.95)["matrix"][0][1]
    assert abs(apart) < 0.3
    assert alike > 0.95


def test_noise_of_ratings_is_no_common_error(random_state: np.random.Generator) -> None:
    """Two models that err independently of one another, judged by noisy labels."""
    manifest = cases.manifest(n_segments=30, n_players=20)
    design = make_design(manifest, pd.Series(0, index=manifest["clip"]))
    truth = random_state.normal(size=(len(manifest), 2))
    raters = random_state.integers(2, 6, truth.shape).astype(float)
    y = truth + random_state.normal(size=truth.shape) * np.sqrt(0.9 / raters)
    models = {name: truth + 0.5 * random_state.normal(size=y.shape) for name in "ab"}
    noise = Noise(np.full(2, 0.9), np.ones(2), raters)
    judged = case(random_state, manifest=manifest, design=design, y=y, models=models, noise=noise)
    found = error_correlation(judged, 0.95)
    expected = 0.9 * (1 / raters).mean()
    assert found["label_noise"][0][1] == pytest.approx(expected / (expected + 0.25), abs=0.05)
    assert found["matrix"][0][1] == pytest.approx(found["label_noise"][0][1], abs=0.06)
    assert found["beyond_noise"][0][1] == pytest.approx(0.0, abs=0.12)
    assert found["beyond_noise"][0][0] == 1.0


def test_an_error_that_does_not_vary_is_left_out(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    models = {name: p.copy() for name, p in judged.models.items()}
    models["a/ridge"][:, 1] = judged.y[:, 1] + 1.0
    found = error_correlation(replace(judged, models=models), 0.95)
    r = stats.pearsonr(*(judged.y[:, 0] - p[:, 0] for p in models.values())).statistic
    assert close(found["matrix"][0][1], r)
    assert "pedal" in found["reason"]


# --- calibration


def test_calibration_is_the_regression_of_rated_on_predicted(
    random_state: np.random.Generator,
) -> None:
    judged = case(random_state)
    judged.y[5, 1] = np.nan
    found = calibration(judged, 0.95)["a/ridge"]
    p = judged.models["a/ridge"]
    for d, name in enumerate(DIMENSIONS):
        known = np.isfinite(judged.y[:, d])
        line = stats.linregress(p[known, d], judged.y[known, d])
        assert close(list(found["by_dimension"][name].values()), [line.slope, line.intercept])
    centre = np.nanmean(judged.y, axis=0)

    def slope(rows: np.ndarray[Any, Any]) -> float:
        """Ordinary least squares with a dummy variable a dimension."""
        row, d = np.nonzero(np.isfinite(judged.y) & rows[:, None])
        design = np.column_stack([p[row, d], d == 0, d == 1]).astype(float)
        return float(np.linalg.lstsq(design, judged.y[row, d], rcond=None)[0][0])

    assert close(found["slope"], slope(np.ones(len(p), bool)))
    assert close(found["slope_ci"], jackknife(slope, judged.design.cluster))
    assert close(found["centre"], centre.mean())
    bins = pd.DataFrame(found["bins"])
    assert len(bins) == 10
    assert bins["n"].sum() == np.isfinite(judged.y).sum()
    assert bins["predicted"].is_monotonic_increasing
    assert np.average(bins["rated"], weights=bins["n"]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("factor", "slope"), [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5)])
def test_flattened_predictions_have_a_slope_above_one(
    factor: float, slope: float, random_state: np.random.Generator
) -> None:
    judged = case(random_state)
    p = 0.5 + factor * (judged.y - 0.5)
    found = calibration(replace(judged, models={"m": p}), 0.95)["m"]
    assert found["by_dimension"]["timing"]["slope"] == pytest.approx(slope)
    assert found["slope"] == pytest.approx(slope)


def test_a_constant_has_no_slope(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    found = calibration(replace(judged, models={"m": np.full(judged.y.shape, 0.3)}), 0.95)["m"]
    assert found["by_dimension"]["timing"]["slope"] is None
    assert found["by_dimension"]["timing"]["reason"]
    assert found["slope"] is None
    assert found["slope_ci"] == [None, None]
    assert found["reason"]
    assert [b["n"] for b in found["bins"]] == [10] * 6 + [9] * 4


# --- residuals against covariates


def test_residual_correlations_are_spearmans(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    judged.y[7, 1] = np.nan
    x = random_state.integers(0, 9, len(judged.y)).astype(float)
    x[[2, 11]] = np.nan
    rows = residual_correlations(judged, {"duration_s": x}, 0.95)
    table = pd.DataFrame(rows).set_index(["model", "dimension"])
    assert len(table) == 6
    for model, p in judged.models.items():
        e = judged.y - p
        columns = {"timing": (e[:, 0], abs(e[:, 0])), "pedal": (e[:, 1], abs(e[:, 1])),
                   "mean": (np.nanmean(e, axis=1), np.nanmean(abs(e), axis=1))}  # fmt: skip
        for dimension, (signed, size) in columns.items():
            row = table.loc[(model, dimension)]
            known = np.isfinite(signed) & np.isfinite(x)
            assert row["n"] == known.sum()
            for values, names in (
                (signed, ["spearman", "ci_low", "ci_high"]),
                (size, ["spearman_abs", "abs_ci_low", "abs_ci_high"]),
            ):

                def r(
                    rows: np.ndarray[Any, Any], values: Array = values, known: Any = known
                ) -> float:
                    kept = rows & known
                    return float(stats.spearmanr(x[kept], values[kept]).statistic)

                limits = jackknife(r, judged.design.cluster, fisher=True)
                assert close(row[names].tolist(), [r(np.ones(len(x), bool)), *limits])


def test_a_model_that_errs_with_the_length(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    length = random_state.uniform(5, 30, len(judged.y))
    noise = 0.01 * random_state.normal(size=judged.y.shape)
    models = {
        "underrates_long": judged.y - 0.02 * length[:, None] + noise,
        "worse_on_long": judged.y + noise * length[:, None] ** 2,
    }
    rows = residual_correlations(replace(judged, models=models), {"duration_s": length}, 0.95)
    table = pd.DataFrame(rows).set_index(["model", "dimension"])
    under, worse = (table.loc[(name, "mean")] for name in models)
    assert under["ci_low"] > 0.9
    assert worse["abs_ci_low"] > 0.3
    assert abs(worse["spearman"]) < worse["spearman_abs"]


def test_a_covariate_that_says_nothing_has_a_reason(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    constant, unknown = np.ones(len(judged.y)), np.full(len(judged.y), np.nan)
    rows = residual_correlations(judged, {"x": constant, "y": unknown}, 0.95)
    assert all(row["spearman"] is None and row["reason"] for row in rows)
    assert {row["n"] for row in rows} == {0, len(judged.y)}


# --- groups


def test_errors_of_groups(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    rows = group_errors(judged)
    table = pd.DataFrame(rows).set_index(["model", "column", "group"]).sort_index()
    assert table.loc[("a/ridge", "movement")].index.tolist() == ["m0", "m1", "m2"]
    inside = (judged.manifest["movement"] == "m1").to_numpy()
    y, p = judged.y[inside], judged.models["b/ridge"][inside]
    row = table.loc[("b/ridge", "movement", "m1")]
    assert row["n"] == 16
    wanted = [y.mean(), p.mean(), (p - y).mean(), np.sqrt(((y - p) ** 2).mean(axis=0)).mean(),
              r2_score(y, p)]  # fmt: skip
    assert close(row[["mean_rated", "mean_predicted", "bias", "rmse", "r2"]].tolist(), wanted)


def test_unknown_players_are_no_group(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    judged.manifest.loc[judged.manifest["player"] == "p2", "player"] = "unknown"
    rows = pd.DataFrame(group_errors(judged))
    assert set(rows.loc[rows["column"] == "player", "group"]) == {"score", "p1", "p3"}
    assert rows.loc[rows["column"] == "movement", "n"].sum() == 2 * len(judged.y)


def test_small_groups_have_no_explained_variance(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    few = np.flatnonzero(judged.manifest["player"] == "p1")[:9]
    design = make_design(judged.manifest.iloc[few], pd.Series(0, judged.manifest["clip"].iloc[few]))
    small = replace(
        judged, manifest=judged.manifest.iloc[few].reset_index(drop=True), design=design,
        y=judged.y[few], models={"m": judged.y[few]},
    )  # fmt: skip
    players = [row for row in group_errors(small) if row["column"] == "player"]
    assert [(row["n"], row["r2"], row["rmse"]) for row in players] == [(9, None, 0.0)]
    assert "10" in players[0]["reason"]


# --- pairs


def test_pairs_by_brute_force(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    judged.y[1, 0] = np.nan
    noise = Noise(np.array([0.02, 0.03]), np.array([0.004, 0.006]), np.full(judged.y.shape, 4.0))
    found = pair_confusion(replace(judged, noise=noise), 0.05, 0.95)["a/ridge"]
    p = judged.models["a/ridge"]
    edges = found["edges"]
    assert edges == [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, None]
    bounds = [*edges[:-1], np.inf]
    segment, cluster = judged.design.segment, judged.design.cluster
    counts, tops = np.zeros((6, 6, 3), int), [[] for _ in range(6)]
    deltas = []
    for i, j in combinations(range(len(p)), 2):
        for d in range(2):
            rated, predicted = judged.y[i, d] - judged.y[j, d], p[i, d] - p[j, d]
            if segment[i] != segment[j] or not np.isfinite(rated):
                continue
            deltas.append((d, rated, predicted))
            b = next(b for b in range(6) if bounds[b] < abs(rated) <= bounds[b + 1])
            counts[cluster[i], b, 0 if rated * predicted > 0 else 2] += 1
            error = noise.error_variance[d] / 2
            within = float(noise.within_variance[d])
            tops[b].append(pairwise_ceiling(np.array([rated]), np.array([error]), within)[0])
    total = counts.sum(axis=0)
    assert found["counts"] == total.tolist()
    assert close(found["share_right"], total[:, 0] / total.sum(axis=1))
    assert close(found["ceiling"], [np.mean(t) for t in tops])
    assert found["n_pairs"] == 12 * 6
    assert found["n_compared"] == len(deltas) == 2 * 12 * 6 - 3
    table = pd.DataFrame(deltas, columns=["d", "rated", "predicted"])
    spread = np.sqrt((table[["rated", "predicted"]] ** 2).groupby(table["d"]).mean())
    scaled = table["predicted"] * table["d"].map(spread["rated"] / spread["predicted"])
    confusion = np.zeros((3, 3), int)
    for one, other in zip(table["rated"], scaled, strict=True):
        for sign in (1, -1):
            cell = [1 + (sign * v > 0.05) - (sign * v < -0.05) for v in (one, other)]
            confusion[tuple(cell)] += 1
    assert found["confusion"] == confusion.tolist()
    for low, share, high in zip(
        found["ci_low"], found["share_right"], found["ci_high"], strict=True
    ):
        assert low is None or 0 < low < share < high < 1


def test_a_model_that_is_right_and_one_that_ties(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    models = {"right": 2 * judged.y, "flat": np.full(judged.y.shape, 0.4)}
    found = pair_confusion(replace(judged, models=models), 0.05, 0.95)
    right, flat = found["right"], found["flat"]
    assert set(right["share_right"]) == {1.0}
    confusion = np.array(right["confusion"])
    assert (confusion == np.diag(np.diag(confusion))).all()
    assert set(flat["share_right"]) == {0.5}
    assert flat["confusion"] is None
    assert flat["reason"]


def test_pairs_leave_out_what_raters_do_not_agree_on(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    one = replace(judged, ranked=np.array([False, True]))
    found = pair_confusion(one, 0.05, 0.95)["a/ridge"]
    assert found["n_compared"] == 72
    assert np.sum(found["counts"]) == 72


def test_no_pairs_is_said(random_state: np.random.Generator) -> None:
    judged = case(random_state)
    lonely = pd.Series(range(len(judged.y)), index=judged.manifest["clip"])  # a fold each
    design = make_design(judged.manifest, lonely)
    found = pair_confusion(replace(judged, design=design), 0.05, 0.95)["a/ridge"]
    assert found["n_pairs"] == found["n_compared"] == 0
    assert found["share_right"] == []
    assert found["confusion"] is None
    assert "fold" in found["reason"]


def test_without_a_margin_bins_are_fifths(random_state: np.random.Generator) -> None:
    found = pair_confusion(case(random_state), 0.0, 0.95)["a/ridge"]
    sizes = np.sum(found["counts"], axis=1)
    assert len(sizes) == len(found["rated_bins"]) == 5
    assert max(sizes) - min(sizes) <= 2


@pytest.mark.parametrize(
    ("margins", "wanted"), [([0.0, 0.05, 0.1], 0.05), ([0.1, 0.2], 0.1), ([], 0.0)]
)
def test_the_margin_of_the_headline(margins: list[float], wanted: float) -> None:
    assert headline_margin(margins) == wanted


# --- all of it


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Any]:
    """Two sources, one with two views and a control; a learning curve; deadpan clips."""
    params = cases.params(
        axes={"corpus": ["toy"], "instrument": ["piano"], "encoder": ["mel"],
              "features": ["symbolic", "mel"]},
        views={"symbolic": {"symbolic": {"models": ["ridge"]}},
               "mel": {"mel": {"models": ["ridge"]}, "mel-loud": {"models": ["ridge"]}}},
        folds={"schemes": ["movement", "player"]},
        evaluate={"n_bootstrap": 100},
    )  # fmt: skip
    manifest = cases.manifest()
    labels = cases.labels(manifest)
    folds = make_folds(manifest, params.folds)
    noise = {"symbolic": 0.03, "mel": 0.06, "mel-loud": 0.02, "mel:train_25": 0.09,
             "mel:train_50": 0.07, "mel:shuffled_labels": 10.0}  # fmt: skip
    views = {
        name: cases.predictions(labels, folds, noise=sd, seed=i)
        for i, (name, sd) in enumerate(noise.items())
    }
    state = evaluate_state(manifest, labels, folds, views, cases.ratings(labels), params, "c")
    results = results_table(state.rows)
    length = np.arange(len(manifest), dtype=float)
    found = diagnose(state, results, folds, {"duration_s": length}, params)
    return {"found": found, "results": results, "folds": folds, "manifest": manifest}


def test_the_best_model_of_each_source_is_described(evaluated: dict[str, Any]) -> None:
    found = evaluated["found"]
    assert list(found["schemes"]) == ["movement", "player"]
    for part in found["schemes"].values():
        assert part["models"] == ["mel-loud/ridge", "symbolic/ridge"]
        assert part["best"] == "mel-loud/ridge"
        assert part["n_clips"] == 48
        assert part["error_correlation"]["beyond_noise"] is not None
        assert set(part["calibration"]) == set(part["models"])
        assert len(part["residuals"]) == 2 * 3
    human = found["schemes"]["movement"]["pairs"]["symbolic/ridge"]
    assert human["n_pairs"] == 12 * 3  # three players a segment; the score is no performance
    assert None not in human["ceiling"][:2]
    assert found["schemes"]["player"]["pairs"]["symbolic/ridge"]["n_pairs"] == 0
    assert found["margin"] == 0.05


def test_diagnostics_are_json(evaluated: dict[str, Any]) -> None:
    text = json.dumps(evaluated["found"], allow_nan=False)
    assert json.loads(text) == evaluated["found"]


def test_learning_curves_end_with_all_clips(evaluated: dict[str, Any]) -> None:
    points = pd.DataFrame(evaluated["found"]["learning"])
    assert set(points["view"]) == {"mel"}
    movement = points[points["scheme"] == "movement"]
    assert movement["fraction"].tolist() == [0.25, 0.5, 1.0]
    assert movement["n_train"].tolist() == [8, 16, 32]
    rows = evaluated["results"]
    rows = rows[(rows["scheme"] == "movement") & (rows["subset"] == "all")
                & (rows["dimension"] == "mean") & (rows["metric"] == "r2_pooled")]  # fmt: skip
    values = rows.set_index("features")["value"]
    wanted = [values[name] for name in ("mel:train_25", "mel:train_50", "mel")]
    assert close(movement["value"].tolist(), wanted)
    plain = evaluated["results"][~evaluated["results"]["features"].str.contains(":")]
    labelled = set(evaluated["manifest"]["clip"])
    assert learning_curves(plain, evaluated["folds"], evaluated["manifest"], labelled) == []


def test_constant_ratings_leave_no_curve(evaluated: dict[str, Any]) -> None:
    """No model has R² then: there are curves' predictions, and nothing to draw."""
    rows = evaluated["results"]
    rows = rows[rows["metric"] != "r2_pooled"]
    labelled = set(evaluated["manifest"]["clip"])
    assert learning_curves(rows, evaluated["folds"], evaluated["manifest"], labelled) == []
