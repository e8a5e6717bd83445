"""Level of a whole clip: RMS, loudness after ITU-R BS.1770-4, and sample peak."""

from __future__ import annotations

import warnings

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.signal import lfilter

from pianoeval.errors import BadInputError

FLOOR_DB = -120.0
LUFS_GATE = -70.0
_BLOCK_S = 0.4
_STEP = 0.25  # of a block, from one to the next
_OFFSET_DB = -0.691


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


class LevelMeter:
    """:func:`level_features` of a signal that comes in parts, in bounded memory.

    Loudness and peak are the same numbers; the RMS, summed in another order, may differ in the
    last digit.

    Parameters
    ----------
    sample_rate_hz : int
    n_samples : int
        Of the whole signal, at least 400 ms.
    """

    def __init__(self, sample_rate_hz: int, n_samples: int) -> None:
        step_s = _BLOCK_S * _STEP
        blocks = int(np.round((n_samples / sample_rate_hz - _BLOCK_S) / step_s) + 1)
        self._bounds = [
            (
                int(_BLOCK_S * (j * _STEP) * sample_rate_hz),
                int(_BLOCK_S * (j * _STEP + 1) * sample_rate_hz),
            )
            for j in range(blocks)
        ]
        k_weighting = ((4.0, 1 / np.sqrt(2), 1500.0, "high_shelf"), (0.0, 0.5, 38.0, "high_pass"))
        self._filters = [
            pyloudnorm.IIRfilter(gain, q, hz, sample_rate_hz, kind)
            for gain, q, hz, kind in k_weighting
        ]
        self._states = [np.zeros(2) for _ in self._filters]
        self._block_samples = _BLOCK_S * sample_rate_hz
        self._powers: list[float] = []
        self._held, self._begin = np.empty(0), 0  # weighted samples that blocks to come need
        self._squares, self._peak, self._seen = 0.0, 0.0, 0

    def add(self, samples: NDArray[np.float32]) -> None:
        """Hear the next part; raises BadInputError for samples that are not finite."""
        if len(samples) == 0:  # lfilter would leave garbage as its state
            return
        x = samples.astype(np.float64)
        if not np.isfinite(x).all():
            raise BadInputError("level of a non-finite signal", allowed="finite mono samples")
        self._squares += float(np.sum(x**2))
        self._peak = max(self._peak, float(np.abs(x).max(initial=0.0)))
        self._seen += len(x)
        for k, stage in enumerate(self._filters):
            x, self._states[k] = lfilter(stage.b, stage.a, x, zi=self._states[k])
            x = stage.passband_gain * x
        self._held = np.concatenate([self._held, x])
        self._measure(self._seen)

    def _measure(self, until: int) -> None:
        """Power of the blocks that end by ``until``; what no later one needs is dropped."""
        while len(self._powers) < len(self._bounds):
            low, high = self._bounds[len(self._powers)]
            if high > until:
                break
            block = self._held[low - self._begin : high - self._begin]
            self._powers.append(float(np.sum(np.square(block))) / self._block_samples)
        if len(self._powers) < len(self._bounds):
            low = self._bounds[len(self._powers)][0]
            self._held, self._begin = self._held[max(low - self._begin, 0) :], max(low, self._begin)

    def features(self) -> NDArray[np.float32]:
        """``(rms_dbfs, lufs, peak_dbfs)`` of all that was heard."""
        if self._bounds:
            self._measure(self._bounds[-1][1])  # the last block may be cut short
        rms = float(np.sqrt(self._squares / self._seen))
        values = (_db(rms), _gated(np.array(self._powers)), _db(self._peak))
        return np.array(values, dtype=np.float32)


def _gated(powers: NDArray[np.float64]) -> float:
    """Loudness over blocks louder than -70 LUFS and than 10 LU below their mean (BS.1770-4)."""
    with np.errstate(divide="ignore"):
        loud = _OFFSET_DB + 10 * np.log10(powers)
    heard = loud >= LUFS_GATE
    if not heard.any():
        return LUFS_GATE
    relative = _OFFSET_DB + 10 * np.log10(powers[heard].mean()) - 10
    kept = powers[(loud > relative) & (loud > LUFS_GATE)]
    if not kept.size:
        return LUFS_GATE
    return max(float(_OFFSET_DB + 10 * np.log10(kept.mean())), LUFS_GATE)
