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

import mido
import numpy as np

from pianoeval.errors import BadInputError
from pianoeval.midi.io import TEMPO_US, TICKS_PER_QUARTER, check_duration, decode_midi
from pianoeval.midi.windline import F8, MAX_BEND_CENTS, check_winds
from pianoeval.midi.windline import WindPerformance as WindPerformance
from pianoeval.midi.windline import pitch_curve as pitch_curve
from pianoeval.params import MidiLimits

Message = mido.Message

EXPRESSION, INHALATION = 11, 20
_BEND_STEPS = 8192
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
    moments = [(0, 0, Message("program_change", program=int(performance.program)))]
    moments += [(0, 0, _control(number, value)) for number, value in _RPN_BEND_RANGE]
    moments += _note_moments(performance)
    for edges_s in performance.breath_time_s:
        moments.append((_tick(edges_s[0]), 3, _control(INHALATION, 127)))
        moments.append((_tick(edges_s[1]), 2, _control(INHALATION, 0)))
    bends = np.rint(performance.bend_cents / MAX_BEND_CENTS * _BEND_STEPS)
    for tick, value in _steps(performance.bend_time_s, np.clip(bends, None, _BEND_STEPS - 1)):
        moments.append((tick, 4, Message("pitchwheel", pitch=value)))
    for tick, value in _steps(performance.level_time_s, np.rint(performance.level * 127)):
        moments.append((tick, 4, _control(EXPRESSION, value)))
    moments.sort(key=lambda moment: moment[:2])
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO_US)])
    now = 0
    for tick, _, message in moments:
        track.append(message.copy(skip_checks=True, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    path.parent.mkdir(parents=True, exist_ok=True)
    mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_QUARTER, tracks=[track]).save(path)


def _note_moments(performance: WindPerformance) -> list[tuple[int, int, mido.Message]]:
    """A note's end comes before, its beginning after all else that happens at its tick."""
    moments = []
    for on, off, pitch, velocity in zip(
        performance.onset_s, performance.offset_s, performance.pitch_midi, performance.velocity,
        strict=True,
    ):  # fmt: skip
        key = int(pitch)
        moments.append((_tick(on), 5, Message("note_on", note=key, velocity=int(velocity))))
        moments.append((_tick(off), 1, Message("note_off", note=key, velocity=0)))
    return moments


def _tick(time_s: float) -> int:
    return round(float(time_s) * _TICKS_PER_S)


def _control(control: int, value: int) -> mido.Message:
    return Message("control_change", control=control, value=value)


def _steps(time_s: F8, values: F8) -> Iterator[tuple[int, int]]:
    """Ticks and whole values of a curve: its points, and more where it moves."""
    ticks = np.rint(time_s * _TICKS_PER_S).astype(np.int64)
    for i, (tick, value) in enumerate(zip(ticks, values, strict=True)):
        if i and value != values[i - 1] and tick > ticks[i - 1]:
            n = -((ticks[i - 1] - tick) // _MOST_TICKS)
            between = np.arange(1, n) / n
            inner = np.rint(ticks[i - 1] + (tick - ticks[i - 1]) * between).astype(int)
            line = np.rint(values[i - 1] + (value - values[i - 1]) * between).astype(int)
            yield from zip(inner.tolist(), line.tolist(), strict=True)
        yield int(tick), int(value)


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
        bend_time_s, bends * MAX_BEND_CENTS / _BEND_STEPS, level_time_s, levels / 127,
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


def _collect(
    events: Iterable[tuple[float, mido.Message]], limits: MidiLimits, where: Path | str
) -> _Found:
    found, channels = _Found(), set()
    for now, message in events:
        if message.is_meta or not hasattr(message, "channel"):
            continue
        channels.add(message.channel)
        wrong = "several channels" if len(channels) > 1 else _take(found, now, message)
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


def _take(found: _Found, now: float, message: mido.Message) -> str:
    """Add a message to what has been found; what is wrong with it, or nothing."""
    if message.type == "pitchwheel":
        found.bends.append((now, message.pitch))
    elif message.type == "control_change":
        return _take_control(found, now, message.control, message.value)
    elif message.type == "program_change":
        if found.program not in (-1, message.program):
            return "several programs"
        found.program = message.program
    elif message.type == "note_on" and message.velocity > 0:
        if found.held:
            return "two notes at once"
        found.held = (now, message.note, message.velocity)
    elif message.type in ("note_on", "note_off") and found.held and found.held[1] == message.note:
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
