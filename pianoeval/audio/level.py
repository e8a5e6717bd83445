"""Level of a whole clip: RMS, loudness after ITU-R BS.1770-4, and sample peak."""

from __future__ import annotations

import warnings

import numpy as np
import pyloudnorm
from numpy.typing import NDArray

from pianoeval.errors import BadInputError

FLOOR_DB = -120.0
LUFS_GATE = -70.0
_BLOCK_S = 0.4


def level_features(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """``(rms_dbfs, lufs, peak_dbfs)`` of a mono signal: float32, shape (3,).

    RMS and peak are relative to full scale 1.0 and never below -120 dB. The loudness is the gated
    loudness of BS.1770-4 (K weighting, 400 ms blocks, absolute gate -70 LUFS, relative gate
    -10 LU). Where no block passes the absolute gate it is -70; a clip shorter than one block is
    padded with silence to 400 ms.

    Raises BadInputError for an empty or non-finite signal.
    """
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise BadInputError("level of an empty or non-finite signal", allowed="finite mono samples")
    rms = float(np.sqrt(np.mean(x**2)))
    peak = float(np.abs(x).max())
    values = (_db(rms), _loudness(x, sample_rate_hz), _db(peak))
    return np.array(values, dtype=np.float32)


def _db(amplitude: float) -> float:
    return max(20 * float(np.log10(amplitude)), FLOOR_DB) if amplitude > 0 else FLOOR_DB


def _loudness(x: NDArray[np.float64], sample_rate_hz: int) -> float:
    block = int(np.ceil(_BLOCK_S * sample_rate_hz))
    padded = np.pad(x, (0, max(block + 1 - len(x), 0)))
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(pyloudnorm.Meter(sample_rate_hz).integrated_loudness(padded))
    return max(value, LUFS_GATE) if np.isfinite(value) else LUFS_GATE
