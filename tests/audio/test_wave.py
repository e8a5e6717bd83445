"""Decoding, resampling and 16-bit samples."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis.extra import numpy as hnp

from pianoeval.audio import wave
from pianoeval.audio.wave import read_audio, resample, to_float32, to_int16
from pianoeval.errors import BadInputError

RATE_HZ = 44_100


def tone(frequency_hz: float, rate_hz: int = RATE_HZ, seconds: float = 1.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("wav", 2e-5), ("flac", 2e-5), ("mp3", 0.02), ("ogg", 0.02)]
)
def test_formats(tmp_path: Path, suffix: str, tolerance: float) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(440.0), RATE_HZ)
    audio = read_audio(path, RATE_HZ)
    assert audio.dtype == np.float32
    middle = slice(RATE_HZ // 4, RATE_HZ // 2)
    assert abs(np.sqrt(2 * np.mean(audio[middle] ** 2)) - 0.5) < tolerance


def test_stereo_is_averaged_and_bytes_are_read() -> None:
    stereo = np.stack([tone(440.0), np.zeros(RATE_HZ, np.float32)], axis=1)
    buffer = io.BytesIO()
    soundfile.write(buffer, stereo, RATE_HZ, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(buffer.getvalue(), RATE_HZ), stereo[:, 0] / 2)


def test_excerpt(tmp_path: Path) -> None:
    path = tmp_path / "ramp.wav"
    ramp = (np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    soundfile.write(path, ramp, RATE_HZ, subtype="FLOAT")
    part = read_audio(path, RATE_HZ, start_s=0.25, end_s=0.5)
    np.testing.assert_array_equal(part, ramp[11025:22050])


@pytest.mark.parametrize("rate_hz", [22_050, 44_100])
def test_parts_of_an_mp3_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate_hz: int
) -> None:
    """Frames of a variable rate borrow bits of earlier ones, which a jump does not decode."""
    path = tmp_path / "bursts.mp3"
    rng, time_s = np.random.default_rng(0), np.arange(20 * rate_hz) / rate_hz
    bursts = 0.2 * rng.standard_normal(len(time_s)) * (np.sin(2 * np.pi * 1.3 * time_s) > 0)
    glide = 0.3 * np.sin(2 * np.pi * (400 * time_s + 50 * time_s**2))
    soundfile.write(
        path, np.clip(bursts + glide, -1, 1), rate_hz, bitrate_mode="VARIABLE",
        compression_level=0.5,
    )  # fmt: skip
    whole, _ = soundfile.read(path, dtype="float32")
    for start_s in (0.5, 1.234, 7.77, 13.1, 16.9):
        part = read_audio(path, rate_hz, start_s=start_s, end_s=start_s + 3)
        first = round(start_s * rate_hz)
        np.testing.assert_allclose(part, whole[first : first + len(part)], atol=1e-6)
    monkeypatch.setattr(wave, "_PART", 50_001)
    np.testing.assert_allclose(read_audio(path, rate_hz), whole, atol=1e-6)


def test_resampling_keeps_the_tone_and_removes_what_would_alias() -> None:
    low, high = resample(tone(5000.0), RATE_HZ, 24_000), resample(tone(15_000.0), RATE_HZ, 24_000)
    assert abs(np.sqrt(2 * np.mean(low[1000:-1000] ** 2)) - 0.5) < 1e-4
    assert np.abs(high[1000:-1000]).max() < 1e-5


def test_unusable_files(tmp_path: Path) -> None:
    good = tmp_path / "good.wav"
    soundfile.write(good, tone(440.0), RATE_HZ)
    cases = {
        "no such file": tmp_path / "absent.wav",
        "not readable": tmp_path / "text.wav",
        "no audio between": tmp_path / "empty.wav",
        "not finite": tmp_path / "nan.wav",
    }
    cases["not readable"].write_bytes(b"this is not audio")
    soundfile.write(cases["no audio between"], np.zeros(0, np.float32), RATE_HZ)
    soundfile.write(
        cases["not finite"], np.array([0, np.nan], np.float32), RATE_HZ, subtype="FLOAT"
    )
    for message, path in cases.items():
        with pytest.raises(BadInputError, match=message):
            read_audio(path, RATE_HZ)
    with pytest.raises(BadInputError, match="1 s long"):
        read_audio(good, RATE_HZ, max_duration_s=0.5)
    with pytest.raises(BadInputError, match="no audio between"):
        read_audio(good, RATE_HZ, start_s=0.5, end_s=0.5)
    with pytest.raises(BadInputError, match=r"ends at 1\.00 s"):
        read_audio(good, RATE_HZ, end_s=3.0)


def test_truncated_flac(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE_HZ)
    soundfile.write(path, noise, RATE_HZ)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(BadInputError):
        read_audio(path, RATE_HZ)


def test_clipping_is_an_error() -> None:
    with pytest.raises(BadInputError, match=r"clips by 6\.02 dB") as caught:
        to_int16(np.array([0.1, -2.0], np.float32))
    assert "gain_db" in str(caught.value)
    np.testing.assert_array_equal(to_int16(np.array([1.0, -1.0], np.float32)), [32767, -32768])


@given(hnp.arrays(np.int16, hnp.array_shapes(max_dims=1, max_side=50)))
def test_int16_round_trip(samples: np.ndarray) -> None:
    np.testing.assert_array_equal(to_int16(to_float32(samples)), samples)
