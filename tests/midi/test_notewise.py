"""Columns of notes: a deadpan performance deviates nowhere, and known deviations are measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance
from pianoeval.midi.notewise import DIFFERENCE, NOTE_FEATURES, OWN, SCORE, NoteTable, note_table

Row = tuple[float, float, int, int]
COLUMNS = [name for block in NOTE_FEATURES.values() for name in block]


@pytest.fixture
def score() -> Performance:
    """Sixteen seconds of two-note chords, four to the second; one voice two octaves up."""
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    for index in range(64):
        onset, root = 0.25 * index, int(rng.integers(40, 52))
        rows += [(onset, onset + 0.2, root, 64), (onset, onset + 0.2, root + 24, 64)]
    return Performance.from_notes(rows)


def change(score: Performance, how: Callable[[int, float, float, int, int], Row]) -> Performance:
    rows = zip(score.onset_s, score.offset_s, score.pitch_midi, score.velocity, strict=True)
    return Performance.from_notes(
        [how(i, float(on), float(off), int(key), int(vel)) for i, (on, off, key, vel) in
         enumerate(rows)]
    )  # fmt: skip


def finite(notes: NoteTable, name: str) -> np.ndarray:
    values = notes.columns[name]
    return values[np.isfinite(values)]


def test_a_deadpan_performance_deviates_nowhere(score: Performance) -> None:
    notes = note_table(score, score)
    assert list(notes.columns) == COLUMNS
    assert len({*OWN, *SCORE, *DIFFERENCE}) == len(COLUMNS)
    for name in DIFFERENCE:
        np.testing.assert_allclose(finite(notes, name), 0.0, atol=1e-6, err_msg=name)
    assert (notes.columns["matched"] == 1).all()
    assert (notes.columns["has_score"] == 1).all()
    np.testing.assert_array_equal(notes.beat, np.arange(128) // 4)  # equal beats of 0.5 s
    np.testing.assert_array_equal(notes.measure, np.arange(128) // 16)
    assert notes.metre == "equal"


def test_half_the_speed_is_one_octave_of_tempo_and_no_other_length(score: Performance) -> None:
    slow = change(score, lambda i, on, off, key, vel: (2 * on, 2 * off, key, vel))
    notes = note_table(slow, score)
    np.testing.assert_allclose(notes.columns["tempo"], -1.0, atol=1e-6)
    for name in ("tempo_change", "tempo_step", "length_deviation", "onset_deviation"):
        np.testing.assert_allclose(finite(notes, name), 0.0, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(finite(notes, "ioi"), -1.0, atol=1e-9)  # half a second
    np.testing.assert_allclose(finite(notes, "score_ioi"), -1.0, atol=1e-6)  # half a beat


def test_a_shift_changes_nothing(score: Performance) -> None:
    later = change(score, lambda i, on, off, key, vel: (on + 100, off + 100, key, vel))
    here, there = note_table(score, score), note_table(later, score)
    for name in COLUMNS:
        np.testing.assert_allclose(there.columns[name], here.columns[name], atol=1e-5)
    np.testing.assert_array_equal(there.beat, here.beat)


def test_a_loud_long_note_is_found_where_it_is(score: Performance) -> None:
    def one(i: int, on: float, off: float, key: int, vel: int) -> Row:
        return (on, on + 0.4, key, 100) if i == 41 else (on, off, key, vel)

    notes = note_table(change(score, one), score)
    assert np.flatnonzero(notes.columns["velocity_deviation"] != 0).tolist() == [41]
    assert notes.columns["velocity_deviation"][41] == 36
    assert notes.columns["length_deviation"][41] == pytest.approx(1.0, abs=1e-6)
    assert int(np.nanargmax(notes.columns["velocity_accent"])) == 41


def test_a_late_chord_is_late_and_a_lagging_note_lags(score: Performance) -> None:
    def late(i: int, on: float, off: float, key: int, vel: int) -> Row:
        delay = 0.08 if i // 2 == 20 else 0.02 if i == 61 else 0.0
        return on + delay, off + delay, key, vel

    notes = note_table(change(score, late), score)
    deviation = notes.columns["onset_deviation"]
    assert set(np.argsort(deviation)[-2:]) == {40, 41}
    assert deviation[40] == pytest.approx(0.08, abs=0.015)
    lag = notes.columns["chord_lag"]
    assert np.argmax(lag) == 61
    assert lag[61] - lag[60] == pytest.approx(0.02)
    assert notes.columns["lag"][61] == pytest.approx(0.02)


def test_a_slow_bar_is_slow_there_and_not_elsewhere(score: Performance) -> None:
    def rubato(i: int, on: float, off: float, key: int, vel: int) -> Row:
        warp = np.interp([on, off], [0, 6, 10, 16.5], [0, 6, 14, 20.5])
        return float(warp[0]), float(warp[1]), key, vel

    notes = note_table(change(score, rubato), score)
    at = notes.columns["tempo"]
    second = np.repeat(0.25 * np.arange(64), 2)
    np.testing.assert_allclose(at[(second > 7.5) & (second < 8.5)], -1.0, atol=0.1)
    np.testing.assert_allclose(at[second < 3], 0.0, atol=0.05)
    # Half tempo for a quarter of the score: the clip as a whole takes 19.75 s instead of 15.75 s.
    overall = np.log2(15.75 / 19.75)
    np.testing.assert_allclose(notes.columns["tempo_change"], at - overall, atol=1e-6)


def test_a_wrong_note_keeps_its_place_and_the_one_it_replaced_is_missed(
    score: Performance,
) -> None:
    def wrong(i: int, on: float, off: float, key: int, vel: int) -> Row:
        return (on, off, 108, vel) if i == 31 else (on, off, key, vel)

    notes = note_table(change(score, wrong), score)
    assert np.flatnonzero(notes.columns["matched"] == 0).tolist() == [31]
    assert np.isnan(notes.columns["velocity_deviation"][31])
    assert notes.beat[31] == 31 // 4
    assert notes.columns["tempo"][31] == pytest.approx(0.0, abs=1e-6)
    assert np.flatnonzero(notes.columns["missing"] == 1).tolist() == [30]


def test_without_a_score_there_is_the_playing_alone(score: Performance) -> None:
    notes = note_table(score)
    assert notes.metre == "none"
    assert (notes.columns["has_score"] == 0).all()
    assert (notes.columns["matched"] == 0).all()
    for name in (*SCORE, *DIFFERENCE):
        if name not in ("has_score", "matched"):
            assert np.isnan(notes.columns[name]).all(), name
    with_score = note_table(score, score)
    for name in OWN:
        np.testing.assert_array_equal(notes.columns[name], with_score.columns[name])


def test_a_score_without_a_common_note_leaves_the_deviations_empty() -> None:
    low = Performance.from_notes([(0.5 * i, 0.5 * i + 0.4, 30 + i, 64) for i in range(4)])
    high = Performance.from_notes([(0.5 * i, 0.5 * i + 0.4, 90 + i, 64) for i in range(4)])
    notes = note_table(high, low)
    assert (notes.columns["matched"] == 0).all()
    assert all(np.isnan(notes.columns[name]).all() for name in DIFFERENCE)
    assert (notes.columns["has_score"] == 1).all()
    with pytest.raises(BadInputError, match="no notes"):
        note_table(high, Performance.from_notes([]))
    with pytest.raises(BadInputError, match="no notes"):
        note_table(Performance.from_notes([]))


note = st.tuples(st.floats(0, 8), st.floats(0.01, 2), st.integers(50, 58), st.integers(1, 127)).map(
    lambda n: (n[0], n[0] + n[1], n[2], n[3])
)
notes_of = st.lists(note, min_size=1, max_size=25)
pedal_of = st.lists(st.tuples(st.floats(0, 9), st.integers(0, 127)), max_size=8)


@settings(max_examples=80, deadline=None)
@given(notes_of, pedal_of, notes_of)
def test_any_notes_give_finite_or_absent_values_in_the_order_of_beats(
    rows: list[Row], pedal: list[tuple[float, int]], written: list[Row]
) -> None:
    played = Performance.from_notes(rows, pedal)
    for notes in (note_table(played), note_table(played, Performance.from_notes(written))):
        assert all(len(v) == len(rows) and not np.isinf(v).any() for v in notes.columns.values())
        for mark in (notes.beat, notes.measure):
            assert mark[0] == 0
            assert set(np.diff(mark)) <= {0, 1}
        # a beat lies in one measure
        assert len(set(zip(notes.beat, notes.measure, strict=True))) == notes.beat[-1] + 1
        assert sorted(notes.columns["pitch"]) == sorted(row[2] for row in rows)


@settings(max_examples=60, deadline=None)
@given(notes_of, pedal_of)
def test_columns_of_the_playing_are_as_reckoned_note_by_note(
    rows: list[Row], pedal: list[tuple[float, int]]
) -> None:
    """A literal twin of the pedal, lengths and chord columns."""
    rows = sorted((round(on, 3), round(off, 3) + 0.01, key, vel) for on, off, key, vel in rows)
    pedal = sorted((round(time, 3), value) for time, value in pedal)
    notes = note_table(Performance.from_notes(rows, pedal))
    first = rows[0][0]
    order = sorted(range(len(rows)), key=lambda i: (int((rows[i][0] - first) / 0.5 + 1e-6),
                                                    rows[i][0], rows[i][2]))  # fmt: skip
    starts: list[float] = []
    chord_of = []
    for on, *_ in rows:
        if not starts or on - starts[-1] > 0.04 + 1e-9:
            starts.append(on)
        chord_of.append(len(starts) - 1)

    def pedal_at(time: float) -> int:
        return next((value for t, value in reversed(pedal) if t <= time + 1e-9), 0)

    last = max(row[1] for row in rows)
    for place, i in enumerate(order):
        on, off, key, vel = rows[i]
        chord = chord_of[i]
        if abs(on - starts[chord] - 0.04) < 1e-6:
            return  # on the edge of a chord: rounding decides
        end = starts[chord + 1] if chord + 1 < len(starts) else last
        inside = [value for t, value in pedal if starts[chord] < t <= end]
        expected = {
            "pitch": key, "velocity": vel, "held": np.log2(off - on),
            "lag": on - starts[chord], "chord_size": chord_of.count(chord),
            "pedal_onset": pedal_at(on) / 127, "pedal_offset": pedal_at(off) / 127,
            "pedal_low": min([pedal_at(starts[chord]), *inside]) / 127,
        }  # fmt: skip
        if chord + 1 < len(starts):
            expected["ioi"] = np.log2(starts[chord + 1] - starts[chord])
        for name, value in expected.items():
            assert notes.columns[name][place] == pytest.approx(value, abs=1e-5), name
