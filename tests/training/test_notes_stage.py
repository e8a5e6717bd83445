"""Notes from the corpus to predictions, stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import ConfigError
from pianoeval.evaluate.quarantined import quarantined_clips
from pianoeval.features.note_store import NoteStore
from pianoeval.params_file import load_params
from pianoeval.paths import CorpusPaths
from pianoeval.report.words import kind
from pianoeval.training.final import train_final
from stages import audit, degrade, fetch, folds, ingest, probe
from stages import notes as notes_stage
from tests.workspaces import make_cache, make_workspace, small_params

BLOCKS = ["own", "score", "difference"]


def test_han_predicts_every_labelled_clip_and_a_second_run_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_params()
    data["axes"]["features"] = ["notes"]
    data["folds"]["schemes"] = ["segment"]
    data["views"]["notes"] = {
        "notes": {"blocks": BLOCKS, "models": ["ridge", "han"]},
        "notes_alone": {"models": ["han"]},
    }
    data["probe"]["han"] = {"hidden": 4, "heads": 2, "max_epochs": 2}
    monkeypatch.chdir(make_workspace(tmp_path / "workspace", data))
    cache = make_cache(tmp_path / "cache")
    monkeypatch.setenv("PIANOEVAL_CACHE", str(cache))
    for stage in (fetch, ingest, degrade, notes_stage, folds, audit):
        stage.main("studio")
    paths = CorpusPaths("studio")
    manifest = pd.read_parquet(paths.manifest)
    store = NoteStore(paths.notes)
    assert store.clips == manifest["clip"].tolist()
    assert set(store.metre.values()) == {"equal"}  # this corpus writes its scores without bars
    probe.main("studio", "notes")
    table = pd.read_parquet(paths.predictions("notes"))
    rows = table[table["model"] == "han"]
    assert set(rows["features"]) == {"notes", "notes_alone"}
    assert set(rows["seed"]) == {load_params().probe.han.seed}
    for _, part in rows.groupby(["features", "dimension"]):
        assert sorted(part["clip"]) == sorted(manifest["clip"])
    assert np.isfinite(rows["prediction"]).all()
    aside = rows.pivot(index=["clip", "dimension"], columns="features", values="prediction")
    assert not np.allclose(aside["notes"], aside["notes_alone"])

    items = {p: p.stat().st_mtime_ns for p in (cache / "items" / "probe").rglob("*.safetensors")}
    before = paths.predictions("notes").read_bytes()
    probe.main("studio", "notes")
    after = {p: p.stat().st_mtime_ns for p in (cache / "items" / "probe").rglob("*.safetensors")}
    assert after == items
    assert paths.predictions("notes").read_bytes() == before

    assert quarantined_clips(paths, load_params()) == {}
    for view in ("notes", "notes_alone"):  # drawn and compared as what they are
        assert kind(view) == "symbolic"
    with pytest.raises(ConfigError, match="a model of notes cannot be exported"):
        train_final(paths, load_params(), "notes", "ridge")
