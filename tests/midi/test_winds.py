from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.midi import winds as winds_module
from pianoeval.midi.io import read_midi
from pianoeval.midi.windline import MAX_BEND_CENTS
from pianoeval.midi.winds import (
    WindPerformance,
    pitch_curve,
    read_winds,
    write_winds,
)
from pianoeval.params import MidiLimits

TICK_S = 1 / 1920
BEND_STEP = MAX_BEND_CENTS / 8192


def winds(
    notes: Sequence[tuple[float, float, int, int]] = ((0.5, 1.0, 69, 80), (1.0, 1.75, 71, 90)),
    bends: Sequence[tuple[float, float]] = (),
    levels: Sequence[tuple[float, float]] = (),
    breaths: Sequence[tuple[float, float]] = (),
    program: int = 71,
) -> WindPerformance:
    on, off, key, velocity = np.asarray(notes, np.float64).reshape(-1, 4).T
    bend_s, cents = np.asarray(bends, np.float64).reshape(-1, 2).T
    level_s, level = np.asarray(levels, np.float64).reshape(-1, 2).T
    return WindPerformance(
        on, off, key.astype(np.int16), velocity.astype(np.int16), bend_s, cents, level_s, level,
        np.asarray(breaths, np.float64).reshape(-1, 2), program,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rotten(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("rot") / "x.mid"
    bends = [(0.5, 0.0), (0.9, 40.0), (1.0, -10.0)]
    write_winds(winds(bends=bends, levels=[(0.0, 0.5), (1.0, 0.9)], breaths=[(0.1, 0.3)]), path)
    return path.read_bytes()


@st.composite
def performances(draw: st.DrawFn) -> WindPerformance:
    n = draw(st.integers(1, 12))
    steps = draw(st.lists(st.integers(2, 900), min_size=2 * n, max_size=2 * n))
    gaps = draw(st.lists(st.sampled_from([0, 0, 40]), min_size=n, max_size=n))
    now, notes = 0, []
    for i in range(n):
        on = now + gaps[i]
        now = on + steps[i]
        velocity = draw(st.integers(1, 127))
        notes.append((on * TICK_S, now * TICK_S, draw(st.integers(0, 127)), velocity))
    times = st.lists(st.integers(0, 4_000), max_size=8).map(sorted)
    bends = [(t * TICK_S, draw(st.floats(-200, 200))) for t in draw(times)]
    levels = [(t * TICK_S, draw(st.floats(0, 1))) for t in draw(times)]
    breaths = [(9.0, 9.25)] if draw(st.booleans()) else []
    return winds(notes, bends, levels, breaths, draw(st.integers(0, 127)))


@settings(max_examples=60, deadline=None)
@given(played=performances())
def test_what_is_written_is_read_and_bytes_repeat(
    tmp_path_factory: pytest.TempPathFactory, played: WindPerformance
) -> None:
    folder = tmp_path_factory.mktemp("winds")
    write_winds(played, folder / "a.mid")
    write_winds(played, folder / "b.mid")
    assert (folder / "a.mid").read_bytes() == (folder / "b.mid").read_bytes()
    again = read_winds(folder / "a.mid")
    for name in ("onset_s", "offset_s", "pitch_midi", "velocity", "breath_time_s"):
        np.testing.assert_allclose(getattr(again, name), getattr(played, name), atol=1e-9)
    assert again.program == played.program
    # Between ticks a curve may be off by what it moves in one; at its own points it is exact, and
    # just after them, because seconds add up with rounding.
    points = played.bend_time_s[np.diff(played.bend_time_s, append=np.inf) > 0] + 1e-8
    np.testing.assert_allclose(again.bend_at(points), played.bend_at(points), atol=1.01 * BEND_STEP)
    points = played.level_time_s[np.diff(played.level_time_s, append=np.inf) > 0] + 1e-8
    np.testing.assert_allclose(again.level_at(points), played.level_at(points), atol=0.51 / 127)
    write_winds(again, folder / "c.mid")
    assert len(read_winds(folder / "c.mid").bend_cents) == len(again.bend_cents)


def test_a_vibrato_survives_within_a_fifth_of_a_cent(tmp_path: Path) -> None:
    time_s = np.arange(0, 2, 0.004)
    cents = 30 * np.sin(2 * np.pi * 5.5 * time_s)
    played = winds([(0.0, 2.0, 74, 100)], list(zip(time_s, cents, strict=True)), program=73)
    write_winds(played, tmp_path / "v.mid")
    fine = np.arange(0.0, 1.99, 0.0007)
    # 0.26 ms of rounding at 1,037 cents a second
    expected = 74 + 0.3 * np.sin(2 * np.pi * 5.5 * fine)
    heard = pitch_curve(read_winds(tmp_path / "v.mid"), fine)
    np.testing.assert_allclose(heard, expected, atol=0.004)


def test_lines_are_drawn_out_for_synthesisers_that_hold_each_value(tmp_path: Path) -> None:
    write_winds(winds(bends=[(0.5, -100.0), (1.0, -100.0), (1.5, 100.0)]), tmp_path / "x.mid")
    bends = pretty_midi.PrettyMIDI(str(tmp_path / "x.mid")).instruments[0].pitch_bends
    moving = [bend.time for bend in bends if bend.time >= 1.0]
    assert len(bends) == 2 + 51  # none between 0.5 and 1.0 s, where it rests
    assert max(np.diff(moving)) < 0.01
    line = [-4096 + 8192 * (time - 1.0) / 0.5 for time in moving]
    np.testing.assert_allclose([bend.pitch for bend in bends[-len(line) :]], line, atol=5)


def steps_one_by_one(time_s: np.ndarray, values: np.ndarray) -> list[tuple[int, int]]:
    ticks = [round(1920 * t) for t in time_s.tolist()]
    found = []
    for i, (tick, value) in enumerate(zip(ticks, values.tolist(), strict=True)):
        if i and value != values[i - 1] and tick > ticks[i - 1]:
            n = -(-(tick - ticks[i - 1]) // 19)
            for k in range(1, n):
                inner = ticks[i - 1] + (tick - ticks[i - 1]) * (k / n)
                found.append(
                    (round(inner), round(values[i - 1] + (value - values[i - 1]) * (k / n)))
                )
        found.append((tick, int(value)))
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(-8192, 8191)), max_size=9))
def test_curves_are_drawn_point_by_point(points: list[tuple[int, int]]) -> None:
    time_s = np.sort(np.asarray([point[0] for point in points], np.float64)) * TICK_S
    values = np.asarray([point[1] for point in points], np.float64)
    expected = steps_one_by_one(time_s, values)
    found = list(winds_module._steps(time_s, values))
    assert [tick for tick, _ in found] == [tick for tick, _ in expected]
    np.testing.assert_allclose([v for _, v in found], [v for _, v in expected], atol=1)  # halves


def test_other_readers_see_the_same_notes(tmp_path: Path) -> None:
    played = winds(
        bends=[(0.5, 20.0)], levels=[(0.0, 0.5)], breaths=[(0.1, 0.4)], program=65
    )  # fmt: skip
    write_winds(played, tmp_path / "x.mid")
    plain = read_midi(tmp_path / "x.mid")
    np.testing.assert_allclose(plain.onset_s, played.onset_s)
    np.testing.assert_allclose(plain.offset_s, played.offset_s)
    assert plain.pitch_midi.tolist() == [69, 71]
    assert len(plain.pedal_value) == 0
    other = pretty_midi.PrettyMIDI(str(tmp_path / "x.mid")).instruments
    assert [instrument.program for instrument in other] == [65]
    assert [(note.pitch, note.velocity) for note in other[0].notes] == [(69, 80), (71, 90)]
    assert [(c.number, c.value) for c in other[0].control_changes if c.number == 11] == [(11, 64)]


def test_the_pitch_curve_by_hand() -> None:
    played = winds(
        [(1.0, 2.0, 60, 64), (2.0, 3.0, 62, 64), (3.5, 4.0, 64, 64)],
        [(1.0, 0.0), (2.0, 100.0), (2.0, -50.0), (3.0, -50.0)],
    )
    time_s = np.asarray([0.99, 1.0, 1.5, 1.999, 2.0, 2.5, 3.0, 3.4, 3.5, 4.0])
    expected = [np.nan, 60, 60.5, 60.999, 61.5, 61.5, np.nan, np.nan, 63.5, np.nan]
    np.testing.assert_allclose(pitch_curve(played, time_s), expected)
    assert pitch_curve(played, np.asarray(1.25)) == 60.25
    bare = winds()
    assert pitch_curve(bare, np.asarray([0.7]))[0] == 69
    assert bare.level_at(np.asarray([0.7]))[0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onset_s": np.asarray([0.5, 0.9])}, "two notes at once"),
        ({"offset_s": np.asarray([0.5, 1.75])}, "shorter than 1 ms"),
        ({"onset_s": np.asarray([np.nan, 1.0])}, "not finite"),
        ({"onset_s": np.asarray([-0.1, 1.0])}, "negative"),
        ({"onset_s": np.asarray([0.5])}, "different numbers"),
        ({"pitch_midi": np.asarray([69, 128], np.int16)}, "pitches"),
        ({"velocity": np.asarray([0, 90], np.int16)}, "velocities"),
        ({"program": 128}, "program 128"),
        ({"bend_time_s": np.zeros(1), "bend_cents": np.asarray([201.0])}, "bends outside"),
        ({"bend_time_s": np.zeros(1), "bend_cents": np.asarray([np.nan])}, "bends outside"),
        ({"bend_time_s": np.asarray([1.0, 0.5]), "bend_cents": np.zeros(2)}, "out of order"),
        ({"bend_time_s": np.zeros(2)}, "2 times of 0 values"),
        ({"level_time_s": np.zeros(1), "level": np.asarray([1.01])}, "levels outside"),
        ({"breath_time_s": np.asarray([[0.5, 0.2]])}, "out of order"),
        ({"breath_time_s": np.asarray([[0.1, 0.3], [0.2, 0.4]])}, "overlap"),
        ({"breath_time_s": np.asarray([[0.1, 0.1]])}, "an inhalation of less"),
        ({"breath_time_s": np.asarray([[0.1, 10.2]])}, "or more than 10 s"),
        ({"breath_time_s": np.zeros(2)}, r"shape \(2,\)"),
    ],
)
def test_what_no_player_can_do_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        write_winds(replace(winds(), **change), tmp_path / "x.mid")
    assert not (tmp_path / "x.mid").exists()
    with pytest.raises(BadInputError, match="no notes"):
        write_winds(winds([]), tmp_path / "x.mid")


def message(kind: str, time: int = 0, **values: int) -> mido.Message:
    return mido.Message(kind, time=time, **values)


PROGRAM = message("program_change", program=71)
NOTE = [message("note_on", note=60, velocity=64), message("note_off", 100, note=60)]


@pytest.mark.parametrize(
    ("messages", "wrong"),
    [
        ([PROGRAM, NOTE[0], message("note_on", 10, note=64, velocity=64)], "two notes at once"),
        ([PROGRAM, NOTE[0], message("note_on", 10, note=60, velocity=64)], "two notes at once"),
        ([PROGRAM, *NOTE, message("note_on", note=62, channel=1)], "several channels"),
        ([PROGRAM, *NOTE, message("program_change", program=73)], "several programs"),
        (NOTE, "no program change"),
        ([PROGRAM, NOTE[0]], "a note without an end"),
        ([PROGRAM, *NOTE, message("control_change", control=20, value=127)], "an inhalation witho"),
        ([PROGRAM, NOTE[0], message("note_off", 0, note=60)], "shorter than 1 ms"),
        ([PROGRAM], "no notes"),
        (
            [
                *(message("control_change", control=c, value=v)
                  for c, v in ((101, 0), (100, 0), (6, 12))),
                PROGRAM,
                *NOTE,
            ],
            "a bend range",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_single_line_are_refused(
    tmp_path: Path, messages: list[mido.Message], wrong: str
) -> None:
    file = mido.MidiFile(type=0, ticks_per_beat=480, tracks=[mido.MidiTrack(messages)])
    file.save(tmp_path / "x.mid")
    with pytest.raises(BadInputError, match=wrong) as caught:
        read_winds(tmp_path / "x.mid")
    assert caught.value.next_step


def test_limits_and_damaged_files(tmp_path: Path) -> None:
    write_winds(winds(), tmp_path / "x.mid")
    data = (tmp_path / "x.mid").read_bytes()
    assert read_winds(data).n_notes == 2
    with pytest.raises(BadInputError, match="truncated"):
        read_winds(data[:-9])
    with pytest.raises(BadInputError, match="max_duration_s") as caught:
        read_winds(data, MidiLimits(max_duration_s=1.5))
    assert caught.value.allowed == "1.5 s (midi.max_duration_s)"
    with pytest.raises(BadInputError, match="more than 1 notes"):
        read_winds(data, MidiLimits(max_notes=1))
    with pytest.raises(BadInputError, match="no such file"):
        read_winds(tmp_path / "none.mid")


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_bit_rot_is_read_or_refused_but_never_crashes(rotten: bytes, at: int, value: int) -> None:
    data = bytearray(rotten)
    data[at % len(data)] = value
    try:
        played = read_winds(bytes(data))
    except BadInputError:
        return
    assert np.isfinite(pitch_curve(played, played.onset_s)).all()
