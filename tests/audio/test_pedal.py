"""Half pedal against values worked out by hand, and properties that hold for any performance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.audio.pedal import damper_t60_s, damping, damping_fraction
from pianoeval.errors import ConfigError
from pianoeval.midi.io import Performance

T60_C4 = 0.25


def test_damper_curve() -> None:
    np.testing.assert_allclose(damping_fraction([0, 25, 55, 85, 127], 25, 85), [1, 1, 0.125, 0, 0])
    np.testing.assert_allclose(damper_t60_s([21, 60, 88, 90]), [0.55, 0.25, 0.12, np.inf])
    with pytest.raises(ConfigError, match="half_pedal_low"):
        damping_fraction([0], 64, 64)


def test_no_pedal_ends_after_one_t60() -> None:
    ends = damping(Performance.from_notes([(1.0, 2.0, 60, 64)])).ends_s()
    np.testing.assert_allclose(ends, [2.0 + T60_C4])


def test_full_pedal_holds_until_it_is_lifted() -> None:
    held = Performance.from_notes([(1.0, 2.0, 60, 64)], [(0.5, 127), (5.0, 0)])
    np.testing.assert_allclose(damping(held).ends_s(), [5.0 + T60_C4])
    kept = Performance.from_notes([(1.0, 2.0, 60, 64)], [(0.5, 127)])
    assert np.isinf(damping(kept).ends_s()).all()


def test_half_pedal_damps_at_an_eighth() -> None:
    half = Performance.from_notes([(1.0, 2.0, 60, 64)], [(0.0, 55)])
    damped = damping(half)
    np.testing.assert_allclose(damped.ends_s(), [2.0 + 8 * T60_C4])
    # 60 dB / 0.25 s / 8 = 30 dB/s
    np.testing.assert_allclose(damped.attenuation_db(0, [1.5, 2.0, 2.5, 3.0]), [0, 0, 15, 30])


def test_pedal_caught_late_keeps_what_is_left() -> None:
    # Released at 2.0; 0.1 s of full damping (24 dB), then the pedal goes down until 4.0.
    caught = Performance.from_notes([(1.0, 2.0, 60, 64)], [(2.1, 127), (4.0, 0)])
    damped = damping(caught)
    np.testing.assert_allclose(damped.attenuation_db(0, [2.1, 3.0, 4.0]), [24, 24, 24])
    np.testing.assert_allclose(damped.ends_s(), [4.0 + T60_C4 - 0.1])


def test_same_key_struck_again_ends_the_older_note() -> None:
    twice = Performance.from_notes(
        [(0.0, 0.5, 60, 64), (1.0, 1.5, 60, 64), (1.2, 1.4, 62, 64)], [(0.0, 127)]
    )
    damped = damping(twice)
    np.testing.assert_allclose(damped.ends_s()[0], 1.0 + 60 / 250)
    np.testing.assert_allclose(damped.attenuation_db(0, [0.9, 1.0, 1.1]), [0, 0, 25])
    assert np.isinf(damped.ends_s()[1:]).all()
    overlapping = Performance.from_notes([(0.0, 3.0, 60, 64), (1.0, 2.0, 60, 64)])
    np.testing.assert_allclose(damping(overlapping).release_s, [1.0, 2.0])


def test_no_dampers_above_key_89() -> None:
    top = damping(Performance.from_notes([(0.0, 0.1, 89, 64), (0.0, 0.1, 90, 64)]))
    assert np.isfinite(top.ends_s()[0])
    assert np.isinf(top.ends_s()[1])
    np.testing.assert_allclose(top.attenuation_db(1, [0.1, 5.0]), [0, 0])


def test_last_of_simultaneous_pedal_events_counts() -> None:
    events = Performance.from_notes([(0.0, 1.0, 60, 64)], [(0.5, 0), (0.5, 127)])
    assert np.isinf(damping(events).ends_s()).all()


def test_treble_is_damped_faster() -> None:
    ends = damping(Performance.from_notes([(0, 1, pitch, 64) for pitch in range(21, 89)])).ends_s()
    assert (np.diff(ends) <= 1e-12).all()


notes = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0.01, 5), st.integers(21, 108), st.integers(1, 127)).map(
        lambda n: (n[0], n[0] + n[1], n[2], n[3])
    ),
    min_size=1,
    max_size=20,
)
pedals = st.lists(st.tuples(st.floats(0, 25), st.integers(0, 127)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(notes, pedals)
def test_ends_agree_with_the_attenuation(rows: list, pedal: list) -> None:  # type: ignore[type-arg]
    performance = Performance.from_notes(rows, pedal)
    damped = damping(performance)
    ends = damped.ends_s()
    assert (ends >= damped.release_s - 1e-9).all()
    for note, end in enumerate(ends):
        if np.isfinite(end):
            assert damped.attenuation_db(note, end) >= 60 - 1e-6
        times = np.linspace(0, 30, 50)
        assert (np.diff(damped.attenuation_db(note, times)) >= -1e-9).all()


@settings(max_examples=50, deadline=None)
@given(notes, pedals)
def test_more_pedal_never_shortens_a_note(rows: list, pedal: list) -> None:  # type: ignore[type-arg]
    less = damping(Performance.from_notes(rows, pedal)).ends_s()
    more = damping(Performance.from_notes(rows, [(t, min(v + 20, 127)) for t, v in pedal])).ends_s()
    assert (more >= less - 1e-9).all()
