"""The audio and contour stores of a small corpus of MIDI and recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from pianoeval.audio.pitch import contour_corpus
from pianoeval.audio.render import render_corpus, render_item, render_jobs
from pianoeval.cache import Blocks, ItemCache
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.midi.io import Performance, write_midi
from pianoeval.params import (
    ContourParams,
    InstrumentParams,
    MidiLimits,
    Params,
    RenderParams,
    RunParams,
)
from pianoeval.store import RaggedStore


@pytest.fixture
def params(grand: InstrumentParams, upright: InstrumentParams) -> Params:
    """The blocks that audio reads; the others do not matter here."""
    return Params.model_construct(
        run=RunParams(workers=1, max_failed_fraction=0.5),
        midi=MidiLimits(),
        render=RenderParams(),
        instruments={"grand": grand, "upright": upright},
        contours=ContourParams(instrument="grand"),
    )


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[pd.DataFrame, Path]:
    root = tmp_path / "data"
    root.mkdir()
    notes = [(0.4 * i, 0.4 * i + 0.35, 60 + 2 * i, 70) for i in range(4)]
    write_midi(Performance.from_notes(notes), root / "played.mid")
    (root / "broken.mid").write_bytes(b"MThd")
    time_s = np.arange(96_000) / 48_000
    tone = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(root / "recorded.flac", np.stack([tone, tone], axis=1), 48_000)
    rows = [
        {"clip": "played", "midi_path": "played.mid", "start_s": 0.0, "end_s": 1.6},
        {"clip": "recorded", "audio_path": "recorded.flac", "start_s": 0.5, "end_s": 1.5},
        {"clip": "broken", "midi_path": "broken.mid", "start_s": 0.0, "end_s": 1.0},
    ]
    return pd.DataFrame(rows, columns=["clip", "audio_path", "midi_path", "start_s", "end_s"]), root


def test_stores(corpus: tuple[pd.DataFrame, Path], params: Params, tmp_path: Path) -> None:
    manifest, root = corpus
    cache = ItemCache(tmp_path / "cache" / "items")
    out = tmp_path / "grand.zarr"
    report = render_corpus(manifest, root, "grand", params, cache, out)
    assert (report.computed, set(report.quarantined)) == (2, {"broken"})
    audio = RaggedStore(out)
    assert audio.clips == ["played", "recorded"]
    assert audio.attrs["sample_rate_hz"] == 44_100
    assert audio.length("recorded") == 44_100
    assert audio.level[1, 0] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)) - 6, abs=0.05)
    again = render_corpus(manifest, root, "grand", params, cache, tmp_path / "again.zarr")
    assert again.computed == 0

    contours = tmp_path / "contours.zarr"
    report = contour_corpus(audio, params, cache, contours)
    assert report.computed == 2
    assert set(report.quarantined) == {"broken"}
    store = RaggedStore(contours)
    frames = store.frames("recorded")
    assert frames.shape[1:] == (1, 3)
    assert store.attrs["frame_rate_hz"] == pytest.approx(172.27, abs=0.01)
    voiced = frames[9:-9, 0, 1] > 0.5
    assert voiced.mean() > 0.9
    np.testing.assert_allclose(frames[9:-9, 0, 0][voiced] * 127, 69, atol=0.11)


def test_keys(corpus: tuple[pd.DataFrame, Path], params: Params) -> None:
    """A recording has one key for all instruments; a performance has one for each."""
    manifest, root = corpus
    grand = {job.clip: job.key for job in render_jobs(manifest, root, "grand", params)}
    upright = {job.clip: job.key for job in render_jobs(manifest, root, "upright", params)}
    assert grand["recorded"] == upright["recorded"]
    assert grand["played"] != upright["played"]
    lead = params.render.model_copy(update={"lead_s": 0.2})
    moved = params.model_copy(update={"render": lead})
    later = {job.clip: job.key for job in render_jobs(manifest, root, "grand", moved)}
    assert later["played"] != grand["played"]
    assert later["recorded"] == grand["recorded"]


def test_refusals(corpus: tuple[pd.DataFrame, Path], params: Params, tmp_path: Path) -> None:
    manifest, root = corpus
    with pytest.raises(ConfigError, match="unknown instrument 'organ'"):
        render_jobs(manifest, root, "organ", params)
    with pytest.raises(BadInputError, match="played whole"):
        render_jobs(manifest.assign(start_s=0.5), root, "grand", params)
    with pytest.raises(BadInputError, match="missing"):
        render_jobs(manifest, tmp_path / "elsewhere", "grand", params)


def test_a_long_recording_is_decoded_in_parts_to_the_same_item(
    corpus: tuple[pd.DataFrame, Path], params: Params, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    manifest, root = corpus
    jobs = {job.clip: job for job in render_jobs(manifest, root, "grand", params)}
    job = jobs["recorded"].payload
    whole, long = ItemCache(tmp_path / "whole"), ItemCache(tmp_path / "long")
    whole.put("audio", "ab" * 32, *render_item(job))
    monkeypatch.setattr("pianoeval.audio.render._WHOLE_SAMPLES", 1000)
    monkeypatch.setattr("pianoeval.audio.wave._PART", 777)
    arrays, meta = render_item(job)
    assert isinstance(arrays["frames"], Blocks)
    long.put("audio", "ab" * 32, arrays, meta)
    a, b = whole.get("audio", "ab" * 32), long.get("audio", "ab" * 32)
    assert a is not None
    assert b is not None
    np.testing.assert_array_equal(a.arrays["frames"], b.arrays["frames"])
    np.testing.assert_allclose(a.arrays["level"], b.arrays["level"], rtol=2e-7)
    louder = RenderParams.model_construct(**dict(RenderParams()) | {"recording_gain_db": 20.0})
    loud = replace(job, render=louder)
    with pytest.raises(BadInputError, match="clips by"):
        long.put("audio", "cd" * 32, *render_item(loud))
    assert not long.has("audio", "cd" * 32)
