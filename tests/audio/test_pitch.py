"""pYIN on sounds whose pitch is known."""

from __future__ import annotations

import mir_eval
import numpy as np
import pytest

from pianoeval.audio.pitch import pitch_contour
from pianoeval.audio.render import audio_start_s, render_performance
from pianoeval.errors import ConfigError
from pianoeval.midi.io import Performance
from pianoeval.params import ContourParams, InstrumentParams, RenderParams

PARAMS = ContourParams(instrument="grand")
RATE_HZ = PARAMS.sample_rate_hz


def frame_times_s(contour: np.ndarray) -> np.ndarray:
    return np.arange(len(contour)) * PARAMS.hop_frames / RATE_HZ


def raw_pitch_accuracy(reference_midi: np.ndarray, contour: np.ndarray) -> float:
    def cents(midi: np.ndarray) -> np.ndarray:
        return mir_eval.melody.hz2cents(440 * 2 ** ((midi - 69) / 12))

    ones = np.ones(len(contour))
    return float(
        mir_eval.melody.raw_pitch_accuracy(
            ones, cents(reference_midi), ones, cents(contour[:, 0] * 127)
        )
    )


def test_glide() -> None:
    time_s = np.arange(3 * RATE_HZ) / RATE_HZ
    midi = 60 + 12 * np.sin(2 * np.pi * 0.3 * time_s)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / RATE_HZ
    harmonics = np.sum([np.sin(h * phase) / h for h in range(1, 7)], axis=0)
    contour = pitch_contour((0.3 * harmonics).astype(np.float32), RATE_HZ, PARAMS)
    assert contour.dtype == np.float32
    assert contour.shape[1] == 3
    reference = np.interp(frame_times_s(contour), time_s, midi)
    assert raw_pitch_accuracy(reference, contour) > 0.98
    assert np.median(np.abs(contour[:, 0] * 127 - reference)) < 0.13
    assert contour[:, 1].mean() > 0.98


def test_silence_is_unvoiced_and_zero() -> None:
    contour = pitch_contour(np.zeros(RATE_HZ, np.float32), RATE_HZ, PARAMS)
    np.testing.assert_array_equal(contour[:, :2], 0)


def test_rendered_tune(grand: InstrumentParams, rules: RenderParams) -> None:
    pitches = [60, 64, 67, 72, 71, 67, 62, 55, 48]
    tune = Performance.from_notes(
        [(0.4 * i, 0.4 * i + 0.4, pitch, 80) for i, pitch in enumerate(pitches)]
    )
    audio = render_performance(tune, grand, rules)
    contour = pitch_contour(audio, rules.sample_rate_hz, PARAMS)
    now_s = frame_times_s(contour) + audio_start_s(tune, rules)
    sounding = (now_s > 0.05) & (now_s < tune.end_s)
    reference = np.asarray(pitches)[np.clip((now_s / 0.4).astype(int), 0, len(pitches) - 1)]
    assert raw_pitch_accuracy(reference[sounding].astype(float), contour[sounding]) >= 0.9


def test_window_too_short_for_the_lowest_pitch() -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        pitch_contour(
            np.zeros(RATE_HZ, np.float32), RATE_HZ, PARAMS.model_copy(update={"fmin_hz": 15.0})
        )
