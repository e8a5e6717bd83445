"""Blocks of convolution, batch normalisation and ReLU, of one replica, forward and backward.

Clips lie in the last axis: frames are (time, channels, clips). A window of ``kernel`` frames is
then a contiguous piece of memory, and all windows of all clips are one batched product of matrices
on overlapping views: nothing is unfolded, there or back. The rest is done in compiled loops that
pass over the values as few times as there are sums to be known first.

Equations: batch normalisation as Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithm 1, as
``torch.nn.BatchNorm1d`` has it: biased variance in the batch, unbiased in the running one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-5  # of torch.nn.BatchNorm1d


class Block(NamedTuple):
    """Parameters of one block.

    Attributes
    ----------
    w : (out, kernel · in)
        Of a window, frame by frame.
    bias, gain, shift : (out,)
    """

    w: Tensor
    bias: Tensor
    gain: Tensor
    shift: Tensor


class Moments(NamedTuple):
    """Mean and variance of each channel, (out,): of a batch, or running."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """What a block keeps for the way back: its input, normalised values and output."""

    x: Tensor
    even: Tensor
    out: Tensor
    inverse_scale: Tensor


class Gradient(NamedTuple):
    """Gradient of a block's parameters; of the bias it is 0, as the mean is taken off again."""

    w: Tensor
    gain: Tensor
    shift: Tensor


def forward(
    x: Tensor, blocks: Sequence[Block], stride: int
) -> tuple[Tensor, list[Trace], list[Moments]]:
    """Blocks with the moments of the batch.

    Parameters
    ----------
    x : float32, (time, channels, clips), contiguous

    Returns
    -------
    out : (time left, channels, clips)
    traces : list of Trace
        For :func:`backward`.
    moments : list of Moments
        Of each block's convolution, the variance unbiased: what running moments follow.
    """
    traces, moments = [], []
    for block in blocks:
        even = _convolved(x, block.w, stride)
        mean, square = torch.empty(len(block.w)), torch.empty(len(block.w))
        _moments(even.numpy(), mean.numpy(), square.numpy())
        inverse = (square + EPSILON).rsqrt()
        out = torch.empty_like(even)
        _normalise(
            even.numpy(), mean.numpy(), inverse.numpy(), block.gain.numpy(), block.shift.numpy(),
            out.numpy(),
        )  # fmt: skip
        n = even.shape[0] * even.shape[2]
        traces.append(Trace(x, even, out, inverse))
        moments.append(Moments(mean + block.bias, square * (n / max(n - 1, 1))))
        x = out
    return x, traces, moments


def backward(
    gradient: Tensor, traces: Sequence[Trace], blocks: Sequence[Block], stride: int
) -> list[Gradient]:
    """Gradients of all parameters from that of the output, (time left, channels, clips)."""
    found = []
    for number in reversed(range(len(blocks))):
        block, trace = blocks[number], traces[number]
        width = trace.x.shape[1]
        reach = math.ceil(block.w.shape[1] / (width * stride))  # windows that share a frame
        rows = math.ceil(len(trace.x) / stride)
        # Frames of zeros on both sides, so that every frame of the input has as many windows.
        padded = torch.empty((rows + reach - 1, *trace.out.shape[1:]))
        padded[: reach - 1] = 0
        padded[reach - 1 + len(trace.out) :] = 0
        dz = padded[reach - 1 : reach - 1 + len(trace.out)]
        gain, shift = torch.empty(len(block.w)), torch.empty(len(block.w))
        scale = block.gain * trace.inverse_scale
        _turn(
            gradient.contiguous().numpy(), trace.even.numpy(), trace.out.numpy(), scale.numpy(),
            dz.numpy(), gain.numpy(), shift.numpy(),
        )  # fmt: skip
        seen = _windows(trace.x, block.w.shape[1] // width, stride)
        w = torch.bmm(dz, seen.transpose(1, 2)).sum(dim=0)
        found.append(Gradient(w, gain, shift))
        if number:
            gradient = _spread(padded, block.w, width, stride, reach)[: len(trace.x)]
    return found[::-1]


def infer(x: Tensor, blocks: Sequence[Block], running: Sequence[Moments], stride: int) -> Tensor:
    """Blocks with running moments; shapes as :func:`forward`."""
    for block, moments in zip(blocks, running, strict=True):
        scale = block.gain * (moments.variance + EPSILON).rsqrt()
        offset = block.shift + (block.bias - moments.mean) * scale
        x = _convolved(x, block.w * scale[:, None], stride)
        _rectify(x.numpy(), offset.numpy())
    return x


def _windows(x: Tensor, kernel: int, stride: int) -> Tensor:
    """All windows, (windows, kernel · channels, clips), a view."""
    time, width, clips = x.shape
    n = (time - kernel) // stride + 1
    return x.as_strided((n, kernel * width, clips), (stride * width * clips, clips, 1))


def _convolved(x: Tensor, w: Tensor, stride: int) -> Tensor:
    seen = _windows(x, w.shape[1] // x.shape[1], stride)
    return torch.bmm(w.expand(len(seen), *w.shape), seen)


def _spread(padded: Tensor, w: Tensor, width: int, stride: int, reach: int) -> Tensor:
    """Gradient of a block's input from that of its windows, :math:`W^T` of all that saw a frame."""
    outs, clips = padded.shape[1:]
    kernel = w.shape[1] // width
    full = torch.zeros(reach * stride, width, outs)
    full[:kernel] = w.reshape(outs, kernel, width).permute(1, 2, 0)
    # Frame s·q + r was frame s·j + r of window q − j: the last window comes first.
    turned = full.reshape(reach, stride, width, outs).flip(0).permute(1, 2, 0, 3)
    turned = turned.reshape(stride * width, reach * outs)
    rows = len(padded) - reach + 1
    seen = padded.as_strided((rows, reach * outs, clips), (outs * clips, clips, 1))
    return torch.bmm(turned.expand(rows, *turned.shape), seen).reshape(-1, width, clips)


# Sums run over time clip by clip in float32, which vectorises, and over clips in float64.
@numba.njit(cache=True, nogil=True, error_model="numpy")
def _moments(z, mean, square):  # type: ignore[no-untyped-def]
    """Mean and biased variance of each channel."""
    time, width, clips = z.shape
    total = np.empty(clips, np.float32)
    for c in range(width):
        total[:] = 0
        for t in range(time):
            for j in range(clips):
                total[j] += z[t, c, j]
        mean[c] = total.astype(np.float64).sum() / (time * clips)
        middle = mean[c]
        total[:] = 0
        for t in range(time):
            for j in range(clips):
                apart = z[t, c, j] - middle
                total[j] += apart * apart
        square[c] = total.astype(np.float64).sum() / (time * clips)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _normalise(z, mean, inverse, gain, shift, out):  # type: ignore[no-untyped-def]
    """``z`` becomes normalised, ``out`` what ReLU leaves of it."""
    time, width, clips = z.shape
    nothing = np.float32(0)
    for t in range(time):
        for c in range(width):
            middle, scale, g, s = mean[c], inverse[c], gain[c], shift[c]
            for j in range(clips):
                even = (z[t, c, j] - middle) * scale
                z[t, c, j] = even
                y = even * g + s
                out[t, c, j] = y if y > nothing else nothing


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _rectify(z, offset):  # type: ignore[no-untyped-def]
    """ReLU of ``z`` plus an offset of each channel, in place."""
    time, width, clips = z.shape
    nothing = np.float32(0)
    for t in range(time):
        for c in range(width):
            s = offset[c]
            for j in range(clips):
                y = z[t, c, j] + s
                z[t, c, j] = y if y > nothing else nothing


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turn(d, even, out, scale, dz, gain, shift):  # type: ignore[no-untyped-def]
    """Back through ReLU and normalisation: ``dz``, and gradients of gain and shift."""
    time, width, clips = even.shape
    nothing = np.float32(0)
    first, second = np.zeros((width, clips), np.float32), np.zeros((width, clips), np.float32)
    for t in range(time):
        for c in range(width):
            for j in range(clips):
                # Both are read first, or a processor would have to jump instead of choosing.
                through, open_ = d[t, c, j], out[t, c, j]
                dz[t, c, j] = through if open_ > nothing else nothing
            for j in range(clips):
                first[c, j] += dz[t, c, j]
            for j in range(clips):
                second[c, j] += dz[t, c, j] * even[t, c, j]
    n = np.float32(time * clips)
    for c in range(width):
        shift[c] = first[c].astype(np.float64).sum()
        gain[c] = second[c].astype(np.float64).sum()
    for t in range(time):
        for c in range(width):
            mean, slope, a = shift[c] / n, gain[c] / n, scale[c]
            for j in range(clips):
                dz[t, c, j] = a * (dz[t, c, j] - mean - even[t, c, j] * slope)
