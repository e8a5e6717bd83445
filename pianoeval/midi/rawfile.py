"""Channel messages of a MIDI file straight from its bytes, and back.

mido makes an object of every event and copies it four times: 20 µs each, and a wind instrument's
bends are thousands. What is read here is what mido reads, to the last bit of a second. A file that
holds anything out of the ordinary (data bytes above 127, unknown meta events, chunks that do not
fit) is left to mido, which has the say about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter

import mido

Event = tuple[float, int, int, int]  # seconds, status byte, data bytes (0 where there is no second)
Moment = tuple[int, int, int, int, int]  # tick, rank within it, status byte, data bytes
_Ticked = tuple[int, int, int, int]

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x8, 0x9, 0xB, 0xC, 0xE  # high half of the status
BEND_ZERO = 8192
_META, _END, _TEMPO = 0xFF, 0x2F, 0x51
_EXCLUSIVE = (0xF0, 0xF7)
_DEFAULT_TEMPO_US = 500_000
_LONGEST_TEXT = 1_000_000  # mido reads no longer one
_PLAIN_LENGTH = {_END: 0, _TEMPO: 3, 0x20: 1, 0x21: 1}  # of meta events with one length
_TEXTS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 0x7F))  # of any length


def plain_events(data: bytes) -> list[Event] | None:
    """Channel messages of all tracks in time order, with seconds; None if mido must judge."""
    kind = int.from_bytes(data[8:10], "big")
    ticks_per_beat = int.from_bytes(data[12:14], "big", signed=True)
    size = int.from_bytes(data[4:8], "big")
    if data[:4] != b"MThd" or size < 6 or kind > 1 or ticks_per_beat <= 0:
        return None
    found: list[_Ticked] = []
    at = 8 + size
    try:
        for _ in range(int.from_bytes(data[10:12], "big", signed=True)):
            if data[at : at + 4] != b"MTrk" or at + 8 > len(data):
                return None
            end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
            if end > len(data) or not _read_track(data, at + 8, end, found):
                return None
            at = end
    except IndexError:  # an event that runs past the end
        return None
    found.sort(key=itemgetter(0))
    return _in_seconds(found, ticks_per_beat)


def _read_track(data: bytes, at: int, end: int, found: list[_Ticked]) -> bool:
    """Add a track's events to ``found``; False if it is none that can be read here."""
    now, status = 0, 0
    while at < end:
        start, delta = at, 0
        while data[at] >= 0x80:
            delta = (delta | data[at] & 0x7F) << 7
            at += 1
            if at - start > 3:  # no delta has more than four bytes
                return False
        now += delta | data[at]
        kind = data[at + 1]
        if kind == _META:
            at = _read_meta(data, at + 2, now, found)
            if not at:
                return False
            continue
        if kind >= 0x80:
            status = kind
            at += 1
        if kind in _EXCLUSIVE:
            length, at = _read_length(data, at + 1)
            if length > _LONGEST_TEXT:
                return False
            found.append((now, _META, kind, 0))
            at += length
            continue
        if not 0x80 <= status < 0xF0:
            return False
        first, second = data[at + 1], 0
        at += 2
        if status < 0xC0 or status >= 0xE0:
            second = data[at]
            at += 1
        if first > 127 or second > 127:
            return False
        found.append((now, status, first, second))
    return at == end


def _read_meta(data: bytes, at: int, now: int, found: list[_Ticked]) -> int:
    """The place after a meta event whose type is at ``at``; 0 if mido must judge.

    Those of no meaning here are kept nevertheless: seconds add up event by event, and each rounds.
    """
    kind = data[at]
    length, at = _read_length(data, at + 1)
    is_plain = _PLAIN_LENGTH.get(kind) == length or (kind in _TEXTS and length <= _LONGEST_TEXT)
    if kind == 0x58:  # time signature: of some denominators mido's logarithm is no whole number
        is_plain = length == 4 and data[at + 1] <= 8
    elif kind == 0x54:  # SMPTE offset
        is_plain = length == 5 and data[at] < 0x80 and max(data[at + 1 : at + 3]) < 60
        is_plain = is_plain and data[at + 4] < 100
    elif kind == 0x59:  # key: sharps or flats, major or minor
        is_plain = length == 2 and (data[at] <= 7 or data[at] >= 249) and data[at + 1] <= 1
    if not is_plain:
        return 0
    if kind == _TEMPO:
        found.append((now, _META, _TEMPO, int.from_bytes(data[at : at + 3], "big")))
    elif kind != _END:
        found.append((now, _META, kind, 0))
    return at + length


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """A length and the place after it; no longer one is read than mido accepts."""
    length = 0
    while data[at] >= 0x80 and length <= _LONGEST_TEXT:
        length = (length | data[at] & 0x7F) << 7
        at += 1
    return length | data[at] & 0x7F, at + 1


def _in_seconds(found: list[_Ticked], ticks_per_beat: int) -> list[Event]:
    """Channel messages with seconds, which add up as they do in mido."""
    events: list[Event] = []
    now, before = 0.0, 0
    scale = _DEFAULT_TEMPO_US * 1e-6 / ticks_per_beat
    for tick, status, first, second in found:
        if tick > before:
            now += (tick - before) * scale
            before = tick
        if status != _META:
            events.append((now, status, first, second))
        elif first == _TEMPO:
            scale = second * 1e-6 / ticks_per_beat
    return events


def mido_events(midi: mido.MidiFile) -> Iterator[Event]:
    """The same of a file that mido has read."""
    now = 0.0
    for message in midi:
        now += message.time
        if not message.is_meta and hasattr(message, "channel"):
            status, first, *second = message.bytes()
            yield now, status, first, second[0] if second else 0


def track_file(moments: Iterable[Moment], ticks_per_beat: int, tempo_us: int) -> bytes:
    """A file of format 0 with channel messages in order of tick and rank, byte for byte as mido's.

    ``moments`` of one tick and rank keep their order. Bytes are not checked.
    """
    track = bytearray(b"\x00\xff\x51\x03" + tempo_us.to_bytes(3, "big"))
    before, running = 0, 0
    for tick, _, status, first, second in sorted(moments, key=itemgetter(0, 1)):
        track += _quantity(tick - before)
        before = tick
        if status != running:
            track.append(status)
            running = status
        track.append(first)
        if status >> 4 not in (PROGRAM, 0xD):
            track.append(second)
    track += b"\x00\xff\x2f\x00"
    header = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01" + ticks_per_beat.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + bytes(track)


def _quantity(value: int) -> bytes:
    """A number as the format writes it: seven bits a byte, the highest first."""
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(value & 0x7F | 0x80)
    return bytes(reversed(found))
