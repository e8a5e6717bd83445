"""Where chunks lie in a clip, which of their frames are kept, and audio read chunk by chunk.

Chunks have one fixed length, because networks embed the absolute time within a chunk. Zeros are
never appended: they would be heard as silence.

* A clip no longer than a chunk is encoded whole, at its own length.
* Otherwise chunk ``k`` starts at ``k * advance`` with ``advance = (chunk_frames -
  overlap_frames) * period``.
* The last one ends with the clip. ``shifted``: it is as long as the others and starts earlier,
  so that what it shares with its neighbour is encoded twice. ``short``: it is what is left, and
  starts earlier only where that would be shorter than the encoder takes.
* A clip of ``n`` samples has ``F = spec.n_frames(n)`` frames. Frame ``i`` of all chunks but a
  shifted one starts at sample ``i * period``. A shifted chunk's frames are the last
  ``chunk_frames`` of the clip; they lie less than one period off that grid.
* Where two chunks overlap, the first half of the overlapping frames (rounded down) is taken from
  the earlier chunk and the rest from the later: each frame is kept once, from the chunk in which
  it lies further from the edge.

Frames that stand for one time (``frame_group``) are never parted: read "group" for "frame" above.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.errors import BadInputError, PianoevalError

PART = 1 << 20  # samples read at a time: four chunks of a store of int16

F4 = NDArray[np.float32]
Samples = NDArray[np.float32] | NDArray[np.int16]


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
    size = spec.chunk_samples
    if n_samples <= size:
        return [Chunk(0, n_samples, 0, total, 0)]
    group = spec.frame_group
    step = group * spec.period_samples
    starts = _first_groups(total // group, spec)
    short = spec.last_chunk == "short" and len(starts) > 1
    if short:
        left = min(starts[-2] + _advance(spec), (n_samples - spec.min_samples) // step)
        short = left >= starts[-1]  # else the shortest input is about as long as a chunk
        starts[-1] = max(left, starts[-1])
    stops = [start + spec.chunk_frames // group for start in starts]
    cuts = [(late + early) // 2 for late, early in zip(starts[1:], stops, strict=False)]
    plan = []
    for k, (begin, end) in enumerate(zip([0, *cuts], [*cuts, total // group], strict=True)):
        place, stop = starts[k] * step, starts[k] * step + size
        if k == len(starts) - 1:
            place, stop = (place, min(stop, n_samples)) if short else (n_samples - size, n_samples)
        first, last = (begin - starts[k]) * group, (end - starts[k]) * group
        plan.append(Chunk(place, stop, first, last, begin * group))
    return plan


def _first_groups(total: int, spec: EncoderSpec) -> list[int]:
    """The clip's group of frames at which each chunk begins, of ``total`` groups."""
    shifted = total - spec.chunk_frames // spec.frame_group  # where the last chunk begins
    return [*range(0, shifted, _advance(spec)), shifted]


def _advance(spec: EncoderSpec) -> int:
    """Groups from one chunk's begin to the next one's."""
    return (spec.chunk_frames - spec.overlap_frames) // spec.frame_group


def frame_times_s(n_samples: int, spec: EncoderSpec) -> NDArray[np.float64]:
    """Start of the samples that each frame of a clip stands for (s), chunk shifts included.

    Frames of one group have one time.
    """
    times = np.empty(spec.n_frames(n_samples))
    for chunk in plan_chunks(n_samples, spec):
        groups = np.arange(chunk.first, chunk.last) // spec.frame_group
        here = slice(chunk.position, chunk.position + len(groups))
        step = spec.frame_group * spec.period_samples
        times[here] = (chunk.start + groups * step) / spec.sample_rate_hz
    return times


@dataclass(frozen=True)
class AudioStream:
    """Mono audio at the rate of an encoder, which can be read once.

    Parameters
    ----------
    n_samples : int
        Its length.
    parts : iterable of arrays, shape (samples,)
        float32 of full scale 1, or int16, which is scaled by 1/32768; one after another.
    """

    n_samples: int
    parts: Iterable[Samples]

    def chunks(self, plan: Sequence[Chunk]) -> Iterator[F4]:
        """float32 samples of each chunk, in order; in memory are a chunk and a part.

        The last chunk comes when the stream has been read to its end, where a store verifies
        it: whoever has all chunks has only good ones.

        Raises
        ------
        PianoevalError
            The parts have another length than ``n_samples``.
        CorruptDataError
            As :meth:`~pianoeval.store.RaggedStore.blocks`, before the last chunk.
        """
        parts = iter(self.parts)
        held, begin = np.empty(0, np.float32), 0  # samples that are still wanted, and their place
        for k, chunk in enumerate(plan):
            end = begin + len(held)
            while end < chunk.stop and (part := next(parts, None)) is not None:
                drop = min(chunk.start - begin, len(held))
                held, begin = np.concatenate([held[drop:], to_float(part)]), begin + drop
                end = begin + len(held)
            if k == len(plan) - 1:
                end += sum(len(part) for part in parts)
            if end < chunk.stop or (k == len(plan) - 1 and end != self.n_samples):
                raise PianoevalError(f"audio of {end} samples", allowed=f"{self.n_samples}")
            yield held[chunk.start - begin : chunk.stop - begin]


def array_stream(samples: Samples) -> AudioStream:
    """Audio that is in memory, scaled a part at a time."""
    begins = range(0, len(samples), PART)
    return AudioStream(len(samples), (samples[begin : begin + PART] for begin in begins))


def encode_clip(audio: Samples | AudioStream, encoder: Encoder) -> Iterator[tuple[int, F4]]:
    """Encode one clip chunk by chunk, so that memory does not grow with its length.

    Parameters
    ----------
    audio : float32 or int16, shape (samples,), or AudioStream
        Mono at the encoder's sample rate; int16 is scaled by 1/32768.

    Yields
    ------
    (position, frames)
        ``frames`` float32 (n, layers, dim) belongs at frame ``position`` of the clip; positions
        follow each other without a gap.

    Raises
    ------
    BadInputError
        Too short, or a sample that is not finite.
    PianoevalError, CorruptDataError
        As :meth:`AudioStream.chunks`.
    """
    stream = audio if isinstance(audio, AudioStream) else array_stream(audio)
    plan = plan_chunks(stream.n_samples, encoder.spec)
    for chunk, samples in zip(plan, stream.chunks(plan), strict=True):
        frames = encoder.encode(samples[None])[0]
        yield chunk.position, frames[chunk.first : chunk.last]


def to_float(audio: Samples) -> F4:
    """Samples as float32 with full scale 1."""
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32768)
    return audio.astype(np.float32, copy=False)
