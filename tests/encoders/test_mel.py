"""The mel encoder against librosa, and its parameters."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.mel import MelEncoder, mel_spec
from pianoeval.errors import ConfigError
from pianoeval.params import MelParams


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
        {"chunk_s": 0.05}, {"layers": "2"},
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        mel_spec(MelParams(**change))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_empty_bands_are_refused() -> None:
    with pytest.raises(ConfigError, match="too many"):
        MelEncoder(MelParams(n_mels=512, window_frames=1024, hop_frames=512))


def test_hop_and_bands_are_part_of_the_configuration() -> None:
    configs = [
        mel_spec(MelParams(**change)).config()
        for change in ({}, {"n_mels": 64}, {"hop_frames": 512}, {"window_frames": 2048})
    ]
    assert all(configs[0] != other for other in configs[1:])
