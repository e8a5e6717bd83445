"""The pitch that the MIDI has, in the time of the audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.audio.pitch import pitch_contour
from pianoeval.audio.render import render_performance
from pianoeval.audio.skyline import SkylineJob, highest_key, skyline_item
from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance, write_midi
from pianoeval.midi.winds import WindPerformance, write_winds
from pianoeval.params import ContourParams, InstrumentParams, MidiLimits, RenderParams

RATE_HZ = 100.0


def job(path: Path, n_frames: int, is_bent: bool = False, lead_s: float = 0.1) -> SkylineJob:
    return SkylineJob(path, is_bent, lead_s, n_frames, RATE_HZ, (-20.0, -23.0, -3.0), MidiLimits())


def line_of_a_wind() -> WindPerformance:
    """Two notes a fourth apart; the first a quarter tone sharp, the second 20 cents flat."""
    return WindPerformance(
        np.array([1.0, 1.6]), np.array([1.5, 2.0]), np.array([60, 65], np.int16),
        np.array([80, 80], np.int16), np.array([0.0, 1.55, 1.55]), np.array([50.0, 50.0, -20.0]),
        np.array([0.0]), np.array([0.8]), np.zeros((0, 2)), 71,
    )  # fmt: skip


notes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(21, 108)), min_size=1, max_size=12
)


@settings(max_examples=50, deadline=None)
@given(found=notes)
def test_the_highest_key_that_is_down(found: list[tuple[int, int, int]]) -> None:
    played = Performance.from_notes(
        [(on / 10, (on + held) / 10, key, 64) for on, held, key in found]
    )
    time_s = np.arange(80) / 10 + 0.05
    line = highest_key(played, time_s)
    for now, pitch in zip(time_s, line, strict=True):
        down = [key for on, held, key in found if on / 10 <= now < (on + held) / 10]
        assert np.isnan(pitch) if not down else pitch == max(down)


def test_edges() -> None:
    """Down at its onset, up at its offset, and a note between two frames is not seen."""
    played = Performance.from_notes([(0.1, 0.3, 60, 64), (0.41, 0.49, 72, 64)])
    line = highest_key(played, np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]))
    np.testing.assert_array_equal(line, [np.nan, 60, 60, np.nan, np.nan, np.nan])


def test_a_piano_in_the_time_of_its_audio(tmp_path: Path) -> None:
    """The audio begins ``lead_s`` before the first note; the pedal holds nothing here."""
    chord = [(2.0, 2.5, 48, 64), (2.0, 2.3, 64, 64)]
    write_midi(Performance.from_notes(chord, [(0.0, 127)]), tmp_path / "a.mid")
    arrays, meta = skyline_item(job(tmp_path / "a.mid", 80))
    frames = arrays["frames"]
    assert frames.shape == (80, 1, 3)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(arrays["level"], np.float32([-20, -23, -3]))
    assert meta == {
        "frame_rate_hz": RATE_HZ, "columns": ["pitch", "voiced", "voiced_probability"]
    }  # fmt: skip
    pitch = frames[:, 0, 0] * 127
    np.testing.assert_allclose(pitch[[12, 38]], 64, rtol=1e-6)
    np.testing.assert_allclose(pitch[[42, 58]], 48, rtol=1e-6)
    np.testing.assert_array_equal(pitch[[0, 8, 62, 79]], 0)
    np.testing.assert_array_equal(frames[:, 0, 1], pitch > 0)
    np.testing.assert_array_equal(frames[:, 0, 2], frames[:, 0, 1])


def test_a_wind_instrument_is_bent(tmp_path: Path) -> None:
    write_winds(line_of_a_wind(), tmp_path / "a.mid")
    frames = skyline_item(job(tmp_path / "a.mid", 130, is_bent=True))[0]["frames"]
    pitch = frames[:, 0, 0] * 127
    np.testing.assert_allclose(pitch[[15, 55]], 60.5, atol=1e-3)
    np.testing.assert_allclose(pitch[[75, 105]], 64.8, atol=1e-3)
    np.testing.assert_array_equal(pitch[[5, 65, 115]], 0)
    plain = skyline_item(job(tmp_path / "a.mid", 130))[0]["frames"][:, 0, 0] * 127
    np.testing.assert_allclose(plain[[15, 75]], [60, 65], rtol=1e-6)


def test_a_file_of_a_piano_is_no_line(tmp_path: Path) -> None:
    chord = [(0.0, 0.5, 60, 64), (0.0, 0.5, 64, 64)]
    write_midi(Performance.from_notes(chord), tmp_path / "a.mid")
    with pytest.raises(BadInputError, match="two notes at once"):
        skyline_item(job(tmp_path / "a.mid", 50, is_bent=True))


def test_pyin_agrees_with_it_on_one_line(
    tmp_path: Path, grand: InstrumentParams, rules: RenderParams
) -> None:
    """Frames of both begin at the same moment: a shift of three (17 ms) would be seen."""
    keys = [60, 64, 67, 72, 71, 67, 62, 55]
    tune = Performance.from_notes(
        [(1 + 0.3 * i, 1 + 0.3 * i + 0.28, key, 80) for i, key in enumerate(keys)]
    )
    write_midi(tune, tmp_path / "a.mid")
    params = ContourParams(instrument="grand")
    found = pitch_contour(render_performance(tune, grand, rules), 44_100, params)
    rate_hz = params.sample_rate_hz / params.hop_frames
    known = skyline_item(
        SkylineJob(tmp_path / "a.mid", False, rules.lead_s, len(found), rate_hz, (0.0,) * 3,
                   MidiLimits())
    )[0]["frames"][:, 0]  # fmt: skip

    def agreement(shift: int) -> float:
        part, line = np.roll(found, shift, axis=0), known
        both = (line[:, 1] > 0) & (part[:, 1] > 0)
        return float((np.abs(line[both, 0] - part[both, 0]) * 127 < 0.5).mean())

    assert agreement(0) > 0.9
    best = max(range(-8, 9), key=agreement)
    assert abs(best) <= 3
