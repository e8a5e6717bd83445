"""MuQ's convolutional stem, with batch norms folded in: log-mel spectrogram to 25 frames a second.

Two residual blocks, each ``relu(bn2(conv2(relu(bn1(conv1(x))))) + bn3(conv3(x)))`` of 3 x 3
convolutions, conv1 and conv3 with stride 2 in both axes; then a linear layer over channels and
bands. Six tenths of the network's operations lie here, hence:

* A batch norm is a scale and an offset of each channel: folded into its convolution in float64.
* Images are (batch, frames, bands, channels) in memory: convolutions need no reordering, and the
  linear layer reads a frame as it lies there.
* On a CPU, convolutions are Winograd's where that pays (:mod:`pianoeval.encoders.muq.winograd`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.muq.fused_linear import FusedLinear
from pianoeval.encoders.muq.weights import ResidualWeights, StemWeights
from pianoeval.encoders.muq.winograd import WinogradConv

Conv = Callable[[Tensor], Tensor]


class FoldedStem(nn.Module):
    """The stem, ready to run.

    Parameters
    ----------
    dtype : torch.dtype
        Of convolutions and linear layer; input and output are float32.
    fast : bool
        Whether convolutions may be Winograd's, and oneDNN used; for a CPU.
    """

    def __init__(self, stem: StemWeights, dtype: torch.dtype, *, fast: bool) -> None:
        super().__init__()
        self.dtype = dtype
        blocks = [cast(ResidualWeights, block) for block in stem.conv]
        self.blocks = nn.ModuleList(_Block(block, dtype, fast) for block in blocks)
        linear = stem.linear
        channels = blocks[-1].conv2.out_channels
        # (channel, band) to (band, channel), as a frame lies in memory
        weight = linear.weight.detach().view(len(linear.weight), channels, -1)
        weight = weight.transpose(1, 2).flatten(1)
        self.linear = FusedLinear(weight, linear.bias, dtype, onednn=fast)

    def forward(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, frames, bands) at 100 Hz to (batch, ⌈frames/4⌉, dim) at 25 Hz.

        Parameters
        ----------
        lengths : Tensor, shape (batch,), optional
            Frames of each row, where one is shorter than ``mel``.
        """
        x = mask_frames(mel, lengths).to(self.dtype)[..., None]
        for block in self.blocks:
            lengths = None if lengths is None else (lengths + 1) // 2
            x = block(x, lengths)
        frames: Tensor = self.linear(x.flatten(2))
        return frames.float()


class _Block(nn.Module):
    def __init__(self, block: ResidualWeights, dtype: torch.dtype, fast: bool) -> None:
        super().__init__()
        self.first, self.second, self.shortcut = (
            _convolution(*fold(conv, norm), conv.stride[0], dtype, fast)
            for conv, norm in block.pairs()
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, frames, bands, in) to (batch, ⌈frames/2⌉, bands/2, out)."""
        hidden = mask_frames(self.first(x).relu_(), lengths)
        return mask_frames(self.second(hidden).add_(self.shortcut(x)).relu_(), lengths)


def fold(
    conv: nn.Conv1d | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by a batch norm, float64."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight.detach().double() * (variance.double() + norm.eps).rsqrt()
    weight = conv.weight.detach().double()
    before = 0.0 if conv.bias is None else conv.bias.detach().double()
    bias = (before - mean.double()) * scale + norm.bias.detach().double()
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), bias


def mask_frames(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero the frames (axis 1) behind each row's length: to a convolution they are its padding."""
    if lengths is None:
        return x
    inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return x * inside.view(*inside.shape, *[1] * (x.ndim - 2))


class _Direct(nn.Module):
    """A convolution by PyTorch, on images with channels last."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.stride = stride
        kernel = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", kernel, persistent=False)
        self.register_buffer("bias", bias.to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        image = x.permute(0, 3, 1, 2)
        y = F.conv2d(image, self.get_buffer("weight"), self.get_buffer("bias"), self.stride, 1)
        return y.permute(0, 2, 3, 1)


def _convolution(weight: Tensor, bias: Tensor, stride: int, dtype: torch.dtype, fast: bool) -> Conv:
    """The fastest convolution; kernels are (out, in, bands, frames) and images the other way.

    Measured on one core with 512 channels: F(4, 3) 2.4 times as fast as direct, F(2, 3) in
    bfloat16 1.5, stride 2 in float32 1.25, in bfloat16 no gain.
    """
    turned = weight.transpose(2, 3)
    half = dtype != torch.float32
    if not fast or weight.shape[1] == 1 or (half and stride == 2):
        return _Direct(turned, bias, stride, dtype)
    return WinogradConv(turned, bias, stride, 2 if half or stride == 2 else 4, dtype)
