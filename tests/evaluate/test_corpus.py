"""From the tables of a workspace to ``results.csv``, ``summary.json`` and their receipt."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.corpora.manifest import write_labels, write_manifest
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.evaluate.corpus import evaluate_workspace, read_predictions
from pianoeval.evaluate.splits import make_folds
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file

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
    return found


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
