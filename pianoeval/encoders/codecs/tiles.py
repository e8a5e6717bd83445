"""Convolutional stacks on long audio, tile by tile: same numbers, bounded memory, warm caches.

A *stage* is a few convolutions that keep the length, then one that divides it by ``stride``. A tile
is given ``halo`` samples more on both sides, so that the zero padding at its edges never reaches
the outputs that are kept; at the ends of the input the padding is the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# (input (batch, channels, samples), real length of each row or None) -> output
Stage = Callable[[Tensor, Tensor | None], Tensor]


def convolve(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve in the arithmetic of the layer's weights, and return float32."""
    return conv(x.to(conv.weight.dtype)).float()  # type: ignore[no-any-return]


def to_bfloat16(net: nn.Module) -> None:
    """Let the convolutions of ``net`` be bfloat16; everything else stays as it is."""
    for module in net.modules():
        if isinstance(module, nn.Conv1d):
            module.to(torch.bfloat16)


def row_lengths(n_samples: Sequence[int], whole: int, device: torch.device) -> Tensor | None:
    """Lengths (batch,) for :func:`mask_tail`; None where every row is whole."""
    if all(n == whole for n in n_samples):
        return None
    return torch.tensor(n_samples, device=device)


def mask_tail(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero what lies behind each row's length: to the next convolution it is zero padding."""
    if lengths is None:
        return x
    inside = torch.arange(x.shape[-1], device=x.device) < lengths[:, None, None]
    return x * inside


def run_in_tiles(
    stage: Stage, x: Tensor, lengths: Tensor | None, *, stride: int, reach: int, tile: int
) -> Tensor:
    """``stage(x, lengths)``, computed on tiles.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, samples)
    lengths : Tensor, optional
        Real length of each row; the stage must mask with it.
    stride : int
        The stage gives ``samples // stride`` frames.
    reach : int
        How many samples before the first and after the last of its ``stride`` a frame depends on,
        at most.
    tile : int
        Samples a tile, without its halo.
    """
    frames = x.shape[-1] // stride
    if x.shape[-1] <= tile:
        return stage(x, lengths)
    halo, step = -(-reach // stride), max(tile // stride, 1)
    out = x.new_empty(0)
    for begin in range(0, frames, step):
        end = min(begin + step, frames)
        first = max(begin - halo, 0)
        # The last tile also gets the samples behind the last whole frame.
        last = x.shape[-1] if end + halo >= frames else (end + halo) * stride
        here = None if lengths is None else lengths - first * stride
        part = stage(x[..., first * stride : last], here)
        if begin == 0:  # parts put together at the end would take the memory twice
            out = part.new_empty((*part.shape[:2], frames))
        out[..., begin:end] = part[..., begin - first : end - first]
    return out
