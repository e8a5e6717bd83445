from __future__ import annotations

import io
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.midi.io import read_midi
from pianoeval.midi.rawfile import Event, mido_events, plain_events, track_file


def of_mido(data: bytes) -> list[Event]:
    return list(mido_events(mido.MidiFile(file=io.BytesIO(data), clip=True)))


def file_of(*tracks: bytes, kind: int = 1, division: int = 480) -> bytes:
    head = b"MThd\0\0\0\6" + b"".join(n.to_bytes(2, "big") for n in (kind, len(tracks), division))
    return head + b"".join(b"MTrk" + len(t).to_bytes(4, "big") + t for t in tracks)


SEVEN = st.integers(0, 127)
CHANNEL = st.builds(
    lambda status, first, second: bytes(
        [status, first] if 0xC0 <= status < 0xE0 else [status, first, second]
    ),
    st.integers(0x80, 0xEF), SEVEN, SEVEN,
)  # fmt: skip
TEXT = st.binary(max_size=200).map(lambda text: mido.midifiles.meta.encode_variable_int(len(text))
                                   + list(text)).map(bytes)  # fmt: skip
META = st.one_of(
    st.builds(lambda kind, text: bytes([0xFF, kind]) + text, st.sampled_from([*range(1, 8), 9,
              0x7F]), TEXT),
    st.binary(min_size=3, max_size=3).map(lambda tempo: b"\xff\x51\x03" + tempo),
    st.builds(lambda n, d: bytes([0xFF, 0x58, 4, n, d, 24, 8]), SEVEN, st.integers(0, 8)),
    st.builds(lambda f, m: bytes([0xFF, 0x59, 2, f % 256, m]), st.integers(-7, 7),
              st.integers(0, 1)),
    st.builds(lambda h, m, s, f: bytes([0xFF, 0x54, 5, h, m, s, f, 99]), SEVEN, st.integers(0, 59),
              st.integers(0, 59), st.integers(0, 255)),
    st.sampled_from([b"\xff\x2f\x00", b"\xff\x20\x01\x05", b"\xff\x21\x01\x00"]),
)  # fmt: skip
EXCLUSIVE = st.builds(lambda kind, text: bytes([kind]) + text, st.sampled_from([0xF0, 0xF7]), TEXT)
STEP = st.one_of(st.just(0), st.integers(0, 500), st.integers(0, 2**28 - 1))


def track_of(events: list[tuple[int, bytes]], is_running: bool) -> bytes:
    track, before = bytearray(), 0
    for step, event in events:
        track += bytes(mido.midifiles.meta.encode_variable_int(step))
        repeated = is_running and event[0] == before and event[0] < 0xF0
        track += event[1:] if repeated else event
        before = event[0] if event[0] != 0xFF else before
    return bytes(track)


TRACK = st.builds(
    track_of, st.lists(st.tuples(STEP, st.one_of(CHANNEL, CHANNEL, META, EXCLUSIVE)), max_size=25),
    st.booleans(),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(tracks=st.lists(TRACK, min_size=1, max_size=3), division=st.integers(1, 32767))
def test_plain_files_are_read_to_the_last_bit_as_mido_does(
    tracks: list[bytes], division: int
) -> None:
    data = file_of(*tracks, division=division)
    assert plain_events(data) == of_mido(data)


@settings(max_examples=300, deadline=None)
@given(
    tracks=st.lists(TRACK, min_size=1, max_size=2),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, 3),
)
def test_what_is_read_of_a_damaged_file_is_what_mido_reads(
    tracks: list[bytes], changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(file_of(*tracks))
    for at, value in changes:
        data[at % len(data)] = value
    read = plain_events(bytes(data[: len(data) - cut]))
    if read is not None:  # mido would raise where it reads nothing
        assert read == of_mido(bytes(data[: len(data) - cut]))


NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x00"


@pytest.mark.parametrize(
    "track",
    [
        NOTE + b"\x10\xff\x60\x01\x00" + NOTE,  # an unknown meta event: mido forgets its delta
        NOTE + b"\x00\xff\x51\x02\x07\xa1",
        NOTE + b"\x00\xff\x58\x04\x04\x1d\x18\x08",  # log(2 ** 29, 2) is not 29
        NOTE + b"\x00\xff\x59\x02\x08\x00",
        NOTE + b"\x00\xff\x54\x05\x00\x3c\x00\x00\x00",
        NOTE + b"\x00\x90\x3c\x80",  # a data byte above 127
        NOTE + b"\x00\xf1\x00",
        b"\x00\x3c\x40",  # a running status of nothing
        b"\x00\xf0\x01\xf7\x00\x01\xf7",  # and of a system exclusive message
        b"\x80\x80\x80\x80\x00\x90\x3c\x40",
        NOTE + b"\x00\xff",
    ],
)
def test_whatever_is_out_of_the_ordinary_is_left_to_mido(track: bytes) -> None:
    assert plain_events(file_of(track)) is None
    assert plain_events(file_of(NOTE)) == [(0.0, 0x90, 60, 64), (0.1, 0x80, 60, 0)]


@pytest.mark.parametrize("kind", [2, 5])
def test_other_formats_and_divisions_are_left_to_mido(kind: int) -> None:
    assert plain_events(file_of(NOTE, kind=kind)) is None
    assert plain_events(file_of(NOTE, division=0xE728)) is None
    assert plain_events(file_of(NOTE)[:-1]) is None
    assert plain_events(b"RIFF") is None


def test_a_delta_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(BadInputError, match="OverflowError"):
        read_midi(file_of(b"\x00\x90\x3c\x40" + b"\xff" * 200 + b"\x7f\x80\x3c\x00"))


MOMENTS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.integers(0x80, 0xEF), SEVEN, SEVEN),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(moments=MOMENTS)
def test_written_files_are_those_of_mido(
    tmp_path_factory: pytest.TempPathFactory, moments: list[tuple[int, int, int, int, int]]
) -> None:
    track, before = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=400_000)]), 0
    for tick, _, status, *values in sorted(moments, key=lambda moment: moment[:2]):
        used = values[:1] if 0xC0 <= status < 0xE0 else values
        track.append(mido.Message.from_bytes([status, *used], time=tick - before))
        before = tick
    path: Path = tmp_path_factory.mktemp("raw") / "x.mid"
    mido.MidiFile(type=0, ticks_per_beat=960, tracks=[track]).save(path)
    assert track_file(moments, 960, 400_000) == path.read_bytes()
