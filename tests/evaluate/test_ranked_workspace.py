"""From tables of ranked pairs to what is said of rankers, and what is refused on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
import ranked_cases

from pianoeval.corpora.manifest import read_labels, read_manifest, write_labels, write_manifest
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, MissingAssetError
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.audit import audit_workspace
from pianoeval.evaluate.protocol.receipt import check_results
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.ranked.compare import compared_table
from pianoeval.evaluate.ranked.contest import Entry
from pianoeval.evaluate.ranked.corpus import (
    RankEvaluation,
    evaluate_rank_workspace,
    evaluate_rankers,
)
from pianoeval.evaluate.ranked.read import read_ranks
from pianoeval.evaluate.ranked.rows import ranking_table
from pianoeval.evaluate.ranked.setting import entry_hashes, make_setting
from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.tables import results_table
from pianoeval.joins import SOURCE
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.sealed import read_sealed, write_sealed
from pianoeval.tablefile import read_table, write_table

# As docs and consumers know it: written out, not imported.
COLUMNS = [
    "corpus", "task", "scheme", "subset", "kind", "features", "model", "dimension", "metric",
    "margin", "value", "ci_low", "ci_high", "interval", "chance", "n_pairs", "n_clusters", "seed",
    "n_seeds", "config_hash", "commit",
]  # fmt: skip
WRITTEN = ["ranking.csv", "rank_comparisons.csv", "disentanglement.csv"]
RANKERS = {
    "sure": 0.02,
    "swept": 0.05,
    "swept:temperature=0.05": 0.05,
    "swept:temperature=0.1": 0.1,
}
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def params() -> Params:
    return ranked_cases.params(folds={"schemes": ["player", "movement"]})


def write_ranks(paths: CorpusPaths, ranked: pd.DataFrame, codes: pd.DataFrame) -> None:
    paths.ranks.mkdir(parents=True, exist_ok=True)
    write_table(ranked, paths.rank_pairs)
    write_table(codes, paths.rank_codes)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Iterator[CorpusPaths]:
    """An evaluated workspace, only to be read."""
    folder = tmp_path_factory.mktemp("ranked")
    paths = CorpusPaths("toy", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        paths.clips.mkdir(parents=True)
        manifest = cases.manifest(n_players=6).assign(
            midi_path=None, audio_path="source/audio/x.wav"
        )
        labels = cases.labels(manifest)
        folds = make_folds(manifest, params.folds)
        write_manifest(manifest, paths.manifest)
        write_labels(labels, paths.labels)
        write_table(folds, paths.folds)
        paths.ratings.parent.mkdir()
        write_table(cases.ratings(labels), paths.ratings)
        paths.predictions("symbolic").parent.mkdir()
        table = cases.predictions(labels, folds, noise=0.04)
        write_table(table.assign(features="symbolic"), paths.predictions("symbolic"))
        audit_workspace(paths, params)
        ranked = ranked_cases.ranked_pairs(manifest, labels, folds, RANKERS)
        write_ranks(paths, ranked, ranked_cases.ranked_codes(manifest, folds))
        evaluate_rank_workspace(paths, params)
        yield paths


def judge_again(
    paths: CorpusPaths, params: Params, ranked: pd.DataFrame, *, ratings: bool = True
) -> RankEvaluation:
    """The same workspace with other pairs."""
    setting = make_setting(
        read_manifest(paths.manifest), read_labels(paths.labels),
        read_table(paths.ratings) if ratings else None, params, "abc",
    )  # fmt: skip
    predictions = read_predictions(paths, ["symbolic"])
    return evaluate_rankers(setting, read_table(paths.folds), predictions, ranked)


@pytest.fixture(scope="module")
def ranking(evaluated: CorpusPaths) -> pd.DataFrame:
    return pd.read_csv(evaluated.results / "ranking.csv")


def test_tables_and_their_receipt(evaluated: CorpusPaths, ranking: pd.DataFrame) -> None:
    assert list(ranking.columns) == COLUMNS
    receipt = read_sealed(evaluated.ranked, "x")
    assert receipt["results"] == {n: sha256_file(evaluated.results / n) for n in WRITTEN}
    assert receipt["inputs"]["pairs.parquet"] == sha256_file(evaluated.rank_pairs)
    assert receipt["dropped"] == {"player": 0, "movement": 0}
    assert set(ranking["kind"]) == {"ranker", "point", "model", "baseline", "ceiling"}
    assert set(ranking["subset"]) == {"human"}
    of_swept = ranking[ranking["model"] == "swept"]
    assert (of_swept["n_seeds"] == 3).all()
    assert not ranking.duplicated(["scheme", "kind", "features", "model", "dimension",
                                   "metric"]).any()  # fmt: skip
    inside = ranking["ci_low"].isna() | ranking["value"].between(
        ranking["ci_low"] - 1e-6, ranking["ci_high"] + 1e-6
    )
    assert inside.all()


def test_a_ranker_that_knows_more_stands_higher(ranking: pd.DataFrame) -> None:
    mean = ranking[(ranking["dimension"] == "mean") & (ranking["metric"] == "pairwise_005")]
    for scheme in ("player", "movement"):
        value = mean[mean["scheme"] == scheme].set_index("model")["value"]
        assert value["sure"] > value["swept"] > 0.6
        assert value["training_mean"] == 0.5
        assert value["within_segment"] < 1.0


def test_models_have_the_numbers_of_the_results(
    evaluated: CorpusPaths, params: Params, ranking: pd.DataFrame
) -> None:
    state = evaluate_state(
        read_manifest(evaluated.manifest), read_labels(evaluated.labels),
        read_table(evaluated.folds), read_predictions(evaluated, ["symbolic"]),
        read_table(evaluated.ratings), params, "abc",
    )  # fmt: skip
    key = ["scheme", "subset", "features", "model", "dimension", "metric"]
    results = results_table(state.rows)
    both = ranking[ranking["kind"].isin(["model", "baseline", "ceiling"])].merge(results, on=key)
    both = both[both["metric"].str.startswith("pairwise")]
    assert set(both["kind"]) == {"model", "baseline", "ceiling"}
    assert len(both) == 2 * 3 * 3 * (1 + 6 + 1)
    for column in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(both[f"{column}_x"], both[f"{column}_y"], rtol=2e-6)
    assert (both["config_hash_x"] == both["config_hash_y"]).all()


def test_the_same_tables_give_the_same_bytes(
    evaluated: CorpusPaths, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = CorpusPaths("toy", tmp_path / "again")
    shutil.copytree(evaluated.workspace, again.workspace)
    monkeypatch.chdir(again.workspace)
    before = {name: (again.results / name).read_bytes() for name in WRITTEN}
    evaluate_rank_workspace(again, params)
    assert {name: (again.results / name).read_bytes() for name in WRITTEN} == before


def test_neither_order_nor_orientation_of_pairs_matters(
    evaluated: CorpusPaths, params: Params
) -> None:
    ranked = read_table(evaluated.rank_pairs)
    margins = [name for name in ranked.columns if name.startswith("margin/")]
    turned = ranked.rename(columns={"first": "second", "second": "first"})
    turned[margins] = -turned[margins]
    turned.attrs = ranked.attrs
    one, other = (judge_again(evaluated, params, table) for table in (ranked, turned))
    pd.testing.assert_frame_equal(ranking_table(one.rows), ranking_table(other.rows))
    pd.testing.assert_frame_equal(
        compared_table(one.comparisons), compared_table(other.comparisons)
    )


def test_reversed_margins_are_wrong_where_they_were_right(
    evaluated: CorpusPaths, params: Params, ranking: pd.DataFrame
) -> None:
    ranked = read_table(evaluated.rank_pairs)
    ranked = ranked[ranked["ranker"] == "sure"].reset_index(drop=True)
    margins = [name for name in ranked.columns if name.startswith("margin/")]
    ranked[margins] = -ranked[margins]
    found = ranking_table(judge_again(evaluated, params, ranked).rows)
    key = ["scheme", "model", "dimension", "metric"]
    both = found[found["kind"] == "ranker"].merge(ranking[ranking["kind"] == "ranker"], on=key)
    of = both.set_index("metric")
    pairs = of.loc[["pairwise_0", "pairwise_005", "pairwise_010"]]
    np.testing.assert_allclose(pairs["value_x"], 1 - pairs["value_y"], atol=1e-6)
    tau = of.loc["kendall_within"]
    np.testing.assert_allclose(tau["value_x"], -tau["value_y"], atol=1e-6)
    cyclic = of.loc["cyclic"]
    np.testing.assert_allclose(cyclic["value_x"], cyclic["value_y"], atol=1e-6)


def test_points_are_rows_but_compared_with_nothing(
    evaluated: CorpusPaths, ranking: pd.DataFrame
) -> None:
    compared = pd.read_csv(evaluated.results / "rank_comparisons.csv")
    assert not compared[["a", "b"]].map(lambda name: ":" in name).any(axis=None)
    assert {"rank/sure", "rank/swept"} <= set(compared["a"]) | set(compared["b"])
    chosen = ranking[ranking["metric"] == "chosen_share"]
    assert chosen.groupby("scheme")["value"].sum().eq(1.0).all()
    assert set(chosen["kind"]) == {"point"}


def test_codes_are_judged_beside_predictions(evaluated: CorpusPaths) -> None:
    found = pd.read_csv(evaluated.results / "disentanglement.csv")
    assert set(found["ranker"]) == {"sure", "symbolic/ridge"}
    assert set(found["scheme"]) == {"player", "movement"}


def test_a_take_that_a_ranker_does_not_know_is_left_out_for_all(
    evaluated: CorpusPaths, params: Params
) -> None:
    ranked = read_table(evaluated.rank_pairs)
    clip = ranked.loc[ranked["scheme"] == "movement", "first"].iloc[0]
    unknown = (ranked["ranker"] == "sure") & (ranked["scheme"] == "movement")
    unknown &= (ranked[["first", "second"]] == clip).any(axis=1)
    part = ranked[~unknown].reset_index(drop=True)
    part.attrs = ranked.attrs
    found = judge_again(evaluated, params, part)
    assert found.dropped == {"player": 0, "movement": 1}
    table, whole = ranking_table(found.rows), judge_again(evaluated, params, ranked)
    before = ranking_table(whole.rows)
    for name in ("sure", "swept", "ridge"):
        of = [
            t[(t["model"] == name) & (t["scheme"] == "movement") & (t["metric"] == "pairwise_0")]
            for t in (table, before)
        ]
        n = [t.loc[t["dimension"] == "mean", "n_pairs"].item() for t in of]
        assert n[0] == n[1] - 4  # five people played the segment


def _without_one(table: pd.DataFrame) -> pd.DataFrame:
    long = (table["ranker"] == "sure") & (table["scheme"] == "movement")  # lists of five takes
    return table.drop(index=table.index[long][0])


def _twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.head(1)], ignore_index=True)


def _twice_turned(table: pd.DataFrame) -> pd.DataFrame:
    turned = table.head(1).rename(columns={"first": "second", "second": "first"})
    return pd.concat([table, turned], ignore_index=True)


def _undefined(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[3, "margin/pedal"] = np.nan
    return table


def _infinite(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[3, "margin/pedal"] = np.inf
    return table


def _other_fold(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(fold=(table["fold"] + 1) % 3)


def _other_segment(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    same = table[(table["scheme"] == "movement") & (table["fold"] == table["fold"].min())]
    segment = same["first"].str.rsplit("_", n=2).str[0]
    other = same[segment != segment.iloc[0]].index[0]
    table.loc[same.index[0], "second"] = table.loc[other, "second"]
    return table


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_one, "no margin of"), (_twice, "there twice"), (_twice_turned, "there twice"),
        (_undefined, "no margin of"), (_infinite, "no margin of"), (_other_fold, "no pair of fold"),
        (_other_segment, "no pair of fold"),
        (lambda t: t.assign(first="nobody"), "no pair of fold"),
        (lambda t: t.drop(columns="margin/pedal"), "lack margin/pedal"),
        (lambda t: t.assign(ranker="stranger"), "ranker 'stranger'"),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_right_are_refused(
    evaluated: CorpusPaths, params: Params, change: Change, said: str
) -> None:
    ranked = change(read_table(evaluated.rank_pairs))
    with pytest.raises(CorruptDataError, match=said) as caught:
        judge_again(evaluated, params, ranked)
    assert caught.value.next_step


def test_rankers_without_a_common_pair_cannot_be_judged(
    evaluated: CorpusPaths, params: Params
) -> None:
    ranked = read_table(evaluated.rank_pairs)
    odd = ranked["fold"] % 2 == 1
    apart = ranked[np.where(ranked["ranker"] == "sure", odd, ~odd)].reset_index(drop=True)
    with pytest.raises(BadInputError, match="known to every row"):
        judge_again(evaluated, params, apart)


def test_without_ratings_there_is_no_ceiling(evaluated: CorpusPaths, params: Params) -> None:
    found = judge_again(evaluated, params, read_table(evaluated.rank_pairs), ratings=False)
    assert "ceiling" not in {row["kind"] for row in found.rows}


def test_a_corpus_without_rankers_gets_empty_tables(
    evaluated: CorpusPaths, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = CorpusPaths("toy", tmp_path / "none")
    shutil.copytree(evaluated.workspace, again.workspace)
    monkeypatch.chdir(again.workspace)
    ranked = read_table(again.rank_pairs).head(0)
    ranked.attrs = {"dimensions": ["timing", "pedal"], "selection": []}
    write_ranks(again, ranked, read_table(again.rank_codes).head(0))
    evaluate_rank_workspace(again, params)
    for name in WRITTEN:
        assert len((again.results / name).read_text().splitlines()) == 1
    assert read_sealed(again.ranked, "x")["dropped"] == {}
    again.rank_pairs.unlink()
    with pytest.raises(MissingAssetError, match="no such table") as caught:
        evaluate_rank_workspace(again, params)
    assert caught.value.next_step == "dvc repro rank@toy"


def test_labels_of_another_task_are_refused(evaluated: CorpusPaths, params: Params) -> None:
    labels = read_labels(evaluated.labels).assign(task="expertise")
    with pytest.raises(ConfigError, match="no labels of task"):
        make_setting(read_manifest(evaluated.manifest), labels, None, params, "abc")


def test_a_changed_table_is_no_result(
    evaluated: CorpusPaths, tmp_path: Path
) -> None:  # fmt: skip
    again = CorpusPaths("toy", tmp_path / "changed")
    shutil.copytree(evaluated.workspace, again.workspace)
    write_sealed(again.evaluated, {"results": {}})
    check_results(again)
    table = again.results / "ranking.csv"
    table.write_text(table.read_text().replace("human", "all"))
    with pytest.raises(CorruptDataError, match="SHA-256"):
        check_results(again)
    again.ranked.unlink()
    with pytest.raises(MissingAssetError):
        check_results(again)


def test_a_hash_follows_its_own_ranker_alone(params: Params) -> None:
    entries = {
        name: Entry("ranker", "symbolic", name, 42) for name in ("sure", "swept")
    } | {"symbolic/ridge": Entry("model", "symbolic", "ridge", 0)}  # fmt: skip
    before = entry_hashes(params, "toy", entries)
    rank = params.rank.model_dump()
    rank["rankers"]["swept"]["hidden"] = 7
    changed = params.model_copy(update={"rank": type(params.rank)(**rank)})
    after = entry_hashes(changed, "toy", entries)
    assert [name for name in entries if before[name] != after[name]] == ["swept"]
    folds = params.folds.model_copy(update={"n_folds": 3})
    moved = entry_hashes(params.model_copy(update={"folds": folds}), "toy", entries)
    assert all(before[name] != moved[name] for name in entries)


# Which tables they are ---------------------------------------------------------------------------


def named(table: pd.DataFrame, corpus: str, name: str) -> pd.DataFrame:
    """As the stage writes it."""
    found = table.copy()
    found.attrs = {**table.attrs, SOURCE: f"{corpus}/{name}.parquet"}
    return found


@pytest.fixture
def own(evaluated: CorpusPaths, tmp_path: Path) -> CorpusPaths:
    """A copy to spoil, whose tables say whose they are."""
    paths = CorpusPaths("toy", tmp_path / "own")
    shutil.copytree(evaluated.workspace, paths.workspace)
    pairs, codes = read_table(paths.rank_pairs), read_table(paths.rank_codes)
    write_ranks(paths, named(pairs, "toy", "pairs"), named(codes, "toy", "codes"))
    return paths


def read_again(paths: CorpusPaths, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    return read_ranks(paths, params, read_table(paths.folds))


def test_ranks_are_read_as_they_were_written(
    own: CorpusPaths, evaluated: CorpusPaths, params: Params
) -> None:
    found, before = read_again(own, params), read_again(evaluated, params)
    for one, other in zip(found, before, strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("rows", [None, 0])
@pytest.mark.parametrize("says", [True, False])
def test_pairs_and_codes_that_changed_places_are_refused(
    own: CorpusPaths, params: Params, rows: int | None, says: bool
) -> None:
    """Without rows, and where an older version did not name them, columns still tell."""
    pairs, codes = (table.head(rows) if rows == 0 else table for table in read_again(own, params))
    if not says:
        pairs.attrs, codes.attrs = {}, {}
    write_ranks(own, codes, pairs)
    with pytest.raises(CorruptDataError, match="the table") as caught:
        read_again(own, params)
    assert caught.value.where == str(own.rank_pairs)
    assert caught.value.next_step == f"rm -r '{own.ranks}' && dvc repro rank@toy"


@pytest.mark.parametrize("name", ["pairs", "codes"])
@pytest.mark.parametrize("rows", [None, 0])
def test_a_table_of_another_corpus_is_refused(
    own: CorpusPaths, params: Params, name: str, rows: int | None
) -> None:
    """Even with the same clips and folds, and even without a row."""
    path = {"pairs": own.rank_pairs, "codes": own.rank_codes}[name]
    table = read_table(path)
    write_table(named(table.head(0) if rows == 0 else table, "studio", name), path)
    with pytest.raises(CorruptDataError, match=f"studio/{name}.parquet") as caught:
        evaluate_rank_workspace(own, params)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_fold, "is not of fold"),
        (lambda t: t.assign(clip="nobody"), "'nobody' is not of fold"),
        (lambda t: t.assign(ranker="stranger"), "codes of a ranker 'stranger'"),
    ],
)
def test_codes_that_cannot_be_right_are_refused(
    own: CorpusPaths, params: Params, change: Change, said: str
) -> None:
    changed = change(read_table(own.rank_codes))
    write_table(named(changed, "toy", "codes"), own.rank_codes)
    with pytest.raises(CorruptDataError, match=said) as caught:
        read_again(own, params)
    assert caught.value.next_step == "dvc repro rank@toy"
