"""Hostile recordings: read or refused, and a decoder that crashes costs one clip."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import hostile_audio
import numpy as np
import pytest
import soundfile
from hostile_run import check, run_cases, write_cases
from levels import FULL, scale

from pianoeval import soundheader
from pianoeval.audio.wave import check_peak, read_audio
from pianoeval.corpora.folder import audio_duration_s
from pianoeval.errors import BadInputError
from pianoeval.params import MidiLimits
from pianoeval.soundheader import sound_header

LIMITS = MidiLimits()


def test_headers_that_lie(tmp_path: Path) -> None:
    tricks = [one for one in hostile_audio.tricks() if FULL or len(one[1]) < 20_000]
    tricks = tricks if FULL else tricks[::3]
    random = hostile_audio.random_cases(scale(80, 1000), seed=0)
    cases = write_cases("audio", itertools.chain(tricks, random), tmp_path / "in", "")
    check("recordings", run_cases(cases))


@pytest.mark.parametrize("rate", [1, 7, 3999, 768_001, 2**31 - 1])
def test_a_rate_that_would_take_gigabytes_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(hostile_audio.wav(rate=rate))
    with pytest.raises(BadInputError, match="Hz"):
        audio_duration_s(path, LIMITS)
    with pytest.raises(BadInputError, match="Hz"):
        read_audio(path, 44_100)


def test_many_channels_are_decoded_in_small_parts(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 64)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, frames, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, 16_000), frames.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.0001])
def test_what_is_no_sample_never_becomes_one(value: float) -> None:
    with pytest.raises(BadInputError):
        check_peak(np.array([0.0, value], np.float32))


@pytest.fixture
def poor_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "soundfile.py").write_text(
        "import os, signal, time\n"
        "class LibsndfileError(Exception): pass\n"
        "class Found: frames, samplerate = 16000, 16000\n"
        "def info(path):\n"
        "    if path.endswith('crash.wav'): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if path.endswith('hang.wav'): time.sleep(600)\n"
        "    return Found\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    soundheader._close()
    yield
    soundheader._close()


def test_a_decoder_that_crashes_costs_one_file(poor_decoder: None, tmp_path: Path) -> None:
    assert audio_duration_s(tmp_path / "good.wav", LIMITS) == 1.0
    with pytest.raises(BadInputError, match=rf"crashed \(exit code -{signal.SIGSEGV:d}\)"):
        audio_duration_s(tmp_path / "crash.wav", LIMITS)
    assert audio_duration_s(tmp_path / "good.wav", LIMITS) == 1.0


def test_a_decoder_that_hangs_costs_one_file(poor_decoder: None, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no answer in time"):
        sound_header(tmp_path / "hang.wav", limit_s=1.0)
    assert sound_header(tmp_path / "good.wav") == (16_000, 16_000)


def test_what_a_decoder_prints_is_no_answer(
    poor_decoder: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libsndfile prints to standard output at some damaged MAT5, SDS and VOC files."""
    fake = tmp_path / "soundfile.py"
    fake.write_text(
        fake.read_text().replace("    return Found", "    os.write(1, b'oops\\n'); return Found")
    )
    assert sound_header(tmp_path / "good.wav") == (16_000, 16_000)
    assert sound_header(tmp_path / "good.wav") == (16_000, 16_000)
