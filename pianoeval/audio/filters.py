"""Second-order filters after R. Bristow-Johnson, "Audio EQ Cookbook" (W3C Note, 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

F4 = NDArray[np.float32]
Band = tuple[str, float, float, float]


def biquad(kind: str, frequency_hz: float, gain_db: float, q: float, rate_hz: float) -> list[float]:
    """One section ``[b0, b1, b2, 1, a1, a2]``; kind lowpass, highpass, peak or highshelf.

    Raises ValueError for another kind or a frequency outside 0..rate/2.
    """
    if not 0 < frequency_hz < rate_hz / 2:
        raise ValueError(f"{frequency_hz} Hz must be between 0 and {rate_hz / 2} Hz")
    w0 = 2 * np.pi * frequency_hz / rate_hz
    cos, alpha = np.cos(w0), np.sin(w0) / (2 * q)
    amp = 10 ** (gain_db / 40)
    if kind in ("lowpass", "highpass"):
        sign = -1.0 if kind == "lowpass" else 1.0
        edge = (1 + sign * cos) / 2
        b, a = (edge, -sign * 2 * edge, edge), (1 + alpha, -2 * cos, 1 - alpha)
    elif kind == "peak":
        b = (1 + alpha * amp, -2 * cos, 1 - alpha * amp)
        a = (1 + alpha / amp, -2 * cos, 1 - alpha / amp)
    elif kind == "highshelf":
        root = 2 * np.sqrt(amp) * alpha
        up, down = amp + 1, amp - 1
        b = (amp * (up + down * cos + root), -2 * amp * (down + up * cos),
             amp * (up + down * cos - root))  # fmt: skip
        a = (up - down * cos + root, 2 * (down - up * cos), up - down * cos - root)
    else:
        raise ValueError(f"'{kind}' must be lowpass, highpass, peak or highshelf")
    return [float(value / a[0]) for value in (*b, *a)]


def equalise(samples: F4, bands: Sequence[Band], rate_hz: float) -> F4:
    """Run the bands one after the other; no band leaves the samples as they are."""
    if not bands:
        return samples
    sections = np.array([biquad(*band, rate_hz) for band in bands])
    return np.asarray(sosfilt(sections, samples.astype(np.float64)), dtype=np.float32)
