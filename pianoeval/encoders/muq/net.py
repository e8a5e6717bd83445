"""MuQ's network: mel front end, convolutional stem, conformer layers (Zhu et al. 2025).

What runs is made of the published parameters (:mod:`pianoeval.encoders.muq.weights`): batch norms
are folded, queries and keys are one matrix. Rows that are shorter than their batch are masked
wherever frames see each other, so that each row gives what it gives alone.

Reference: the package muq 0.1.0 (MIT) and transformers' Wav2Vec2-Conformer (Gulati et al. 2020;
rotary positions, Su et al. 2021, applied before the projections to queries and keys).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.muq.config import HOP, SAMPLE_RATE_HZ, MuqShape
from pianoeval.encoders.muq.fused_linear import FusedLinear
from pianoeval.encoders.muq.stem import FoldedStem, fold, mask_frames
from pianoeval.encoders.muq.weights import (
    AttentionWeights,
    ConvolutionWeights,
    FeedForwardWeights,
    LayerWeights,
    MuqWeights,
)

WINDOW = 2048
_FLOOR = 1e-10  # of the mel power
Tap = Callable[[int, Tensor], None]


class MuqNet(nn.Module):
    """The network, ready to run; in evaluation, as there is no dropout.

    With ``dtype`` bfloat16, convolutions, linear layers and attention compute in it; mel front
    end, layer norms, rotary positions and the residual stream stay float32.

    Parameters
    ----------
    weights : MuqWeights
        Its layers are the ones that run. They are taken out one by one, to save memory.
    fast : bool
        Whether Winograd's convolutions and oneDNN may be used; on a CPU.
    """

    def __init__(
        self, shape: MuqShape, weights: MuqWeights, dtype: torch.dtype, *, fast: bool = True
    ) -> None:
        super().__init__()
        self.n_layers, self.head_dim = shape.n_layers, shape.dim // shape.heads
        self.rotary_base = shape.rotary_base
        self.front = MelFrontEnd(shape)
        self.conv = FoldedStem(weights.model.conv, dtype, fast=fast)
        conformer = weights.model.conformer
        self.layers = nn.ModuleList()
        while len(conformer.layers):
            layer = cast(LayerWeights, conformer.layers.pop(0))
            self.layers.append(_Layer(layer, shape.heads, dtype, fast))
        self.layer_norm = conformer.layer_norm
        self.eval().requires_grad_(False)

    def forward(self, audio: Tensor, n_samples: Sequence[int] | None, tap: Tap) -> None:
        """Call ``tap(i, state)`` with each hidden state, (batch, frames, dim) float32.

        State 0 is the stem's output, ``i`` the output of layer ``i``; the last layer's has passed
        the final layer norm.

        Parameters
        ----------
        audio : Tensor, shape (batch, samples), 24 kHz
        n_samples : sequence of int or None
            Length of each row, where one is shorter.
        """
        lengths = None if n_samples is None else torch.tensor(n_samples).to(audio.device)
        mel = self.front(audio, lengths)
        frames = None if lengths is None else lengths // HOP
        x = self.conv(mel, frames)
        tap(0, x)
        frames = None if frames is None else (frames + 3) // 4
        rotary = self._rotary(x)
        for i, layer in enumerate(self.layers, 1):
            x = layer(x, rotary, frames)
            tap(i, self.layer_norm(x) if i == self.n_layers else x)

    def _rotary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the angles of each frame, (frames, 1, head_dim)."""
        half = torch.arange(0, self.head_dim, 2, device=x.device, dtype=torch.float32)
        step = 1.0 / self.rotary_base ** (half / self.head_dim)
        angle = torch.arange(x.shape[1], device=x.device)[:, None] * step
        angle = torch.cat((angle, angle), -1)[:, None]
        return angle.cos(), angle.sin()


class MelFrontEnd(nn.Module):
    """Log-mel spectrogram, normalised with the statistics of the training corpus.

    As torchaudio's MelSpectrogram and AmplitudeToDB: power, Hann window of 2048 every 240
    samples, audio mirrored at its ends, triangles on the scale 2595 log10(1 + f/700) up to 12 kHz
    with peak 1; ``10 log10(max(mel, 1e-10))``. The last window is dropped.
    """

    def __init__(self, shape: MuqShape) -> None:
        super().__init__()
        self.mean, self.std = shape.mean, shape.std
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("bank", mel_bank(shape.n_mels), persistent=False)

    def forward(self, audio: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, samples) to (batch, samples // 240, bands) float32."""
        padded = mirror(audio, lengths)
        spectrum = torch.stft(
            padded, WINDOW, HOP, window=self.get_buffer("window"), center=False,
            return_complex=True,
        )[..., : audio.shape[1] // HOP]  # fmt: skip
        power = spectrum.abs().square_().transpose(1, 2)
        level = (power @ self.get_buffer("bank")).clamp_min_(_FLOOR).log10_().mul_(10)
        return level.sub_(self.mean).div_(self.std)


def mirror(audio: Tensor, lengths: Tensor | None) -> Tensor:
    """Audio with half a window mirrored at both ends of each row, at its own length."""
    half = WINDOW // 2
    if lengths is None:
        return F.pad(audio[:, None], (half, half), mode="reflect")[:, 0]
    place = torch.arange(-half, audio.shape[1] + half, device=audio.device).abs()
    last = lengths[:, None] - 1
    place = torch.where(place > last, 2 * last - place, place)
    return audio.gather(1, place.clamp_min(0))  # further on lie frames that are masked


def mel_bank(n_mels: int) -> Tensor:
    """Triangles (bins, bands) float32, with torchaudio's roundings."""
    bins = torch.linspace(0, SAMPLE_RATE_HZ // 2, WINDOW // 2 + 1)[:, None]
    top = 2595.0 * math.log10(1.0 + SAMPLE_RATE_HZ / 2 / 700.0)
    corners = 700.0 * (10.0 ** (torch.linspace(0.0, top, n_mels + 2) / 2595.0) - 1.0)
    width = corners.diff()
    rise = (bins - corners[:-2]) / width[:-1]
    fall = (corners[2:] - bins) / width[1:]
    return torch.minimum(rise, fall).clamp_min(0)


class _Layer(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, layer norm."""

    def __init__(self, given: LayerWeights, heads: int, dtype: torch.dtype, fast: bool) -> None:
        super().__init__()
        self.ffn1 = _FeedForward(given.ffn1_layer_norm, given.ffn1, dtype, fast)
        self.attention = _Attention(given.self_attn_layer_norm, given.self_attn, heads, dtype, fast)
        self.conv = _Convolution(given.conv_module, dtype, fast)
        self.ffn2 = _FeedForward(given.ffn2_layer_norm, given.ffn2, dtype, fast)
        self.norm = given.final_layer_norm

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], frames: Tensor | None) -> Tensor:
        x = x + self.ffn1(x)
        x += self.attention(x, rotary, frames)
        x += self.conv(x, frames)
        x += self.ffn2(x)
        done: Tensor = self.norm(x)
        return done


class _FeedForward(nn.Module):
    """``W2 silu(W1 norm(x)) / 2``; halving is exact, so it is done to the weights."""

    def __init__(
        self, norm: nn.LayerNorm, given: FeedForwardWeights, dtype: torch.dtype, fast: bool
    ) -> None:
        super().__init__()
        self.norm = norm
        up, down = given.intermediate_dense, given.output_dense
        self.up = FusedLinear(up.weight, up.bias, dtype, silu=True, onednn=fast)
        self.down = FusedLinear(0.5 * down.weight, 0.5 * down.bias, dtype, onednn=fast)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.up(self.norm(x)))
        return y


class _Attention(nn.Module):
    def __init__(
        self, norm: nn.LayerNorm, given: AttentionWeights, heads: int, dtype: torch.dtype,
        fast: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.norm = heads, norm
        q, k, v, out = given.linear_q, given.linear_k, given.linear_v, given.linear_out
        weight, bias = torch.cat([q.weight, k.weight]), torch.cat([q.bias, k.bias])
        self.query_key = FusedLinear(weight, bias, dtype, onednn=fast)
        self.value = FusedLinear(v.weight, v.bias, dtype, onednn=fast)
        self.out = FusedLinear(out.weight, out.bias, dtype, onednn=fast)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], frames: Tensor | None) -> Tensor:
        normed = self.norm(x)
        heads = normed.unflatten(-1, (self.heads, -1))
        a, b = heads.chunk(2, -1)
        turned = heads * rotary[0] + torch.cat((-b, a), -1) * rotary[1]
        query, key = self.query_key(turned.flatten(2)).chunk(2, -1)
        parts = (query, key, self.value(normed))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mask = None
        if frames is not None:
            heard = torch.arange(x.shape[1], device=x.device) < frames[:, None]
            mask = heard[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        done: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return done


class _Convolution(nn.Module):
    """Gated pointwise, depthwise with batch norm folded in, SiLU, pointwise."""

    def __init__(self, given: ConvolutionWeights, dtype: torch.dtype, fast: bool) -> None:
        super().__init__()
        self.norm = given.layer_norm
        first, last = given.pointwise_conv1.weight[..., 0], given.pointwise_conv2.weight[..., 0]
        self.gated = FusedLinear(first, None, dtype, onednn=fast)
        self.last = FusedLinear(last, None, dtype, onednn=fast)
        weight, bias = fold(given.depthwise_conv, given.batch_norm)
        # As an image of one row with channels last: frames need not be transposed.
        kernel = weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("bias", bias.to(dtype), persistent=False)

    def forward(self, x: Tensor, frames: Tensor | None) -> Tensor:
        y = mask_frames(F.glu(self.gated(self.norm(x)), -1), frames)
        kernel, dim = self.get_buffer("kernel"), y.shape[-1]
        y = F.conv2d(
            y.transpose(1, 2).unsqueeze(2), kernel, self.get_buffer("bias"),
            padding=(0, kernel.shape[-1] // 2), groups=dim,
        )  # fmt: skip
        done: Tensor = self.last(F.silu(y, inplace=True).squeeze(2).transpose(1, 2))
        return done
