"""From the tables of a workspace to everything that is said of a corpus, and its receipt."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import Item
from pianoeval.corpora.manifest import write_labels, write_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError, PianoevalError
from pianoeval.evaluate.corpus import evaluate_workspace
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.audit import audit_workspace
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.evaluate.quarantined import quarantined_clips
from pianoeval.features.pooling import pool_store
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.report import load_corpus_report, metrics_summary, write_report
from pianoeval.sealed import read_sealed
from pianoeval.store import RaggedStore, write_store
from pianoeval.tablefile import write_table

# As docs and consumers know it: written out, not imported.
COLUMNS = [
    "corpus", "task", "scheme", "subset", "features", "model", "dimension", "metric", "value",
    "ci_low", "ci_high", "interval", "n_clips", "n_clusters", "seed", "config_hash", "commit",
]  # fmt: skip
WRITTEN = ["results.csv", "comparisons.csv", "diagnostics.json", "latent.csv", "summary.json"]


@pytest.fixture(scope="module")
def params() -> Params:
    return cases.params(
        axes={
            "corpus": ["toy"], "instrument": ["piano"], "encoder": ["mel"],
            "features": ["symbolic", "mel"],
        },
        views={
            "symbolic": {"symbolic": {"models": ["ridge"]}},
            "mel": {"mel": {"models": ["ridge"]}, "mel-quiet": {"models": ["ridge"]}},
        },
        folds={"schemes": ["segment", "movement"]},
        evaluate={"n_bootstrap": 100},
    )  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> CorpusPaths:
    monkeypatch.chdir(tmp_path)
    return write_workspace(tmp_path, params)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Iterator[CorpusPaths]:
    """An evaluated workspace, only to be read."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        paths = write_workspace(folder, params)
        evaluate_workspace(paths, params)
        yield paths


@pytest.fixture
def again(evaluated: CorpusPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusPaths:
    """A copy of the evaluated workspace, to be changed and evaluated again."""
    folder = tmp_path / "again"
    shutil.copytree(evaluated.workspace, folder)
    monkeypatch.chdir(folder)
    return CorpusPaths("toy", folder)


def write_workspace(folder: Path, params: Params) -> CorpusPaths:
    """The tables that stages before this one write: two sources of features, three views."""
    found = CorpusPaths("toy", folder)
    found.clips.mkdir(parents=True)
    manifest = cases.manifest(n_players=3).assign(midi_path=None, audio_path="source/audio/x.wav")
    labels = cases.labels(manifest)
    folds = make_folds(manifest, params.folds)
    write_manifest(manifest, found.manifest)
    write_labels(labels, found.labels)
    write_table(folds, found.folds)
    found.predictions("mel").parent.mkdir(parents=True)
    seed = 0
    for features, views in params.views.items():
        parts = []
        for i, view in enumerate(views):
            table = cases.predictions(labels, folds, noise=0.03 + 0.02 * i, seed=seed)
            parts.append(table.assign(features=view))
            seed += 1
        write_table(pd.concat(parts), found.predictions(features))
    write_symbolic(found, list(manifest["clip"]), {})
    write_pooled(found, list(manifest["clip"]), {})
    audit_workspace(found, params)
    return found


def write_symbolic(paths: CorpusPaths, clips: list[str], quarantined: dict[str, str]) -> None:
    random = np.random.default_rng(len(clips))
    table = pd.DataFrame({"clip": clips, "time_note_rate": random.uniform(2, 9, len(clips))})
    table["x"] = random.normal(size=len(clips))
    table.attrs["quarantined"] = quarantined
    paths.symbolic.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, paths.symbolic)


def write_pooled(paths: CorpusPaths, clips: list[str], quarantined: dict[str, str]) -> None:
    random = np.random.default_rng(1)
    items = []
    for clip in clips:
        frames = random.normal(size=(2, 1, 4)).astype(np.float16)
        arrays = {"frames": frames, "level": random.normal(-20, 2, 3).astype(np.float32)}
        items.append((clip, f"key-{clip}", Item(arrays, {}, "")))
    store = paths.embeddings("mel", "piano")
    write_store(store, items, attrs={"layers": ["1"]}, quarantined=quarantined)
    pool_store(RaggedStore(store), ["mean"], paths.pooled("mel", "piano"))


def receipt(paths: CorpusPaths) -> dict[str, str]:
    loaded = read_sealed(paths.evaluated, "")
    return {**loaded["results"], **loaded["inputs"]}


def diagnosed(paths: CorpusPaths) -> dict[str, Any]:
    """The diagnostics, which must hold no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"JSON has no {constant}")

    text = (paths.results / "diagnostics.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return loaded


def test_files_of_predictions_become_views(paths: CorpusPaths) -> None:
    views = read_predictions(paths, ["mel", "symbolic"])
    assert list(views) == ["mel", "mel-quiet", "symbolic"]
    assert "features" not in views["mel"].columns
    assert len(views["mel"]) == len(views["symbolic"])


def test_a_missing_file_names_its_stage(paths: CorpusPaths, params: Params) -> None:
    """DVC sees one folder: it cannot tell that a part of it was not pulled."""
    paths.predictions("mel").unlink()
    with pytest.raises(MissingAssetError, match="no predictions of mel") as error:
        evaluate_workspace(paths, params)
    assert error.value.where == str(paths.predictions("mel"))
    assert "dvc repro probe@toy-mel" in str(error.value.next_step)
    assert not (paths.results / "results.csv").exists()
    paths.predictions("symbolic").unlink()
    with pytest.raises(MissingAssetError, match="probe@toy-symbolic probe@toy-mel"):
        evaluate_workspace(paths, params)


def test_folds_that_were_not_audited_are_refused(paths: CorpusPaths, params: Params) -> None:
    folds = pd.read_parquet(paths.folds)
    folds["fold"] = folds["fold"].max() - folds["fold"]
    write_table(folds, paths.folds)
    with pytest.raises(CorruptDataError, match=r"another folds\n.*audit@toy"):
        evaluate_workspace(paths, params)
    paths.audit.unlink()
    with pytest.raises(MissingAssetError, match="not audited"):
        evaluate_workspace(paths, params)


def test_a_file_cut_short_is_reported(paths: CorpusPaths, params: Params) -> None:
    path = paths.predictions("mel")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CorruptDataError, match=r"mel\.parquet"):
        evaluate_workspace(paths, params)


def test_results_have_the_columns_of_the_contract(evaluated: CorpusPaths) -> None:
    path = evaluated.results / "results.csv"
    text = path.read_bytes()
    assert b"\r" not in text
    header, *rows = csv.reader(text.decode().splitlines())
    assert header == COLUMNS
    assert all(len(row) == len(COLUMNS) for row in rows)
    table = pd.read_csv(path, dtype={"commit": str})
    assert set(table["features"]) == {"none", "lookup", "symbolic", "mel", "mel-quiet"}
    assert np.isfinite(table["value"]).all()
    assert set(table["corpus"]) == {"toy"}
    assert set(table["commit"]) == {"unversioned"}
    summary = json.loads((evaluated.results / "summary.json").read_text(encoding="utf-8"))
    assert "leaks" in summary


def test_the_same_tables_give_the_same_bytes(again: CorpusPaths, params: Params) -> None:
    before = receipt(again)
    evaluate_workspace(again, params)
    assert receipt(again) == before
    for name in WRITTEN:
        assert before[name] == sha256_file(again.results / name)


def test_diagnostics_and_maps(evaluated: CorpusPaths) -> None:
    found = diagnosed(evaluated)
    assert set(found) == {
        "task", "confidence", "margin", "metric", "schemes", "examples", "learning", "covariates",
        "latent", "layer_weights",
    }  # fmt: skip
    assert found["layer_weights"] == []  # no view learns any
    assert list(found["schemes"]) == ["segment", "movement"]
    best = found["schemes"]["movement"]
    assert set(best["models"]) == {"symbolic/ridge", "mel/ridge"}  # mel-quiet is worse than mel
    assert set(best) == {
        "n_clips", "n_clusters", "models", "best", "error_correlation", "fusions", "calibration",
        "residuals", "groups", "pairs",
    }  # fmt: skip
    residuals = pd.DataFrame(best["residuals"]).set_index("covariate")
    assert set(residuals.index) == {"duration_s", "loudness_lufs", "note_density_hz"}
    assert residuals.loc["duration_s", "spearman"].isna().all()  # all clips last eight seconds
    assert residuals.loc["loudness_lufs", "spearman"].notna().all()
    assert [entry["view"] for entry in found["latent"]] == ["symbolic", "mel"]
    maps = pd.read_csv(evaluated.results / "latent.csv")
    assert list(maps) == ["view", "clip", "x", "y"]
    clips = set(pd.read_parquet(evaluated.manifest)["clip"])
    assert {view: set(part["clip"]) for view, part in maps.groupby("view")} == {
        "symbolic": clips, "mel": clips,
    }  # fmt: skip
    assert np.isfinite(maps[["x", "y"]]).all().all()


def test_comparisons_are_of_first_views_and_baselines(evaluated: CorpusPaths) -> None:
    table = pd.read_csv(evaluated.results / "comparisons.csv")
    assert {"scheme", "metric", "a", "b", "difference", "verdict"} <= set(table)
    named = set(table["a"]) | set(table["b"])
    assert {"symbolic/ridge", "mel/ridge", "none/training_mean"} <= named
    assert "mel-quiet/ridge" not in named
    r2 = table[(table["scheme"] == "movement") & (table["metric"] == "r2_pooled")]
    assert len(r2) == len(named) * (len(named) - 1) / 2
    assert set(table["subset"]) == {"all", "human"}
    results = pd.read_csv(evaluated.results / "results.csv")
    results = results[(results["subset"] == "all") & (results["dimension"] == "mean")]
    values = results.set_index(["scheme", "metric", "features"])["value"]
    row = r2[(r2["a"] == "symbolic/ridge") & (r2["b"] == "mel/ridge")].iloc[0]
    difference = (
        values["movement", "r2_pooled", "symbolic"] - values["movement", "r2_pooled", "mel"]
    )
    assert row["difference"] == pytest.approx(difference, abs=1e-5)


def test_features_of_other_clips_stop_the_maps(paths: CorpusPaths, params: Params) -> None:
    """Features exist because something was predicted from them: nothing is left out silently."""
    write_symbolic(paths, ["another"], {})
    with pytest.raises(PianoevalError, match="holds none"):
        evaluate_workspace(paths, params)


@pytest.mark.parametrize("by", [0.0, 0.05])
def test_the_receipt_follows_the_predictions(again: CorpusPaths, params: Params, by: float) -> None:
    """The report reads the predictions themselves: rows in another order are another file."""
    before = receipt(again)
    path = again.predictions("mel")
    table = pd.read_parquet(path).iloc[::-1].sort_values("features", kind="stable")
    table["prediction"] += np.float32(by)
    write_table(table, path)
    evaluate_workspace(again, params)
    after = receipt(again)
    changed = {name for name in before if before[name] != after[name]}
    assert "mel.parquet" in changed
    assert "symbolic.parquet" not in changed
    assert ("results.csv" in changed) == (by > 0)


def test_quarantined_clips_reach_the_page(paths: CorpusPaths, params: Params) -> None:
    paths.source.mkdir()
    (paths.source / "quarantine.json").write_text(json.dumps({"early": "<b>not MIDI</b>"}))
    clips = pd.read_parquet(paths.manifest)["clip"].tolist()
    write_symbolic(paths, clips, {"unread": "too many notes"})
    write_pooled(paths, clips, {"late": "a worker died", "early": "later reason"})
    evaluate_workspace(paths, params)
    summary = json.loads((paths.results / "summary.json").read_text(encoding="utf-8"))
    assert summary["quarantined"] == {
        "early": "<b>not MIDI</b>", "late": "a worker died", "unread": "too many notes",
    }  # fmt: skip
    report = load_corpus_report(paths, params.axes.features)
    write_report([report], paths.workspace / "index.html")
    page = (paths.workspace / "index.html").read_text(encoding="utf-8")
    assert '<th scope="row">late</th><td>a worker died</td>' in page
    assert "&lt;b&gt;not MIDI&lt;/b&gt;" in page


def test_a_store_behind_the_features_must_be_there(paths: CorpusPaths, params: Params) -> None:
    shutil.rmtree(paths.pooled("mel", "piano"))
    with pytest.raises(MissingAssetError, match="no pooled vectors of mel") as error:
        evaluate_workspace(paths, params)
    assert "pool@toy-mel-piano" in str(error.value.next_step)
    axes = params.axes.model_copy(update={"features": ["symbolic"]})
    assert quarantined_clips(paths, params.model_copy(update={"axes": axes})) == {}


def test_a_corpus_of_recordings_only(paths: CorpusPaths, params: Params) -> None:
    """Nothing has MIDI, so the symbolic features predict nothing: their table is empty."""
    write_symbolic(paths, [], {})
    path = paths.predictions("symbolic")
    write_table(pd.read_parquet(path).iloc[:0], path)
    evaluate_workspace(paths, params)
    table = pd.read_csv(paths.results / "results.csv")
    assert set(table["features"]) == {"none", "lookup", "mel", "mel-quiet"}
    found = diagnosed(paths)
    assert found["schemes"]["movement"]["models"] == ["mel/ridge"]
    empty = next(entry for entry in found["latent"] if entry["view"] == "symbolic")
    assert empty["n_clips"] == 0
    assert empty["neighbours"] is None
    assert empty["reason"]
    assert found["covariates"]["note_density_hz"]["n"] == 0
    report = load_corpus_report(paths, params.axes.features)
    write_report([report], paths.workspace / "index.html")
    assert metrics_summary([report])["toy"]["movement"]["best_model"] == "mel/ridge"
