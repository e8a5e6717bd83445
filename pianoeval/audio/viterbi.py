"""Most likely path of pYIN's hidden states: neighbours through a band, all others at one price.

librosa's decoder weighs all pairs of states in every frame. Steps of pYIN reach few pitches beyond
the present one, and every further one costs the same: ``log(tiny)``, for zero is written as the
smallest positive number. So the best of a band and the best of all decide as a full matrix does,
bit by bit, ties included. Pointers back take bounded memory: the values of every block's first
frame are kept, and blocks before the last are walked through twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import ConfigError

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

_TINY = np.finfo(np.float64).tiny
LOG_TINY = float(np.log(_TINY))
MAX_STATES = 1 << 16  # pointers have 16 bits
_POINTER_BYTES = 1 << 26

# Kept on disk, so that a worker does not wait for the compiler; without shortcuts in arithmetic.
compiled = numba.njit(cache=True, error_model="numpy")


@dataclass(frozen=True, eq=False)
class Observations:
    """What is seen in each frame: few pitches, and all unvoiced states alike.

    Attributes
    ----------
    start : int64, shape (frames + 1,)
        Frame t has the entries ``start[t]`` to ``start[t + 1]`` of the next two.
    pitch : int64, shape (entries,)
    log_voiced : float64, shape (entries,)
    log_unvoiced : float64, shape (frames,)
        Of each unvoiced state.
    """

    start: I8
    pitch: I8
    log_voiced: F8
    log_unvoiced: F8


@lru_cache(maxsize=4)
def transitions(n_pitches: int, width: int, switch: float) -> tuple[F8, F8]:
    """Logarithms of steps that keep voicing, and of those that change it.

    Both float64, shape (band, pitches): entry [d, j] comes from pitch ``j + d - band // 2``. A
    triangle of ``width`` pitches, its part inside the range normalised for each origin.
    """
    reach = width // 2
    # Of an even number of pitches, librosa's windows lean to one side.
    lean = (n_pitches - width) // 2 + n_pitches // 2 + 1 - n_pitches
    table = np.zeros((n_pitches, n_pitches))
    for place, weight in enumerate(_triangle(width)):
        origin = np.arange(max(0, -lean - place), min(n_pitches, n_pitches - lean - place))
        table[origin, origin + place + lean] = weight
    table /= table.sum(axis=1, keepdims=True)
    stay = 1 - switch
    keep, change = (_band(np.log(share * table + _TINY), reach) for share in (stay, 1 - stay))
    return keep, change


def _band(full: F8, reach: int) -> F8:
    """The diagonals of a matrix up to ``reach``; -inf beyond its edges."""
    n = len(full)
    band = np.full((2 * reach + 1, n), -np.inf)
    for d in range(2 * reach + 1):
        target = np.arange(max(0, reach - d), min(n, n + reach - d))
        band[d, target] = full[target + d - reach, target]
    band.setflags(write=False)
    return band


def _triangle(width: int) -> F8:
    """A symmetric triangle without zeros at its ends, as ``scipy.signal.windows.triang``."""
    n = np.arange(1, (width + 1) // 2 + 1)
    if width % 2:
        half = 2 * n / (width + 1.0)
        return np.concatenate([half, half[-2::-1]])
    half = (2 * n - 1.0) / width
    return np.concatenate([half, half[::-1]])


def decode(seen: Observations, keep: F8, change: F8, pointer_bytes: int = _POINTER_BYTES) -> I8:
    """The most likely state of each frame: a pitch, or number of pitches + a pitch if unvoiced.

    Parameters
    ----------
    keep, change : float64, shape (band, pitches)
        Of :func:`transitions`.

    Raises
    ------
    ConfigError
        More states than a pointer can name.
    """
    n_frames, n = len(seen.log_unvoiced), keep.shape[1]
    if 2 * n > MAX_STATES:
        raise ConfigError(
            f"{n} pitches between fmin_hz and fmax_hz", allowed=f"{MAX_STATES // 2}",
            where="contours.resolution_semitones", next_step="raise it in params.yaml",
        )  # fmt: skip
    block = max(2, pointer_bytes // (4 * n))
    starts = range(1, n_frames, block)
    given = (seen.start, seen.pitch, seen.log_voiced, seen.log_unvoiced)
    values = np.empty(2 * n)
    _observe(*given, 0, values)
    values += np.log(np.float64(1 / (2 * n)) + _TINY)
    before = []  # values of the frame before each block
    pointers = np.empty((min(block, n_frames), 2 * n), np.uint16)
    for first in starts:
        before.append(values.copy())
        _forward(*given, keep, change, first, min(first + block, n_frames), values, pointers)
    states = np.empty(n_frames, np.int64)
    states[-1] = np.argmax(values)
    for first, start in zip(reversed(starts), reversed(before), strict=True):
        end = min(first + block, n_frames)
        if end < n_frames:  # the last block's pointers are still there
            _forward(*given, keep, change, first, end, start, pointers)
        for t in range(end - 1, first - 1, -1):
            states[t - 1] = pointers[t - first, states[t]]
    return states


@compiled
def _observe(start: I8, pitch: I8, log_voiced: F8, log_unvoiced: F8, t: int, out: F8) -> None:
    """Logarithms of frame t, of all states."""
    n = len(out) // 2
    out[:n] = LOG_TINY
    out[n:] = log_unvoiced[t]
    for entry in range(start[t], start[t + 1]):
        out[pitch[entry]] = log_voiced[entry]


@compiled
def _band_best(source: F8, table: F8, offset: int, best: F8, came: I8) -> None:
    """Raise ``best`` to what comes through the band from ``source`` (padded), and say whence."""
    n = len(best)
    for d in range(table.shape[0]):
        row = table[d]
        part = source[d : d + n]
        code = offset + d
        for j in range(n):
            value = part[j] + row[j]
            better = value > best[j]
            best[j] = value if better else best[j]
            came[j] = code if better else came[j]


@compiled
def _forward(
    start: I8, pitch: I8, log_voiced: F8, log_unvoiced: F8, keep: F8, change: F8, first: int,
    end: int, values: F8, pointers: NDArray[np.uint16],
) -> None:  # fmt: skip
    """Frames ``first`` to ``end``: ``values`` move on, ``pointers`` say from which state."""
    band, n = keep.shape
    reach = band // 2
    voiced = np.full(n + 2 * reach, -np.inf)
    unvoiced = np.full(n + 2 * reach, -np.inf)
    best, came = np.empty(n), np.empty(n, np.int64)
    seen = np.empty(2 * n)
    for t in range(first, end):
        voiced[reach : reach + n] = values[:n]
        unvoiced[reach : reach + n] = values[n:]
        far, far_state = -np.inf, 0
        for state in range(2 * n):
            value = values[state] + LOG_TINY
            if value > far:
                far, far_state = value, state
        _observe(start, pitch, log_voiced, log_unvoiced, t, seen)
        for group in range(2):
            best[:] = -np.inf
            came[:] = 0
            _band_best(voiced, keep if group == 0 else change, 0, best, came)
            _band_best(unvoiced, change if group == 0 else keep, band, best, came)
            for j in range(n):
                code = came[j]
                state = j + code - reach if code < band else n + j + code - band - reach
                value = best[j]
                if far > value or (far == value and far_state < state):
                    value, state = far, far_state
                values[group * n + j] = seen[group * n + j] + value
                pointers[t - first, group * n + j] = state
