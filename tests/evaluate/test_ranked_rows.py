"""Metrics of ordered pairs, against loops, scipy and scikit-learn."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import brier_score_loss, log_loss, ndcg_score

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.ranked.compare import COMPARED_COLUMNS, compare_entries
from pianoeval.evaluate.ranked.contest import Contest, Entry, pair_places
from pianoeval.evaluate.ranked.orders import cyclic_sums, random_gain
from pianoeval.evaluate.ranked.points import chosen_rows
from pianoeval.evaluate.ranked.rows import Judged, chances, judge, margin_of, table_rows
from pianoeval.evaluate.ranked.tiers import adjacent_tiers
from pianoeval.evaluate.scoring import Problem, Scale, score
from pianoeval.evaluate.statistics.metrics import margin_name
from pianoeval.evaluate.statistics.pairs import make_design
from pianoeval.evaluate.statistics.significance import benjamini_hochberg
from pianoeval.evaluate.tables import ModelKey
from pianoeval.params import EvaluateParams

PARAMS = EvaluateParams(n_bootstrap=200, margins=[0.0, 0.05])
PROBE = Entry("model", "mel", "ridge", 0)
NONE = Entry("baseline", "none", "training_mean", None)
NOISY, ADDITIVE = (Entry("ranker", "symbolic", name, 42) for name in ("noisy", "additive"))
POINT = Entry("point", "symbolic", "noisy:temperature=0.1", 42)
ALL = np.ones(2, bool)


def make_contest(n_movements: int = 3, seed: int = 0, n_players: int = 7) -> Contest:
    """Six content groups; some ratings missing; one take of every list is a twin of another."""
    random = np.random.default_rng(seed)
    table = manifest(n_movements, 4, n_players)
    twins = table["player"] == "p2"
    table.loc[twins, "sha256"] = [c.replace("p2", "p1") for c in table.loc[twins, "sha256"]]
    fold = pd.Series(
        table["movement"].str[1:].astype(int).to_numpy(), index=table["clip"], name="fold"
    )
    design = make_design(table, fold)
    y = np.round(random.normal(size=(len(table), 2)) * 0.2, 2)
    y[random.random(y.shape) < 0.1] = np.nan
    known = np.where(np.isfinite(y), y, 0.0)
    p = np.round(known + random.normal(0, 0.2, y.shape), 1)
    first, second = design.pairs.T
    told = known[first] - known[second]
    own = known + random.normal(0, 0.1, y.shape)
    twin = np.array([c.endswith("p2_t0") for c in design.clips])
    own[twin] = own[np.flatnonzero(twin) - 1]  # equal files have equal features
    noisy = 8 * (told + random.normal(0, 0.2, told.shape))
    noisy[0] = 0.0
    margins = {
        PROBE: p[first] - p[second], NONE: np.zeros_like(told), NOISY: noisy,
        ADDITIVE: (5 * (own[first] - own[second])).astype(np.float32).astype(np.float64),
        POINT: noisy[::-1],
    }  # fmt: skip
    scores = {PROBE: p, NONE: np.zeros_like(p)}
    return Contest("movement", "all", design, y, margins, scores)


@pytest.fixture(scope="module")
def contest() -> Contest:
    return make_contest()


@pytest.fixture(scope="module")
def judged(contest: Contest) -> Judged:
    return judge(contest, ALL, PARAMS)


def value(judged: Judged, entry: Entry, metric: str, dimension: int = 0) -> float:
    [line] = [line for line in judged.lines[entry] if line.metric == metric]
    return float(line.value[dimension])


@pytest.mark.parametrize("entry", [PROBE, NONE, NOISY, ADDITIVE, POINT])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_accuracy_is_that_of_a_loop(
    contest: Contest, judged: Judged, entry: Entry, margin: float
) -> None:
    for d in range(2):
        hits = []
        for k, (i, j) in enumerate(contest.design.pairs):
            rated, told = contest.y[i, d] - contest.y[j, d], contest.margins[entry][k, d]
            if abs(rated) > margin + 1e-9:
                hits.append(0.5 if told == 0 else float((told > 0) == (rated > 0)))
        assert value(judged, entry, margin_name(margin), d) == pytest.approx(np.mean(hits))


def test_models_have_the_values_and_intervals_of_the_results(contest: Contest) -> None:
    key = ModelKey("mel", "ridge", 0)
    problem = Problem("movement", "all", contest.design, contest.y, {key: contest.scores[PROBE]})
    rows = {row[0]: row for row in score(problem, Scale(PARAMS, "regression", contest.y, ALL))
            .rows[key]}  # fmt: skip
    found = judge(contest, ALL, PARAMS)
    shared = {"pairwise_0", "pairwise_005", "ndcg", "intra_segment_std", "dispersion_ratio"}
    lines = {line.metric: line for line in found.lines[PROBE]}
    assert shared <= set(lines)
    for name in shared:  # segments lie in one fold each here, so lists are segments
        _, wanted, low, high, method = rows[name]
        # Sums over lists are taken about 0 here and about the mean label there.
        exact = name.startswith("pairwise")
        for mine, theirs in ((lines[name].value, wanted), (lines[name].low, low),
                             (lines[name].high, high)):  # fmt: skip
            np.testing.assert_allclose(mine, theirs, rtol=0 if exact else 1e-6)
        assert lines[name].method == method


def test_probabilities_are_judged_as_by_scikit_learn(contest: Contest, judged: Judged) -> None:
    for d in range(2):
        rated = contest.difference[:, d]
        known = np.abs(rated) > 1e-9
        truth, p = rated[known] > 0, special.expit(contest.margins[NOISY][known, d])
        assert value(judged, NOISY, "log_loss", d) == pytest.approx(log_loss(truth, p), rel=1e-5)
        assert value(judged, NOISY, "brier", d) == pytest.approx(
            brier_score_loss(truth, p), rel=1e-5
        )
        sure = np.maximum(p, 1 - p)
        right = np.where(p == 0.5, 0.5, (p > 0.5) == truth)
        bins = np.clip(np.digitize(sure, np.linspace(0.5, 1, 11)) - 1, 0, 9)
        gaps = [abs((sure - right)[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
        assert value(judged, NOISY, "ece", d) == pytest.approx(sum(gaps), rel=1e-4)


def test_only_rankers_have_probabilities_and_only_scores_a_spread(judged: Judged) -> None:
    names = {entry: {line.metric for line in lines} for entry, lines in judged.lines.items()}
    told = {"cyclic", "log_loss", "brier", "ece"}
    assert told <= names[NOISY]
    assert told <= names[ADDITIVE]
    assert not told & names[PROBE]
    assert "dispersion_ratio" in names[PROBE]
    assert "intra_segment_std" in names[ADDITIVE]
    assert "dispersion_ratio" not in names[ADDITIVE]  # log-odds are not on the scale of labels
    assert "intra_segment_std" not in names[NOISY]
    assert names[POINT] == {"pairwise_0", "pairwise_005"}


def test_kendall_is_that_of_scipy_within_lists(contest: Contest) -> None:
    plain = replace(contest.design, pairs=_every_pair(contest))
    p = contest.scores[PROBE]
    first, second = plain.pairs.T
    whole = Contest("movement", "all", plain, contest.y, {PROBE: p[first] - p[second]}, {PROBE: p})
    found = judge(whole, ALL, PARAMS)
    for d in range(2):
        taus = []
        for number in set(contest.lists):
            rows = (contest.lists == number) & np.isfinite(contest.y[:, d])
            if len(set(contest.y[rows, d])) > 1:
                tau = stats.kendalltau(contest.y[rows, d], p[rows, d]).statistic
                taus.append(0.0 if np.isnan(tau) else tau)
        assert value(found, PROBE, "kendall_within", d) == pytest.approx(np.mean(taus))


def _every_pair(contest: Contest) -> np.ndarray:
    pairs = [
        pair for number in set(contest.lists)
        for pair in itertools.combinations(np.flatnonzero(contest.lists == number), 2)
    ]  # fmt: skip
    return np.array(pairs)


def test_scores_of_additive_margins_are_found_again(contest: Contest) -> None:
    assert contest.is_additive(ADDITIVE)
    assert contest.is_additive(NONE)
    assert not contest.is_additive(NOISY)
    scores = contest.list_scores(ADDITIVE)
    first, second = contest.design.pairs.T
    np.testing.assert_allclose(scores[first] - scores[second], contest.margins[ADDITIVE], atol=1e-6)


def test_scores_are_least_squares(contest: Contest) -> None:
    pairs = _every_pair(contest)
    margins = np.random.default_rng(3).normal(size=(len(pairs), 2))
    design = replace(contest.design, pairs=pairs)
    whole = Contest("movement", "all", design, contest.y, {NOISY: margins}, {})
    scores = whole.list_scores(NOISY)
    rows = whole.lists == 0
    inside = whole.list_of_pair == 0
    matrix = np.zeros((inside.sum(), len(rows)))
    matrix[np.arange(inside.sum()), pairs[inside, 0]] = 1
    matrix[np.arange(inside.sum()), pairs[inside, 1]] = -1
    wanted = np.linalg.lstsq(matrix, margins[inside], rcond=None)[0]
    np.testing.assert_allclose(scores[rows], wanted[rows], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 7), st.booleans())
def test_cyclic_triples_are_those_of_a_loop(seed: int, n: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    contest = make_contest(1, seed, n + 1)
    signs = random.integers(-1 if ties else 0, 2, size=(len(contest.design.pairs), 2)) * 1.0
    signs = signs if ties else 2 * signs - 1
    one = Contest("movement", "all", contest.design, contest.y, {NOISY: signs}, {})
    found = cyclic_sums(one, NOISY)
    sign = {}
    for k, (i, j) in enumerate(contest.design.pairs):
        sign[i, j], sign[j, i] = signs[k], -signs[k]
    cyclic, decided = np.zeros(2), np.zeros(2)
    for number in set(contest.lists):
        for a, b, c in itertools.combinations(np.flatnonzero(contest.lists == number), 3):
            if all(pair in sign for pair in ((a, b), (b, c), (c, a))):
                three = np.stack([sign[a, b], sign[b, c], sign[c, a]])
                decided += (three != 0).all(axis=0)
                cyclic += ((three > 0).all(axis=0)) | ((three < 0).all(axis=0))
    np.testing.assert_allclose(found["triples"].sum(axis=0), decided)
    np.testing.assert_allclose(found["cyclic"].sum(axis=0), cyclic)


def test_scores_have_no_cycles_and_coins_have_a_quarter() -> None:
    contest = make_contest(6)
    random = np.random.default_rng(1)
    coins = random.normal(size=contest.difference.shape)
    both = {ADDITIVE: contest.margins[ADDITIVE], NOISY: coins}
    found = judge(Contest("m", "all", contest.design, contest.y, both, {}), ALL, PARAMS)
    assert value(found, ADDITIVE, "cyclic", 2) == 0.0
    assert value(found, NOISY, "cyclic", 2) == pytest.approx(0.25, abs=0.04)
    assert chances(contest, ALL, [0.0])["cyclic"].tolist() == [0.25] * 4


def test_chance_of_ndcg_is_the_mean_over_all_orders() -> None:
    contest = make_contest(1, n_players=4)
    wanted: list[list[float]] = [[], []]
    for number in set(contest.lists):
        for d in range(2):
            rows = (contest.lists == number) & np.isfinite(contest.y[:, d])
            gain = contest.y[rows, d] - contest.y[rows, d].min() if rows.any() else np.zeros(0)
            if len(gain) > 1 and gain.max() > 0:
                orders = itertools.permutations(range(len(gain)))
                wanted[d].append(np.mean([ndcg_score([gain], [order]) for order in orders]))
    np.testing.assert_allclose(random_gain(contest), [np.mean(v) for v in wanted])


def test_mean_all_has_the_dimension_that_the_mean_leaves_out(contest: Contest) -> None:
    found = judge(contest, np.array([True, False]), PARAMS)
    for metric in ("pairwise_005", "kendall_within", "ece"):
        one, other, mean, everything = (value(found, NOISY, metric, d) for d in range(4))
        assert mean == pytest.approx(one)
        assert everything == pytest.approx((one + other) / 2)
    whole = judge(contest, ALL, PARAMS)
    [line] = [x for x in whole.lines[NOISY] if x.metric == "pairwise_005"]
    [both] = [x for x in found.lines[NOISY] if x.metric == "pairwise_005"]
    assert len(line.value) == 3
    np.testing.assert_allclose([both.low[3], both.high[3]], [line.low[2], line.high[2]], rtol=1e-5)


def test_pairs_are_found_in_either_orientation(contest: Contest) -> None:
    design = contest.design
    first, second = design.pairs.T
    place, sign = pair_places(design, second, first)
    np.testing.assert_array_equal(place, np.arange(len(first)))
    assert (sign == -1).all()
    twins = np.flatnonzero([c.endswith(("p1_t0", "p2_t0")) for c in design.clips])[:2]
    place, sign = pair_places(design, np.array([twins[0], -1, first[3]]),
                              np.array([twins[1], 0, second[3]]))  # fmt: skip
    assert place.tolist() == [-1, -1, 3]
    assert sign.tolist() == [1, 1, 1]


def test_rows_count_their_pairs(contest: Contest, judged: Judged) -> None:
    after = {entry: {"seed": 0, "n_seeds": 1, "config_hash": "x", "commit": "y"}
             for entry in judged.lines}  # fmt: skip
    chance = chances(contest, ALL, PARAMS.margins)
    table = pd.DataFrame(table_rows(judged, ["timing", "pedal"], chance, {"corpus": "toy"}, after))
    own = table[(table["model"] == "noisy") & (table["metric"] == "pairwise_005")]
    counted = np.abs(contest.difference) > 0.05 + 1e-9
    wanted = [*counted.sum(axis=0), counted.any(axis=1).sum()]
    assert own["dimension"].tolist() == ["timing", "pedal", "mean"]
    assert own["n_pairs"].tolist() == wanted
    assert (own["margin"] == 0.05).all()
    assert (own["chance"] == 0.5).all()
    assert table.loc[table["metric"] == "brier", "margin"].isna().all()
    assert margin_of("pairwise_0125") == 0.125
    assert margin_of("ece") is None


def test_rankers_are_compared_with_each_other_and_the_best(
    contest: Contest, judged: Judged
) -> None:
    table = manifest(3, 4, 7)
    rows = compare_entries(judged, "pairwise_005", 0.05, table, PARAMS)
    names = [(row["a"], row["b"]) for row in rows]
    assert sorted(names) == sorted([
        ("rank/additive", "rank/noisy"), ("rank/additive", "mel/ridge"),
        ("rank/additive", "none/training_mean"), ("rank/noisy", "mel/ridge"),
        ("rank/noisy", "none/training_mean"),
    ])  # fmt: skip
    means = {"rank/noisy": NOISY, "rank/additive": ADDITIVE, "mel/ridge": PROBE,
             "none/training_mean": NONE}  # fmt: skip
    for row in rows:
        a, b = (value(judged, means[row[side]], "pairwise_005", 2) for side in ("a", "b"))
        assert row["difference"] == pytest.approx(a - b)
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]
        assert list(row) == COMPARED_COLUMNS
        assert (row["unit"], row["n_units"]) == ("movement", 3)
    q = benjamini_hochberg(np.array([row["p_permutation"] for row in rows]))
    assert [row["q_permutation"] for row in rows] == pytest.approx(q.tolist())


def test_equal_rankers_do_not_differ(contest: Contest) -> None:
    twin = Entry("ranker", "symbolic", "twin", 42)
    margins = {NOISY: contest.margins[NOISY], twin: 3.0 * contest.margins[NOISY]}
    found = judge(replace(contest, margins=margins, scores={}), ALL, PARAMS)
    [row] = compare_entries(found, "pairwise_005", 0.05, manifest(3, 4, 7), PARAMS)
    assert row["difference"] == 0.0
    assert row["p_permutation"] == 1.0
    assert compare_entries(
        judge(replace(contest, margins={NOISY: margins[NOISY]}, scores={}), ALL, PARAMS),
        "pairwise_005", 0.05, manifest(3, 4, 7), PARAMS,
    ) == []  # fmt: skip


@pytest.mark.parametrize(("better", "right"), [(True, 0.0), (False, 1.0), (None, 0.0)])
def test_neighbouring_tiers_are_ordered_by_what_overall_means(
    better: bool | None, right: float
) -> None:
    table = manifest(1, 2, 3)
    table["is_score_render"] = False
    versions = []
    for tier in range(3):
        part = table.copy()
        part["tier"] = tier
        part["sha256"] = part["sha256"] + str(tier)
        if tier:
            part["parent"] = part["clip"]
            part["clip"] = part["clip"] + f"_{tier}"
        versions.append(part)
    table = pd.concat(versions, ignore_index=True)
    design = make_design(table, pd.Series(0, index=table["clip"]))
    tier = table.set_index("clip").loc[list(design.clips), "tier"].to_numpy(float)
    first, second = design.pairs.T
    told = np.stack([np.zeros(len(first)), tier[first] - tier[second]], axis=1)
    contest = Contest("movement", "all", design, np.zeros((len(tier), 2)), {NOISY: told}, {})
    labels = pd.DataFrame({"dimension": ["overall"], "higher_is_better": [better]})
    found = adjacent_tiers(contest, table, labels, ["timing", "overall"])
    sizes = {part.subset: len(part.design.pairs) for part in found}
    # Two segments of three takes in three tiers: 2·2·3 neighbours of one take, and 2·2·6 of others.
    assert sizes == {"adjacent_tiers": 36, "adjacent_tiers_same_take": 12,
                     "adjacent_tiers_other_take": 24}  # fmt: skip
    for part in found:
        agreed = np.sign(part.margins[NOISY]) == np.sign(part.difference)
        assert agreed.mean() == right
    assert adjacent_tiers(contest, table, labels, ["timing", "pedal"]) == []
    table["tier"] = 0
    assert adjacent_tiers(contest, table, labels, ["timing", "overall"]) == []


def test_a_point_is_told_how_often_it_was_chosen() -> None:
    base = {"kind": "point", "dimension": "mean", "scheme": "player", "metric": "pairwise_0"}
    rows = [{**base, "model": f"swept:temperature={t}", "value": 0.6} for t in (0.05, 0.1)]
    picked = ["temperature=0.1", "temperature=0.1", "temperature=0.05", "temperature=0.1"]
    records = [
        {"ranker": "swept", "scheme": "player", "fold": i, "point": p} for i, p in enumerate(picked)
    ]
    found = chosen_rows(records, rows)
    assert [(row["model"], row["value"]) for row in found] == [
        ("swept:temperature=0.05", 0.25), ("swept:temperature=0.1", 0.75),
    ]  # fmt: skip
    assert {row["metric"] for row in found} == {"chosen_share"}
    with pytest.raises(CorruptDataError, match="without point"):
        chosen_rows([{"ranker": "swept", "scheme": "player"}], rows)
