"""Two workspaces side by side: numbers against oracles, and what is refused or told."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import r2_score

from pianoeval.compare.align import joint_folds
from pianoeval.compare.findings import Findings, changed_params, compare_runs
from pianoeval.compare.paired import ALL_ROWS, Comparison
from pianoeval.corpora.manifest import write_labels, write_manifest
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from tests.compare import run_cases as cases
from tests.evaluate import evaluation_cases


def only(found: Findings) -> Comparison:
    (row,) = found.rows
    return row


def same_number(one: float, other: float) -> bool:
    return one == other or (np.isnan(one) and np.isnan(other))


# Numbers ---------------------------------------------------------------------------------------


def oracle(runs: Sequence[str], scheme: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings, predictions (2, n, D) of ``mel`` and content groups, read without the package."""
    paths = [CorpusPaths(cases.CORPUS, Path(run)) for run in runs]
    manifest = pd.read_parquet(paths[0].manifest).sort_values("clip")
    clips = list(manifest["clip"])
    y = cases.wide(pd.read_parquet(paths[0].labels), clips, "value")
    p = np.stack([cases.predicted(path, "mel", scheme, clips) for path in paths])
    return y, p, manifest["content_group"].to_numpy()


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_a_planted_improvement_is_found(runs: tuple[str, str], scheme: str) -> None:
    found = compare_runs(f"{runs[0]}:mel/ridge", f"{runs[1]}:mel/ridge", schemes=[scheme])
    row = only(found)
    y, p, group = oracle(runs, scheme)
    value = [r2_score(y, one, multioutput="uniform_average") for one in p]
    assert (row.value_a, row.value_b) == pytest.approx(value, abs=1e-6)
    assert row.difference == pytest.approx(value[1] - value[0], abs=1e-6)
    assert 0 < row.ci_low < row.difference < row.ci_high
    assert row.interval == "content×player"
    assert (row.n_clips, row.n_clusters) == (len(y), len(set(group)))

    # All 2^6 ways to exchange the two models in whole content groups, by the metric itself.
    groups = sorted(set(group))
    extreme = 0
    for flags in itertools.product([False, True], repeat=len(groups)):
        swapped = np.isin(group, [g for g, flag in zip(groups, flags, strict=True) if flag])
        one, other = (np.where(swapped[:, None], p[k], p[1 - k]) for k in (1, 0))
        change = r2_score(y, one) - r2_score(y, other)
        extreme += abs(change) >= abs(value[1] - value[0]) - 1e-12
    assert row.p_permutation == extreme / 2 ** len(groups)
    assert row.p_permutation == row.smallest_p == 2 / 2**6
    # p = .031: the test itself can say no more with six groups.
    assert f"B is better on {scheme} folds: R² +" in found.verdicts[scheme]
    assert "p = .031" in found.verdicts[scheme]


def test_swapped_arguments_change_the_signs(runs: tuple[str, str]) -> None:
    there = compare_runs(*runs)
    back = compare_runs(*reversed(runs))
    assert len(there.rows) == len(back.rows) == 6
    for one, other in zip(there.rows, back.rows, strict=True):
        assert (one.a, one.scheme) == (other.a, other.scheme)
        assert (one.value_a, one.value_b) == (other.value_b, other.value_a)
        assert one.difference == -other.difference
        assert one.ci_low == pytest.approx(-other.ci_high, abs=1e-6)
        assert one.p_permutation == other.p_permutation
        assert same_number(one.q_permutation, other.q_permutation)
        assert one.n_units_ahead == other.n_units_behind
        assert one.n_units_ahead + one.n_units_behind == (0 if one.same else one.n_units)
    assert "B is better on movement folds" in there.verdicts["movement"]
    assert "A is better on movement folds" in back.verdicts["movement"]


@pytest.mark.parametrize("metric", ["r2_pooled", "pairwise_005"])
def test_a_run_does_not_differ_from_itself(runs: tuple[str, str], metric: str) -> None:
    found = compare_runs(runs[0], runs[0], metric=metric)
    assert [row.a for row in found.rows] == ["symbolic/ridge", "mel/ridge", "mel-1/ridge"] * 2
    for row in found.rows:
        assert row.same
        assert (row.difference, row.ci_low, row.ci_high, row.p_permutation) == (0, 0, 0, 1)
        assert np.isnan(row.q_permutation)
    assert set(found.verdicts) == {"segment", "movement"}
    for text in found.verdicts.values():
        assert text.startswith("No difference is shown")
        assert "the same in all 3 rows" in text
    assert found.changed == []
    assert found.notes == []


def test_noise_of_the_same_size_is_no_difference(tmp_path: Path) -> None:
    paths = cases.write_run(tmp_path / "a", noise=0.04)
    found = compare_runs(f"{paths.workspace}:mel/ridge", f"{paths.workspace}:mel-1/ridge")
    for row in found.rows:
        assert row.ci_low < 0 < row.ci_high
        assert not row.same
        text = found.verdicts[row.scheme]
        assert text.startswith(f"No difference is shown on {row.scheme} folds")
        assert "or worse by up to" in text


def test_a_chosen_pair_is_told_from_a_corrected_one(runs: tuple[str, str]) -> None:
    chosen = compare_runs(f"{runs[0]}:mel/ridge", f"{runs[0]}:symbolic/ridge").notes
    assert any("comparisons.csv, which adjusts for all pairs" in note for note in chosen)
    assert compare_runs(f"{runs[0]}:mel/ridge", runs[1]).notes == []


def test_players_are_resampled_where_the_evaluation_does(tmp_path: Path) -> None:
    """Seven players: ``evaluate.min_players`` of the run decides, not a number of its own."""
    params = cases.raw_params(evaluate={"min_players": 8})
    run = cases.write_run(tmp_path / "a", params=params).workspace
    found = compare_runs(f"{run}:mel/ridge", f"{run}:mel-1/ridge")
    assert {row.interval for row in found.rows} == {"content"}


def test_pairwise_accuracy_counts_pairs_of_one_segment_and_fold(runs: tuple[str, str]) -> None:
    found = compare_runs(
        f"{runs[0]}:mel/ridge", f"{runs[1]}:mel/ridge", schemes=["movement"], metric="pairwise_005"
    )
    row = only(found)
    y, p, _ = oracle(runs, "movement")
    manifest = pd.read_parquet(CorpusPaths(cases.CORPUS, Path(runs[0])).manifest)
    segment = manifest.sort_values("clip")["segment"].to_numpy()
    right, counted = np.zeros((2, 2)), np.zeros(2)
    for i, j in itertools.combinations(range(len(y)), 2):
        for d in range(2):
            if segment[i] == segment[j] and abs(y[i, d] - y[j, d]) > 0.05:
                counted[d] += 1
                right[:, d] += (p[:, i, d] > p[:, j, d]) == (y[i, d] > y[j, d])
    assert (row.value_a, row.value_b) == pytest.approx((right / counted).mean(axis=1))
    assert row.difference > 0


def test_a_rescaled_model_orders_pairs_as_before(tmp_path: Path) -> None:
    a, b = (cases.write_run(tmp_path / name) for name in "ab")
    table = pd.read_parquet(b.predictions("mel"))
    table["prediction"] = 0.5 * table["prediction"]  # exact in binary, so no tie is made
    write_table(table, b.predictions("mel"))
    runs = f"{a.workspace}:mel/ridge", str(b.workspace)
    found = compare_runs(*runs, schemes=["segment"], metric="pairwise_0")
    row = only(found)
    assert not row.same
    assert (row.difference, row.p_permutation) == (0, 1)
    assert "score the same in every content group" in found.verdicts["segment"]
    assert only(compare_runs(*runs, schemes=["segment"])).difference != 0


def test_dimensions_without_agreement_are_left_out_of_pairs(
    tmp_path: Path,
) -> None:
    tables = cases.corpus_tables()
    a, b = (cases.write_run(tmp_path / str(noise), noise) for noise in (0.06, 0.02))
    ratings = evaluation_cases.ratings(tables[1], noise=0.02)
    pedal = ratings["dimension"] == "pedal"
    noise = np.random.default_rng(1).normal(0.5, 0.1, int(pedal.sum()))
    ratings.loc[pedal, "value"] = noise
    a.ratings.parent.mkdir()
    write_table(ratings, a.ratings)
    named = f"{a.workspace}:mel/ridge", str(b.workspace)
    found = compare_runs(*named, schemes=["segment"], metric="pairwise_005")
    assert "Raters do not agree within segments on pedal: left out." in found.notes
    everything = compare_runs(*named, schemes=["segment"])  # R² has them all
    assert everything.notes == []
    for run in (a, b):
        for path in (run.labels, run.predictions("mel"), run.predictions("symbolic")):
            table = pd.read_parquet(path)
            write_table(table[table["dimension"] == "timing"], path)
    a.ratings.unlink()
    timing = compare_runs(*named, schemes=["segment"], metric="pairwise_005")
    assert only(timing).value_a == pytest.approx(only(found).value_a)
    assert only(timing).p_permutation == only(found).p_permutation


def test_several_rows_are_adjusted_for_their_number(tmp_path: Path) -> None:
    tables = cases.corpus_tables(n_movements=4, n_segments=6)
    a = cases.write_run(tmp_path / "a", noise=0.05, tables=tables)
    b = cases.write_run(tmp_path / "b", noise=0.02, tables=tables)
    shifted = pd.read_parquet(b.predictions("symbolic"))
    noise = np.random.default_rng(0).normal(0, 0.002, len(shifted))
    shifted["prediction"] += noise.astype(np.float32)
    write_table(shifted, b.predictions("symbolic"))
    found = compare_runs(str(a.workspace), str(b.workspace), schemes=["movement"])
    rows = {row.a: row for row in found.rows}
    assert list(rows) == ["symbolic/ridge", "mel/ridge", "mel-1/ridge", ALL_ROWS]
    assert rows["mel-1/ridge"].same
    changed = [rows["symbolic/ridge"], rows["mel/ridge"]]
    q = stats.false_discovery_control([row.p_permutation for row in changed])
    assert [row.q_permutation for row in changed] == pytest.approx(q)
    assert rows[ALL_ROWS].difference == pytest.approx(np.mean([row.difference for row in changed]))
    assert rows[ALL_ROWS].ci_low > 0
    text = found.verdicts["movement"]
    assert "(mean of 2 rows)" in text
    assert "B is better in 1 of 2: mel/ridge +" in text
    assert "1 row predicts the same in both runs." in text


def test_four_content_groups_cannot_show_anything(tmp_path: Path) -> None:
    tables = cases.corpus_tables(n_movements=2)
    runs = [
        str(cases.write_run(tmp_path / str(noise), noise=noise, tables=tables).workspace)
        for noise in (0.09, 0.01)
    ]
    found = compare_runs(f"{runs[0]}:mel/ridge", f"{runs[1]}:mel/ridge", schemes=["segment"])
    row = only(found)
    assert row.n_clusters == 4
    assert row.p_permutation == row.smallest_p == 0.125
    assert (
        "Too few clusters on segment folds: with 4 content groups nothing below p = .125 can be "
        "found; R² +" in found.verdicts["segment"]
    )


def test_movements_that_are_held_out_are_counted(runs: tuple[str, str]) -> None:
    found = compare_runs(f"{runs[0]}:mel/ridge", f"{runs[1]}:mel/ridge", schemes=["movement"])
    row = only(found)
    assert (row.unit, row.n_units, row.n_units_ahead, row.p_unit) == ("movement", 3, 3, 0.25)
    assert (
        "B is ahead in all 3 movements; 3 allow no test below p = .250"
        in (found.verdicts["movement"])
    )


def test_a_baseline_is_a_row(runs: tuple[str, str]) -> None:
    found = compare_runs(
        f"{runs[1]}:lookup/movement_mean", f"{runs[1]}:mel/ridge", schemes=["segment"]
    )
    paths = CorpusPaths(cases.CORPUS, Path(runs[1]))
    manifest, folds = pd.read_parquet(paths.manifest), pd.read_parquet(paths.folds)
    labels = pd.read_parquet(paths.labels).merge(manifest[["clip", "movement"]], on="clip")
    labels = labels.merge(folds[folds["scheme"] == "segment"][["clip", "fold"]], on="clip")
    mean = [
        labels[
            (labels["fold"] != fold) & (labels["movement"] == m) & (labels["dimension"] == d)
        ]["value"].mean()
        for fold, m, d in labels[["fold", "movement", "dimension"]].itertuples(index=False)
    ]  # fmt: skip
    clips = sorted(manifest["clip"])
    y = cases.wide(labels, clips, "value")
    p = cases.wide(labels.assign(prediction=mean), clips, "prediction")
    assert only(found).value_a == pytest.approx(r2_score(y, p), abs=1e-6)


# What is paired --------------------------------------------------------------------------------


def test_clips_that_one_run_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    manifest, labels = cases.corpus_tables()
    gone, unheard = manifest["clip"][:3].tolist(), tuple(manifest["clip"][10:12])
    less = manifest[~manifest["clip"].isin(gone)], labels[~labels["clip"].isin(gone)]
    a = cases.write_run(tmp_path / "a", noise=0.05)
    b = cases.write_run(tmp_path / "b", noise=0.02, tables=less, drop=unheard)
    for one, other in ((a, b), (b, a)):
        found = compare_runs(
            f"{one.workspace}:mel/ridge", str(other.workspace), schemes=["movement"]
        )
        assert only(found).n_clips == len(manifest) - 5
        assert any(f"5 of {len(manifest)} rated clips are left out" in n for n in found.notes)


def test_other_folds_are_told_and_pairs_need_both(tmp_path: Path) -> None:
    params = cases.raw_params(folds={"schemes": ["player", "movement"], "seed": 1, "n_folds": 3})
    a = cases.write_run(tmp_path / "a", noise=0.05, params=params)
    params = cases.raw_params(folds={"schemes": ["player", "movement"], "seed": 2, "n_folds": 3})
    b = cases.write_run(tmp_path / "b", noise=0.02, params=params)
    folds = [pd.read_parquet(run.folds) for run in (a, b)]
    first, second = (
        table[table["scheme"] == "player"].set_index("clip")["fold"].sort_index() for table in folds
    )
    together = pd.crosstab(first, second.loc[first.index])
    assert (together > 0).sum().sum() > 3, "the seeds cut the same folds: the test shows nothing"

    runs = f"{a.workspace}:mel/ridge", f"{b.workspace}:mel/ridge"
    found = compare_runs(*runs, metric="pairwise_0")
    assert [note.split(":")[0] for note in found.notes if "folds differ" in note] == ["player"]
    assert ("folds.seed", "1", "2") in found.changed
    manifest = pd.read_parquet(a.manifest).sort_values("clip", ignore_index=True)
    clips = list(manifest["clip"])
    y = cases.wide(pd.read_parquet(a.labels), clips, "value")
    p = [cases.predicted(run, "mel", "player", clips) for run in (a, b)]
    right, n = np.zeros((2, 2)), 0
    for i, j in itertools.combinations(range(len(clips)), 2):
        both = all(f[clips[i]] == f[clips[j]] for f in (first, second))
        if manifest["segment"][i] == manifest["segment"][j] and both:
            n += 1
            for k in range(2):
                right[k] += (p[k][i] > p[k][j]) == (y[i] > y[j])
    row = next(row for row in found.rows if row.scheme == "player")
    assert (row.value_a, row.value_b) == pytest.approx((right / n).mean(axis=1))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    st.permutations(range(4)),
)
def test_joint_folds_hold_what_both_hold(folds: list[tuple[int, int]], names: list[int]) -> None:
    one, other = (np.array(side, np.int64) for side in zip(*folds, strict=True))
    code, same = joint_folds(one, other)
    agree = True
    for i, j in itertools.combinations(range(len(folds)), 2):
        together = one[i] == one[j], other[i] == other[j]
        assert (code[i] == code[j]) == all(together)
        agree = agree and together[0] == together[1]
    assert same == agree
    assert joint_folds(one, np.array(names)[one])[1]  # other numbers, the same folds


def test_other_ratings_are_refused(tmp_path: Path) -> None:
    manifest, labels = cases.corpus_tables()
    a = cases.write_run(tmp_path / "a", tables=(manifest, labels))
    b = cases.write_run(tmp_path / "b", tables=(manifest, labels))
    other = labels.copy()
    clip = str(other.loc[5, "clip"])
    other.loc[5, "value"] += 0.01
    write_labels(other, b.labels)
    with pytest.raises(BadInputError, match=r"ratings differ: timing is .*\(1 clips differ\)") as e:
        compare_runs(str(a.workspace), str(b.workspace))
    assert e.value.where == clip
    write_labels(labels.drop(index=5), b.labels)  # unrated in one run is another rating
    with pytest.raises(BadInputError, match="ratings differ"):
        compare_runs(str(a.workspace), str(b.workspace))
    write_labels(labels[labels["dimension"] == "timing"], b.labels)
    with pytest.raises(BadInputError, match="dimensions differ: pedal"):
        compare_runs(str(a.workspace), str(b.workspace))


def test_other_groups_are_told(tmp_path: Path) -> None:
    a, b = (cases.write_run(tmp_path / name) for name in "ab")
    manifest, _ = cases.corpus_tables()
    manifest.loc[0, "content_group"] = "of its own"
    manifest.loc[[0, 1], "sha256"] = "other"
    manifest.loc[[2, 3], "segment"] = "x"
    write_manifest(manifest, b.manifest)
    notes = compare_runs(str(a.workspace), str(b.workspace)).notes
    assert "1 clips have another content_group in B; that of A is used." in notes
    assert "2 clips have another segment in B; that of A is used." in notes
    assert "2 clips have other files in B than in A, under the same name." in notes


def test_predictions_on_other_folds_than_the_runs_are_refused(tmp_path: Path) -> None:
    a = cases.write_run(tmp_path / "a")
    folds = pd.read_parquet(a.folds)
    folds["fold"] = (folds["fold"] + 1) % 3
    write_table(folds, a.folds)
    with pytest.raises(CorruptDataError, match="made on other folds"):
        compare_runs(str(a.workspace), str(a.workspace))


# Rows, corpora, schemes ------------------------------------------------------------------------


def test_one_side_names_the_row_of_both(runs: tuple[str, str]) -> None:
    found = [
        only(compare_runs(*named, schemes=["segment"]))
        for named in ((f"{runs[0]}:mel/ridge", runs[1]), (runs[0], f"{runs[1]}:mel/ridge"))
    ]
    assert {(row.a, row.b) for row in found} == {("mel/ridge", "mel/ridge")}
    assert found[0].difference == found[1].difference > 0


def test_an_unknown_row_lists_those_there_are(runs: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="has no row 'mel/mlp'") as error:
        compare_runs(f"{runs[0]}:mel/mlp", runs[1])
    assert "mel/ridge, mel-1/ridge, none/training_mean, lookup/movement_mean" in str(error.value)
    with pytest.raises(ConfigError, match="has no row 'nope/ridge'") as error:
        compare_runs(runs[0], f"{runs[1]}:nope/ridge")
    assert "symbolic/ridge, mel/ridge, mel-1/ridge" in str(error.value.allowed)


def test_rows_of_one_run_alone_are_told(tmp_path: Path, runs: tuple[str, str]) -> None:
    params = cases.raw_params()
    params["axes"]["features"] = ["symbolic"]
    less = cases.write_run(tmp_path / "less", params=params)
    found = compare_runs(runs[0], str(less.workspace), schemes=["segment"])
    assert {row.a for row in found.rows} == {"symbolic/ridge"}
    assert "Only in A, not compared: mel/ridge, mel-1/ridge." in found.notes
    assert ("axes.features", "['symbolic', 'mel']", "['symbolic']") in found.changed


def test_seeds_are_named_where_there_are_several(tmp_path: Path) -> None:
    paths = cases.write_run(tmp_path / "a")
    path = paths.predictions("symbolic")
    table = pd.read_parquet(path)
    write_table(pd.concat([table, table.assign(seed=1)]), path)
    here = str(paths.workspace)
    row = only(compare_runs(
        f"{here}:symbolic/ridge (seed 0)", f"{here}:symbolic/ridge (seed 1)", schemes=["segment"]
    ))  # fmt: skip
    assert row.same
    with pytest.raises(ConfigError, match=r"allowed: symbolic/ridge \(seed 0\), "):
        compare_runs(f"{here}:symbolic/ridge", here)


def test_controls_are_not_compared(tmp_path: Path) -> None:
    paths = cases.write_run(tmp_path / "a")
    path = paths.predictions("symbolic")
    table = pd.read_parquet(path)
    special = [
        table.assign(features=f"symbolic:{name}") for name in ("shuffled_labels", "train_25")
    ]
    write_table(pd.concat([table, *special]), path)
    found = compare_runs(str(paths.workspace), str(paths.workspace))
    assert {row.a for row in found.rows} == {"symbolic/ridge", "mel/ridge", "mel-1/ridge"}
    with pytest.raises(ConfigError, match="is a control"):
        compare_runs(f"{paths.workspace}:symbolic:shuffled_labels/ridge", str(paths.workspace))


def test_only_the_predictions_of_the_row_are_needed(tmp_path: Path) -> None:
    paths = cases.write_run(tmp_path / "a")
    paths.predictions("symbolic").unlink()
    here = str(paths.workspace)
    assert compare_runs(f"{here}:mel/ridge", f"{here}:mel-1/ridge").rows
    with pytest.raises(MissingAssetError, match=r"symbolic\.parquet") as error:
        compare_runs(here, here)
    assert "dvc pull probe@toy-symbolic" in str(error.value.next_step)
    assert here in str(error.value.next_step)  # the command is for that folder


def test_the_corpus_is_asked_for_only_where_it_must_be(tmp_path: Path) -> None:
    params = cases.raw_params()
    params["axes"]["corpus"] = ["other", "toy"]
    paths = cases.write_run(tmp_path / "a", params=params)
    here = str(paths.workspace)
    with pytest.raises(ConfigError, match=r"several corpora .*allowed: other, toy"):
        compare_runs(here, here)
    assert compare_runs(here, here, corpus="toy").corpus == "toy"
    with pytest.raises(MissingAssetError, match=r"manifest\.parquet.*\n.*degrade@other"):
        compare_runs(here, here, corpus="other")


def test_what_cannot_be_asked_for_is_said(runs: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"player is not in the folds .*: segment, movement"):
        compare_runs(*runs, schemes=["player"])
    with pytest.raises(ConfigError, match=r"'spearman' .*: r2_pooled, pairwise_0, pairwise_005"):
        compare_runs(*runs, metric="spearman")
    with pytest.raises(ConfigError, match="all, human"):
        compare_runs(*runs, subset="some")
    manifest, labels = cases.corpus_tables()
    human = cases.write_run(
        tmp_path / "human", tables=(manifest.assign(is_score_render=False), labels)
    )
    with pytest.raises(ConfigError, match="no deadpan clips"):
        compare_runs(str(human.workspace), str(human.workspace), subset="human")


def test_human_clips_leave_the_deadpan_ones_out(runs: tuple[str, str]) -> None:
    found = compare_runs(f"{runs[0]}:mel/ridge", runs[1], schemes=["movement"], subset="human")
    y, p, _ = oracle(runs, "movement")
    manifest = pd.read_parquet(CorpusPaths(cases.CORPUS, Path(runs[0])).manifest)
    human = ~manifest.sort_values("clip")["is_score_render"].to_numpy()
    assert only(found).value_a == pytest.approx(r2_score(y[human], p[0][human]), abs=1e-6)
    assert only(found).n_clips == human.sum()
    assert found.notes == []


def test_parameters_of_another_version_are_read_as_far_as_they_are_known(tmp_path: Path) -> None:
    params = cases.raw_params(evaluate={"removed_since": 3}, probe={"new_model": {"depth": 2}})
    paths = cases.write_run(tmp_path / "a", params=params)
    here = str(paths.workspace)
    assert compare_runs(f"{here}:mel/ridge", here, schemes=["segment"]).n_draws == 1000
    for block, message in (
        ({"evaluate": {"confidence": 2}}, r"params\.yaml: parameter 'evaluate\.confidence'"),
        ({"probe": {"task": "technique"}}, "has no row 'mel/ridge'"),
    ):
        text = yaml.safe_dump(cases.raw_params(**block))
        (paths.workspace / "params.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            compare_runs(f"{here}:mel/ridge", here)
    (paths.workspace / "params.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        compare_runs(here, here)


def test_changed_parameters_are_listed_by_name() -> None:
    a = {"x": 1, "y": {"z": [1, 2], "same": 0}, "gone": {"k": None}}
    b = {"x": 1, "y": {"z": [1], "same": 0}, "new": True}
    assert changed_params(a, b) == [
        ("y.z", "[1, 2]", "[1]"), ("gone.k", "None", "–"), ("new", "–", "True"),
    ]  # fmt: skip
    assert changed_params(a, a) == []
