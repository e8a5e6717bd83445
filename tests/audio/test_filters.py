"""Filters against their definitions at single frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import sosfreqz

from pianoeval.audio.filters import biquad, equalise

RATE_HZ = 44_100


def gain_db(kind: str, at_hz: float, *, centre_hz: float, gain: float, q: float) -> float:
    section = np.array([biquad(kind, centre_hz, gain, q, RATE_HZ)])
    _, response = sosfreqz(section, worN=[at_hz], fs=RATE_HZ)
    return float(20 * np.log10(np.abs(response[0])))


def test_cookbook_gains() -> None:
    corner = {"centre_hz": 1000.0, "gain": 0.0, "q": np.sqrt(0.5)}
    assert abs(gain_db("lowpass", 1000, **corner) + 3.01) < 0.01
    assert abs(gain_db("highpass", 1000, **corner) + 3.01) < 0.01
    assert abs(gain_db("lowpass", 10, **corner)) < 0.01
    assert abs(gain_db("highpass", 20_000, **corner)) < 0.01
    assert abs(gain_db("peak", 1000, centre_hz=1000, gain=7, q=1.2) - 7) < 1e-9
    assert abs(gain_db("highshelf", 20_000, centre_hz=2000, gain=-10, q=0.7) + 10) < 0.1
    assert abs(gain_db("highshelf", 20, centre_hz=2000, gain=-10, q=0.7)) < 0.01


def test_refusals_and_identity() -> None:
    with pytest.raises(ValueError, match="must be"):
        biquad("notch", 100, 0, 1, RATE_HZ)
    with pytest.raises(ValueError, match="between"):
        biquad("peak", 30_000, 0, 1, RATE_HZ)
    samples = np.ones(10, np.float32)
    assert equalise(samples, [], RATE_HZ) is samples
