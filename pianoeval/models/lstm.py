"""LSTM pooling, then the two-layer perceptron.

A clip becomes the last states of an LSTM (Hochreiter & Schmidhuber 1997) that reads its frames in
both directions (Graves & Schmidhuber 2005), side by side. Unlike a mean it knows their order.
The 2026 paper compares such a pooling without giving its form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.sequence_training import predict_sequences
from pianoeval.params import LstmParams, MlpParams, SequenceParams


class LstmPooling(torch.nn.Module):
    """Last states of both directions.

    A direction is read to the clip's own end, so padding never matters; clips are reversed within
    their length, and not packed: dense kernels are several times as fast on one core.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.onwards = torch.nn.LSTM(dim, width, batch_first=True)
        self.backwards = torch.nn.LSTM(dim, width, batch_first=True)

    def forward(self, values: Tensor, real: Tensor) -> Tensor:
        """The states, (clips, 2 · width)."""
        last = real.sum(dim=1) - 1
        clips = torch.arange(len(values))
        mirrored = (last[:, None] - torch.arange(values.shape[1])).clamp(min=0)
        turned = values[clips[:, None], mirrored]
        parts = [
            net(inputs)[0][clips, last]
            for net, inputs in ((self.onwards, values), (self.backwards, turned))
        ]
        return torch.cat(parts, dim=1)


def predict_lstm(
    folds: Sequence[Fold], params: MlpParams, frames: SequenceParams, lstm: LstmParams
) -> list[FoldPrediction]:
    """Train LSTM and perceptron a fold; errors as ``predict_sequences``."""

    def make(dim: int) -> tuple[torch.nn.Module, int]:
        return LstmPooling(dim, lstm.width), 2 * lstm.width

    return predict_sequences(folds, make, "rows", params, frames)
