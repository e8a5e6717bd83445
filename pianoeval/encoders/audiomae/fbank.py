"""Kaldi's log-mel filter bank (Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011).

Frames of 25 ms every 10 ms that lie wholly within the audio (``snip_edges``); of each, in this
order: its mean is taken out, then ``y[t] = x[t] - 0.97 x[t - 1]`` with ``x[-1] = x[0]``, a
symmetric Hann window, zeros up to a power of two, power spectrum, triangles that are straight on
the scale ``1127 ln(1 + f / 700)`` from 20 Hz to half the sample rate, ``ln(max(e, 2^-23))``.
No dither. Samples have full scale 1, not 32768. With 128 bands and 512 points at 16 kHz, the lowest
bands are narrower than the distance of two points: one of them is empty and always ln(2^-23).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PREEMPHASIS = 0.97
LOW_HZ = 20.0
FLOOR = 2.0**-23  # the smallest step of float32 at 1, as in Kaldi


class KaldiFbank(nn.Module):
    """Log-mel energies, always in float32.

    Parameters
    ----------
    sample_rate_hz, n_mels : int
    """

    window: Tensor
    mel: Tensor

    def __init__(self, sample_rate_hz: int, n_mels: int) -> None:
        super().__init__()
        self.size = sample_rate_hz * 25 // 1000
        self.hop = sample_rate_hz // 100
        self.n_fft = 1 << (self.size - 1).bit_length()
        window = torch.hann_window(self.size, periodic=False, dtype=torch.float64)
        self.register_buffer("window", window.float(), persistent=False)
        mel = mel_triangles(sample_rate_hz, self.n_fft, n_mels)
        self.register_buffer("mel", mel.float(), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames that lie wholly within the audio."""
        return max((n_samples - self.size) // self.hop + 1, 0)

    def forward(self, audio: Tensor) -> Tensor:
        """Audio (batch, samples) to (batch, frames, mels), float32."""
        frames = audio.float().unfold(-1, self.size, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * self.window, n=self.n_fft)
        power = spectrum.real.square() + spectrum.imag.square()
        energy: Tensor = power @ self.mel
        return energy.clamp_min(FLOOR).log()


def mel_triangles(sample_rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """Weights (n_fft / 2 + 1, n_mels), float64; the point at half the sample rate has none."""
    low, high = _mel(LOW_HZ), _mel(sample_rate_hz / 2)
    width = (high - low) / (n_mels + 1)
    left = low + width * torch.arange(n_mels, dtype=torch.float64)
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate_hz / n_fft
    up = (1127 * torch.log1p(hz / 700)[:, None] - left) / width
    weights = torch.minimum(up, 2 - up).clamp_min(0)
    weights[-1] = 0
    return weights


def _mel(hz: float) -> float:
    return 1127 * math.log1p(hz / 700)
