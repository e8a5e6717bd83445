"""The convolutions of HuBERT over the waveform (Hsu et al. 2021), channels last, for inference.

A strided convolution is one matrix product over overlapping rows (time, kernel x channels). The
first one's group norm is folded into its weights: mean and variance of its output follow from
those of the windows it reads, so that the widest tensor of the network is written once and never
read for statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.linear import linear

_ROWS = 1024  # of the second convolution at once on a CPU: what it reads is 4 MB, and not 100


@dataclass(frozen=True)
class HubertShape:
    """What ``config.json`` says of the network; names there in brackets.

    Parameters
    ----------
    dim, hidden, heads, n_layers : int
        Width (hidden_size), width of feed-forward layers (intermediate_size), heads, layers.
    channels, kernels, strides : tuple of int
        Of the convolutions (conv_dim, conv_kernel, conv_stride).
    conv_bias : bool
    layer_norm_convs : bool
        A layer norm in every convolution, not a group norm in the first
        (feat_extract_norm: layer, group).
    norm_features : bool
        A layer norm before the projection (feat_proj_layer_norm).
    norm_first : bool
        Layer norms inside the residual branches, and one at the end (do_stable_layer_norm).
    alpha : float
        Weight of the residual; 1 unless deepnorm.
    positions, groups : int
        Kernel and groups of the positional convolution.
    eps : float
        Of layer norms outside the convolutions (layer_norm_eps).
    """

    dim: int
    hidden: int
    heads: int
    n_layers: int
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    conv_bias: bool
    layer_norm_convs: bool
    norm_features: bool
    norm_first: bool
    alpha: float
    positions: int
    groups: int
    eps: float

    @property
    def period(self) -> int:
        """Samples between two frames."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product

    @property
    def span(self) -> int:
        """Samples that one frame sees."""
        span, step = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            span += (kernel - 1) * step
            step *= stride
        return span


class _Convolution(nn.Module):
    """One strided convolution without padding, its norm and GELU; channels last."""

    def __init__(self, shape: HubertShape, i: int) -> None:
        super().__init__()
        into, out = (shape.channels[i - 1] if i else 1), shape.channels[i]
        self.kernel, self.stride = shape.kernels[i], shape.strides[i]
        self.conv = nn.Conv1d(into, out, self.kernel, self.stride, bias=shape.conv_bias)
        if shape.layer_norm_convs:
            self.layer_norm: nn.LayerNorm | nn.GroupNorm = nn.LayerNorm(out)
        elif i == 0:
            self.layer_norm = nn.GroupNorm(out, out)
        self.norm_rows = shape.layer_norm_convs

    def prepare(self, dtype: torch.dtype) -> None:
        """Kernel as (out, kernel x in)."""
        weight, bias = self.conv.weight, self.conv.bias
        del self.conv
        self.weight = frozen(weight.permute(0, 2, 1).flatten(1), dtype)
        self.bias = None if bias is None else frozen(bias, dtype)

    def windows(self, x: Tensor) -> Tensor:
        """What each output sees, (batch, time, in) to (batch, frames, kernel x in): a view."""
        frames = (x.shape[1] - self.kernel) // self.stride + 1
        sizes = (len(x), frames, self.kernel * x.shape[2])
        return x.as_strided(sizes, (x.stride(0), self.stride * x.shape[2], 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, in), contiguous, to (batch, frames, out)."""
        if x.device.type != "cpu":  # there overlapping rows would be copied first
            return self.finish(self.convolve(x), x.dtype)
        if self.norm_rows:
            return self.finish(linear(self.windows(x), self.weight, self.bias), x.dtype)
        return linear(self.windows(x), self.weight, self.bias, then="gelu")

    def convolve(self, x: Tensor) -> Tensor:
        """The same product by a convolution whose memory format is channels last."""
        kernel = self.weight.view(len(self.weight), 1, self.kernel, -1).permute(0, 3, 1, 2)
        image = x.unsqueeze(1).permute(0, 3, 1, 2)
        y = F.conv2d(image, kernel, self.bias, (1, self.stride))
        return y.permute(0, 2, 3, 1).squeeze(1)

    def finish(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Layer norm, if there is one, and GELU."""
        return F.gelu(self.layer_norm(y.float()).to(dtype) if self.norm_rows else y)

    def fold(self, windows: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights (batch, out, kernel) and biases (batch, out) that contain the group norm.

        With windows u of mean m and covariance C over the frames of a row, ``w'u + b`` has mean
        ``w'm + b`` and variance ``w'Cw``: b drops out. In float64, so that no digits cancel.
        """
        u = windows.double()
        count: Tensor | int = u.shape[1]
        if frames is not None:
            count = frames[:, None, None]
            u = u * (torch.arange(u.shape[1], device=u.device)[:, None] < count)
        mean = u.sum(1, keepdim=True) / count
        covariance = u.mT @ u / count - mean.mT * mean
        norm, weight = self.layer_norm, self.weight.double()
        variance = ((weight @ covariance) * weight).sum(-1).clamp_min(0)
        scale = norm.weight.double() * (variance + norm.eps).rsqrt()
        folded = scale[..., None] * weight
        return folded.float(), (norm.bias.double() - (folded * mean).sum(-1)).float()

    def first(self, windows: Tensor, folded: tuple[Tensor, Tensor] | None) -> Tensor:
        """The first convolution, from windows (batch, frames, kernel), in float32."""
        if folded is None:
            return self.finish(linear(windows, self.weight, self.bias), torch.float32)
        weight, bias = folded
        if len(windows) == 1:
            return linear(windows, weight[0], bias[0], then="gelu")
        return F.gelu(torch.baddbmm(bias[:, None], windows, weight.mT))


class Features(nn.Module):
    """The stack of convolutions."""

    def __init__(self, shape: HubertShape) -> None:
        super().__init__()
        n = len(shape.channels)
        self.conv_layers = nn.ModuleList(_Convolution(shape, i) for i in range(n))

    @property
    def stack(self) -> list[_Convolution]:
        """The convolutions in their order."""
        return cast("list[_Convolution]", list(self.conv_layers))

    def forward(self, audio: Tensor, n_samples: Sequence[int] | None, dtype: torch.dtype) -> Tensor:
        """Audio (batch, samples) to features (batch, frames, channels)."""
        first = self.stack[0]
        windows, folded, tile = first.windows(audio[..., None]), None, audio.shape[1]
        if not first.norm_rows:
            kept = None
            if n_samples is not None:
                counts = [(n - first.kernel) // first.stride + 1 for n in n_samples]
                kept = torch.tensor(counts).to(audio.device)
            folded = first.fold(windows, kept)
        if audio.device.type == "cpu":  # one row, and a piece of it, stays in the cache
            rows = [(windows[i : i + 1], _row(folded, i)) for i in range(len(audio))]
            return torch.cat([self._run(*row, _ROWS, dtype) for row in rows])
        return self._run(windows, folded, tile, dtype)

    def _run(
        self, windows: Tensor, folded: tuple[Tensor, Tensor] | None, tile: int, dtype: torch.dtype
    ) -> Tensor:
        first, second, *others = self.stack
        length = (windows.shape[1] - second.kernel) // second.stride + 1
        parts = []
        for begin in range(0, length, tile):
            end = min(begin + tile, length)
            seen = slice(begin * second.stride, (end - 1) * second.stride + second.kernel)
            parts.append(second(first.first(windows[:, seen], folded).to(dtype)))
        x = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        for layer in others:
            x = layer(x)
        return x


def frozen(value: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """A parameter that is not trained."""
    return nn.Parameter(value.detach().to(dtype).contiguous(), requires_grad=False)


def _row(folded: tuple[Tensor, Tensor] | None, i: int) -> tuple[Tensor, Tensor] | None:
    return None if folded is None else (folded[0][i : i + 1], folded[1][i : i + 1])
