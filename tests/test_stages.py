"""The pipeline as users run it: real DVC, real processes, a corpus small enough to wait for."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from workspaces import ROOT, make_cache, make_workspace, small_params, write_params

from pianoeval.corpora.fetch import get_corpus
from pianoeval.errors import ConfigError
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import CorpusParams
from pianoeval.store import RaggedStore
from stages import (
    audit,
    contours,
    contrast,
    degrade,
    embed,
    evaluate,
    evaluate_contrast,
    evaluate_rank,
    examples,
    fetch,
    folds,
    ingest,
    pool,
    probe,
    rank,
    render,
)  # fmt: skip
from stages import report as report_stage
from stages import symbolic as symbolic_stage

PYTHON = Path(sys.executable)
STAGES = {
    "fetch@studio", "ingest@studio", "degrade@studio", "render@studio-grand", "contours@studio",
    "embed@studio-mel-grand", "pool@studio-mel-grand", "symbolic@studio", "notes@studio",
    "folds@studio", "audit@studio", "probe@studio-symbolic", "probe@studio-mel", "fuse@studio",
    "rank@studio", "evaluate_rank@studio", "contrast@studio", "evaluate_contrast@studio",
    "evaluate@studio", "examples@studio", "report",
}  # fmt: skip


def run(folder: Path, *command: str) -> str:
    """Output of a command in a workspace whose cache lies beside it; it must succeed."""
    environment = os.environ | {
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "PIANOEVAL_CACHE": str(folder.parent / "cache"),
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def repro(folder: Path) -> set[str]:
    """``dvc repro``; the stages that ran."""
    return set(re.findall(r"Running stage '(.+)'", run(folder, "dvc", "repro")))


def results(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "reports" / "studio" / "results.csv")


# With DVC --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, instrument_assets: None
) -> Iterator[tuple[Path, set[str]]]:
    """A copy of the repository with small parameters after its first ``dvc repro``."""
    home = tmp_path_factory.mktemp("pipeline")
    make_cache(home / "cache")
    folder = make_workspace(home / "workspace")
    for name in ("pianoeval", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copyfile(ROOT / ".dvcignore", folder / ".dvcignore")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    yield folder, repro(folder)
    shutil.rmtree(home, ignore_errors=True)


def test_one_command_leads_from_scores_to_the_page(built: tuple[Path, set[str]]) -> None:
    folder, ran = built
    assert ran == STAGES
    page = (folder / "reports" / "index.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    table = results(folder)
    assert {"symbolic", "mel", "none", "lookup"} <= set(table["features"])
    assert {"segment", "player", "movement"} <= set(table["scheme"])
    assert np.isfinite(table["value"]).all()
    assert table["n_clips"].max() == 3 * 2 * 3
    assert json.loads((folder / "reports" / "metrics.json").read_text(encoding="utf-8"))
    assert not list(folder.rglob("*.partial*"))


def test_nothing_runs_twice_and_a_change_runs_only_what_it_concerns(
    built: tuple[Path, set[str]],
) -> None:
    folder, _ = built
    text = run(folder, "dvc", "repro")
    assert "Data and pipelines are up to date." in text
    assert "Running stage" not in text

    before = results(folder)
    data = small_params()
    data["views"]["mel"]["mel"]["level"] = False
    write_params(folder, data)
    assert repro(folder) == {
        "probe@studio-mel", "fuse@studio", "rank@studio", "evaluate_rank@studio",
        "evaluate@studio", "examples@studio", "report",
    }  # fmt: skip
    after = results(folder)
    key = ["scheme", "subset", "features", "model", "dimension", "metric"]
    joined = before.merge(after, on=key, suffixes=("", "_after"))
    same = joined["value"] == joined["value_after"]
    assert same[joined["features"] == "symbolic"].all()
    assert not same[joined["features"] == "mel"].all()


PROBES = {"probe@studio-symbolic", "probe@studio-mel", "fuse@studio", "rank@studio"}
EVALUATED = {"evaluate@studio", "evaluate_rank@studio", "evaluate_contrast@studio"}
HEADS = {"contrast@studio", "evaluate_contrast@studio"}


@pytest.mark.parametrize(
    ("block", "key", "value", "stages"),
    [
        # Evaluations hash the configuration behind each number, so they read these too.
        ("probe", "ridge", {"lambdas": [10.0]}, {"audit@studio", *PROBES, *(EVALUATED - HEADS)}),
        ("pool", "stats", ["mean"], {"pool@studio-mel-grand", *EVALUATED}),
        ("folds", "seed", 7, {"folds@studio", *EVALUATED}),
        ("evaluate", "n_bootstrap", 300, EVALUATED),
        ("rank", "seed", 7, {"rank@studio", "evaluate_rank@studio"}),
        ("contrast", "seeds", [3], HEADS),
        ("pool", "sequence_hz", 2.0, {"pool@studio-mel-grand", *EVALUATED, *HEADS}),
        ("run", "workers", 2, set()),
        ("contours", "fmin_hz", 55.0, {"contours@studio", "evaluate_contrast@studio"}),
    ],
)
def test_a_parameter_concerns_its_stages(
    built: tuple[Path, set[str]], block: str, key: str, value: object, stages: set[str]
) -> None:
    """What DVC finds changed; stages behind these follow when their inputs change."""
    folder, _ = built
    before = (folder / "params.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(before)
    data[block][key] = value
    write_params(folder, data)
    try:
        changed = json.loads(run(folder, "dvc", "status", "--json"))
    finally:
        (folder / "params.yaml").write_text(before, encoding="utf-8")
    assert set(changed) == stages


# A stage that is told to end -------------------------------------------------------------------


def processes_with(mark: str) -> set[int]:
    """Processes, workers included, that have ``mark`` in their environment (Linux)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except OSError:  # it ended, or is another user's
            continue
    return found


def test_a_stage_told_to_end_leaves_no_partial_file_and_goes_on_later(
    tmp_path: Path, scale: Performance
) -> None:
    """SIGTERM, as a scheduler or ``dvc`` sends it, in the middle of a store of slow items."""
    data = small_params()
    data["axes"]["corpus"] = ["folder"]
    data["run"]["workers"] = 2
    data["contours"] |= {"resolution_semitones": 0.1, "hop_frames": 4}
    workspace = make_workspace(tmp_path / "workspace", data)
    raw, cache = tmp_path / "recordings", tmp_path / "cache"
    for i in range(6):
        write_tone(raw / f"clip{i}.wav", 220.0 + 20 * i, 3.0)
    mark = {"PIANOEVAL_TEST_STAGE": str(tmp_path)}
    environment = os.environ | mark | {"PIANOEVAL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        patch.setenv("PIANOEVAL_CACHE", str(cache))
        get_corpus("folder", CorpusParams(loader="folder"), raw)
        for stage in (fetch, ingest, degrade):
            stage.main("folder")
        render.main("folder", "grand")

    command = [str(PYTHON), "-m", "stages.contours", "folder"]
    process = subprocess.Popen(command, cwd=workspace, env=environment, stderr=subprocess.PIPE)
    items = cache / "items" / "contour"
    while not any(items.rglob("*.safetensors")):
        assert process.poll() is None, "ended before it could be told to"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in errors
    assert b"'dvc repro' goes on from there" in errors
    kept = list(items.rglob("*.safetensors"))
    assert 1 <= len(kept) < 6
    if Path("/proc").is_dir():
        deadline = time.monotonic() + 5
        while processes_with(f"PIANOEVAL_TEST_STAGE={tmp_path}"):
            assert time.monotonic() < deadline, "a worker is still there"
            time.sleep(0.05)  # multiprocessing's own helper notices a moment later
    hidden = [p for folder in (workspace, cache) for p in folder.rglob(".*")]
    assert hidden == []
    store = workspace / "data" / "folder" / "contours"
    assert not store.exists() or not list(store.iterdir())

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        patch.setenv("PIANOEVAL_CACHE", str(cache))
        times = {path: path.stat().st_mtime_ns for path in kept}
        contours.main("folder")
    assert len(RaggedStore(store / "grand.zarr")) == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == times


# One's own recordings --------------------------------------------------------------------------


def write_tone(path: Path, hz: float, seconds: float) -> None:
    """A decaying tone with two harmonics, 22.05 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(22_050 * seconds)) / 22_050
    tone = sum(np.sin(2 * np.pi * hz * n * time_s) / n for n in (1, 2, 3))
    soundfile.write(path, 0.2 * np.exp(-time_s) * tone, 22_050)


PLAYERS = {"anna": 1.0, "ben": 0.8, "carl": 1.25, "dora": 1.1}


def write_recordings(folder: Path) -> None:
    """Three pieces by four players: MIDI with audio, MIDI alone, audio alone; labels for all."""
    rows = []
    for piece in range(3):
        pitches = np.random.default_rng(piece).integers(48, 72, 16)
        for player, tempo in PLAYERS.items():
            stem = f"{player}/piece {piece}"
            if piece < 2:
                onsets = 0.2 * np.arange(16) / tempo
                loud = round(60 * tempo)
                notes = [
                    (float(t), float(t) + 0.15, int(pitch), loud)
                    for t, pitch in zip(onsets, pitches, strict=True)
                ]
                write_midi(Performance.from_notes(notes), folder / f"{stem}.mid")
            if piece != 1:
                write_tone(folder / f"{stem}.wav", 220 * tempo, 3.0 + piece)
            suffix = ".wav" if piece == 2 else ".mid"
            rows.append(
                {
                    "file": stem + suffix, "player": player, "movement": f"piece {piece}",
                    "pace": tempo - 0.5, "drama": 0.4 + 0.1 * piece * tempo,
                }
            )  # fmt: skip
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_of_recordings_becomes_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instrument_assets: None
) -> None:
    """MIDI with audio, MIDI alone and audio alone, in one corpus, stage by stage."""
    data = small_params()
    data["axes"]["corpus"] = ["folder"]
    workspace = make_workspace(tmp_path / "workspace", data)
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(make_cache(tmp_path / "cache")))
    write_recordings(tmp_path / "recordings")
    get_corpus("folder", CorpusParams(loader="folder"), tmp_path / "recordings")
    for stage in (fetch, ingest, degrade):
        stage.main("folder")
    render.main("folder", "grand")
    contours.main("folder")
    embed.main("folder", "mel", "grand")
    pool.main("folder", "mel", "grand")
    symbolic_stage.main("folder")
    folds.main("folder")
    audit.main("folder")
    for features in ("symbolic", "mel"):
        probe.main("folder", features)
    rank.main("folder")
    evaluate_rank.main("folder")
    contrast.main("folder")
    evaluate_contrast.main("folder")
    evaluate.main("folder")
    examples.main("folder")
    report_stage.main()

    root = workspace / "data" / "folder"
    manifest = pd.read_parquet(root / "clips" / "manifest.parquet")
    assert len(manifest) == 12
    assert manifest["audio_path"].notna().sum() == 8
    assert manifest["midi_path"].notna().sum() == 8
    audio = RaggedStore(root / "audio" / "grand.zarr")
    assert audio.length("anna--piece 0") == 3 * 44_100  # the recording, not the MIDI beside it
    predicted = {
        features: pd.read_parquet(root / "predictions" / f"{features}.parquet")
        for features in ("symbolic", "mel")
    }
    assert predicted["mel"]["clip"].nunique() == 12
    assert predicted["symbolic"]["clip"].nunique() == 8  # audio has no symbolic features
    table = pd.read_csv(workspace / "reports" / "folder" / "results.csv")
    assert set(table["dimension"]) >= {"pace", "drama", "mean"}
    assert set(table["n_clips"]) == {8}  # models are compared on the clips they share
    assert np.isfinite(table["value"]).all()
    summary = json.loads(
        (workspace / "reports" / "folder" / "summary.json").read_text(encoding="utf-8")
    )
    assert any("4 labelled clips lack" in note for note in summary["notes"])
    ranked = pd.read_parquet(root / "ranks" / "pairs.parquet").groupby("ranker")
    clips = {name: {*part["first"], *part["second"]} for name, part in ranked}
    # Without notes nobody knows that takes are of one segment: to learn and stop, one is left.
    assert {name: len(of) for name, of in clips.items()} == {"difference": 8}
    ranking = pd.read_csv(workspace / "reports" / "folder" / "ranking.csv")
    assert set(ranking.loc[ranking["kind"] == "ranker", "model"]) == {*clips}
    assert (workspace / "reports" / "index.html").is_file()


def test_a_folder_without_labels_stops_at_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: Performance
) -> None:
    data = small_params()
    data["axes"]["corpus"] = ["folder"]
    monkeypatch.chdir(make_workspace(tmp_path / "workspace", data))
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    for name in ("a", "b"):
        write_midi(scale, tmp_path / "recordings" / f"{name}.mid")
    get_corpus("folder", CorpusParams(loader="folder"), tmp_path / "recordings")
    for stage in (fetch, ingest, degrade, symbolic_stage, folds, audit):
        stage.main("folder")
    with pytest.raises(ConfigError, match=r"no labels of task 'rating' .*add labels"):
        probe.main("folder", "symbolic")
