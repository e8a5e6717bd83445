"""Beats and measures of a score MIDI, from its time signatures and ticks.

A beat is the denominator's note value, three of them in compound time (6/8, 9/8, 12/8: numerators
above 3 that three divides, over 8 or 16). Every time signature opens a measure, so an upbeat that
is written as a short measure is one. A file without time signature (Standard MIDI File 1.0 assumes
4/4, but most such files know no bars) gets beats of equal score time, ``EQUAL_BEAT_S`` long and
``EQUAL_BEATS`` to a measure, and says so in ``Metre.source``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import mido
import numpy as np
from numpy.typing import NDArray

EQUAL_BEAT_S = 0.5
EQUAL_BEATS = 4
_TEMPO_US = 500_000  # what a file without a tempo is played at
_SHORTEST_NOTE = 256  # denominator; the format allows 2 ** 255
_ROUNDING = 1e-6  # of a beat: ticks that went through seconds and back

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Source = Literal["written", "equal"]


class Places(NamedTuple):
    """Where moments of a score lie.

    ``beat, measure`` : int64 (n,), counted from the start of the file
    ``beat_phase, measure_phase`` : float64 (n,), 0 at the beginning, below 1
    ``beat_s`` : float64 (n,), length of the beat in score time
    """

    beat: Ints
    measure: Ints
    beat_phase: Floats
    measure_phase: Floats
    beat_s: Floats


@dataclass(frozen=True, eq=False)
class Metre:
    """Beats and measures over the time of a file.

    Attributes
    ----------
    knot_s, knot_tick : float64 (k,)
        Ascending seconds and ticks; the tempo is constant between knots, and beyond the last one
        as ``last_tick_s``.
    last_tick_s : float
        Seconds a tick after the last knot.
    start_tick, beat_ticks, beats : float64 (s,)
        Sections of one time signature: first tick, ticks a beat, beats a measure.
    first_beat, first_measure : int64 (s,)
        Beats and measures before each section.
    source : str
        ``written``, or ``equal`` where the file has no time signature.
    """

    knot_s: Floats
    knot_tick: Floats
    last_tick_s: float
    start_tick: Floats
    beat_ticks: Floats
    beats: Floats
    first_beat: Ints
    first_measure: Ints
    source: Source

    def locate(self, time_s: Floats) -> Places:
        """Beats and measures of moments, in seconds from the start of the file."""
        tick = np.interp(time_s, self.knot_s, self.knot_tick)
        tick = tick + np.maximum(time_s - self.knot_s[-1], 0.0) / self.last_tick_s
        tick = np.maximum(tick, 0.0)
        rounding = _ROUNDING * self.beat_ticks[0]
        section = np.searchsorted(self.start_tick, tick + rounding, side="right") - 1
        section = np.maximum(section, 0)
        beats = np.maximum((tick - self.start_tick[section]) / self.beat_ticks[section], 0.0)
        whole = np.floor(beats + _ROUNDING)
        size = self.beats[section]
        measure = np.floor((whole + _ROUNDING) / size)
        phase = np.clip(beats - whole, 0.0, 1.0 - _ROUNDING)
        return Places(
            beat=self.first_beat[section] + whole.astype(np.int64),
            measure=self.first_measure[section] + measure.astype(np.int64),
            beat_phase=phase,
            measure_phase=(whole - measure * size + phase) / size,
            beat_s=self.beat_ticks[section] * self._tick_s(time_s),
        )

    def _tick_s(self, time_s: Floats) -> Floats:
        """Seconds a tick at given times."""
        lengths = np.append(np.diff(self.knot_s) / np.diff(self.knot_tick), self.last_tick_s)
        index = np.searchsorted(self.knot_s, time_s + 1e-9, side="right") - 1
        return np.asarray(lengths[np.maximum(index, 0)], np.float64)


def equal_metre() -> Metre:
    """Beats of equal time, for a file without time signature."""
    zero, none = np.zeros(1), np.zeros(1, np.int64)
    return Metre(
        knot_s=zero, knot_tick=zero, last_tick_s=EQUAL_BEAT_S,
        start_tick=zero, beat_ticks=np.ones(1), beats=np.full(1, float(EQUAL_BEATS)),
        first_beat=none, first_measure=none, source="equal",
    )  # fmt: skip


def read_metre(path: Path) -> Metre:
    """Metre of a MIDI file that :func:`pianoeval.midi.io.read_midi` accepts.

    A time signature of no beats, or of notes shorter than any that is written, is none.
    """
    midi = mido.MidiFile(file=io.BytesIO(path.read_bytes()), clip=True)
    signatures: dict[int, tuple[int, int]] = {}
    tempos: dict[int, int] = {0: _TEMPO_US}
    tick = 0
    for message in mido.merge_tracks(midi.tracks):
        tick += message.time
        if message.type == "time_signature":
            if message.numerator > 0 and message.denominator <= _SHORTEST_NOTE:
                signatures[tick] = (message.numerator, message.denominator)
        elif message.type == "set_tempo" and message.tempo > 0:
            tempos[tick] = message.tempo
    if not signatures:
        return equal_metre()
    return _metre(signatures, tempos, midi.ticks_per_beat)


def _metre(
    signatures: dict[int, tuple[int, int]], tempos: dict[int, int], ticks_per_quarter: int
) -> Metre:
    """From time signatures and tempos (µs a quarter) by tick."""
    knot_tick = np.array(sorted(tempos), np.float64)
    tick_s = np.array([tempos[tick] for tick in sorted(tempos)]) / 1e6 / ticks_per_quarter
    knot_s = np.concatenate([[0.0], np.cumsum(np.diff(knot_tick) * tick_s[:-1])])
    if 0 not in signatures:  # what stands before the first one is counted as if it were in force
        signatures = {0: signatures[min(signatures)]} | signatures
    starts = sorted(signatures)
    beat_ticks, beats = zip(
        *(_beat(*signatures[s], ticks_per_quarter) for s in starts), strict=True
    )
    first_beat, first_measure = [0], [0]
    for length, ticks, size in zip(np.diff(starts), beat_ticks, beats, strict=False):
        whole = int(np.ceil(length / ticks - _ROUNDING))
        first_beat.append(first_beat[-1] + whole)
        first_measure.append(first_measure[-1] + int(np.ceil(whole / size)))
    return Metre(
        knot_s=knot_s, knot_tick=knot_tick, last_tick_s=float(tick_s[-1]),
        start_tick=np.array(starts, np.float64), beat_ticks=np.array(beat_ticks, np.float64),
        beats=np.array(beats, np.float64), first_beat=np.array(first_beat, np.int64),
        first_measure=np.array(first_measure, np.int64), source="written",
    )  # fmt: skip


def _beat(numerator: int, denominator: int, ticks_per_quarter: int) -> tuple[float, int]:
    """Ticks a beat and beats a measure of a time signature."""
    ticks = 4.0 * ticks_per_quarter / denominator
    if numerator > 3 and numerator % 3 == 0 and denominator in (8, 16):
        return 3 * ticks, numerator // 3
    return ticks, numerator
