"""A line of a wind instrument played: every note is an even key, read at the speed of its bends.

* Pitch is the key's times 2^(cents / 1200) at every sample, so bends have no steps; a cubic spline
  at twice the rate is read between its samples.
* Level ∝ (velocity / 127)² · expression², 40·log10 dB each, as General MIDI has it for both; soft
  dynamics, of either, are darker: two layers are blended as velocity · expression moves.
* A note ends within 25 ms, on the pitch it had. Inhalations are noise of 0.4 to 4 kHz, seeded by
  what is played. No reverb, no room.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt, sosfreqz

from pianoeval.audio.sources import BANK_RATE_HZ
from pianoeval.audio.windbank import SOFT_VELOCITY, WIND_RATE_HZ, WindBank, read_spline
from pianoeval.midi.windline import MAX_BEND_CENTS, WindPerformance

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

WINDS_VERSION = 1
RELEASE_S = 0.025
TAIL_S = 0.06  # of the clip, with the release of its last note
_MOST_SPEED = 2 ** (MAX_BEND_CENTS / 1200)
_ON_ITS_PITCH_S = 1e-6  # before its end, a note is not yet bent as the next
_BREATH_BAND_HZ = (400.0, 4000.0)
_LOUD_DBFS = -20.0  # RMS of a note at velocity 127 and gain 0


def play_winds(
    performance: WindPerformance, bank: WindBank, start_s: float, breath_db: float, gain_db: float
) -> F4:
    """All notes and inhalations from MIDI time ``start_s``: float32 mono at 44,100 Hz.

    ``breath_db`` is the level of inhalations beside a note at velocity 127. Raises what
    :meth:`~pianoeval.audio.windbank.WindBank.key` raises.
    """
    seconds = performance.end_s + TAIL_S - start_s
    out = np.zeros(int(np.ceil(seconds * BANK_RATE_HZ)) + 1, np.float32)
    for note in range(performance.n_notes):
        begin = round((float(performance.onset_s[note]) - start_s) * BANK_RATE_HZ)
        sound = _note(performance, note, bank)[: len(out) - begin]
        out[begin : begin + len(sound)] += sound
    _add_breaths(out, performance, start_s, _LOUD_DBFS + gain_db + breath_db)
    return out


def _note(performance: WindPerformance, note: int, bank: WindBank) -> F4:
    onset_s, offset_s = float(performance.onset_s[note]), float(performance.offset_s[note])
    seconds = offset_s - onset_s + RELEASE_S
    key = int(performance.pitch_midi[note])
    layers = bank.key(performance.program, key, _MOST_SPEED * seconds)  # refuses endless notes
    n_frames = round(seconds * BANK_RATE_HZ)
    time_s = np.minimum(onset_s + np.arange(n_frames) / BANK_RATE_HZ, offset_s - _ON_ITS_PITCH_S)
    step = WIND_RATE_HZ / BANK_RATE_HZ * 2 ** (performance.bend_at(time_s) / 1200)
    frame = np.concatenate([[0.0], np.cumsum(step)[:-1]])
    soft, loud = (read_spline(layer[: int(frame[-1]) + 16], frame) for layer in layers)
    dynamic = performance.level_at(time_s) * float(performance.velocity[note]) / 127
    darkest = SOFT_VELOCITY / 127
    bright = np.clip((dynamic - darkest) / (1 - darkest), 0, 1)
    sound = (soft + (loud - soft) * bright) * dynamic**2
    release = min(round(RELEASE_S * BANK_RATE_HZ), n_frames)
    sound[n_frames - release :] *= np.cos(np.linspace(0, np.pi / 2, release)) ** 2
    return np.asarray(sound, np.float32)


def _add_breaths(out: F4, performance: WindPerformance, start_s: float, level_dbfs: float) -> None:
    """Noise that swells and ends; what lies outside of ``out`` is cut off."""
    rng = np.random.default_rng(int(performance.digest()[:16], 16))
    band = butter(2, _BREATH_BAND_HZ, "bandpass", fs=BANK_RATE_HZ, output="sos")
    rms = np.sqrt(np.mean(np.abs(sosfreqz(band, 8192)[1]) ** 2))
    for begin_s, end_s in performance.breath_time_s:
        begin = round((float(begin_s) - start_s) * BANK_RATE_HZ)
        n_frames = round(float(end_s - begin_s) * BANK_RATE_HZ)
        first, last = max(-begin, 0), min(n_frames, len(out) - begin)
        if last <= first:
            continue
        noise = sosfilt(band, rng.standard_normal(n_frames))
        swell = np.sin(np.linspace(0, np.pi, n_frames))
        sound = noise * swell * (10 ** (level_dbfs / 20) / rms)
        out[begin + first : begin + last] += sound[first:last].astype(np.float32)
