"""Hostile MIDI: read or refused, in bounded time and memory, and nothing else is done."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import hostile_midi
import mido
import pytest
from hostile_run import check, run_cases, write_cases
from hypothesis import given
from hypothesis import strategies as st
from levels import FULL, scale

from pianoeval.errors import BadInputError
from pianoeval.midi.io import _count_events, read_midi
from pianoeval.params import MidiLimits

_QUICK = 12_000  # bytes; larger tricks take seconds and belong to the thorough run


def test_files_that_lie(tmp_path: Path) -> None:
    tricks = [one for one in hostile_midi.tricks() if FULL or len(one[1]) < _QUICK]
    random = hostile_midi.random_cases(scale(120, 900), seed=0)
    cases = write_cases("midi", itertools.chain(tricks, random), tmp_path / "in", ".mid")
    check("MIDI files", run_cases(cases))


def test_files_that_lie_are_rendered_or_refused(tmp_path: Path, instrument_assets: None) -> None:
    random = hostile_midi.random_cases(scale(8, 60), seed=1)
    tricks = [one for one in hostile_midi.tricks() if FULL and len(one[1]) < _QUICK][::4]
    cases = write_cases("rendered", itertools.chain(tricks, random), tmp_path / "in", ".mid")
    check("MIDI files, rendered", run_cases(cases))


def test_a_key_signature_that_there_is_not() -> None:
    data = hostile_midi.head() + hostile_midi.track([(0, b"\xff\x59\x02\xff\xff")])
    with pytest.raises(BadInputError, match="KeySignatureError"):
        read_midi(data)


@pytest.mark.parametrize("filler", [b"\x01\x3c\x40", b"\x01\xff\x01\x00", b"\x00\xf0\x00"])
@pytest.mark.parametrize("length", [None, 1], ids=["honest", "past its end"])
def test_more_events_than_can_be_held_are_refused_unread(filler: bytes, length: int | None) -> None:
    track = hostile_midi.chunk(b"MTrk", b"\x00\x90\x3c\x40" + filler * 20_000, length)
    with pytest.raises(BadInputError, match=r"more than 10250 events .*midi\.max_notes"):
        read_midi(hostile_midi.head() + track, MidiLimits(max_notes=100))


def test_as_many_events_as_allowed_are_read() -> None:
    track = [(1, bytes([60 + i % 2, 64 * (i // 2 % 2)])) for i in range(11_000)]
    data = hostile_midi.head() + hostile_midi.track([(0, b"\x90\x3c\x40"), *track])
    assert read_midi(data, MidiLimits(max_notes=8000)).n_notes > 2000


@given(st.integers(0, 10**6))
def test_events_are_counted_as_mido_reads_them(seed: int) -> None:
    [(_, data)] = hostile_midi.random_cases(1, seed)
    try:
        read = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except Exception:  # noqa: BLE001 - mido's own choice; only what it reads is compared
        return
    assert _count_events(data, 1 << 30) >= sum(len(track) for track in read.tracks)
    if data.count(b"MTrk") == len(read.tracks):
        assert _count_events(data, 1 << 30) == sum(len(track) for track in read.tracks)
