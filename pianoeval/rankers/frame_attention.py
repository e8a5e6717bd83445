r"""Comparison of takes by cross-attention over their frames.

Frames become codes h by the shared projection. Each frame of A attends to the frames of B,

.. math:: c_t = \sum_s a_{ts} h^B_s, \qquad a_t = \mathrm{softmax}(h^A_t \cdot h^B / \sqrt{k})

scaled dot products (Vaswani et al. 2017, arXiv:1706.03762, eq. 1) without further matrices. What A
is like beside B is the mean over its frames of :math:`[h_t; c_t; h_t ⊙ c_t]`, of which a layer with
GELU and a linear head make :math:`s_d(A|B)`; the logit is :math:`s_d(A|B) - s_d(B|A)`, odd by
construction. Its cost grows with pairs times the square of frames.
"""

from __future__ import annotations

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.nn import functional

from pianoeval.errors import PianoevalError
from pianoeval.losses.pairwise import all_pairs
from pianoeval.models.base import Float64
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.contrastive import pair_loss
from pianoeval.rankers.features import MOST_FRAMES
from pianoeval.rankers.networks import (
    BaseNetwork,
    Initial,
    Shape,
    Weights,
    linear,
    projection,
)
from pianoeval.rankers.sampling import Batch, Takes

_AT_ONCE = 128  # pairs, outside of training


class FrameAttention(BaseNetwork):
    """Network of the comparison; see the module."""

    reads_frames = True

    def __init__(self, params: RankerParams) -> None:
        self.params = params

    def initial(self, shape: Shape, seed: int, labels: Float64) -> Weights:
        p = self.params
        start = Initial(seed)
        start.projection("shared", shape.frame_width, p.hidden, p.projection)
        start.linear("between", 3 * p.projection, p.hidden)
        start.linear("head", p.hidden, shape.n_dimensions, bias=False)
        return start.weights

    def values(self, shape: Shape, n_takes: int, n_pairs: int) -> int:
        p = self.params
        take = MOST_FRAMES * (shape.frame_width + 7 * p.hidden + 3 * p.projection)
        # A list's pairs at a time; they are computed again on the way back.
        pair = 2 * MOST_FRAMES * (2 * MOST_FRAMES + 4 * p.projection)
        at_once = max(n_pairs // p.batch_segments, _AT_ONCE)
        return n_takes * take + at_once * pair + n_pairs * 12 * shape.n_dimensions

    def loss(self, weights: Weights, batch: Batch) -> Tensor:
        p, (_, lists, n) = self.params, batch.mask.shape
        frames, real = self._frames(weights, batch.takes, batch.dropout(p.hidden, 0))
        first, second = all_pairs(n)
        logits = []
        for number in range(lists):
            takes = slice(number * n, (number + 1) * n)
            h, there = frames[:, takes], real[:, takes]
            logits.append(
                torch.utils.checkpoint.checkpoint(
                    self._logit, weights, h[:, first], there[:, first], h[:, second],
                    there[:, second], use_reentrant=False,
                )
            )  # fmt: skip
        ahead = torch.stack(logits, dim=1)
        # The other order has the opposite logit and target, and so the same loss.
        return pair_loss(p, ahead, batch.target, batch)

    def _frames(
        self, weights: Weights, takes: Takes, factors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Codes of frames (B, m, T, k), 0 where there is none, and where there is one."""
        if takes.frames is None or takes.real is None:
            raise PianoevalError("cross-attention was given no frames")
        steps = takes.frames.shape[2]
        if factors is not None:  # a take's frames share what is dropped
            factors = factors.repeat_interleave(steps, dim=1)
        codes = projection(weights, "shared", takes.frames.flatten(1, 2), factors)
        return codes.reshape(*takes.frames.shape[:3], -1) * takes.real[..., None], takes.real

    def _logit(
        self, weights: Weights, a: Tensor, real_a: Tensor, b: Tensor, real_b: Tensor
    ) -> Tensor:
        """Logits of pairs whose frames are ``a`` and ``b`` (B, P, T, k): (B, P, D)."""
        near = a @ b.transpose(2, 3) / a.shape[3] ** 0.5
        return self._beside(weights, near, a, real_a, b, real_b) - self._beside(
            weights, near.transpose(2, 3), b, real_b, a, real_a
        )

    def _beside(
        self, weights: Weights, near: Tensor, a: Tensor, real_a: Tensor, b: Tensor, real_b: Tensor
    ) -> Tensor:
        """What A is like beside B, s(A|B): (B, P, D)."""
        lowest = torch.finfo(near.dtype).min
        share = near.masked_fill(~real_b[:, :, None], lowest).softmax(dim=3)
        found = share @ b
        count = real_a.sum(dim=2).clamp(min=1)[..., None]
        weight = real_a[..., None].to(a.dtype)
        means = [(one * weight).sum(dim=2) / count for one in (a, found, a * found)]
        between = linear(weights, "between", torch.cat(means, dim=2))
        return linear(weights, "head", functional.gelu(between))

    def margins(self, weights: Weights, takes: Takes, first: Tensor, second: Tensor) -> Tensor:
        codes, real = self._frames(weights, takes)
        replica = torch.arange(len(first))[:, None]
        parts = []
        for start in range(0, first.shape[1], _AT_ONCE):
            a, b = (replica, first[:, start : start + _AT_ONCE]), (
                replica, second[:, start : start + _AT_ONCE],
            )  # fmt: skip
            parts.append(self._logit(weights, codes[a], real[a], codes[b], real[b]))
        return torch.cat(parts, dim=1)

    def codes(self, weights: Weights, takes: Takes) -> dict[str, Tensor]:
        codes, real = self._frames(weights, takes)
        return {"shared": codes.sum(dim=2) / real.sum(dim=2).clamp(min=1)[..., None]}
