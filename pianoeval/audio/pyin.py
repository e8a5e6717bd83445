"""Probabilistic YIN (Mauch & Dixon 2014, ICASSP), decision by decision as ``librosa.pyin``.

The steps are those of librosa 0.11, whose thresholds, priors and rates are kept: difference
function normalised by its cumulative mean (de Cheveigné & Kawahara 2002, JASA 111, eq. 8), troughs
below 100 thresholds with a beta prior, Viterbi decoding over pitches and voicing. Sums are taken in
its order. What differs is how: blocks of frames, loops compiled, a banded decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.stats
from numpy.typing import NDArray

from pianoeval.audio.viterbi import Observations, compiled, decode, transitions

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

_BLOCK = 256  # frames
_N_THRESHOLDS = 100
_BETA = (2, 18)
_BOLTZMANN = 2
_MAX_OCTAVES_PER_S = 35.92
_SWITCH = 0.01  # voiced to unvoiced, or back
_NO_TROUGH = 0.01  # weight of the lowest trough where a threshold has none below it
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Grid:
    """Frames and pitches: ``frame_length`` and ``hop`` in samples, ``resolution`` in semitones."""

    rate_hz: int
    fmin_hz: float
    fmax_hz: float
    frame_length: int
    hop: int
    resolution: float

    @property
    def periods(self) -> tuple[int, int]:
        """Shortest and longest period that is looked at, in samples."""
        longest = min(int(np.ceil(self.rate_hz / self.fmin_hz)), self.frame_length - 1)
        return int(np.floor(self.rate_hz / self.fmax_hz)), longest

    @property
    def per_octave(self) -> int:
        return 12 * int(np.ceil(1.0 / self.resolution))

    @property
    def n_pitches(self) -> int:
        return int(np.floor(self.per_octave * np.log2(self.fmax_hz / self.fmin_hz))) + 1

    @property
    def width(self) -> int:
        """Pitches that a step from one frame to the next may reach."""
        semitones = round(_MAX_OCTAVES_PER_S * 12 * self.hop / self.rate_hz)
        return semitones * (self.per_octave // 12) + 1


def pyin(samples: F4, grid: Grid) -> tuple[F8, NDArray[np.bool_], F8]:
    """Pitch of mono audio: frequency in Hz, voiced, and probability of being voiced, (frames,).

    Frame i is centred on sample ``i · hop``; silence stands before the first sample and after the
    last. Where it is unvoiced, the frequency is the best guess, as with ``fill_na=None``.
    """
    n = grid.n_pitches
    parts = [_observed(frames, grid) for frames in _blocks(samples, grid)]
    probability = np.concatenate([part.voiced for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    seen = Observations(
        start=np.concatenate([[0], np.cumsum(counts)]),
        pitch=np.concatenate([part.pitch for part in parts]),
        log_voiced=np.log(np.concatenate([part.weight for part in parts]) + _TINY),
        log_unvoiced=np.log((1 - probability) / n + _TINY),
    )
    states = decode(seen, *transitions(n, grid.width, _SWITCH))
    frequency = grid.fmin_hz * 2 ** (np.arange(n) / grid.per_octave)
    return frequency[states % n], states < n, probability


def _blocks(samples: F4, grid: Grid) -> Iterator[F4]:
    """Frames, some at a time: float32, shape (frames, frame_length)."""
    half = grid.frame_length // 2
    n_frames = 1 + (len(samples) + 2 * half - grid.frame_length) // grid.hop
    padded = np.pad(samples, half)
    frames = np.lib.stride_tricks.sliding_window_view(padded, grid.frame_length)[:: grid.hop]
    for first in range(0, n_frames, _BLOCK):
        yield np.ascontiguousarray(frames[first : first + _BLOCK])


@dataclass(frozen=True, eq=False)
class _Seen:
    """Of a block: ``pitch`` and ``weight`` of all frames one after another, ``counts`` of each."""

    counts: I8
    pitch: I8
    weight: F8
    voiced: F8


def _observed(frames: F4, grid: Grid) -> _Seen:
    """How likely each pitch is in each frame, where it is not impossible."""
    shortest, longest = grid.periods
    yin = np.empty((len(frames), longest - shortest + 1))
    _normalised(frames, _autocorrelation(frames, longest + 1), shortest, yin)
    thresholds, beta, below = _prior()
    counts, place, shift, prior, lowest, misses = _troughs(
        yin, thresholds[1:], _boltzmann(yin.shape[1] // 2 + 2)
    )
    ends = np.cumsum(counts)
    weight = np.empty(len(place))
    for first, end in zip(ends - counts, ends, strict=True):
        weight[first:end] = prior[first:end].dot(beta)  # summed as librosa sums it
    some = counts > 0
    weight[lowest[some]] += _NO_TROUGH * below[misses[some]]

    frequency = grid.rate_hz / (shortest + place + shift)
    pitch = grid.per_octave * np.log2(frequency / grid.fmin_hz)
    number = np.clip(np.round(pitch), 0, grid.n_pitches).astype(np.int64)
    return _Seen(*_gathered(counts, number, weight, grid.n_pitches))


def _autocorrelation(frames: F4, size: int) -> F4:
    n = scipy.fft.next_fast_len(2 * frames.shape[1] - 1, real=True)
    spectrum = scipy.fft.rfft(frames, n=n, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    found: F4 = np.ascontiguousarray(scipy.fft.irfft(power, n=n, axis=1)[:, :size])
    return found


@lru_cache(maxsize=1)
def _prior() -> tuple[F8, F8, F8]:
    """Thresholds, the probability between neighbours, and its sum over the first of them."""
    thresholds = np.linspace(0, 1, _N_THRESHOLDS + 1)
    beta = np.diff(scipy.stats.beta.cdf(thresholds, *_BETA))
    below = np.array([np.sum(beta[:count]) for count in range(_N_THRESHOLDS + 1)])
    return thresholds, beta, below


@lru_cache(maxsize=4)
def _boltzmann(most: int) -> F8:
    """Prior of the k-th of N troughs, [N, k]; shorter periods weigh more."""
    found = np.zeros((most + 1, most + 1))
    counts = np.arange(1, most + 1)[:, None]
    found[1:] = scipy.stats.boltzmann.pmf(np.arange(most + 1)[None], _BOLTZMANN, counts)
    return found


@compiled
def _normalised(frames: F4, correlation: F4, shortest: int, out: F8) -> None:
    """Difference function over its cumulative mean, from period ``shortest``: (frames, periods)."""
    two = np.float32(2)
    for t in range(len(frames)):
        energy, total = np.float32(0), np.float32(0)
        for period in range(1, correlation.shape[1]):
            sample = frames[t, period - 1]
            energy = np.float32(energy + np.float32(sample * sample))
            value = np.float32(two * np.float32(correlation[t, 0] - correlation[t, period]))
            if period > 1:  # of period 1 librosa takes no energy away
                value = np.float32(value - energy)
            total = np.float32(total + value)
            if period >= shortest:
                mean = np.float64(total) / np.float64(period)
                out[t, period - shortest] = np.float64(value) / (mean + _TINY)


@compiled
def _is_trough(x: F8, i: int) -> bool:
    """Below its left neighbour, and not above its right; an end needs one neighbour only."""
    if i == 0:
        return bool(x[0] < x[1])
    if i == len(x) - 1:
        return bool(x[i] < x[i - 1])
    return bool(x[i] < x[i - 1] and x[i] <= x[i + 1])


@compiled
def _shift(x: F8, i: int) -> float:
    """Where the parabola through a trough and its neighbours is lowest, in samples."""
    if i == 0 or i == len(x) - 1:
        return 0.0
    a = x[i + 1] + x[i - 1] - 2 * x[i]
    b = (x[i + 1] - x[i - 1]) / 2
    return 0.0 if np.abs(b) >= np.abs(a) else -b / a


@compiled
def _troughs(yin: F8, thresholds: F8, boltzmann: F8) -> tuple[I8, I8, F8, F8, I8, I8]:
    """Troughs of all frames: how many, where, and their prior below each threshold.

    ``lowest`` is the deepest trough of each frame (a row of ``prior``), ``misses`` the thresholds
    that it does not reach.
    """
    counts = np.zeros(len(yin), np.int64)
    for t in range(len(yin)):
        for i in range(yin.shape[1]):
            counts[t] += _is_trough(yin[t], i)
    total = counts.sum()
    place, shift = np.empty(total, np.int64), np.empty(total)
    prior = np.zeros((total, len(thresholds)))
    lowest, misses = np.zeros(len(yin), np.int64), np.zeros(len(yin), np.int64)
    first = 0
    for t in range(len(yin)):
        x, end = yin[t], first
        for i in range(yin.shape[1]):
            if _is_trough(x, i):
                place[end], shift[end] = i, _shift(x, i)
                if end == first or x[i] < x[place[lowest[t]]]:
                    lowest[t] = end
                end += 1
        for number in range(len(thresholds)):
            below = 0
            for row in range(first, end):
                below += x[place[row]] < thresholds[number]
            misses[t] += end > first and not x[place[lowest[t]]] < thresholds[number]
            before = 0
            for row in range(first, end):
                if x[place[row]] < thresholds[number]:
                    prior[row, number] = boltzmann[below, before]
                    before += 1
        first = end
    return counts, place, shift, prior, lowest, misses


@compiled
def _gathered(counts: I8, number: I8, weight: F8, n_pitches: int) -> tuple[I8, I8, F8, F8]:
    """One weight a pitch and frame: of two troughs that share a pitch, the longer period's.

    Pitches beyond the range are dropped, and so are weights of zero.
    """
    found = np.zeros(len(counts), np.int64)
    pitch, kept = np.empty(len(number), np.int64), np.empty(len(number))
    voiced = np.zeros(len(counts))
    row = np.zeros(n_pitches + 1)
    first, size = 0, 0
    for t in range(len(counts)):
        for entry in range(first, first + counts[t]):
            if weight[entry] != 0:
                row[number[entry]] = weight[entry]
        if counts[t]:
            for j in range(n_pitches):
                if row[j] != 0:
                    voiced[t] += row[j]
                    pitch[size], kept[size] = j, row[j]
                    size += 1
                    found[t] += 1
            row[:] = 0
        voiced[t] = min(max(voiced[t], 0.0), 1.0)
        first += counts[t]
    return found, pitch[:size].copy(), kept[:size].copy(), voiced
