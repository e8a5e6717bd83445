"""From the tables of a workspace to ``results.csv``, ``summary.json`` and their receipt."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import Item
from pianoeval.corpora.manifest import write_labels, write_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.evaluate.corpus import evaluate_workspace, read_predictions
from pianoeval.evaluate.quarantined import quarantined_clips
from pianoeval.evaluate.splits import make_folds
from pianoeval.features.pooling import pool_store
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file
from pianoeval.report import load_corpus_report, metrics_summary, write_report
from pianoeval.store import RaggedStore, write_store

# As docs and consumers know it: written out, not imported.
COLUMNS = [
    "corpus", "task", "scheme", "subset", "features", "model", "dimension", "metric", "value",
    "ci_low", "ci_high", "n_clips", "n_clusters", "seed", "config_hash", "commit",
]  # fmt: skip


@pytest.fixture
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
    """The tables that stages before this one write: two sources of features, three views."""
    monkeypatch.chdir(tmp_path)
    found = CorpusPaths("toy", tmp_path)
    found.clips.mkdir(parents=True)
    manifest = cases.manifest(n_players=3)
    labels = cases.labels(manifest)
    folds = make_folds(manifest, params.folds)
    write_manifest(manifest, found.manifest)
    write_labels(labels, found.labels)
    folds.to_parquet(found.folds, index=False)
    found.predictions("mel").parent.mkdir(parents=True)
    for features, views in params.views.items():
        parts = [
            cases.predictions(labels, folds, noise=0.03 + 0.02 * i, seed=i).assign(features=view)
            for i, view in enumerate(views)
        ]
        pd.concat(parts).to_parquet(found.predictions(features), index=False)
    write_symbolic(found, list(manifest["clip"]), {})
    write_pooled(found, list(manifest["clip"]), {})
    return found


def write_symbolic(paths: CorpusPaths, clips: list[str], quarantined: dict[str, str]) -> None:
    table = pd.DataFrame({"clip": clips, "x": 1.0})
    table.attrs["quarantined"] = quarantined
    paths.symbolic.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(paths.symbolic, index=False)


def write_pooled(paths: CorpusPaths, clips: list[str], quarantined: dict[str, str]) -> None:
    frames = np.ones((2, 1, 2), np.float16)
    arrays = {"frames": frames, "level": np.zeros(3, np.float32)}
    items = [(clip, f"key-{clip}", Item(arrays, {}, "")) for clip in clips]
    store = paths.embeddings("mel", "piano")
    write_store(store, items, attrs={"layers": ["1"]}, quarantined=quarantined)
    pool_store(RaggedStore(store), ["mean"], paths.pooled("mel", "piano"))


def receipt(paths: CorpusPaths) -> dict[str, str]:
    loaded: dict[str, str] = json.loads(paths.evaluated.read_text(encoding="utf-8"))
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
    assert not paths.results.exists()
    paths.predictions("symbolic").unlink()
    with pytest.raises(MissingAssetError, match="probe@toy-symbolic probe@toy-mel"):
        evaluate_workspace(paths, params)


def test_a_file_cut_short_is_reported(paths: CorpusPaths, params: Params) -> None:
    path = paths.predictions("mel")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CorruptDataError, match=r"mel\.parquet"):
        evaluate_workspace(paths, params)


def test_results_have_the_columns_of_the_contract(paths: CorpusPaths, params: Params) -> None:
    evaluate_workspace(paths, params)
    path = paths.results / "results.csv"
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
    summary = json.loads((paths.results / "summary.json").read_text(encoding="utf-8"))
    assert "leaks" in summary


def test_the_same_tables_give_the_same_bytes(paths: CorpusPaths, params: Params) -> None:
    evaluate_workspace(paths, params)
    before = receipt(paths)
    evaluate_workspace(paths, params)
    assert receipt(paths) == before
    for name in ("results.csv", "summary.json"):
        assert before[name] == sha256_file(paths.results / name)


@pytest.mark.parametrize("by", [0.0, 0.05])
def test_the_receipt_follows_the_predictions(paths: CorpusPaths, params: Params, by: float) -> None:
    """The report reads the predictions themselves: rows in another order are another file."""
    evaluate_workspace(paths, params)
    before = receipt(paths)
    path = paths.predictions("mel")
    table = pd.read_parquet(path).iloc[::-1].sort_values("features", kind="stable")
    table["prediction"] += np.float32(by)
    table.to_parquet(path, index=False)
    evaluate_workspace(paths, params)
    after = receipt(paths)
    changed = {name for name in before if before[name] != after[name]}
    assert "mel.parquet" in changed
    assert "symbolic.parquet" not in changed
    assert ("results.csv" in changed) == (by > 0)


def test_quarantined_clips_reach_the_page(paths: CorpusPaths, params: Params) -> None:
    paths.source.mkdir()
    (paths.source / "quarantine.json").write_text(json.dumps({"early": "<b>not MIDI</b>"}))
    write_symbolic(paths, ["a"], {"unread": "too many notes"})
    write_pooled(paths, ["a"], {"late": "a worker died", "early": "later reason"})
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
    pd.read_parquet(path).iloc[:0].to_parquet(path, index=False)
    evaluate_workspace(paths, params)
    table = pd.read_csv(paths.results / "results.csv")
    assert set(table["features"]) == {"none", "lookup", "mel", "mel-quiet"}
    report = load_corpus_report(paths, params.axes.features)
    write_report([report], paths.workspace / "index.html")
    assert metrics_summary([report])["toy"]["movement"]["best_model"] == "mel/ridge"
