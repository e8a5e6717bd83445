"""Chunks of many clips, gathered into batches of few shapes.

Most chunks are full ones. A clip shorter than a chunk is one shorter row: a masked encoder takes
it padded to the next of a few lengths, any other with rows of exactly its length. What is
gathered depends on the order of the rows alone, so it is the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.encoders.base import EncoderSpec
from pianoeval.encoders.chunking import Chunk

N_LENGTHS = 4  # a row is padded by a quarter of a chunk at most


@dataclass(frozen=True)
class Row:
    """One chunk: ``audio`` float32 (samples,), and whose it is."""

    owner: Any
    chunk: Chunk
    audio: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Rows that go through the network together, each padded to ``samples``."""

    rows: list[Row]
    samples: int
    fixed: bool  # of a shape that comes again and again

    @property
    def lengths(self) -> list[int]:
        return [len(row.audio) for row in self.rows]


def bucket_lengths(spec: EncoderSpec, masked: bool) -> tuple[int, ...]:
    """Lengths (samples) that batches of several rows are padded to, rising.

    Whole frames, evenly spaced up to the chunk; of an encoder that is not masked, the chunk only.
    """
    if not masked:
        return (spec.chunk_samples,)
    step = spec.period_samples * spec.frame_group
    parts = {-(-spec.chunk_samples * k // (N_LENGTHS * step)) * step for k in range(1, N_LENGTHS)}
    kept = {n for n in parts if spec.min_samples <= n < spec.chunk_samples}
    return (*sorted(kept), spec.chunk_samples)


@dataclass
class Buckets:
    """Rows that wait for others of their length.

    Parameters
    ----------
    size : int
        Rows of a batch. At 1 nothing is padded.
    """

    spec: EncoderSpec
    masked: bool
    size: int
    _waiting: dict[int, list[Row]] = field(default_factory=dict)  # by length, longest wait first

    def __post_init__(self) -> None:
        self._lengths = bucket_lengths(self.spec, self.masked)

    def add(self, row: Row) -> Iterator[Batch]:
        """Take a row; yields what has become full, and the eldest when too many rows wait."""
        samples = self._length(len(row.audio))
        rows = self._waiting.setdefault(samples, [])
        rows.append(row)
        if len(rows) == self.size:
            yield self._batch(samples)
        while sum(map(len, self._waiting.values())) > 2 * self.size:
            yield self._batch(next(iter(self._waiting)))

    def flush(self) -> Iterator[Batch]:
        """What is left."""
        while self._waiting:
            yield self._batch(next(iter(self._waiting)))

    def _length(self, samples: int) -> int:
        if self.size == 1:
            return samples
        return next((n for n in self._lengths if self.masked and n >= samples), samples)

    def _batch(self, samples: int) -> Batch:
        return Batch(self._waiting.pop(samples), samples, samples in self._lengths)
