"""Relative features: a deadpan performance is at zero, and known deviations are measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pianoeval.errors import BadInputError
from pianoeval.midi.features import FEATURES
from pianoeval.midi.io import Performance
from pianoeval.midi.relative import RELATIVE_FEATURES, relative_features, tempo_curve

Row = tuple[float, float, int, int]


@pytest.fixture
def score() -> Performance:
    """Sixteen bars' worth of two-note chords, four to the second; one voice an octave up."""
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    for index in range(64):
        onset, root = 0.25 * index, int(rng.integers(40, 52))
        rows += [(onset, onset + 0.2, root, 64), (onset, onset + 0.2, root + 24, 64)]
    return Performance.from_notes(rows)


def change(score: Performance, how: Callable[[float, float, int, int], Row]) -> Performance:
    rows = zip(score.onset_s, score.offset_s, score.pitch_midi, score.velocity, strict=True)
    return Performance.from_notes(
        [how(float(on), float(off), int(key), int(vel)) for on, off, key, vel in rows]
    )


def test_registry(score: Performance) -> None:
    values = relative_features(score, score)
    assert list(values) == list(RELATIVE_FEATURES)
    assert len(RELATIVE_FEATURES) >= 27
    assert not set(RELATIVE_FEATURES) & set(FEATURES)


def test_deadpan_is_zero(score: Performance) -> None:
    values = relative_features(score, score)
    for name, value in values.items():
        if not name.startswith("score_"):
            assert value == pytest.approx(0.0, abs=1e-6), name


def test_shift_changes_nothing(score: Performance) -> None:
    later = change(score, lambda on, off, key, vel: (on + 100, off + 100, key, vel))
    here, there = relative_features(score, score), relative_features(later, score)
    for name, value in here.items():
        assert there[name] == pytest.approx(value, abs=1e-6), name


def test_half_speed(score: Performance) -> None:
    slow = change(score, lambda on, off, key, vel: (2 * on, 2 * off, key, vel))
    values = relative_features(slow, score)
    assert values["tempo_mean"] == pytest.approx(-1.0)
    for name in ("tempo_sd", "tempo_roughness", "onset_deviation", "length_ratio_median"):
        assert values[name] == pytest.approx(0.0, abs=1e-6), name


def test_voicing_and_melody_lead(score: Performance) -> None:
    def lead(on: float, off: float, key: int, vel: int) -> Row:
        return (on - 0.02, off, key, vel + 20) if key >= 64 else (on, off, key, vel)

    values = relative_features(change(score, lead), score)
    assert values["melody_lead"] == pytest.approx(0.02, abs=1e-6)
    assert values["melody_lead_sd"] == pytest.approx(0.0, abs=1e-6)
    assert values["asynchrony_mean"] == pytest.approx(0.02, abs=1e-6)
    assert values["asynchrony_rolled"] == 0
    assert values["velocity_lead"] == pytest.approx(20)
    assert values["velocity_lead_chord"] == pytest.approx(20)
    assert values["velocity_chord_sd"] == pytest.approx(10)
    assert values["velocity_over_score"] == pytest.approx(10)
    assert values["velocity_residual_sd"] == pytest.approx(0, abs=1e-6)


def test_staccato(score: Performance) -> None:
    short = change(score, lambda on, off, key, vel: (on, on + (off - on) / 4, key, vel))
    values = relative_features(short, score)
    assert values["length_ratio_median"] == pytest.approx(-2.0)
    assert values["length_ratio_sd"] == pytest.approx(0.0, abs=1e-6)
    assert values["length_sounding"] == pytest.approx(-2.0)


def test_slowing_down(score: Performance) -> None:
    def slow(time: float) -> float:
        return time + 0.05 * time**2

    late = change(score, lambda on, off, key, vel: (slow(on), slow(off), key, vel))
    values = relative_features(late, score)
    assert values["tempo_slope"] < -0.8
    assert values["tempo_ending"] < -0.2
    assert values["tempo_roughness"] < 0.02
    assert values["tempo_autocorr1"] > 0.9


@pytest.mark.parametrize("sd_s", [0.01, 0.03])
def test_jitter_is_measured(score: Performance, sd_s: float) -> None:
    rng = np.random.default_rng(0)
    by_onset = {on: float(rng.normal(0, sd_s)) for on in np.unique(score.onset_s)}
    ragged = change(
        score, lambda on, off, key, vel: (on + by_onset[on], off + by_onset[on], key, vel)
    )
    values = relative_features(ragged, score)
    # The local mean takes a little of the jitter with it.
    assert 0.75 * sd_s < values["onset_deviation"] < 1.15 * sd_s
    assert values["onset_autocorr1"] < 0.3


def test_missing_and_extra(score: Performance) -> None:
    rows = list(zip(score.onset_s, score.offset_s, score.pitch_midi, score.velocity, strict=True))
    wrong = [(2.1 + i, 2.3 + i, 100, 64) for i in range(8)]
    played = Performance.from_notes([row for i, row in enumerate(rows) if i % 8] + wrong)
    values = relative_features(played, score)
    assert values["match_missing"] == pytest.approx(16 / 128)
    assert values["match_extra"] == pytest.approx(8 / 120)


def test_too_little_in_common_is_undefined(score: Performance) -> None:
    other = Performance.from_notes([(0.0, 1.0, 108, 64)])
    values = relative_features(other, score)
    assert list(values) == list(RELATIVE_FEATURES)
    assert values["match_missing"] == 1.0
    assert values["match_extra"] == 1.0
    assert np.isnan(values["tempo_mean"])
    assert np.isfinite(values["score_note_rate"])


def test_no_notes_is_an_error(score: Performance) -> None:
    with pytest.raises(BadInputError):
        relative_features(Performance.from_notes([]), score)


def test_tempo_curve_of_two_speeds() -> None:
    score_onset = np.arange(0, 8.01, 0.25)
    played = np.where(score_onset <= 4, score_onset, 4 + 2 * (score_onset - 4))
    time, curve = tempo_curve(score_onset, played)
    np.testing.assert_allclose(curve, np.where(time < 4, 0.0, -1.0), atol=1e-9)
    assert np.diff(time) == pytest.approx(0.5)
