"""Length, loudness and density of clips: what is read, and what is left out by name."""

from __future__ import annotations

from pathlib import Path

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import Item
from pianoeval.evaluate.diagnostics.covariates import read_covariates
from pianoeval.features.pooling import pool_store
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.store import RaggedStore, write_store
from pianoeval.tablefile import write_table


@pytest.fixture
def manifest() -> pd.DataFrame:
    table = cases.manifest(n_movements=1, n_segments=1, n_players=4)
    return table.assign(start_s=[0.0, 1.0, 2.0, 3.0], end_s=[8.0, 8.0, 8.0, 8.5])


@pytest.fixture
def paths(tmp_path: Path) -> CorpusPaths:
    return CorpusPaths("toy", tmp_path)


def params(*features: str, instruments: tuple[str, ...] = ("piano",)) -> Params:
    return cases.params(
        axes={"corpus": ["toy"], "instrument": list(instruments), "encoder": ["mel"],
              "features": list(features)},
        instruments={name: {"font": "x"} for name in instruments},
        views={name: {name: {"models": ["ridge"]}} for name in features},
    )  # fmt: skip


def write_symbolic(paths: CorpusPaths, clips: list[str]) -> None:
    paths.symbolic.parent.mkdir(parents=True)
    n = len(clips)
    table = {"clip": clips, "velocity_mean": 60.0 + np.arange(n), "time_note_rate": 4.0}
    write_table(pd.DataFrame(table), paths.symbolic)


def write_level(paths: CorpusPaths, clips: list[str], lufs: list[float], instrument: str) -> None:
    items = []
    for clip, value in zip(clips, lufs, strict=True):
        level = np.array([-99.0, value, -99.0], np.float32)
        frames = np.ones((2, 1, 2), np.float16)
        items.append((clip, f"key-{clip}", Item({"frames": frames, "level": level}, {}, "")))
    store = paths.embeddings("mel", instrument)
    write_store(store, items, attrs={"layers": ["1"]}, quarantined={})
    pool_store(RaggedStore(store), ["mean"], paths.pooled("mel", instrument))


def test_covariates_of_audio(paths: CorpusPaths, manifest: pd.DataFrame) -> None:
    clips = manifest["clip"].tolist()
    # Another order than the manifest's; one clip is silent, one was not rendered.
    write_level(paths, [clips[2], clips[0], clips[1]], [-22.0, -20.0, -np.inf], "piano")
    write_symbolic(paths, clips[:3])
    found = read_covariates(paths, params("symbolic", "mel"), manifest)
    assert list(found) == ["duration_s", "loudness_lufs", "note_density_hz"]
    np.testing.assert_allclose(found["duration_s"].values, [8.0, 7.0, 6.0, 5.5])
    np.testing.assert_allclose(found["loudness_lufs"].values, [-20.0, np.nan, -22.0, np.nan])
    np.testing.assert_allclose(found["note_density_hz"].values, [4.0, 4.0, 4.0, np.nan])
    said = found["loudness_lufs"].described()
    assert said["n"] == 2
    assert "piano" in said["source"]
    assert "mel" in said["source"]
    assert found["note_density_hz"].described()["n"] == 3


def test_loudness_is_averaged_over_instruments(paths: CorpusPaths, manifest: pd.DataFrame) -> None:
    clips = manifest["clip"].tolist()
    write_level(paths, clips, [-20.0, -21.0, -22.0, -23.0], "piano")
    write_level(paths, clips, [-10.0, -11.0, -12.0, -np.inf], "upright")
    found = read_covariates(paths, params("mel", instruments=("piano", "upright")), manifest)
    np.testing.assert_allclose(found["loudness_lufs"].values, [-15.0, -16.0, -17.0, np.nan])
    assert "piano + upright" in str(found["loudness_lufs"].source)


def test_without_audio_velocity_stands_for_loudness(
    paths: CorpusPaths, manifest: pd.DataFrame
) -> None:
    clips = manifest["clip"].tolist()
    write_level(paths, clips, [-20.0] * 4, "piano")  # of an encoder that nothing reads
    write_symbolic(paths, clips)
    found = read_covariates(paths, params("symbolic"), manifest)
    assert list(found) == ["duration_s", "velocity_mean", "note_density_hz"]
    np.testing.assert_allclose(found["velocity_mean"].values, [60, 61, 62, 63])
    assert "symbolic" in str(found["velocity_mean"].source)


def test_what_cannot_be_read_is_named(paths: CorpusPaths, manifest: pd.DataFrame) -> None:
    found = read_covariates(paths, params("symbolic"), manifest)
    assert found["duration_s"].source is not None
    for name in ("velocity_mean", "note_density_hz"):
        said = found[name].described()
        assert said["n"] == 0
        assert said["source"] is None
        assert "symbolic" in said["reason"]
