from __future__ import annotations

import contextlib
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance, read_midi, write_midi
from pianoeval.params import MidiLimits

TICK_S = 1 / 1920


def save(tmp_path: Path, *messages: mido.Message, **options: int) -> Path:
    midi = mido.MidiFile(type=options.get("type", 0), ticks_per_beat=480)
    midi.tracks.append(mido.MidiTrack(messages))
    path = tmp_path / "x.mid"
    midi.save(path)
    return path


def on(note: int, time: int = 0, velocity: int = 64, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=note, velocity=velocity, time=time, channel=channel)


def off(note: int, time: int, channel: int = 0) -> mido.Message:
    return mido.Message("note_off", note=note, time=time, channel=channel)


notes = st.lists(
    st.tuples(
        st.integers(0, 20_000), st.integers(1, 4_000), st.integers(0, 127), st.integers(1, 127)
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda note: (note[0] // 4_001, note[2]),  # no two on one key at one time
)


@settings(max_examples=50, deadline=None)
@given(rows=notes)
def test_what_is_written_is_read_and_bytes_repeat(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, int]]
) -> None:
    rows = [(4_001 * (start // 4_001), length, key, level) for start, length, key, level in rows]
    performance = Performance.from_notes(
        [(start * TICK_S, (start + length) * TICK_S, key, vel) for start, length, key, vel in rows],
        [(0.25, 17), (0.5, 127)],
    )
    folder = tmp_path_factory.mktemp("midi")
    write_midi(performance, folder / "a.mid")
    write_midi(performance, folder / "b.mid")
    assert (folder / "a.mid").read_bytes() == (folder / "b.mid").read_bytes()
    again = read_midi(folder / "a.mid")
    np.testing.assert_allclose(again.onset_s, performance.onset_s, atol=1e-9)
    np.testing.assert_allclose(again.offset_s, performance.offset_s, atol=1e-9)
    np.testing.assert_array_equal(again.pitch_midi, performance.pitch_midi)
    np.testing.assert_array_equal(again.velocity, performance.velocity)
    np.testing.assert_array_equal(again.pedal_value, [17, 127])


def test_a_key_struck_again_ends_the_earlier_note(tmp_path: Path) -> None:
    path = save(tmp_path, on(60), on(60, 480), off(60, 480), off(60, 480))
    got = read_midi(path)
    np.testing.assert_allclose(got.onset_s, [0.0, 0.5])
    np.testing.assert_allclose(got.offset_s, [0.5, 1.0])


def test_a_note_never_released_ends_with_the_last_event(tmp_path: Path) -> None:
    got = read_midi(save(tmp_path, on(60), on(64, 480), off(64, 480)))
    np.testing.assert_allclose(got.offset_s, [1.0, 1.0])


def test_drums_and_other_controllers_are_ignored(tmp_path: Path) -> None:
    volume = mido.Message("control_change", control=7, value=0)
    got = read_midi(save(tmp_path, volume, on(40, channel=9), on(60), off(60, 480)))
    assert got.pitch_midi.tolist() == [60]
    assert len(got.pedal_value) == 0


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((), "no notes"),
        ((mido.Message("control_change", control=64, value=99, time=9),), "no notes"),
        ((on(40, channel=9), off(40, 9, channel=9)), "no notes"),
        ((on(60), off(60, 480 * 2 * 3600 * 10)), "36000 s long"),
        ((on(60), off(60, 480), on(62, 480 * 2 * 3600 * 10), off(62, 9)), "3600[01] s long"),
    ],
)
def test_useless_files_are_refused(
    tmp_path: Path, messages: tuple[mido.Message, ...], reason: str
) -> None:
    with pytest.raises(BadInputError, match=reason) as caught:
        read_midi(save(tmp_path, *messages))
    assert "next:" in str(caught.value)


def test_an_end_of_track_hours_away_does_no_harm(tmp_path: Path) -> None:
    end = mido.MetaMessage("end_of_track", time=480 * 2 * 3600 * 10)
    assert read_midi(save(tmp_path, on(60), off(60, 480), end)).end_s == 0.5


def test_limits(tmp_path: Path) -> None:
    path = save(tmp_path, *[m for n in range(20) for m in (on(60, 1), off(60, 1))])
    with pytest.raises(BadInputError, match=r"10 \(midi\.max_notes\)"):
        read_midi(path, MidiLimits(max_notes=10))
    with pytest.raises(BadInputError, match=r"midi\.max_bytes"):
        read_midi(path, MidiLimits(max_bytes=10))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = save(tmp_path, on(60), off(60, 480), on(62), off(62, 480)).read_bytes()
    for length in range(len(data)):
        with pytest.raises(BadInputError):
            read_midi(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"RIFF....", b"MThd" + bytes(40),
        b"MThd\x00\x00\x00\x06\x00\x02\x00\x01\x01\xe0MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\xe7\x28MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
    ],
)  # fmt: skip
def test_damaged_headers_are_refused(data: bytes) -> None:
    with pytest.raises(BadInputError):
        read_midi(data)


@settings(max_examples=300, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 255)), min_size=1, max_size=6))
def test_bit_rot_is_read_or_refused_but_never_crashes(flips: list[tuple[int, int]]) -> None:
    data = bytearray(
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk\x00\x00\x00\x26"
        b"\x00\x90\x3c\x40\x83\x60\x80\x3c\x00\x00\x90\x3e\x40\x83\x60\x80\x3e\x00"
        b"\x00\xb0\x40\x7f\x00\x90\x40\x40\x83\x60\x80\x40\x00\x00\xff\x2f\x00\x00"
    )
    for position, mask in flips:
        data[position % len(data)] ^= mask
    with contextlib.suppress(BadInputError):
        assert read_midi(bytes(data)).n_notes > 0
