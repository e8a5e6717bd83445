"""Level features against values that follow from the definitions."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest

from pianoeval.audio.level import FLOOR_DB, LUFS_GATE, LevelMeter, level_features
from pianoeval.errors import BadInputError

RATE_HZ = 48_000


def sine(amplitude: float, seconds: float = 5.0, frequency_hz: float = 997.0) -> np.ndarray:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def test_full_scale_sine() -> None:
    # BS.1770-4: a 0 dBFS sine of 997 Hz in one channel reads -3.01 LKFS, ±0.1 for meters.
    np.testing.assert_allclose(level_features(sine(1.0), RATE_HZ), [-3.01, -3.01, 0.0], atol=0.1)


def test_twenty_decibels_down() -> None:
    drop = level_features(sine(1.0), RATE_HZ) - level_features(sine(0.1), RATE_HZ)
    np.testing.assert_allclose(drop, [20, 20, 20], atol=0.01)


def test_silent_half_is_gated_out_of_the_loudness_only() -> None:
    padded = np.concatenate([sine(0.5), np.zeros(5 * RATE_HZ, np.float32)])
    whole, half = level_features(padded, RATE_HZ), level_features(sine(0.5), RATE_HZ)
    assert abs(whole[0] - (half[0] - 3.01)) < 0.02
    assert abs(whole[1] - half[1]) < 0.3


def test_same_as_pyloudnorm() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 44_100 * 3).astype(np.float32)
    expected = pyloudnorm.Meter(44_100).integrated_loudness(noise.astype(np.float64))
    assert abs(level_features(noise, 44_100)[1] - expected) < 1e-4


def test_floors_and_short_clips() -> None:
    silent = level_features(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    np.testing.assert_array_equal(silent, [FLOOR_DB, LUFS_GATE, FLOOR_DB])
    short = level_features(sine(0.5, seconds=0.1), RATE_HZ)
    assert np.isfinite(short).all()
    assert short[1] > LUFS_GATE
    with pytest.raises(BadInputError):
        level_features(np.zeros(0, np.float32), RATE_HZ)
    with pytest.raises(BadInputError):
        level_features(np.array([np.nan], np.float32), RATE_HZ)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 7.123])
@pytest.mark.parametrize("size", [1000, 44_100, 10**6])
def test_level_in_parts_is_the_level(seconds: float, size: int) -> None:
    n = round(seconds * 44_100)
    rng = np.random.default_rng(0)
    swell = np.where(np.arange(n) < n // 3, 0.001, 0.4)  # some of it falls under the gates
    audio = (swell * rng.standard_normal(n)).clip(-1, 1).astype(np.float32)
    meter = LevelMeter(44_100, n)
    for begin in range(0, n, size):
        meter.add(audio[begin : begin + size])
        meter.add(audio[:0])
    np.testing.assert_allclose(meter.features(), level_features(audio, 44_100), rtol=2e-7)


def test_level_in_parts_of_silence_and_of_what_is_no_number() -> None:
    meter = LevelMeter(44_100, 44_100)
    meter.add(np.zeros(44_100, np.float32))
    np.testing.assert_array_equal(
        meter.features(), level_features(np.zeros(44_100, np.float32), 44_100)
    )
    with pytest.raises(BadInputError, match="finite"):
        meter.add(np.array([np.nan], np.float32))
