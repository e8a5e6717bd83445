"""Sequences of clips: frames of an embedding, or notes, of different lengths, one after another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError

_NEXT_STEP = "dvc repro"


@dataclass(frozen=True, eq=False)
class Sequences:
    """Rows of all clips, ragged.

    Attributes
    ----------
    values : float32, shape (rows, dim)
        Frames or notes in the order of time; NaN = the value does not exist.
    start, length : int64, shape (clips,)
        Clip i is ``values[start[i] : start[i] + length[i]]``; no clip is empty.
    marks : dict of int32, shape (rows,)
        What each row belongs to, by name (``beat``, ``measure``): numbers that do not decrease
        within a clip and mean nothing beyond it.

    Raises
    ------
    BadInputError
        Shapes that do not fit, a clip without rows, infinite values.
    """

    values: NDArray[np.float32]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    marks: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.values)
        fits = self.values.ndim == 2 and self.start.shape == self.length.shape
        fits = fits and all(mark.shape == (rows,) for mark in self.marks.values())
        if not fits or (len(self.start) and int((self.start + self.length).max()) > rows):
            raise BadInputError("sequences whose parts do not fit", next_step=_NEXT_STEP)
        if (self.length < 1).any():
            raise BadInputError(
                "a clip without frames or notes", where=f"row {int(self.length.argmin())}",
                next_step=_NEXT_STEP,
            )  # fmt: skip
        if np.isinf(self.values).any():
            raise BadInputError("sequences with infinite values", next_step=_NEXT_STEP)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def dim(self) -> int:
        """Values a row."""
        return int(self.values.shape[1])

    def rows(self, clip: int) -> slice:
        """Where clip number ``clip`` stands."""
        return slice(int(self.start[clip]), int(self.start[clip] + self.length[clip]))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self.values[self.rows(clip)] for clip in range(len(self)))

    def take(self, clips: NDArray[np.int64]) -> Sequences:
        """The chosen clips in the order asked for; rows are shared, not copied."""
        return Sequences(self.values, self.start[clips], self.length[clips], self.marks)

    def digest(self) -> str:
        """SHA-256 of what the clips hold, wherever they stand."""
        total = hashlib.sha256(f"{self.dim}|{','.join(sorted(self.marks))}".encode())
        total.update(np.ascontiguousarray(self.length, np.int64).data)
        for clip in range(len(self)):
            rows = self.rows(clip)
            total.update(np.ascontiguousarray(self.values[rows], np.float32).data)
            for name in sorted(self.marks):
                total.update(np.ascontiguousarray(self.marks[name][rows], np.int32).data)
        return total.hexdigest()
