"""Clips on their way through the device, and the threads that write what comes out.

Rows are appended to their item as they come; the item gets its name with the last. Hashing and
writing happen behind the device's back, in several threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pianoeval.builder import ItemJob
from pianoeval.cache import Array, ItemCache, ItemWriter
from pianoeval.encoders.base import EncoderSpec
from pianoeval.encoders.batched.crew import Channel, Crew
from pianoeval.encoders.chunking import Chunk
from pianoeval.errors import PianoevalError

if TYPE_CHECKING:
    from pianoeval.encoders.batched.staging import Output

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Clip:
    """A clip that has been opened; its audio is read while it is iterated.

    Parameters
    ----------
    n_samples : int
        At the encoder's rate.
    plan : sequence of Chunk
        As ``chunking.plan_chunks``: kept frames one after another, without a gap.
    audio : iterator of float32 arrays, shape (samples,)
        One a chunk, in its order.
    beside : mapping
        Arrays stored with the frames.
    meta : mapping
        Metadata of the item.
    """

    n_samples: int
    plan: Sequence[Chunk]
    audio: Iterator[NDArray[np.float32]]
    beside: Mapping[str, Array]
    meta: Mapping[str, Any]


@dataclass
class Work:
    """An item on its way. Only the thread of its sink touches ``writer`` and ``rows``."""

    job: ItemJob
    sink: int
    clip: Clip | None = None
    reason: str | None = None
    writer: ItemWriter | None = None
    rows: int = 0


@dataclass(frozen=True)
class Result:
    """Row ``index`` of an output belongs to ``work``."""

    work: Work
    chunk: Chunk
    output: Output
    index: int


class Sinks:
    """Writer threads; all rows of an item go to one of them, in order.

    ``finished`` holds ``(item or None, seconds of audio)`` for rows and items that are done.
    """

    def __init__(
        self, crew: Crew, step: str, cache: ItemCache, spec: EncoderSpec, writers: int, rows: int
    ) -> None:
        self.crew, self.step, self.cache, self.spec = crew, step, cache, spec
        self.channels: list[Channel[Result | Work | None]] = [
            crew.channel(4 * rows) for _ in range(writers)
        ]
        self.finished: deque[tuple[Work | None, float]] = deque()

    def start(self) -> None:
        for channel in self.channels:
            self.crew.start(partial(self._write, channel))

    def put(self, work: Work, task: Result | Work) -> None:
        """A row of an item; or the item itself, whose reader has failed."""
        self.channels[work.sink].put(task)

    def close(self) -> None:
        """Nothing more will come."""
        for channel in self.channels:
            channel.put(None)

    def _write(self, channel: Channel[Result | Work | None]) -> None:
        begun: dict[str, Work] = {}
        try:
            while (task := channel.get()) is not None:
                if isinstance(task, Work):
                    self._drop(task)
                    begun.pop(task.job.key, None)
                    continue
                work = task.work
                begun[work.job.key] = work
                self._take(task)
                task.output.leave()
                if work.clip is None:
                    begun.pop(work.job.key)
        finally:  # an error or Ctrl-C: what is not whole goes
            for work in begun.values():
                if work.writer is not None:
                    work.writer.abort()

    def _drop(self, work: Work) -> None:
        if work.writer is not None:
            work.writer.abort()
        done = work.rows / len(work.clip.plan) if work.clip else 0.0
        work.clip = work.writer = None
        self.finished.append((work, work.job.audio_s * (1 - done)))

    def _take(self, task: Result) -> None:
        """Append a row's frames to its item; the last one commits it."""
        work, chunk, clip = task.work, task.chunk, task.work.clip
        task.output.wait()
        if clip is None:  # dropped while this row was on its way
            return
        check_range(float(task.output.peaks[task.index]), self.spec, work.job.clip)
        if work.writer is None:
            work.writer = self._begin(work.job.key, clip)
        frames = task.output.frames[task.index, chunk.first : chunk.last]
        work.writer.append("frames", frames)
        work.rows += 1
        part_s = work.job.audio_s / len(clip.plan)
        if work.rows < len(clip.plan):
            self.finished.append((None, part_s))
            return
        work.writer.commit()
        work.clip = work.writer = None
        self.finished.append((work, part_s))

    def _begin(self, key: str, clip: Clip) -> ItemWriter:
        spec = self.spec
        shape = (spec.n_frames(clip.n_samples), len(spec.layer_names), spec.dim)
        layout: dict[str, tuple[tuple[int, ...], DTypeLike]] = {"frames": (shape, np.float16)}
        layout |= {name: (array.shape, array.dtype) for name, array in clip.beside.items()}
        writer = self.cache.writer(self.step, key, layout, clip.meta)
        for name, array in clip.beside.items():
            writer.append(name, array)
        return writer


def check_range(peak: float, spec: EncoderSpec, where: str) -> None:
    """Refuse what float16 cannot hold.

    Raises
    ------
    PianoevalError
        ``peak``, the largest absolute value, is beyond 65504 or not a number.
    """
    if not peak <= _LARGEST:  # NaN too
        raise PianoevalError(
            f"{spec.kind} gives a value of {peak:g}, which float16 cannot hold", where=where,
            allowed="finite, up to 65504", next_step="set precision: float32 for this encoder",
        )  # fmt: skip
