"""Where chunks lie in a clip, and which of their frames are kept.

Chunks have one fixed length, because networks embed the absolute time within a chunk. Zeros are
never appended: they would be heard as silence.

* A clip no longer than a chunk is encoded whole, at its own length.
* Otherwise chunk ``k`` starts at ``k * advance`` with ``advance = chunk_frames * period``; the
  last one is shifted back to end with the clip.
* A clip of ``n`` samples has ``F = ceil(n / period)`` frames. Frame ``i`` of all chunks but the
  last covers samples ``[i * period, (i + 1) * period)``. The last chunk's frames are the last
  ``chunk_frames`` of the clip; they lie up to one period earlier than that grid.
* Where the last two chunks overlap, the first half of the overlapping frames (rounded down) is
  taken from the earlier chunk and the rest from the last: each frame from the chunk in which it
  lies further from the edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.errors import BadInputError


@dataclass(frozen=True)
class Chunk:
    """Samples ``[start, stop)``; frames ``[first, last)`` become the clip's from ``position``."""

    start: int
    stop: int
    first: int
    last: int
    position: int


def plan_chunks(n_samples: int, spec: EncoderSpec) -> list[Chunk]:
    """Chunks of a clip, in order; their kept frames cover the clip's frames exactly once.

    Raises
    ------
    BadInputError
        Shorter than ``spec.min_samples``.
    """
    if n_samples < spec.min_samples:
        raise BadInputError(
            f"{n_samples} samples are too short for {spec.kind}",
            allowed=f"at least {spec.min_samples} samples at {spec.sample_rate_hz} Hz "
            f"({1000 * spec.min_samples / spec.sample_rate_hz:.0f} ms)",
        )
    total = spec.n_frames(n_samples)
    if n_samples <= spec.chunk_samples:
        return [Chunk(0, n_samples, 0, total, 0)]
    size, per_chunk = spec.chunk_samples, spec.chunk_frames
    n_chunks = -(-total // per_chunk)
    shifted = total - per_chunk  # the clip's frame at which the last chunk begins
    cut = (shifted + (n_chunks - 1) * per_chunk) // 2
    plan = []
    for k in range(n_chunks - 1):
        start, position = k * per_chunk * spec.period_samples, k * per_chunk
        last = per_chunk if k < n_chunks - 2 else cut - position
        plan.append(Chunk(start, start + size, 0, last, position))
    plan.append(Chunk(n_samples - size, n_samples, cut - shifted, per_chunk, cut))
    return plan


def frame_times_s(n_samples: int, spec: EncoderSpec) -> NDArray[np.float64]:
    """Start of the samples that each frame of a clip covers (s), chunk shifts included."""
    times = np.empty(spec.n_frames(n_samples))
    for chunk in plan_chunks(n_samples, spec):
        kept = np.arange(chunk.first, chunk.last)
        here = slice(chunk.position, chunk.position + len(kept))
        times[here] = (chunk.start + kept * spec.period_samples) / spec.sample_rate_hz
    return times


def encode_clip(
    audio: NDArray[np.float32] | NDArray[np.int16], encoder: Encoder, *, batch_size: int = 1
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Encode one clip chunk by chunk, so that memory does not grow with its length.

    Parameters
    ----------
    audio : float32 or int16, shape (samples,)
        Mono at the encoder's sample rate; int16 is scaled by 1/32768.
    batch_size : int
        Chunks a call. One is fastest on a CPU.

    Yields
    ------
    (position, frames)
        ``frames`` float32 (n, layers, dim) belongs at frame ``position`` of the clip.
    """
    plan = plan_chunks(len(audio), encoder.spec)
    for begin in range(0, len(plan), batch_size):
        group = plan[begin : begin + batch_size]
        chunks = np.stack([to_float(audio[chunk.start : chunk.stop]) for chunk in group])
        for chunk, frames in zip(group, encoder.encode(chunks), strict=True):
            yield chunk.position, frames[chunk.first : chunk.last]


def to_float(audio: NDArray[np.float32] | NDArray[np.int16]) -> NDArray[np.float32]:
    """Samples as float32 with full scale 1."""
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32768)
    return audio.astype(np.float32, copy=False)
