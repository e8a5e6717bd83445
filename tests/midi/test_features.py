"""Performance features: hand-computed values, oracles, and properties of any performance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pianoeval.errors import BadInputError, PianoevalError
from pianoeval.midi import feature as tools
from pianoeval.midi.features import FEATURES, performance_features
from pianoeval.midi.features_pitch import MAJOR, MINOR, key_correlations
from pianoeval.midi.io import Performance
from pianoeval.midi.texture import chords, skyline, sound_ends, sounding_roll, texture

# Times in whole milliseconds, as MIDI files have them.
NOTE = st.tuples(
    st.integers(0, 20_000), st.integers(5, 3_000), st.integers(21, 108), st.integers(1, 127)
)
PEDAL = st.tuples(st.integers(0, 20_000), st.integers(0, 127))


def build(notes: list[tuple[int, int, int, int]], pedal: list[tuple[int, int]]) -> Performance:
    return Performance.from_notes(
        [
            (on / 1000, (on + length) / 1000, pitch, velocity)
            for on, length, pitch, velocity in notes
        ],
        [(time / 1000, value) for time, value in pedal],
    )


@pytest.fixture
def duet() -> Performance:
    """Two chords of two notes and a single note; the pedal covers the second chord's release."""
    notes = [
        (1.00, 1.40, 60, 40), (1.01, 1.50, 72, 80),
        (2.00, 2.40, 62, 50), (2.03, 2.50, 74, 90),
        (3.00, 4.00, 76, 100),
    ]  # fmt: skip
    return Performance.from_notes(notes, [(2.2, 127), (2.8, 0)])


def test_duet_by_hand(duet: Performance) -> None:
    values = performance_features(duet)
    expected = {
        "velocity_mean": 72.0,
        "velocity_melody": 90.0,
        "velocity_melody_over_rest": 45.0,
        "velocity_melody_over_chord": 40.0,
        "velocity_within_chord_sd": 20.0,
        "velocity_share_90": 2 / 5,
        "time_span": 3.0,
        "time_note_rate": 5 / 3,
        "ioi_mean": 1.0,
        "ioi_npvi": 0.0,
        "chord_spread_mean": 0.02,
        "chord_melody_lead": -0.02,
        "chord_bass_lead": 0.02,
        "chord_size_mean": 5 / 3,
        "chord_share": 2 / 3,
        "held_median": 0.47,
        "polyphony_keys": (0.4 + 0.49 + 0.4 + 0.47 + 1.0) / 3,
        "polyphony_silence_keys": 1.0 / 3,  # 1.5 to 2.0 and 2.5 to 3.0
        "polyphony_silence": (0.5 + 0.2) / 3,  # the pedal fills 2.5 to 2.8
        "pedal_down_share": 0.6 / 3,
        "pedal_full_share": 0.6 / 3,
        "pedal_partial_share": 0.0,
        "pedal_presses": 1 / 3,
        "pedal_press_median": 0.6,
        "pedal_change_lag": 0.2,
        "pedal_at_offset": 2 / 5,
        "pedal_extension_mean": (0.4 + 0.3) / 5,
        "pedal_extension_share": 2 / 5,
        "pedal_travel": 2 / 3,
        "pedal_notes_per_press": 0.0,
        "pitch_hands": 74.0 - (60 + 62 + 76) / 3,
        "pitch_melody_step": 2.0,
        "articulation_overlap": (0.49 - 1.02 + 0.47 - 0.97) / 2,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name


def test_registry_is_complete_and_documented(scale: Performance) -> None:
    assert list(performance_features(scale)) == list(FEATURES)
    assert len(FEATURES) >= 70
    for name, entry in FEATURES.items():
        assert name == entry.name
        assert "_" in name
        assert entry.unit in {"1", "s", "1/s", "MIDI", "log2", "bit"}
        assert len(entry.doc) > 10


def test_no_notes_is_an_error() -> None:
    with pytest.raises(BadInputError, match="no notes"):
        performance_features(Performance.from_notes([]))


def test_one_note_is_finite() -> None:
    values = performance_features(Performance.from_notes([(5.0, 5.5, 60, 64)]))
    assert np.isfinite(list(values.values())).all()
    assert values["velocity_sd"] == 0
    assert values["ioi_mean"] == pytest.approx(0.5)
    assert values["pedal_down_share"] == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(NOTE, min_size=1, max_size=40), st.lists(PEDAL, max_size=20), st.integers(0, 10**7))
def test_finite_and_shift_invariant(
    notes: list[tuple[int, int, int, int]], pedal: list[tuple[int, int]], shift: int
) -> None:
    values = performance_features(build(notes, pedal))
    assert np.isfinite(list(values.values())).all()
    later = build(
        [(on + shift, *rest) for on, *rest in notes],  # type: ignore[misc]
        [(time + shift, value) for time, value in pedal],
    )
    moved = performance_features(later)
    for name, value in values.items():
        assert moved[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


@settings(max_examples=40, deadline=None)
@given(st.lists(NOTE, min_size=2, max_size=40), st.lists(PEDAL, max_size=20))
def test_shares_are_shares(
    notes: list[tuple[int, int, int, int]], pedal: list[tuple[int, int]]
) -> None:
    values = performance_features(build(notes, pedal))
    for name, value in values.items():
        if name.endswith("_share"):
            assert -1e-9 <= value <= 1 + 1e-9, name
    levels = [value for name, value in values.items() if name.startswith("velocity_share_")]
    assert sum(levels) == pytest.approx(1.0)
    depths = ("shallow", "middle", "deep", "full")
    touched = sum(values[f"pedal_{depth}_share"] for depth in depths)
    assert touched == pytest.approx(values["pedal_touched_share"])
    assert values["polyphony_sounding"] >= values["polyphony_keys"] - 1e-9 or len(notes) > 1


def test_louder_changes_level_and_nothing_in_time(scale: Performance) -> None:
    louder = Performance(
        scale.onset_s, scale.offset_s, scale.pitch_midi, (scale.velocity + 20).astype(np.int16),
        scale.pedal_time_s, scale.pedal_value,
    )  # fmt: skip
    soft, loud = performance_features(scale), performance_features(louder)
    assert loud["velocity_mean"] == pytest.approx(soft["velocity_mean"] + 20)
    for name in FEATURES:
        if name.startswith(("ioi_", "held_", "pedal_", "pitch_", "key_", "chord_")):
            assert loud[name] == pytest.approx(soft[name]), name


def test_chords_close_after_the_window() -> None:
    index, first = chords(np.array([0.0, 0.03, 0.05, 0.08, 0.2]), 0.04)
    assert index.tolist() == [0, 0, 1, 1, 2]
    assert first.tolist() == [0.0, 0.05, 0.2]


def test_skyline_ignores_figures_under_a_held_note() -> None:
    onset = np.array([0.0, 0.0, 0.5, 1.0])
    offset = np.array([1.0, 0.4, 0.9, 1.5])
    pitch = np.array([72.0, 48.0, 60.0, 67.0])
    line = skyline(onset, offset, pitch, chords(onset)[0])
    assert line.tolist() == [True, False, False, True]


def test_sound_ends() -> None:
    onset, offset = np.array([0.0, 1.0, 2.0, 5.0]), np.array([0.5, 1.5, 2.5, 6.0])
    pitch = np.array([60.0, 60.0, 64.0, 65.0])
    # Down from 0.2 to 4.0: the first note rings until struck again, the others until 4.0.
    ends = sound_ends(onset, offset, pitch, np.array([0.2, 4.0]), np.array([90.0, 10.0]))
    assert ends.tolist() == [1.0, 4.0, 4.0, 6.0]
    dry = sound_ends(onset, offset, pitch, np.array([0.2, 4.0]), np.array([63.0, 0.0]))
    assert dry.tolist() == offset.tolist()


def test_sounding_roll_decays() -> None:
    roll = sounding_roll(np.array([0.1]), np.array([0.3]), np.array([60.0]), np.array([127.0]), 0.5)
    assert roll.shape == (10, 128)
    expected = np.exp(-np.arange(4) * 0.05 / 1.5)
    np.testing.assert_allclose(roll[2:6, 60], expected)
    assert roll.sum() == pytest.approx(expected.sum())


@pytest.mark.parametrize("tonic", range(12))
def test_keys_are_found(tonic: int) -> None:
    for profile, mode in ((MAJOR, 0), (MINOR, 1)):
        histogram = np.roll(profile, tonic)
        correlations = key_correlations(histogram)
        assert correlations[mode].argmax() == tonic
        assert correlations[mode].max() == pytest.approx(1.0)
        assert correlations[1 - mode].max() < 0.95


def test_key_correlation_agrees_with_scipy(random_state: np.random.Generator) -> None:
    histogram = random_state.random(12)
    major, minor = key_correlations(histogram)
    assert major[3] == pytest.approx(stats.pearsonr(histogram, np.roll(MAJOR, 3)).statistic)
    assert minor[7] == pytest.approx(stats.pearsonr(histogram, np.roll(MINOR, 7)).statistic)


def test_tools_agree_with_numpy_and_scipy(random_state: np.random.Generator) -> None:
    x, y = random_state.random(50), random_state.random(50)
    assert tools.correlation(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert tools.slope(x, y) == pytest.approx(stats.linregress(x, y).slope)
    z = 2 * (x - x.min()) / np.ptp(x) - 1
    assert tools.arch(x, y) == pytest.approx(np.polyfit(z, y, 2)[0])
    time = np.sort(x) * 10
    kernel = np.exp(-0.5 * ((time[:, None] - time) / 0.7) ** 2)
    kernel[np.abs(time[:, None] - time) > 2.1] = 0
    np.testing.assert_allclose(tools.smooth(time, y, 0.7), kernel @ y / kernel.sum(axis=1))
    assert tools.correlation(x, np.full(50, 0.1)) == 0
    assert tools.arch(np.zeros(5), y[:5]) == 0


def test_interval_union() -> None:
    start, end = np.array([0.0, 0.5, 3.0]), np.array([2.0, 1.0, 4.0])
    assert tools.interval_union(start, end) == pytest.approx(3.0)


def test_registry_refuses_a_name_twice() -> None:
    entry = tools.Feature("a_b", "1", "something")
    with pytest.raises(PianoevalError, match="twice"):
        tools.registry([entry, entry])
    with pytest.raises(PianoevalError, match="without a definition"):
        tools.collect([lambda _: {"c_d": 1.0}], None, tools.registry([entry]))


def test_texture_of_a_steady_pulse() -> None:
    notes = [(0.4 * i, 0.4 * i + 0.2, 60 + i % 5, 64) for i in range(40)]
    values = performance_features(Performance.from_notes(notes))
    assert values["pulse_period"] == pytest.approx(0.4)
    assert values["pulse_clarity"] > 0.9
    assert values["ioi_jitter"] == pytest.approx(0.0, abs=1e-6)
    assert values["articulation_median"] == pytest.approx(-1.0)
    assert texture(Performance.from_notes(notes)).melody.all()
