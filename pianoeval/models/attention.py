r"""Attention pooling, then the two-layer perceptron.

A clip's frames h become one vector :math:`z = \sum_t a_t h_t`, :math:`a = \mathrm{softmax}(s)`,
:math:`s_t = v^\top \tanh(W h_t + b)`: additive attention (Bahdanau et al. 2015, ICLR) with a
learned query in place of a decoder's state, as for sentences (Lin et al. 2017, ICLR, eq. 5, one
hop) and speakers (Okabe et al. 2018, Interspeech, eqs. 3-5, without their deviation). The 2026
paper compares such a pooling without giving its formula.

v is 0 at first, so that training starts from mean pooling, with frames scaled such that this is
the vector that ``mlp`` reads: what the attention adds is what it has learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.sequence_training import predict_sequences
from pianoeval.params import AttentionParams, MlpParams, SequenceParams


class AttentionPooling(torch.nn.Module):
    """Weighted mean of frames; weights from the frames themselves."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.compare = torch.nn.Linear(dim, width)
        self.query = torch.nn.Parameter(torch.zeros(width))

    def weights(self, values: Tensor, real: Tensor) -> Tensor:
        """Weights of frames, (clips, longest); 0 on padding, each clip's sum 1."""
        scores = self.compare(values).tanh() @ self.query
        shares: Tensor = scores.masked_fill(~real, -torch.inf).softmax(dim=1)
        return shares

    def forward(self, values: Tensor, real: Tensor) -> Tensor:
        """The weighted mean, (clips, dim)."""
        return torch.einsum("nt,ntd->nd", self.weights(values, real), values)


def predict_attention(
    folds: Sequence[Fold], params: MlpParams, frames: SequenceParams, attention: AttentionParams
) -> list[FoldPrediction]:
    """Train attention and perceptron a fold; errors as ``predict_sequences``."""

    def make(dim: int) -> tuple[torch.nn.Module, int]:
        return AttentionPooling(dim, attention.width), dim

    return predict_sequences(folds, make, "clips", params, frames)
