"""Kaldi's filter bank against a literal float64 twin; torchaudio's own is in the golden file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pianoeval.encoders.audiomae.fbank import KaldiFbank, mel_triangles

F8 = NDArray[np.float64]


def literal_fbank(x: F8, rate: int = 16_000, n_mels: int = 128) -> F8:
    """Frame by frame and band by band, after Kaldi's feature-window.cc and mel-computations.cc."""
    size, hop, n_fft = rate * 25 // 1000, rate // 100, 1
    while n_fft < size:
        n_fft *= 2
    window = [0.5 - 0.5 * np.cos(2 * np.pi * i / (size - 1)) for i in range(size)]

    def mel(hz: float) -> float:
        return float(1127.0 * np.log(1.0 + hz / 700.0))

    step = (mel(rate / 2) - mel(20.0)) / (n_mels + 1)
    out = []
    for begin in range(0, len(x) - size + 1, hop):
        frame = x[begin : begin + size] - x[begin : begin + size].mean()
        sharp = frame.copy()
        for i in range(size - 1, 0, -1):
            sharp[i] -= 0.97 * frame[i - 1]
        sharp[0] -= 0.97 * frame[0]
        power = np.abs(np.fft.fft(sharp * window, n_fft)[: n_fft // 2]) ** 2
        row = []
        for band in range(n_mels):
            left = mel(20.0) + band * step
            energy = 0.0
            for k in range(n_fft // 2):
                place = mel(k * rate / n_fft)
                if left < place < left + 2 * step:
                    rise, fall = (place - left) / step, (left + 2 * step - place) / step
                    energy += min(rise, fall) * power[k]
            row.append(np.log(max(energy, np.finfo(np.float32).eps)))
        out.append(row)
    return np.array(out)


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_equals_a_literal_twin(offset: float, notes: NDArray[np.float32]) -> None:
    noise = 1e-3 * np.random.default_rng(0).standard_normal(1700)
    x = notes[5000:6700].astype(np.float64) + noise + offset
    want = literal_fbank(x)
    got = KaldiFbank(16_000, 128)(torch.tensor(x)[None].float())[0].numpy()
    assert got.shape == want.shape == (9, 128)
    assert want.min() < -15.9 < -8 < want.max()  # empty bands and loud ones
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_silence_and_a_constant_are_the_floor() -> None:
    bank = KaldiFbank(16_000, 128)
    for value in (0.0, 0.5):
        out = bank(torch.full((1, 800), value))
        torch.testing.assert_close(out, torch.full_like(out, float(np.log(2.0**-23))))


def test_one_band_lies_between_two_points() -> None:
    empty = (mel_triangles(16_000, 512, 128) == 0).all(0).nonzero().flatten().tolist()
    assert empty == [3]  # a quirk of these settings that the published weights were trained with
    assert not (mel_triangles(16_000, 2048, 128) == 0).all(0).any()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(400, 4000))
def test_number_of_frames(n: int) -> None:
    bank = KaldiFbank(16_000, 128)
    whole = sum(1 for begin in range(0, n, 160) if begin + 400 <= n)
    assert bank.n_frames(n) == whole == bank(torch.zeros(1, n)).shape[1]
