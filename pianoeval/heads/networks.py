"""Layers of heads on frames, and where their parameters lie.

All parameters of a replica are one row of a matrix (replicas, numbers), so that one step of descent
is a few operations for all replicas. The row holds the convolutional blocks
(:mod:`pianoeval.heads.conv`) and every kind of layers that may follow; which of them learn is the
trainer's business.

``pcconv``  PCConvNet (Pati, Gururani and Lerch 2018, Appl. Sci. 8:507): a convolution over all
            frames that are left, batch normalisation and ReLU
``linear``  ContrastiveCNN (Seshadri and Lerch 2021, figure 1): the mean over time is the code; two
            linear layers and a sigmoid
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from pianoeval.heads.conv import EPSILON, Block, Moments
from pianoeval.params_contrast import HeadParams

_INIT = 0  # purpose of the random stream; :mod:`pianoeval.heads.sampling` has the others
_ALIGN = 16  # numbers: rows and parameters begin where vector units like to read
# Running moments follow those of a batch by this share, as in torch.nn.BatchNorm1d.
_FOLLOW = 0.1


@dataclass(frozen=True)
class Part:
    """One parameter: its place in a row, its shape, and what it begins with."""

    start: int
    shape: tuple[int, ...]
    fan_in: int = 0
    value: float = 0.0

    @property
    def stop(self) -> int:
        return self.start + prod(self.shape)


class Layout:
    """Where the parameters of one shape of networks lie.

    Attributes
    ----------
    parts : dict of Part
    n_encoder, n : int
        Numbers of the convolutional blocks, which come first, and of all parameters.
    n_running : int
        Numbers of all running moments: mean and variance of each block, then of ``pcconv``.
    """

    def __init__(self, head: HeadParams, n_in: int, n_lenses: int) -> None:
        self.kernel, self.stride = head.kernel, head.stride
        self.channels, self.frames_left = list(head.channels), head.stack_frames()
        self.parts: dict[str, Part] = {}
        self.n = 0
        for number, (width, out) in enumerate(
            zip([n_in, *self.channels[:-1]], self.channels, strict=True)
        ):
            self._add(f"{number}.w", (out, self.kernel * width), self.kernel * width)
            self._add(f"{number}.bias", (out,), self.kernel * width)
            self._norm(f"{number}", out)
        self.n_encoder = self.n
        k, last = self.code, self.channels[-1] * self.frames_left
        self._add("pcconv.w", (1, last), last)
        self._add("pcconv.bias", (1,), last)
        self._norm("pcconv", 1)
        self.n_pcconv = self.n
        self._add("linear.w", (k, k), k)
        self._add("linear.bias", (k,), k)
        self._add("rating.w", (1, k), k)
        self._add("rating.bias", (1,), k)
        self.n_linear = self.n
        self._add("lens.slope", (n_lenses,), value=1.0)
        self._add("lens.offset", (n_lenses,))
        self._add("lens.log_variance", (n_lenses,))
        self.n_running = 2 * sum(self.channels) + 2

    @property
    def code(self) -> int:
        """Values of a code."""
        return self.channels[-1]

    def initial(self, seed: int) -> Tensor:
        """A row: uniform in ±1/√(fan in), as ``torch.nn``, from a stream for each parameter."""
        row = torch.zeros(self.n)
        for number, (name, part) in enumerate(self.parts.items()):
            at = row[part.start : part.stop]
            if part.fan_in:
                rng = np.random.default_rng([seed, _INIT, number])
                drawn = (2 * rng.random(len(at), dtype=np.float32) - 1) / part.fan_in**0.5
                at.copy_(torch.from_numpy(drawn.astype(np.float32)))
            else:
                at.fill_(1.0 if name.endswith("gain") else part.value)
        return row

    def initial_running(self) -> Tensor:
        """Running moments before the first batch: means 0, variances 1."""
        row = torch.zeros(self.n_running)
        for moments in self.running(row):
            moments.variance.fill_(1.0)
        row[-1] = 1.0
        return row

    def get(self, rows: Tensor, name: str) -> Tensor:
        """A parameter of rows (B, n): (B, …)."""
        part = self.parts[name]
        return rows[..., part.start : part.stop].reshape(*rows.shape[:-1], *part.shape)

    def blocks(self, row: Tensor) -> list[Block]:
        """Convolutional blocks of one row, views."""
        return [
            Block(*(self.get(row, f"{number}.{name}") for name in ("w", "bias", "gain", "shift")))
            for number in range(len(self.channels))
        ]

    def running(self, row: Tensor) -> list[Moments]:
        """Running moments of the blocks, views."""
        found, at = [], 0
        for width in self.channels:
            found.append(Moments(row[at : at + width], row[at + width : at + 2 * width]))
            at += 2 * width
        return found

    def _add(self, name: str, shape: tuple[int, ...], fan_in: int = 0, value: float = 0.0) -> None:
        self.parts[name] = Part(self.n, shape, fan_in, value)
        self.n += -(-prod(shape) // _ALIGN) * _ALIGN

    def _norm(self, name: str, width: int) -> None:
        self._add(f"{name}.gain", (width,))
        self._add(f"{name}.shift", (width,))


def follow(running: Sequence[Moments], batch: Sequence[Moments]) -> None:
    """Running moments a step nearer to those of a batch, in place."""
    for old, new in zip(running, batch, strict=True):
        for was, now in zip(old, new, strict=True):
            was.mul_(1 - _FOLLOW).add_(now, alpha=_FOLLOW)


def linear_rating(layout: Layout, rows: Tensor, codes: Tensor) -> Tensor:
    """Two linear layers and a sigmoid: codes (B, m, k) to ratings (B, m)."""
    w, bias = layout.get(rows, "linear.w"), layout.get(rows, "linear.bias")
    hidden = torch.baddbmm(bias[:, None], codes, w.transpose(1, 2))
    w, bias = layout.get(rows, "rating.w"), layout.get(rows, "rating.bias")
    return torch.sigmoid(torch.baddbmm(bias[:, None], hidden, w.transpose(1, 2))[..., 0])


def pcconv_rating(
    layout: Layout, rows: Tensor, last: Tensor, running: Tensor, *, learning: bool
) -> Tensor:
    """Convolution over all frames that are left, batch normalisation, ReLU.

    Parameters
    ----------
    rows : (B, n)
    last : (B, time left · channels, m)
        Output of the last block.
    running : (B, 2)
        Running mean and variance; ``learning`` uses the batch's and updates these in place.

    Returns
    -------
    (B, m)
    """
    w, bias = layout.get(rows, "pcconv.w"), layout.get(rows, "pcconv.bias")
    made = torch.bmm(w, last)[:, 0] + bias
    if learning:
        mean = made.mean(dim=1, keepdim=True)
        variance = (made - mean).square().mean(dim=1, keepdim=True)
        n = made.shape[1]
        now = torch.cat([mean, variance * (n / max(n - 1, 1))], dim=1).detach()
        running.mul_(1 - _FOLLOW).add_(now, alpha=_FOLLOW)
    else:
        mean, variance = running[:, :1], running[:, 1:]
    even = (made - mean) * (variance + EPSILON).rsqrt()
    gain, shift = layout.get(rows, "pcconv.gain"), layout.get(rows, "pcconv.shift")
    return torch.relu(even * gain + shift)
