"""The mel encoder against librosa, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.mel import MelEncoder, mel_spec
from pianoeval.errors import ConfigError
from pianoeval.params import MelParams
from pianoeval.params_file import load_params

SPECTROGRAM = MelParams(
    sample_rate_hz=24_000, n_mels=128, window_frames=400, fft_frames=1024, hop_frames=160
)


def test_equals_librosa(loaded: Callable[[str], Encoder], notes: NDArray[np.float32]) -> None:
    audio = notes[:50_000]
    power = librosa.feature.melspectrogram(
        y=audio.astype(np.float64), sr=44_100, n_fft=4096, hop_length=1024, n_mels=128,
        fmin=30.0, fmax=16_000.0, center=True, pad_mode="reflect", power=2.0,
    )  # fmt: skip
    want = np.log(power.T + 1e-5)
    got = loaded("mel").encode(audio[None])[0, :, 0]
    # float32 convolution: a band 60 dB below the loudest is exact to about 1 %
    np.testing.assert_allclose(got, want[: len(got)], atol=0.05)
    assert np.abs(got - want[: len(got)]).mean() < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bfloat16"}, {"compile": True}, {"overlap_s": 5.5}, {"hop_frames": 8192},
        {"chunk_s": 0.05}, {"layers": "2"}, {"fft_frames": 2048},
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        mel_spec(MelParams(**change))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_empty_bands_are_refused() -> None:
    with pytest.raises(ConfigError, match="too many"):
        MelEncoder(MelParams(n_mels=512, window_frames=1024, hop_frames=512))


def test_fft_longer_than_the_window_equals_librosa(notes: NDArray[np.float32]) -> None:
    encoder = MelEncoder(SPECTROGRAM)
    audio = notes[:24_000]
    power = librosa.feature.melspectrogram(
        y=audio.astype(np.float64), sr=24_000, n_fft=1024, win_length=400, hop_length=160,
        n_mels=128, fmin=30.0, fmax=12_000.0, center=True, pad_mode="reflect", power=2.0,
    )  # fmt: skip
    want = np.log(power.T + 1e-5)[:150]
    got = encoder.encode(audio[None])[0, :, 0]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=0.02)
    assert np.abs(got - want).mean() < 1e-3


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_spectrogram_of_piano_judges() -> None:
    found = load_params(Path(__file__).parents[2] / "params.yaml").encoders["spectrogram"]
    assert found == SPECTROGRAM
    spec = mel_spec(SPECTROGRAM)
    assert (spec.frame_rate_hz, spec.dim, spec.chunk_frames) == (150.0, 128, 1500)
    plain = SPECTROGRAM.model_copy(update={"fft_frames": 0})  # as the paper has it
    with pytest.raises(ConfigError, match="too many"):
        MelEncoder(plain)


def test_settings_that_were_added_leave_older_keys_as_they_were() -> None:
    want = {
        "sample_rate_hz": 44_100, "chunk_samples": 441_344, "period_samples": 1024,
        "layers": ["1"], "precision": "float32", "window_frames": 4096, "n_mels": 128,
    }  # fmt: skip
    assert mel_spec(MelParams()).config() == want
    assert mel_spec(MelParams(fft_frames=4096)).config() == want
    assert mel_spec(MelParams(fft_frames=8192)).config() == want | {"fft_frames": 8192}


def test_hop_and_bands_are_part_of_the_configuration() -> None:
    configs = [
        mel_spec(MelParams(**change)).config()
        for change in ({}, {"n_mels": 64}, {"hop_frames": 512}, {"window_frames": 2048})
    ]
    assert all(configs[0] != other for other in configs[1:])
