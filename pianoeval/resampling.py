"""Resampling of audio that comes in parts.

soxr's VHQ as a stream gives the samples of one call on the whole, bit by bit, however it is
divided: one definition for recordings of any length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

F4 = NDArray[np.float32]


def resampled_length(n_samples: int, from_hz: float, to_hz: float) -> int:
    """Samples that soxr makes of ``n_samples``; its own arithmetic, which decides halves."""
    return n_samples if from_hz == to_hz else int(n_samples / (from_hz / to_hz) + 0.5)


def resample_parts(parts: Iterable[F4], from_hz: float, to_hz: float) -> Iterator[F4]:
    """Mono audio at another rate; as it is if the rates agree."""
    if from_hz == to_hz:
        yield from parts
        return
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="VHQ")
    for part in parts:
        yield np.asarray(stream.resample_chunk(part), dtype=np.float32)
    yield np.asarray(stream.resample_chunk(np.empty(0, np.float32), last=True), dtype=np.float32)
