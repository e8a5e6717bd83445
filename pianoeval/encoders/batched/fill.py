"""Embed many clips on one device: the fill that a GPU is used with.

::

    reader threads ──rows──▶ buckets ──batches──▶ device ──frames──▶ writer threads ──▶ item cache
    open, resample, cut      of few lengths       copies aside       hash, write behind

Reader ``r`` of ``R`` takes the clips ``r, r + R, …``, and one row of each reader is taken in turn:
which rows share a batch depends on the clips and on the batch size alone, never on timing. With
one row a batch nothing is padded, and the items are those of the pool of processes, bit by bit.
With more, frames differ by at most 1e-4 of the largest value, where a network computes rows of
one batch together.

All queues are bounded and items are written as their rows come, so memory grows neither with
the corpus nor with the length of a clip. There is no time limit for a clip, and a fault of the
device ends the run; what was written is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pianoeval.builder import BuildReport, ItemJob, n_cores
from pianoeval.cache import ItemCache
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.batched.buckets import Batch, Buckets, Row
from pianoeval.encoders.batched.crew import Channel, Crew
from pianoeval.encoders.batched.sinks import Clip, Result, Sinks, Work
from pianoeval.encoders.chunking import plan_chunks
from pianoeval.encoders.registry import create_encoder
from pianoeval.encoders.stream import open_audio
from pianoeval.errors import BadInputError
from pianoeval.params import EncoderParams, RunParams
from pianoeval.progress import Meter
from pianoeval.store import RaggedStore

if TYPE_CHECKING:
    from pianoeval.encoders.batched.staging import Forward, Lane

OpenClip = Callable[[Any, EncoderSpec], Clip]
"""``open_clip(payload, spec)``; BadInputError, then or while it is read, quarantines the clip."""


class StoredClip(Protocol):
    """What the payload of a job must tell."""

    @property
    def audio_store(self) -> Path: ...

    @property
    def clip(self) -> str: ...


def device_fill(encoder: EncoderParams, name: str) -> BatchedFill:
    """The fill for clips of audio stores; the encoder is loaded when something is missing."""
    opened = lru_cache(maxsize=1)(RaggedStore)

    def open_clip(job: StoredClip, spec: EncoderSpec) -> Clip:
        store = opened(job.audio_store)
        stream = open_audio(store, job.clip, spec.sample_rate_hz)
        plan = plan_chunks(stream.n_samples, spec)
        level = store.level[store.row(job.clip)].astype(np.float32)
        meta = {"frame_rate_hz": spec.frame_rate_hz}
        return Clip(stream.n_samples, plan, stream.chunks(plan), {"level": level}, meta)

    return BatchedFill(partial(create_encoder, encoder, name), open_clip)


@dataclass
class _Engine:
    """A loaded encoder, its forward pass, and the rows of a batch."""

    encoder: Encoder
    forward: Forward
    rows: int


@dataclass
class BatchedFill:
    """A :data:`~pianoeval.builder.Fill` for one encoder on one device; it is loaded when needed.

    Parameters
    ----------
    load : callable
        Gives the encoder.
    open_clip : callable
        Opens the payload of a job.
    """

    load: Callable[[], Encoder]
    open_clip: OpenClip
    _engine: _Engine | None = field(default=None, repr=False)

    def __call__(
        self, step: str, todo: Sequence[ItemJob], cache: ItemCache, run: RunParams,
        report: BuildReport,
    ) -> dict[str, str]:  # fmt: skip
        """Compute ``todo``.

        Raises
        ------
        PianoevalError
            A value that float16 cannot hold, a full disk, or a batch that the device cannot hold.
        """
        from pianoeval.encoders.batched.fixed import FixedForward
        from pianoeval.encoders.batched.staging import make_lane
        from pianoeval.encoders.exact import exact_float32

        readers = min(run.readers or max(1, min(8, n_cores() // 2)), len(todo))
        writers = run.writers or max(1, min(4, n_cores() // 4))
        audio_s = sum(job.audio_s for job in todo)
        with exact_float32():
            engine = self._engine = self._engine or _start(self.load(), run)
            with (
                Meter(step, len(todo), amount=audio_s, unit="s of audio") as meter,
                Crew(readers + writers) as crew,
            ):
                encoder, rows = engine.encoder, engine.rows
                lane = make_lane(encoder, engine.forward, crew, rows)
                sinks = Sinks(crew, step, cache, encoder.spec, writers, rows)
                line = _Line(crew, engine, lane, sinks)
                failed = line.run(todo, readers, self.open_clip, report, meter)
        if isinstance(engine.forward, FixedForward):
            engine.forward.report()
        return failed


def _start(encoder: Encoder, run: RunParams) -> _Engine:
    from pianoeval.encoders.batched.fixed import FixedForward, fitting_rows

    rows = run.batch_size or fitting_rows(encoder)
    forward: Forward = encoder.forward
    if encoder.spec.compiled:
        forward = FixedForward(encoder, rows)
    return _Engine(encoder, forward, rows)


class _Line:
    """Leads: takes rows from the readers, gives batches to the device, counts what is written."""

    def __init__(self, crew: Crew, engine: _Engine, lane: Lane, sinks: Sinks) -> None:
        self.crew, self.engine, self.lane, self.sinks = crew, engine, lane, sinks
        self.failed: dict[str, str] = {}

    def run(
        self, todo: Sequence[ItemJob], readers: int, open_clip: OpenClip, report: BuildReport,
        meter: Meter,
    ) -> dict[str, str]:  # fmt: skip
        """As :class:`BatchedFill`."""
        encoder, rows = self.engine.encoder, self.engine.rows
        works = [Work(job, i % len(self.sinks.channels)) for i, job in enumerate(todo)]
        feeds = [self.crew.channel(2 + 2 * rows // readers) for _ in range(readers)]
        self.sinks.start()
        for number, feed in enumerate(feeds):
            reader = partial(_read, works[number::readers], open_clip, encoder, feed)
            self.crew.start(reader)
        buckets = Buckets(encoder.spec, encoder.masked, rows)
        for entry in _in_turn(feeds):
            if isinstance(entry, Row):
                for batch in buckets.add(entry):
                    self._compute(batch)
            else:
                self.sinks.put(entry, entry)
            self._count(report, meter)
        for batch in buckets.flush():
            self._compute(batch)
        self.sinks.close()
        self.crew.join()
        self._count(report, meter)
        timeline = self.lane.finish()
        report.device_s += timeline.total_s
        report.waited_s += timeline.waited_s
        return self.failed

    def _compute(self, batch: Batch) -> None:
        import torch

        from pianoeval.encoders.batched.fixed import out_of_memory

        try:
            output = self.lane.run(batch)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self.engine.encoder, self.engine.rows) from error
        for index, row in enumerate(batch.rows):
            self.sinks.put(row.owner, Result(row.owner, row.chunk, output, index))

    def _count(self, report: BuildReport, meter: Meter) -> None:
        """Take over what the writers have finished."""
        while self.sinks.finished:
            work, part_s = self.sinks.finished.popleft()
            if work is None:
                meter.advance(part_s, items=0)
                continue
            meter.advance(part_s)
            if work.reason is None:
                report.computed += 1
                report.audio_s += work.job.audio_s
            else:
                self.failed[work.job.key] = work.reason


def _read(
    works: Sequence[Work], open_clip: OpenClip, encoder: Encoder,
    feed: Channel[Row | Work | None],
) -> None:  # fmt: skip
    """A reader's thread: rows of its clips, in order; an item whose clip cannot be used; None."""
    for work in works:
        try:
            clip = work.clip = open_clip(work.job.payload, encoder.spec)
            for chunk, audio in zip(clip.plan, clip.audio, strict=True):
                encoder.checked(audio[None])
                feed.put(Row(work, chunk, audio))
        except BadInputError as error:
            work.reason = str(error)
            feed.put(work)
    feed.put(None)


def _in_turn(feeds: Sequence[Channel[Row | Work | None]]) -> Iterator[Row | Work]:
    """One entry of each feed in turn, until all have ended."""
    waiting = deque(feeds)
    while waiting:
        feed = waiting.popleft()
        entry = feed.get()
        if entry is not None:
            yield entry
            waiting.append(feed)
