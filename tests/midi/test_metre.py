"""Beats and measures of a score MIDI, against a walk from tick to tick."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.midi.io import read_midi
from pianoeval.midi.metre import EQUAL_BEAT_S, EQUAL_BEATS, read_metre

TICKS = 12  # a quarter: small, so that a walk is short
Signature = tuple[int, int, int]  # tick, numerator, denominator
Tempo = tuple[int, int]  # tick, µs a quarter


def write(path: Path, signatures: list[Signature], tempos: list[Tempo], ticks: int = TICKS) -> Path:
    """A file with these events and one note that ends at tick 400."""
    events: list[tuple[int, mido.Message | mido.MetaMessage]] = [
        (0, mido.Message("note_on", note=60, velocity=64)),
        (400, mido.Message("note_off", note=60)),
    ]
    events += [
        (tick, mido.MetaMessage("time_signature", numerator=n, denominator=d))
        for tick, n, d in signatures
    ]
    events += [(tick, mido.MetaMessage("set_tempo", tempo=us)) for tick, us in tempos]
    events.sort(key=lambda event: event[0])
    track, now = mido.MidiTrack(), 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    mido.MidiFile(type=0, ticks_per_beat=ticks, tracks=[track]).save(path)
    return path


def walk(signatures: list[Signature], last: int) -> list[tuple[int, int]]:
    """Beat and measure of every tick up to ``last``, one tick after another."""
    found, starts = [], {tick: (n, d) for tick, n, d in signatures}
    beat, measure, in_beat, in_measure = -1, -1, 0, 0
    size, ticks = 0, 0
    for tick in range(last + 1):
        if tick in starts:
            numerator, denominator = starts[tick]
            size, ticks = numerator, 4 * TICKS // denominator
            if numerator > 3 and numerator % 3 == 0 and denominator in (8, 16):
                size, ticks = numerator // 3, 3 * ticks
            beat, measure, in_beat, in_measure = beat + 1, measure + 1, 0, 0
        elif in_beat == ticks:
            beat, in_beat, in_measure = beat + 1, 0, in_measure + 1
            if in_measure == size:
                measure, in_measure = measure + 1, 0
        in_beat += 1
        found.append((beat, measure))
    return found


signature = st.tuples(st.integers(1, 12), st.sampled_from([2, 4, 8, 16]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), signature), max_size=3, unique_by=lambda s: s[0]),
    signature,
    st.lists(
        st.tuples(st.integers(1, 300), st.integers(100_000, 2_000_000)),
        max_size=3, unique_by=lambda t: t[0],
    ),
)  # fmt: skip
def test_every_tick_lies_where_a_walk_finds_it(
    tmp_path_factory: pytest.TempPathFactory,
    later: list[tuple[int, tuple[int, int]]],
    first: tuple[int, int],
    tempos: list[Tempo],
) -> None:
    signatures = sorted([(0, *first), *((tick, *sign) for tick, sign in later)])
    path = write(tmp_path_factory.mktemp("metre") / "a.mid", signatures, tempos)
    seconds, now, tempo, changes = [], 0.0, 500_000, dict(tempos)
    for tick in range(350):
        tempo = changes.get(tick, tempo)
        seconds.append(now)
        now += tempo / 1e6 / TICKS
    metre = read_metre(path)
    places = metre.locate(np.array(seconds))
    expected = np.array(walk(signatures, 349))
    np.testing.assert_array_equal(places.beat, expected[:, 0])
    np.testing.assert_array_equal(places.measure, expected[:, 1])
    assert metre.source == "written"
    for phase in (places.beat_phase, places.measure_phase):
        assert (phase >= 0).all()
        assert (phase < 1).all()


def test_phases_and_lengths_of_three_four_time(tmp_path: Path) -> None:
    """120 quarters a minute: a beat is half a second."""
    metre = read_metre(write(tmp_path / "a.mid", [(0, 3, 4)], []))
    places = metre.locate(np.array([0.0, 0.25, 0.5, 1.0, 1.5, 1.75]))
    np.testing.assert_array_equal(places.beat, [0, 0, 1, 2, 3, 3])
    np.testing.assert_array_equal(places.measure, [0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(places.beat_phase, [0, 0.5, 0, 0, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(places.measure_phase, [0, 1 / 6, 1 / 3, 2 / 3, 0, 1 / 6], atol=1e-6)
    np.testing.assert_allclose(places.beat_s, 0.5)


def test_compound_time_has_dotted_beats_and_an_upbeat_is_a_measure(tmp_path: Path) -> None:
    upbeat = [(0, 1, 8), (TICKS // 2, 6, 8)]
    metre = read_metre(write(tmp_path / "a.mid", upbeat, [(TICKS // 2, 1_000_000)]))
    places = metre.locate(np.array([0.0, 0.25, 1.7, 1.75, 3.25]))  # dotted quarters of 1.5 s
    np.testing.assert_array_equal(places.beat, [0, 1, 1, 2, 3])
    np.testing.assert_array_equal(places.measure, [0, 1, 1, 1, 2])
    np.testing.assert_allclose(places.beat_s, [0.25, 1.5, 1.5, 1.5, 1.5])


@pytest.mark.parametrize("signatures", [[], [(0, 0, 4)], [(0, 4, 2**40)]])
def test_without_a_usable_time_signature_beats_are_equal_and_said_to_be(
    tmp_path: Path, signatures: list[Signature]
) -> None:
    path = write(tmp_path / "a.mid", signatures, [(100, 123_456)])
    read_midi(path)  # the reader has no objection
    metre = read_metre(path)
    assert metre.source == "equal"
    moments = np.arange(20) * EQUAL_BEAT_S
    places = metre.locate(moments + 0.01)
    np.testing.assert_array_equal(places.beat, np.arange(20))
    np.testing.assert_array_equal(places.measure, np.arange(20) // EQUAL_BEATS)


def test_moments_before_the_file_belong_to_its_first_beat(tmp_path: Path) -> None:
    metre = read_metre(write(tmp_path / "a.mid", [(0, 4, 4)], []))
    places = metre.locate(np.array([-3.0, 0.0]))
    np.testing.assert_array_equal(places.beat, [0, 0])
    np.testing.assert_allclose(places.beat_phase, 0.0, atol=1e-9)
