"""Chunks of frames: drawn at random in training, on a grid where clips are judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.heads.base import HeadFold
from pianoeval.heads.components import components_of
from pianoeval.models.base import Float32, Rows
from pianoeval.params_contrast import CONTOURS, HeadParams

# Purposes of random streams; :mod:`pianoeval.heads.networks` has number 0.
_CHUNKS, _PAIRS = 1, 2
_LANES = 256  # chunks that are judged at a time
_HIGHEST_MIDI = 127.0


class Material:
    """What the heads of one fold learn from that cut and see frames alike.

    Attributes
    ----------
    fold : HeadFold
    fit, held : int64
        Clips that are learned from, and those that training stops on.
    y_fit, y_held : float32 (clips, dimensions)
    pitch : int
        Which value of a frame is a pitch, 0 where unvoiced; -1 if none is.
    """

    def __init__(self, fold: HeadFold, head: HeadParams) -> None:
        self.fold, self.head = fold, head
        fit, held = fold.validation
        self.fit, self.held = fold.train[fit], fold.train[held]
        self.y_fit = torch.from_numpy(fold.y[fit].astype(np.float32))
        self.y_held = torch.from_numpy(fold.y[held].astype(np.float32))
        self.values: Float32 = (
            components_of(fold, head.components) if head.components
            else np.ascontiguousarray(fold.frames.values, np.float32)
        )  # fmt: skip
        contour = head.store in CONTOURS and "pitch" in head.columns
        self.pitch = head.columns.index("pitch") if contour else -1

    @property
    def width(self) -> int:
        """Values a frame."""
        return int(self.values.shape[1])

    def batches(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Rows]]:
        """One random chunk of each fit clip: ``head.batches`` batches, and which clips they hold.

        Fewer batches where they would hold one clip, which is no pair and has no spread.

        Yields
        ------
        chunks : float32, (frames, channels, clips)
        places : int64, (clips,)
            Positions in ``fit``.
        """
        rng = np.random.default_rng([seed, _CHUNKS, epoch])
        order = rng.permutation(len(self.fit))
        spare = np.maximum(self.fold.frames.length[self.fit] - self.head.chunk_frames, 0)
        first = (rng.random(len(self.fit)) * (spare + 1)).astype(np.int64)
        most = self.head.pitch_shift_semitones / _HIGHEST_MIDI
        shift = ((2 * rng.random(len(self.fit)) - 1) * most).astype(np.float32)
        for places in np.array_split(order, max(1, min(self.head.batches, len(order) // 2))):
            yield self._chunks(self.fit[places], first[places], shift[places]), places

    def grid(self, clips: Rows, hop: int) -> Iterator[tuple[Tensor, Rows]]:
        """Chunks every ``hop`` frames, the last at the end of its clip; and whose they are.

        Yields
        ------
        chunks : float32, (frames, channels, at most 256)
        owners : int64
            Positions in ``clips``, which do not decrease.
        """
        owner, first = grid_of(self.fold.frames.length[clips], self.head.chunk_frames, hop)
        still = np.zeros(len(first), np.float32)
        for at in range(0, len(owner), _LANES):
            part = slice(at, at + _LANES)
            yield self._chunks(clips[owner[part]], first[part], still[part]), owner[part]

    def _chunks(self, clips: Rows, first: Rows, shift: Float32) -> Tensor:
        frames = self.fold.frames
        # Memory of torch, which always begins where products of matrices take the same path.
        out = torch.empty((self.head.chunk_frames, self.width, len(clips)))
        _gather(
            self.values, frames.start[clips] + first, frames.length[clips] - first, shift,
            self.pitch, out.numpy(),
        )  # fmt: skip
        return out


def grid_of(length: Rows, chunk: int, hop: int) -> tuple[Rows, Rows]:
    """Clip and first frame of every chunk: at 0, hop, 2·hop … and where the clip ends."""
    owner, first = [], []
    for number, frames in enumerate(length.tolist()):
        spare = max(frames - chunk, 0)
        starts = sorted({*range(0, spare + 1, hop), spare})
        owner += [number] * len(starts)
        first += starts
    return np.array(owner, np.int64), np.array(first, np.int64)


def pairs_of(seed: int, epoch: int, step: int, n: int) -> Tensor:
    """Random pairs of a batch, (n, 2): neighbours in a random sequence, the last with the first."""
    order = np.random.default_rng([seed, _PAIRS, epoch, step]).permutation(n)
    return torch.from_numpy(np.stack([order, np.roll(order, -1)], axis=1))


def mean_of_owner(values: Tensor, owner: Sequence[int] | Rows, n: int) -> Tensor:
    """Mean over the chunks of each clip, (chunks, …) to (n, …)."""
    place = torch.as_tensor(np.asarray(owner, np.int64))
    total = values.new_zeros((n, *values.shape[1:])).index_add_(0, place, values)
    count = torch.bincount(place, minlength=n).to(values.dtype)
    return total / count.reshape(-1, *([1] * (values.ndim - 1)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gather(values, row, left, shift, pitch, out):  # type: ignore[no-untyped-def]
    """Frames of each chunk, 0 beyond its clip; voiced frames of column ``pitch`` are shifted."""
    time, width, clips = out.shape
    nothing = np.float32(0)
    for j in range(clips):
        n = min(time, left[j])
        for t in range(n):
            for c in range(width):
                y = values[row[j] + t, c]
                out[t, c, j] = y + shift[j] if c == pitch and y != nothing else y
        out[n:, :, j] = 0


def frames_of(material: Material, clips: Rows) -> Iterator[NDArray[np.float32]]:
    """All frames of each clip, as heads see them."""
    return (material.values[material.fold.frames.rows(int(clip))] for clip in clips)
