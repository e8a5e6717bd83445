"""One line of a wind instrument as MIDI: notes, pitch bends, expression, inhalations, program.

One channel of a format 0 file. Bends have the range of ±2 semitones that General MIDI presumes,
and RPN 0 says so in the file; expression is CC 11; CC 20, which MIDI leaves undefined, is on while
the player breathes in. Curves are points with straight lines between them: ``write_winds`` puts
further points on the lines, 100 a second where the curve moves, so that synthesisers that hold each
value play them too. :func:`pianoeval.midi.io.read_midi` reads the same files as plain notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.errors import BadInputError
from pianoeval.midi.io import TEMPO_US, TICKS_PER_QUARTER, check_duration, decode_midi
from pianoeval.midi.rawfile import (
    BEND,
    BEND_ZERO,
    CONTROL,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM,
    Event,
    Moment,
    track_file,
)
from pianoeval.midi.windline import F8, MAX_BEND_CENTS, check_winds
from pianoeval.midi.windline import WindPerformance as WindPerformance
from pianoeval.midi.windline import pitch_curve as pitch_curve
from pianoeval.params import MidiLimits

EXPRESSION, INHALATION = 11, 20
_TICKS_PER_S = TICKS_PER_QUARTER * 1_000_000 / TEMPO_US
_MOST_TICKS = int(_TICKS_PER_S / 100)  # between points of a curve that moves
_RPN_BEND_RANGE = ((101, 0), (100, 0), (6, 2), (38, 0), (101, 127), (100, 127))
_NEXT = "remove the file, or write it with pianoeval.midi.winds.write_winds"


def write_winds(performance: WindPerformance, path: Path) -> None:
    """Write one track at 960 ticks a quarter and 120 bpm; the same input gives the same bytes.

    Times are rounded to 0.52 ms, bends to 0.024 cents, expression to 1/127. Raises BadInputError
    for what :func:`check_winds` refuses.
    """
    check_winds(performance, path)
    moments: list[Moment] = [(0, 0, PROGRAM << 4, int(performance.program), 0)]
    moments += [(0, 0, CONTROL << 4, number, value) for number, value in _RPN_BEND_RANGE]
    moments += _note_moments(performance)
    for edges_s in performance.breath_time_s:
        moments.append((_tick(edges_s[0]), 3, CONTROL << 4, INHALATION, 127))
        moments.append((_tick(edges_s[1]), 2, CONTROL << 4, INHALATION, 0))
    bends = np.rint(performance.bend_cents / MAX_BEND_CENTS * BEND_ZERO)
    for tick, value in _steps(performance.bend_time_s, np.clip(bends, None, BEND_ZERO - 1)):
        raw = value + BEND_ZERO
        moments.append((tick, 4, BEND << 4, raw & 0x7F, raw >> 7))
    for tick, value in _steps(performance.level_time_s, np.rint(performance.level * 127)):
        moments.append((tick, 4, CONTROL << 4, EXPRESSION, value))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(track_file(moments, TICKS_PER_QUARTER, TEMPO_US))


def _note_moments(performance: WindPerformance) -> list[Moment]:
    """A note's end comes before, its beginning after all else that happens at its tick."""
    moments: list[Moment] = []
    for on, off, pitch, velocity in zip(
        performance.onset_s, performance.offset_s, performance.pitch_midi, performance.velocity,
        strict=True,
    ):  # fmt: skip
        key = int(pitch)
        moments.append((_tick(on), 5, NOTE_ON << 4, key, int(velocity)))
        moments.append((_tick(off), 1, NOTE_OFF << 4, key, 0))
    return moments


def _tick(time_s: float) -> int:
    return round(float(time_s) * _TICKS_PER_S)


def _steps(time_s: F8, values: F8) -> Iterator[tuple[int, int]]:
    """Ticks and whole values of a curve: its points, and more where it moves."""
    ticks = np.rint(time_s * _TICKS_PER_S).astype(np.int64)
    moves = (values[1:] != values[:-1]) & (ticks[1:] > ticks[:-1])
    parts = np.ones(len(ticks), np.int64)  # of the line that leads to each point
    parts[1:][moves] = -((ticks[:-1] - ticks[1:]) // _MOST_TICKS)[moves]
    end = np.repeat(np.arange(len(ticks)), parts)
    begin = np.maximum(end - 1, 0)
    part = np.arange(len(end)) - np.repeat(np.cumsum(parts) - parts, parts) + 1
    share = part / parts[end]
    reached = part == parts[end]
    line_ticks = np.rint(ticks[begin] + (ticks[end] - ticks[begin]) * share)
    line = np.rint(values[begin] + (values[end] - values[begin]) * share)
    line_ticks = np.where(reached, ticks[end], line_ticks).astype(np.int64)
    line = np.where(reached, values[end], line).astype(np.int64)
    return zip(line_ticks.tolist(), line.tolist(), strict=True)


def read_winds(source: Path | bytes, limits: MidiLimits | None = None) -> WindPerformance:
    """Read a file of :func:`write_winds`, or another of one melody instrument.

    Controllers other than CC 11 and CC 20 are ignored, as are lyrics and text.

    Raises
    ------
    BadInputError
        What :func:`pianoeval.midi.io.decode_midi` refuses; several channels; two notes at once;
        none or several programs; a bend range that is not two semitones; a note or an inhalation
        without an end.
    """
    limits = limits or MidiLimits()
    where = "MIDI data" if isinstance(source, bytes) else source
    found = decode_midi(source, limits, lambda events: _collect(events, limits, where))
    onset_s, offset_s, pitch, velocity = _columns(found.notes, 4)
    bend_time_s, bends = _columns(found.bends, 2)
    level_time_s, levels = _columns(found.levels, 2)
    performance = WindPerformance(
        onset_s, offset_s, pitch.astype(np.int16), velocity.astype(np.int16),
        bend_time_s, bends * MAX_BEND_CENTS / BEND_ZERO, level_time_s, levels / 127,
        np.asarray(found.breaths, np.float64).reshape(-1, 2), found.program,
    )  # fmt: skip
    check_winds(performance, where)
    check_duration(performance.end_s, limits, where)
    return performance


def _columns(rows: list[Any], n: int) -> F8:
    return np.ascontiguousarray(np.asarray(rows, np.float64).reshape(-1, n).T)


@dataclass
class _Found:
    """What has been read so far."""

    notes: list[tuple[float, float, int, int]] = field(default_factory=list)
    bends: list[tuple[float, int]] = field(default_factory=list)
    levels: list[tuple[float, int]] = field(default_factory=list)
    breaths: list[tuple[float, float]] = field(default_factory=list)
    program: int = -1
    held: tuple[float, int, int] | None = None
    inhaling_s: float | None = None
    rpn: dict[int, int] = field(default_factory=dict)


def _collect(events: Iterable[Event], limits: MidiLimits, where: Path | str) -> _Found:
    found, channel = _Found(), -1
    for event in events:
        now, status, _, _ = event
        channel = status & 0xF if channel < 0 else channel
        wrong = "several channels" if status & 0xF != channel else _take(found, event)
        if not wrong and len(found.notes) > limits.max_notes:
            wrong = f"more than {limits.max_notes} notes (midi.max_notes)"
        if wrong:
            raise BadInputError(
                f"{wrong}, at {now:.3f} s", where=where,
                allowed="one line of one melody instrument", next_step=_NEXT,
            )  # fmt: skip
    open_end = "a note" if found.held else "an inhalation" if found.inhaling_s is not None else ""
    if open_end or (found.notes and found.program < 0):
        wrong = f"{open_end} without an end" if open_end else "no program change"
        raise BadInputError(wrong, where=where, next_step=_NEXT)
    return found


def _take(found: _Found, event: Event) -> str:
    """Add a message to what has been found; what is wrong with it, or nothing."""
    now, status, first, second = event
    kind = status >> 4
    if kind == BEND:
        found.bends.append((now, (second << 7 | first) - BEND_ZERO))
    elif kind == CONTROL:
        return _take_control(found, now, first, second)
    elif kind == PROGRAM:
        if found.program not in (-1, first):
            return "several programs"
        found.program = first
    elif kind == NOTE_ON and second > 0:
        if found.held:
            return "two notes at once"
        found.held = (now, first, second)
    elif kind in (NOTE_ON, NOTE_OFF) and found.held and found.held[1] == first:
        onset, key, velocity = found.held
        found.notes.append((onset, now, key, velocity))
        found.held = None
    return ""


def _take_control(found: _Found, now: float, control: int, value: int) -> str:
    if control == EXPRESSION:
        found.levels.append((now, value))
    elif control == INHALATION:
        if value >= 64 and found.inhaling_s is None:
            found.inhaling_s = now
        elif value < 64 and found.inhaling_s is not None:
            found.breaths.append((found.inhaling_s, now))
            found.inhaling_s = None
    elif control in (100, 101):
        found.rpn[control] = value
    elif control in (6, 38) and found.rpn == {100: 0, 101: 0} and value != (2, 0)[control == 38]:
        return "a bend range that is not two semitones"
    return ""
