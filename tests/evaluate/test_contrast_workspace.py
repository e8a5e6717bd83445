"""From the tables of heads to what is written of them, and what is refused on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import contrast_cases as cases
import evaluation_cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.corpora.manifest import read_labels, write_labels, write_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.evaluate.contrast.corpus import evaluate_contrast_workspace
from pianoeval.evaluate.contrast.read import read_heads
from pianoeval.evaluate.protocol.audit import audit_workspace
from pianoeval.evaluate.protocol.receipt import check_evaluated, check_results
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.joins import SOURCE
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.sealed import read_sealed, write_sealed
from pianoeval.tablefile import read_table, write_table

WRITTEN = ["contrastive.csv", "contrast_comparisons.csv", "class_distances.csv", "tsne.csv"]
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def params() -> Params:
    return cases.params()


def write_heads(paths: CorpusPaths, predictions: pd.DataFrame, latents: pd.DataFrame) -> None:
    paths.contrast.mkdir(parents=True, exist_ok=True)
    for table, path in ((predictions, paths.head_predictions), (latents, paths.head_latents)):
        table.attrs = {**table.attrs, SOURCE: f"{paths.corpus}/{path.name}"}
        write_table(table, path)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Iterator[CorpusPaths]:
    """An evaluated workspace, only to be read."""
    folder = tmp_path_factory.mktemp("contrast")
    paths = CorpusPaths("toy", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        paths.clips.mkdir(parents=True)
        manifest = evaluation_cases.manifest(n_players=6).assign(
            midi_path=None, audio_path="source/audio/x.wav"
        )
        labels = evaluation_cases.labels(manifest)
        folds = make_folds(manifest, params.folds)
        write_manifest(manifest, paths.manifest)
        write_labels(labels, paths.labels)
        write_table(folds, paths.folds)
        audit_workspace(paths, params)
        write_heads(paths, *cases.head_tables(manifest, labels, folds))
        evaluate_contrast_workspace(paths, params)
        yield paths


@pytest.fixture
def workspace(
    evaluated: CorpusPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CorpusPaths:
    """A copy that may be spoiled."""
    shutil.copytree(evaluated.workspace, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return CorpusPaths("toy", tmp_path / "copy")


def test_tables_and_their_receipt(evaluated: CorpusPaths) -> None:
    receipt = read_sealed(evaluated.contrasted, "x")
    assert receipt["results"] == {n: sha256_file(evaluated.results / n) for n in WRITTEN}
    assert receipt["inputs"]["latents.parquet"] == sha256_file(evaluated.head_latents)
    assert receipt["dropped"] == {"player": 0, "movement": 0}
    table = pd.read_csv(evaluated.results / "contrastive.csv")
    assert set(table["kind"]) == {"head", "point", "baseline"}
    of_codes = table[table["metric"] == "davies_bouldin"]
    assert set(of_codes["head"]) == set(cases.NOISE) - {"plain"}
    assert set(of_codes["statistic"]) == {"seed", "mean", "sd"}
    assert of_codes["config_hash"].notna().all()
    assert not (table["metric"] == "interpretability").any()
    of_points = table[table["kind"] == "point"]
    assert set(of_points["metric"]) == {"r2_pooled", "davies_bouldin", "chosen_share"}


def test_maps_are_of_one_fold_and_seed(evaluated: CorpusPaths) -> None:
    maps = pd.read_csv(evaluated.results / "tsne.csv")
    assert set(maps["scheme"]) == {"player"}
    assert set(maps["fold"]) == set(maps["seed"]) == {0}
    assert set(maps["head"]) == {"pcconv", "joint"}
    folds = read_table(evaluated.folds)
    tested = folds[(folds["scheme"] == "player") & (folds["fold"] == 0)]["clip"]
    for _, part in maps.groupby(["head", "dimension"]):
        assert sorted(part["clip"]) == sorted(tested)
    assert set(maps["perplexity"]) <= {5, 10}
    assert np.isfinite(maps[["x", "y"]]).all(axis=None)


def test_again_gives_the_same_bytes(workspace: CorpusPaths, params: Params) -> None:
    before = {n: (workspace.results / n).read_bytes() for n in WRITTEN}
    receipt = workspace.contrasted.read_bytes()
    evaluate_contrast_workspace(workspace, params)
    assert {n: (workspace.results / n).read_bytes() for n in WRITTEN} == before
    assert workspace.contrasted.read_bytes() == receipt


def test_a_corpus_without_heads_has_tables_without_rows(
    workspace: CorpusPaths, params: Params
) -> None:
    predictions, latents = (
        read_table(path).head(0) for path in (workspace.head_predictions, workspace.head_latents)
    )
    predictions.attrs = {"dimensions": [], "selection": []}
    write_heads(workspace, predictions, latents)
    evaluate_contrast_workspace(workspace, params)
    for name in WRITTEN:
        assert pd.read_csv(workspace.results / name).empty


def test_a_report_is_refused_where_a_table_was_edited(workspace: CorpusPaths) -> None:
    write_sealed(workspace.evaluated, {"results": {}})
    check_results(workspace)
    with (workspace.results / "tsne.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(CorruptDataError, match=r"tsne\.csv"):
        check_results(workspace)


def test_what_stands_beside_the_heads_is_checked_as_well(
    workspace: CorpusPaths, params: Params
) -> None:
    workspace.contour_audit.write_text("instrument,measure\n")
    evaluate_contrast_workspace(workspace, params)
    write_sealed(workspace.evaluated, {"results": {}})
    check_results(workspace)
    workspace.contour_audit.write_text("instrument,measurf\n")
    with pytest.raises(CorruptDataError, match=r"contours\.csv"):
        check_results(workspace)


def test_examples_wait_for_no_head(workspace: CorpusPaths) -> None:
    """They may run before heads are evaluated, and in a clone to which no receipt of heads came."""
    write_sealed(workspace.evaluated, {"results": {}})
    workspace.contrasted.unlink()
    check_evaluated(workspace)
    with pytest.raises(MissingAssetError):
        check_results(workspace)


def test_predictions_and_codes_must_both_be_there(workspace: CorpusPaths, params: Params) -> None:
    for path in (workspace.head_predictions, workspace.head_latents):
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(MissingAssetError, match=path.name) as raised:
            evaluate_contrast_workspace(workspace, params)
        assert raised.value.next_step == "dvc repro contrast@toy"
        path.write_bytes(kept)


def spoiled(workspace: CorpusPaths, params: Params, change: Change, *, codes: bool = False) -> str:
    """What is said of tables of which one was changed."""
    tables = [read_table(workspace.head_predictions), read_table(workspace.head_latents)]
    attrs = tables[codes].attrs
    tables[codes] = change(tables[codes])
    tables[codes].attrs = attrs
    write_heads(workspace, *tables)
    with pytest.raises(CorruptDataError) as raised:
        evaluate_contrast_workspace(workspace, params)
    assert "dvc repro" in str(raised.value.next_step)
    return str(raised.value)


@pytest.mark.parametrize("codes", [False, True])
def test_a_head_of_other_parameters_is_refused(
    workspace: CorpusPaths, params: Params, codes: bool
) -> None:
    for name in ("transformer", "joint:margin=9,bins=3"):

        def change(t: pd.DataFrame, name: str = name) -> pd.DataFrame:
            return t.assign(head=[name, *t["head"][1:]])

        assert f"'{name}'" in spoiled(workspace, params, change, codes=codes)


@pytest.mark.parametrize("codes", [False, True])
def test_other_folds_are_refused(workspace: CorpusPaths, params: Params, codes: bool) -> None:
    said = spoiled(workspace, params, lambda t: t.assign(fold=t["fold"] + 1), codes=codes)
    assert "is not of fold" in said


def test_a_prediction_that_is_no_number_is_refused(workspace: CorpusPaths, params: Params) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(predicted=[np.inf, *table["predicted"][1:]])

    assert "is not finite" in spoiled(workspace, params, change)


def test_tables_that_changed_places_are_refused(workspace: CorpusPaths, params: Params) -> None:
    shutil.copyfile(workspace.head_predictions, workspace.head_latents)
    with pytest.raises(CorruptDataError, match=r"toy/predictions\.parquet"):
        read_heads(workspace, params, read_table(workspace.folds))


def test_the_audit_must_be_of_these_labels(workspace: CorpusPaths, params: Params) -> None:
    labels = read_labels(workspace.labels)
    write_labels(labels.assign(value=labels["value"] + 0.01), workspace.labels)
    with pytest.raises(CorruptDataError, match="another labels"):
        evaluate_contrast_workspace(workspace, params)
