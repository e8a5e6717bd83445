# ruff: noqa: E501 - payloads read best on a line of their own
"""MIDI files that lie: each known trick once, then seeded random ones that know the grammar."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

Event = tuple[int, bytes]  # delta in ticks, and the message
END = b"\xff\x2f\x00"
TOP = (1 << 28) - 1  # the longest delta that four bytes hold


def number(value: int) -> bytes:
    """A variable-length quantity."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    return name + struct.pack(">I", len(data) if length is None else length) + data


def head(kind: int = 0, tracks: int = 1, division: int = 480) -> bytes:
    return chunk(b"MThd", struct.pack(">HHH", kind, tracks, division))


def track(events: list[Event], end: bool = True) -> bytes:
    data = b"".join(number(delta) + message for delta, message in events)
    return chunk(b"MTrk", data + (b"\x00" + END if end else b""))


def melody(n: int = 12, channel: int = 0) -> list[Event]:
    events: list[Event] = [(0, b"\xff\x51\x03\x07\xa1\x20")]
    for i in range(n):
        key = bytes([48 + 5 * i % 36])
        events += [(30, bytes([0x90 | channel]) + key + b"\x40"),
                   (10, bytes([0xB0 | channel, 64, 127 * (i % 2)])),
                   (200, bytes([0x80 | channel]) + key + b"\x00")]  # fmt: skip
    return events


def meta(kind: int, data: bytes, length: int | None = None) -> bytes:
    return b"\xff" + bytes([kind]) + number(len(data) if length is None else length) + data


def seeds() -> list[bytes]:
    """Good files of several shapes."""
    texts = [(0, meta(kind, b"name")) for kind in range(1, 8)]
    signs = [(0, meta(0x58, b"\x04\x02\x18\x08")), (0, meta(0x59, b"\xfd\x01"))]
    return [
        head() + track(melody()),
        head(1, 3) + track([*texts, *signs]) + track(melody(8)) + track(melody(5, 1)),
        head(0, 1, 96) + track([(0, b"\xf0\x05\x7e\x7f\x09\x01\xf7"), *melody(6)]),
        head() + track([(0, b"\x90\x3c\x40"), *((60, bytes([60 + i % 3, 64 * (i % 2)]))
                                               for i in range(40))]),
        head(1, 2) + track([(0, meta(0x51, struct.pack(">I", 250_000 + 9 * i)[1:]))
                            for i in range(6)]) + track(melody(10)),
    ]  # fmt: skip


def tricks() -> Iterator[tuple[str, bytes]]:
    """One file each."""
    good, on, off = melody(), b"\x90\x3c\x40", b"\x80\x3c\x00"
    yield "empty file", b""
    yield "header alone", head()
    yield "header cut", head()[:9]
    yield "no tracks", head(0, 0)
    yield "65535 tracks", head(1, 65535) + track(good)
    yield "65535 empty tracks", head(1, 65535) + track([]) * 65535
    yield "empty track", head() + chunk(b"MTrk", b"")
    yield "format 2", head(2, 2) + track(good) * 2
    yield "format 65535", head(65535) + track(good)
    for division in (0, 1, 0x7FFF, 0x8000, 0xE728, 0xFFFF):
        yield f"division {division:x}", head(0, 1, division) + track(good)
    yield (
        "header of 1000 bytes",
        chunk(b"MThd", struct.pack(">HHH", 0, 1, 480) + bytes(994)) + track(good),
    )
    yield "header says 2 bytes", chunk(b"MThd", struct.pack(">HHH", 0, 1, 480), 2) + track(good)
    yield "header says 2^32 bytes", chunk(b"MThd", struct.pack(">HHH", 0, 1, 480), 2**32 - 1)
    yield "track says 2^32 bytes", head() + track(good)[:4] + b"\xff\xff\xff\xff" + track(good)[8:]
    yield "track too short", head() + chunk(b"MTrk", track(good)[8:], 9)
    yield "foreign chunks", head() + chunk(b"XFIH", bytes(50)) + track(good) + chunk(b"junk", b"x")
    yield "header twice", head() * 2 + track(good)
    yield "two files", (head() + track(good)) * 2
    yield (
        "RIFF",
        b"RIFF"
        + struct.pack("<I", 400)
        + b"RMIDdata"
        + struct.pack("<I", 300)
        + head()
        + track(good),
    )
    for name, tempo in (("0", b"\0\0\0"), ("longest", b"\xff\xff\xff"), ("1", b"\0\0\1")):
        yield f"tempo {name}", head() + track([(0, meta(0x51, tempo)), *good])
    yield "tempo of 0 bytes", head() + track([(0, meta(0x51, b"")), *good])
    yield "tempo of 9 bytes", head() + track([(0, meta(0x51, bytes(9))), *good])
    yield "longest deltas", head() + track([(TOP, on), (TOP, off)] * 4)
    yield (
        "longest tempo and delta",
        head(0, 1, 1) + track([(0, meta(0x51, b"\xff" * 3)), (TOP, on), (TOP, off)]),
    )
    yield (
        "delta of 9 bytes",
        head() + chunk(b"MTrk", b"\xff" * 9 + b"\x00" + on + b"\x10" + off + b"\0" + END),
    )
    yield (
        "pedal long after",
        head() + track([*good, (TOP, b"\xb0\x40\x7f"), (TOP, b"\xb0\x40\x00")]),
    )
    yield "pedal alone", head() + track([(9, b"\xb0\x40\x7f")] * 50)
    yield "no note off", head() + track([(10, bytes([0x90, 60 + i, 64])) for i in range(40)])
    yield "note off alone", head() + track([(10, off)] * 40)
    yield "drums alone", head() + track(melody(9, 9))
    yield (
        "all at once",
        head()
        + track(
            [(0, bytes([0x90, i, 64])) for i in range(128)]
            + [(9, bytes([0x80, i, 0])) for i in range(128)]
        ),
    )
    yield (
        "every key",
        head()
        + track(
            [e for i in range(128) for e in ((1, bytes([0x90, i, 1])), (99, bytes([0x80, i, 0])))]
        ),
    )
    yield "one key 5000 times", head() + track([(1, on), (1, off)] * 5000)
    yield "one tick", head(0, 1, 32767) + track([(0, on), (1, off)])
    yield "running status from nowhere", head() + chunk(b"MTrk", b"\x00\x3c\x40" * 20)
    yield "data above 127", head() + track([(0, b"\x90\xff\xff"), *good])
    for status in (0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF8, 0xF9, 0xFD, 0xFE):
        yield f"status {status:x}", head() + track([(0, bytes([status, 1, 2])), *good])
    yield "sysex without end", head() + track([(0, b"\xf0\x7f" + bytes(20)), *good])
    yield "sysex of 2^28 bytes", head() + track([(0, b"\xf0" + number(TOP)), *good])
    yield "sysex of 2^63 bytes", head() + track([(0, b"\xf0" + b"\xff" * 9 + b"\x7f"), *good])
    yield "sysex escape", head() + track([(0, b"\xf7\x03\x90\x3c\x40"), *good])
    for kind in range(128):
        yield f"meta {kind:x} of no bytes", head() + track([(0, meta(kind, b"")), *good])
    for kind in (0, 0x20, 0x21, 0x51, 0x54, 0x58, 0x59, 0x7F):
        yield f"meta {kind:x} of FF", head() + track([(0, meta(kind, b"\xff" * 8)), *good])
        yield f"meta {kind:x} beyond the end", head() + track([*good, (0, meta(kind, b"a", TOP))])
    yield "text of 70000", head() + track([(0, meta(1, b"<script>" * 9000)), *good])
    yield "text not UTF-8", head() + track([(0, meta(3, bytes(range(256)))), *good])
    yield "after the end", head() + track([(0, END), *good])
    start = b"\x00\x90\x3c\x40"
    for name, message, count in (
        ("million notes", b"\x01\x3c\x40", 1_000_000), ("5 million notes", b"\x01\x3c\x40", 5_000_000),
        ("8 million program changes", b"\x01\x01", 8_000_000), ("4 million metas", b"\x00\xff\x01\x00", 4_000_000),
        ("200000 pedals", b"\x01\x40\x01\x01\x40\x00", 100_000),
    ):  # fmt: skip
        status = {"8": b"\x00\xc0\x01", "2": b"\x00\xb0\x40\x01"}.get(name[0], b"")
        yield (
            name,
            head()
            + chunk(b"MTrk", start + b"\x60\x3c\x00" + status + message * count + b"\x00" + END),
        )
    yield "too large", head() + track(good) + bytes(17 << 20)


def _random_track(rng: random.Random) -> bytes:
    """Events by the grammar, with values at the edges."""
    events: list[Event] = []
    for _ in range(rng.choice((0, 1, 5, 40, 200))):
        delta = rng.choice((0, 0, 1, 30, 480, rng.randrange(5000), rng.randrange(TOP)))
        key, level = rng.choice((0, 20, 60, 64, 108, 127)), rng.choice((0, 1, 64, 127))
        channel = rng.choice((0, 0, 0, 9, 15))
        message = rng.choice((
            bytes([0x90 | channel, key, level]), bytes([0x80 | channel, key, level]),
            bytes([0xB0 | channel, 64, level]), bytes([0xE0, key, level]), bytes([0xC0, key]),
            meta(0x51, struct.pack(">I", rng.choice((0, 1, 500_000, 0xFFFFFF)))[1:]),
            meta(rng.randrange(128), rng.randbytes(rng.randrange(9))),
            b"\xf0" + number(3) + b"\x01\x02\xf7", bytes([key, level]),
        ))  # fmt: skip
        events.append((delta if rng.random() < 0.02 or delta < 6000 else 9, message))
    return track(events, rng.random() < 0.9)


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> tuple[str, bytes]:
    """One change that knows nothing of the format."""
    place = rng.randrange(max(len(data), 1))
    how = rng.choice(("bit", "byte", "cut", "splice", "double", "insert", "drop", "edges"))
    if how == "bit" and data:
        data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    elif how == "byte" and data:
        data = data[:place] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[place + 1 :]
    elif how == "cut":
        data = data[:place]
    elif how == "splice":
        other = rng.choice(others)
        data = data[:place] + other[rng.randrange(len(other)) :]
    elif how == "double":
        data = data[:place] + data[rng.randrange(place + 1) :]
    elif how == "insert":
        data = data[:place] + rng.randbytes(rng.randrange(1, 20)) + data[place:]
    elif how == "drop":
        data = data[:place] + data[place + rng.randrange(1, 9) :]
    else:
        size = rng.choice((2, 4))
        edge = rng.choice((0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1)) % 2 ** (8 * size)
        data = (
            data[:place] + edge.to_bytes(size, rng.choice(("big", "little"))) + data[place + size :]
        )  # type: ignore[arg-type]
    return how, data


def random_cases(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` files, the same for the same seed."""
    rng = random.Random(seed)
    good = seeds()
    for _ in range(count):
        if rng.random() < 0.4:
            tracks = [_random_track(rng) for _ in range(rng.choice((1, 1, 2, 5)))]
            division = rng.choice((1, 24, 480, 960, 32767))
            data, names = (
                head(rng.choice((0, 1)), len(tracks), division) + b"".join(tracks),
                ["new"],
            )
        else:
            data, names = rng.choice(good), ["old"]
        for _ in range(rng.choice((0, 1, 1, 2, 5)) if names == ["new"] else rng.choice((1, 2, 5))):
            name, data = damaged(data, good, rng)
            names.append(name)
        yield "+".join(names), data
