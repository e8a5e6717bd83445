"""Our pYIN takes librosa's decisions, and its decoder those of a full matrix."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pianoeval.audio import viterbi
from pianoeval.audio.pitch import pitch_contour
from pianoeval.audio.pyin import Grid, pyin
from pianoeval.audio.viterbi import Observations, decode, transitions
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.params import ContourParams

PAPER = Grid(44_100, 87.307, 2637.02, 1024, 256, 0.1)
GRIDS = {
    "paper": PAPER,
    "former": Grid(22_050, 27.5, 4186.0, 2048, 512, 0.25),
    "even": Grid(22_050, 27.5, 4186.0, 2048, 2048, 1.0),  # a step reaches an even number of pitches
    "odd": Grid(16_000, 65.0, 1000.0, 1001, 161, 0.3),
    "still": Grid(44_100, 100.0, 2000.0, 1024, 32, 0.5),  # no step but to the same pitch
}
STEPS = np.array([60, 67, 64, 72, 71, 55, 69, 57])


def tone(midi: np.ndarray, rate_hz: int, n_harmonics: int) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / rate_hz
    return 0.3 * np.sum([np.sin(h * phase) / h for h in range(1, n_harmonics + 1)], axis=0)


def signals(rate_hz: int, seconds: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    steps = STEPS[(time_s * 6).astype(int) % len(STEPS)]
    vibrato = tone(steps + 0.4 * np.sin(2 * np.pi * 5.5 * time_s), rate_hz, 6)
    noise = rng.standard_normal(len(time_s))
    gate = (time_s * 5).astype(int) % 3 > 0
    chord = sum(tone(np.full(len(time_s), key), rate_hz, 4) for key in (48.0, 60.0, 64.0, 67.0))
    return {
        "glide": tone(60 + 12 * np.sin(2 * np.pi * time_s), rate_hz, 6),
        "vibrato": vibrato * gate + 0.003 * noise,
        "pure": tone(steps.astype(float), rate_hz, 1),
        "noise": 0.1 * noise,
        "silence": np.zeros(len(time_s)),
        "mixed": np.where(time_s < seconds / 3, vibrato, np.where(gate, chord, 0.02 * noise)),
    }


def assert_as_librosa(audio: np.ndarray, grid: Grid) -> None:
    samples = audio.astype(np.float32)
    frequency_hz, voiced, probability = pyin(samples, grid)
    expected = librosa.pyin(
        samples, sr=grid.rate_hz, fmin=grid.fmin_hz, fmax=grid.fmax_hz,
        frame_length=grid.frame_length, hop_length=grid.hop, resolution=grid.resolution,
        fill_na=None,
    )  # fmt: skip
    np.testing.assert_array_equal(voiced, expected[1])
    np.testing.assert_allclose(frequency_hz, expected[0], rtol=1e-12)
    np.testing.assert_allclose(probability, expected[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["glide", "vibrato", "pure", "noise", "silence", "mixed"])
@pytest.mark.parametrize("name", GRIDS)
def test_decisions_are_those_of_librosa(name: str, kind: str) -> None:
    seconds = 0.7 if name == "paper" else 1.3
    assert_as_librosa(signals(GRIDS[name].rate_hz, seconds)[kind], GRIDS[name])


def test_signals_are_voiced_and_unvoiced() -> None:
    """Parity on what is all voiced, or never, would say little."""
    voiced = {name: pyin(x.astype(np.float32), PAPER)[1] for name, x in
              signals(44_100, 0.7).items()}  # fmt: skip
    assert voiced["glide"].mean() > 0.9
    assert 0.2 < voiced["vibrato"].mean() < 0.9
    assert not voiced["silence"].any()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(1, 6000),
    hop=st.integers(50, 700),
    frame_length=st.integers(500, 1300),
    resolution=st.sampled_from([0.25, 0.4, 0.5, 1.0]),
    level=st.sampled_from([1e-6, 0.1, 1.0]),
)
def test_any_grid_as_librosa(
    seed: int, n_samples: int, hop: int, frame_length: int, resolution: float, level: float
) -> None:
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / 16_000
    audio = level * (np.sin(2 * np.pi * rng.uniform(90, 900) * time_s) * (rng.random() < 0.7)
                     + rng.choice([0.0, 0.01, 1.0]) * rng.standard_normal(n_samples))  # fmt: skip
    assert_as_librosa(audio, Grid(16_000, 80.0, 1000.0, frame_length, hop, resolution))


@pytest.mark.parametrize(
    ("n", "width"), [(30, 7), (31, 7), (30, 1), (30, 4), (31, 4), (9, 7), (9, 9), (40, 12), (10, 8)]
)
def test_steps_are_those_of_librosa(n: int, width: int) -> None:
    keep, change = transitions(n, width, 0.01)
    local = librosa.sequence.transition_local(n, width, window="triangle", wrap=False)
    full = np.log(np.kron(librosa.sequence.transition_loop(2, 0.99), local)
                  + np.finfo(np.float64).tiny)  # fmt: skip
    reach = len(keep) // 2
    for d in range(len(keep)):
        for target in range(n):
            origin = target + d - reach
            if 0 <= origin < n:
                assert keep[d, target] == full[origin, target]
                assert change[d, target] == full[origin, n + target]
            else:
                assert keep[d, target] == change[d, target] == -np.inf
    inside = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= reach
    assert (full[:n, :n][~inside] == viterbi.LOG_TINY).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 25),
    frames=st.integers(1, 60),
    width=st.integers(1, 9),
    block=st.sampled_from([2, 3, 7, 1000]),
)
def test_a_path_is_that_of_the_full_matrix(
    seed: int, n: int, frames: int, width: int, block: int
) -> None:
    """Sparse observations, silence, ties and jumps that the band forbids; in blocks or at once."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((2 * n, frames))
    share = rng.choice([0.0, 0.5, 1.0], size=frames) * rng.choice([1.0, rng.random()])
    start: list[int] = [0]
    pitch: list[int] = []
    weight: list[float] = []
    for t in range(frames):
        found = np.sort(rng.choice(n, size=min(n, rng.integers(0, 4)), replace=False))
        dense[found, t] = share[t] / max(len(found), 1)
        dense[n:, t] = (1 - dense[:n, t].sum()) / n
        kept = found[dense[found, t] > 0]
        pitch += list(kept)
        weight += list(dense[kept, t])
        start.append(len(pitch))
    tiny = np.finfo(np.float64).tiny
    seen = Observations(
        np.array(start), np.array(pitch, np.int64), np.log(np.array(weight, np.float64) + tiny),
        np.log(dense[n] + tiny),
    )  # fmt: skip
    width = min(width, n - 1)  # librosa refuses wider steps, or wraps them around
    local = librosa.sequence.transition_local(n, width, window="triangle", wrap=False)
    transition = np.kron(librosa.sequence.transition_loop(2, 0.99), local)
    start_p = np.full(2 * n, 1 / (2 * n))
    expected = librosa.sequence.viterbi(dense, transition, p_init=start_p)
    found = decode(seen, *transitions(n, width, 0.01), pointer_bytes=4 * n * block)
    np.testing.assert_array_equal(found, expected)


def test_too_many_pitches_are_refused() -> None:
    seen = Observations(np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(1))
    wide = np.zeros((1, viterbi.MAX_STATES // 2 + 1))
    with pytest.raises(ConfigError, match="32769 pitches"):
        decode(seen, wide, wide)


@pytest.mark.parametrize("bad", [[], [0.0, np.nan], [0.0, np.inf], [[0.0, 0.0]]])
def test_bad_audio_is_refused(bad: list[float]) -> None:
    with pytest.raises(BadInputError, match="empty or non-finite"):
        pitch_contour(np.array(bad, np.float32), 44_100, ContourParams(instrument="grand"))


@pytest.mark.parametrize("change", [{"fmax_hz": 30_000.0}, {"fmax_hz": 80.0}, {"fmin_hz": 80.0}])
def test_pitches_that_do_not_fit_are_refused(change: dict[str, float]) -> None:
    params = ContourParams(instrument="grand", **change)
    with pytest.raises(ConfigError, match="does not fit"):
        pitch_contour(np.zeros(2000, np.float32), 44_100, params)


def test_an_instrument_is_not_named_as_the_store_of_known_pitch() -> None:
    with pytest.raises(ValueError, match="not an instrument"):
        ContourParams(instrument="skyline")
