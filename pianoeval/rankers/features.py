"""Features of a fold as its networks read them: scaled by the fit takes, centred if asked.

Centring takes the mean of a segment's takes away. The takes that are compared are centred among
themselves: fit takes, held takes and reported takes each on their own. That reads features of
reported takes that compete with one another, and no label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pianoeval.errors import ConfigError
from pianoeval.models.base import Float32, Float64, Fold, Rows, Standardiser
from pianoeval.models.sequence_data import FoldData
from pianoeval.params import SequenceParams
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.difference import centred

# Frames a take in cross-attention, whose cost grows with their square.
MOST_FRAMES = 32


@dataclass(frozen=True, eq=False)
class Frames:
    """``values`` (…, clips, T, width), 0 where ``real`` (…, clips, T) is false."""

    values: Tensor
    real: Tensor


def scaled_features(fold: RankFold, fit: Rows, held: Rows, *, centre: bool) -> Float32:
    """Features of all clips, (clips, features), 0 for clips of neither side.

    Parameters
    ----------
    fit, held : positions within ``fold.train``
    """
    fit_rows = fold.train[fit]
    scaler = Standardiser.fit(fold.x[fit_rows])
    z = np.zeros(fold.x.shape, np.float32)
    sides = [fit_rows, fold.train[held], fold.test]
    inside = [scaler.transform(fold.x[rows]) for rows in sides]
    if centre:
        inside = [centred(z, fold.segment[r]) for z, r in zip(inside, sides, strict=True)]
        spread = _inverse(np.sqrt(np.square(inside[0]).mean(axis=0)))
        inside = [one * spread for one in inside]
    for rows, one in zip(sides, inside, strict=True):
        z[rows] = one
    return z


def scaled_frames(fold: RankFold, fit: Rows, held: Rows, *, centre: bool) -> Frames:
    """Frames of all clips, neighbours averaged to at most ``MOST_FRAMES``.

    Raises
    ------
    ConfigError
        The fold has no sequences.
    """
    if fold.sequences is None:
        raise ConfigError(
            f"fold {fold.name} has no frames to compare", where="rank.rankers",
            allowed="comparison attention with a view of an encoder that keeps frames, or of notes",
            next_step="set pool.sequence_hz in params.yaml, or choose another comparison",
        )  # fmt: skip
    whole = Fold(fold.name, fold.x[:, :0], fold.train, fold.test, fold.y, sequences=fold.sequences)
    data = FoldData(whole, fold.train[fit], SequenceParams(), "rows")
    width = data.values.shape[1]
    values = np.zeros((len(fold.x), MOST_FRAMES, width), np.float32)
    real = np.zeros((len(fold.x), MOST_FRAMES), bool)
    for side in (fold.train[fit], fold.train[held], fold.test):
        taken = [_shortened(data.batch(one[None]).values[0].numpy()) for one in side]
        if centre:
            means = np.stack([one.mean(axis=0, dtype=np.float64) for one in taken])
            shift = means - centred(means, fold.segment[side])
            taken = [one - s for one, s in zip(taken, shift, strict=True)]
        for row, one in zip(side, taken, strict=True):
            values[row, : len(one)], real[row, : len(one)] = one, True
    return Frames(torch.from_numpy(values), torch.from_numpy(real))


def _shortened(frames: Float32) -> Float32:
    """Means of neighbouring frames, as even as may be, (≤ ``MOST_FRAMES``, width)."""
    if len(frames) <= MOST_FRAMES:
        return frames
    edges = np.arange(MOST_FRAMES) * len(frames) // MOST_FRAMES
    count = np.diff(np.append(edges, len(frames)))
    return np.asarray(np.add.reduceat(frames, edges, axis=0) / count[:, None], np.float32)


def _inverse(spread: Float64) -> Float64:
    """One over a spread of standardised values; 0 where there is none beyond rounding."""
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6)
