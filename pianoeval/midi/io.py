"""Read and write piano performances as MIDI: notes and the sustain pedal, nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mido
import numpy as np
from mido.midifiles.meta import KeySignatureError
from numpy.typing import NDArray

from pianoeval.errors import BadInputError
from pianoeval.midi.rawfile import CONTROL, NOTE_OFF, NOTE_ON, Event, mido_events, plain_events
from pianoeval.params import MidiLimits
from pianoeval.provenance import sha256_bytes

SUSTAIN = 64
DRUM_CHANNEL = 9
TICKS_PER_QUARTER = 960
TEMPO_US = 500_000  # 120 quarters a minute: one tick is 0.52 ms
_TICKS_PER_S = TICKS_PER_QUARTER * 1_000_000 / TEMPO_US
_NEXT = "remove the file, or re-export it from its source"
# mido makes an object of every event (0.8 kB, 20 µs), and a file of 16 MB may hold eight million.
# A note is two events; the rest is room for the pedal.
_EVENTS_PER_NOTE = 2.5
_EVENTS_ANYWAY = 10_000
_DATA_BYTES = {
    0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2,
    0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0,
}  # fmt: skip

T = TypeVar("T")
Note = tuple[float, float, int, int]
Pedal = tuple[float, int]


@dataclass(frozen=True, eq=False)
class Performance:
    """Notes sorted by (onset, pitch), and the sustain pedal (CC64, 0..127) as a step curve.

    ``onset_s, offset_s`` : float64 (n,), key press and key release
    ``pitch_midi, velocity`` : int16 (n,); velocity in 1..127
    ``pedal_time_s`` float64 (p,), ``pedal_value`` int16 (p,)
    """

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    pitch_midi: NDArray[np.int16]
    velocity: NDArray[np.int16]
    pedal_time_s: NDArray[np.float64]
    pedal_value: NDArray[np.int16]

    @classmethod
    def from_notes(cls, notes: Iterable[Note], pedal: Iterable[Pedal] = ()) -> Performance:
        """From ``(onset_s, offset_s, pitch, velocity)`` and ``(time_s, value)`` in any order."""
        note_rows = sorted(notes, key=lambda note: (note[0], note[2], note[1], note[3]))
        columns = list(zip(*note_rows, strict=True)) or [(), (), (), ()]
        pedal_rows = sorted(pedal, key=lambda event: event[0])
        times, values = list(zip(*pedal_rows, strict=True)) or [(), ()]
        return cls(
            np.asarray(columns[0], np.float64), np.asarray(columns[1], np.float64),
            np.asarray(columns[2], np.int16), np.asarray(columns[3], np.int16),
            np.asarray(times, np.float64), np.asarray(values, np.int16),
        )  # fmt: skip

    @property
    def n_notes(self) -> int:
        return len(self.onset_s)

    @property
    def end_s(self) -> float:
        """Last key release."""
        return float(self.offset_s.max()) if self.n_notes else 0.0

    def digest(self) -> str:
        """SHA-256 of the musical content: two files that play alike have one digest."""
        arrays = (self.onset_s, self.offset_s, self.pitch_midi, self.velocity,
                  self.pedal_time_s, self.pedal_value)  # fmt: skip
        return sha256_bytes(b"|".join(np.ascontiguousarray(a).tobytes() for a in arrays))


def read_midi(source: Path | bytes, limits: MidiLimits | None = None) -> Performance:
    """Read notes and sustain pedal; drum channel, other controllers and lyrics are ignored.

    A key pressed again before its release ends the earlier note at that moment (one string
    cannot ring twice), and a note never released ends with the last event of the file's notes.

    Raises
    ------
    BadInputError
        Truncated or damaged file, format 2, SMPTE time, no notes, or beyond ``limits``.
    """
    limits = limits or MidiLimits()
    where = "MIDI data" if isinstance(source, bytes) else source
    notes, pedal = decode_midi(source, limits, lambda events: _collect(events, limits, where))
    if not notes:
        raise BadInputError("no notes", where=where, next_step=_NEXT)
    performance = Performance.from_notes(notes, pedal)
    check_duration(performance.end_s, limits, where)
    return performance


def check_duration(end_s: float, limits: MidiLimits, where: Path | str) -> None:
    """Raise BadInputError if that is later than ``midi.max_duration_s``."""
    if end_s > limits.max_duration_s:
        raise BadInputError(
            f"{end_s:.0f} s long", where=where,
            allowed=f"{limits.max_duration_s:g} s (midi.max_duration_s)",
            next_step="cut the file, or raise midi.max_duration_s in params.yaml",
        )  # fmt: skip


def decode_midi(
    source: Path | bytes,
    limits: MidiLimits,
    collect: Callable[[Iterable[Event]], T],
) -> T:
    """What ``collect`` makes of the channel messages of all tracks, in time order, with seconds.

    Raises
    ------
    BadInputError
        Truncated or damaged file, format 2, SMPTE time, or more events than ``limits`` allow.
    """
    where = "MIDI data" if isinstance(source, bytes) else source
    data = _load(source, limits)
    _check_chunks(data, where)
    _check_events(data, where, limits)
    plain = plain_events(data)
    if plain is not None:
        return collect(plain)
    try:
        midi = mido.MidiFile(file=io.BytesIO(data), clip=True)
        if midi.type == 2:
            raise BadInputError("MIDI format 2", where=where, allowed="0 or 1", next_step=_NEXT)
        if midi.ticks_per_beat <= 0:
            raise BadInputError(
                "SMPTE or zero time division", where=where, allowed="ticks a quarter note",
                next_step=_NEXT,
            )  # fmt: skip
        return collect(mido_events(midi))
    except (
        OSError, EOFError, ValueError, LookupError, OverflowError, TypeError, KeySignatureError,
    ) as error:  # fmt: skip
        raise BadInputError(
            f"not readable as MIDI ({type(error).__name__}: {error})", where=where, next_step=_NEXT
        ) from error


def _load(source: Path | bytes, limits: MidiLimits) -> bytes:
    if isinstance(source, bytes):
        size, where = len(source), "MIDI data"
    else:
        if not source.is_file():
            raise BadInputError("no such file", where=source, next_step="check the path")
        size, where = source.stat().st_size, str(source)
    if size == 0:
        raise BadInputError("empty file", where=where, next_step=_NEXT)
    if size > limits.max_bytes:
        raise BadInputError(
            f"{size} bytes", where=where, allowed=f"{limits.max_bytes} (midi.max_bytes)",
            next_step="raise midi.max_bytes in params.yaml if the file is right",
        )  # fmt: skip
    return source if isinstance(source, bytes) else source.read_bytes()


def _check_chunks(data: bytes, where: Path | str) -> None:
    """Refuse a file whose declared chunk lengths run past its end: readers play it cut short."""
    if data[:4] != b"MThd":
        raise BadInputError("not a MIDI file (no MThd header)", where=where, next_step=_NEXT)
    position, tracks = 0, 0
    declared = int.from_bytes(data[10:12], "big")
    while position + 8 <= len(data) and tracks < declared:
        length = int.from_bytes(data[position + 4 : position + 8], "big")
        tracks += data[position : position + 4] == b"MTrk"
        position += 8 + length
        if position > len(data):
            raise BadInputError(
                f"truncated: {position - len(data)} bytes are missing", where=where, next_step=_NEXT
            )
    if tracks < declared:
        raise BadInputError(
            f"truncated: {tracks} of {declared} tracks", where=where, next_step=_NEXT
        )


def _check_events(data: bytes, where: Path | str, limits: MidiLimits) -> None:
    """Refuse a file of more events than can be held, before any is."""
    most = int(_EVENTS_PER_NOTE * limits.max_notes) + _EVENTS_ANYWAY
    if len(data) // 2 > most and _count_events(data, most) > most:
        raise BadInputError(
            f"more than {most} events", where=where,
            allowed=f"{most} ({_EVENTS_PER_NOTE:g} times midi.max_notes, and {_EVENTS_ANYWAY})",
            next_step="raise midi.max_notes in params.yaml if the file is right",
        )  # fmt: skip


def _count_events(data: bytes, most: int) -> int:
    """Events that mido would read, and where it would: past the end of a track that lies, too."""
    events, at = 0, 8 + int.from_bytes(data[4:8], "big")
    while at + 8 <= len(data) and data[at : at + 4] == b"MTrk":
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        at, status = at + 8, 0
        while at != end and at < len(data) and events <= most:
            _, at = _number(data, at)
            events += 1
            kind = data[at] if at < len(data) else 0xFF
            at += kind >= 0x80
            if kind == 0xFF:
                length, at = _number(data, at + 1)
            else:
                is_system = (kind if kind >= 0x80 else status) in (0xF0, 0xF7)
                at += is_system and kind < 0x80
                status = kind if kind >= 0x80 else status
                length = _DATA_BYTES.get(status if status >= 0xF0 else status >> 4, 0)
                if is_system:
                    length, at = _number(data, at)
            at += length
    return events


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length quantity and the place after it; no more of it than a place in a file."""
    value = 0
    while at < len(data):
        value = min(value << 7 | data[at] & 0x7F, len(data))
        at += 1
        if data[at - 1] < 0x80:
            break
    return value, at


def _collect(
    events: Iterable[Event], limits: MidiLimits, where: Path | str
) -> tuple[list[Note], list[Pedal]]:
    held: dict[int, tuple[float, int]] = {}
    notes: list[Note] = []
    pedal: list[Pedal] = []
    last = 0.0
    for now, status, first, second in events:
        kind = status >> 4
        if status & 0xF == DRUM_CHANNEL:
            continue
        if kind in (NOTE_ON, NOTE_OFF):
            last = now
            if first in held:
                onset, velocity = held.pop(first)
                if now > onset:
                    notes.append((onset, now, first, velocity))
            if kind == NOTE_ON and second > 0:
                held[first] = (now, second)
            if len(notes) > limits.max_notes:
                raise BadInputError(
                    "too many notes", where=where, allowed=f"{limits.max_notes} (midi.max_notes)",
                    next_step="raise midi.max_notes in params.yaml if the file is right",
                )  # fmt: skip
        elif kind == CONTROL and first == SUSTAIN:
            pedal.append((now, second))
    notes += [(on, max(last, on + 0.1), key, velocity) for key, (on, velocity) in held.items()]
    return notes, pedal


def write_midi(performance: Performance, path: Path) -> None:
    """Write one track at 960 ticks a quarter and 120 bpm; the same notes give the same bytes."""
    moments: list[tuple[int, int, int, mido.Message]] = []
    for on, off, pitch, velocity in zip(
        performance.onset_s, performance.offset_s, performance.pitch_midi, performance.velocity,
        strict=True,
    ):  # fmt: skip
        start = round(float(on) * _TICKS_PER_S)
        end = max(round(float(off) * _TICKS_PER_S), start + 1)
        key, level = int(pitch), int(velocity)
        moments.append((start, 2, key, mido.Message("note_on", note=key, velocity=level)))
        moments.append((end, 1, key, mido.Message("note_off", note=key, velocity=0)))
    for time_s, value in zip(performance.pedal_time_s, performance.pedal_value, strict=True):
        message = mido.Message("control_change", control=SUSTAIN, value=int(value))
        moments.append((round(float(time_s) * _TICKS_PER_S), 0, 0, message))
    moments.sort(key=lambda moment: moment[:3])
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO_US)])
    now = 0
    for tick, _, _, message in moments:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    path.parent.mkdir(parents=True, exist_ok=True)
    mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_QUARTER, tracks=[track]).save(path)
