"""One device: batches go in, float16 frames come out, and copies run beside the network.

On a GPU a batch is laid into pinned memory, copied on a stream of its own, computed, and copied
back on a third stream into pinned memory; the host waits for none of it. So many batches are on
their way at once as there are slots. On a CPU the same calls simply compute.

The range check of float16 happens on the device: one number a row comes back with its frames.
Matrix products and convolutions of float32 are not rounded to TF32.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.batched.buckets import Batch
from pianoeval.encoders.batched.crew import Channel, Crew

Forward = Callable[[Tensor, Sequence[int]], Tensor]
_cuda: Any = torch.cuda  # its classes are not annotated
SLOTS = 3  # one is filled, one computes, one is written


@dataclass
class Timeline:
    """Seconds from the first batch to the last, and of them without a batch to work on."""

    total_s: float = 0.0
    waited_s: float = 0.0


@dataclass
class Output:
    """Frames of one batch; :meth:`wait` before reading, :meth:`leave` once a row is done with."""

    frames: NDArray[np.float16]  # (rows, frames, layers, dim)
    peaks: NDArray[np.float32]  # (rows,): largest absolute value, NaN if there is one
    wait: Callable[[], None]
    _free: Callable[[], None]
    _left: int
    _lock: Lock = field(default_factory=Lock)

    def leave(self) -> None:
        """One row is done with; after the last, the memory is used again."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._free()


class Lane(ABC):
    """Runs batches in order.

    Parameters
    ----------
    forward : callable
        The encoder's ``forward``, or a compiled one.
    """

    def __init__(self, encoder: Encoder, forward: Forward) -> None:
        self.encoder, self.forward = encoder, forward
        self.timeline = Timeline()

    @abstractmethod
    def run(self, batch: Batch) -> Output:
        """Start a batch; raises Stopped when the crew ends while it waits for a slot."""

    def finish(self) -> Timeline:
        """The counters, when everything has come out."""
        return self.timeline

    def _compute(self, audio: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            frames = self.forward(audio, lengths)
            return frames.half(), self._peaks(frames, lengths)

    def _peaks(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Largest absolute value a row; frames behind a row's own end may hold anything."""
        largest = torch.maximum(frames.amax((2, 3)), -frames.amin((2, 3)))
        own = [self.encoder.spec.n_frames(n) for n in lengths]
        if min(own) < frames.shape[1]:
            ends = torch.tensor(own, pin_memory=frames.is_cuda).to(frames.device, non_blocking=True)
            behind = torch.arange(frames.shape[1], device=frames.device) >= ends[:, None]
            largest = largest.masked_fill(behind, 0)
        return largest.amax(1).float()


class HostLane(Lane):
    """A CPU: a batch is done when ``run`` returns."""

    def __init__(self, encoder: Encoder, forward: Forward, crew: Crew) -> None:
        super().__init__(encoder, forward)
        self._slots: Channel[None] = crew.channel(SLOTS)
        for _ in range(SLOTS):
            self._slots.put(None)
        self._ended: float | None = None

    def run(self, batch: Batch) -> Output:
        self._slots.get()
        audio = np.zeros((len(batch.rows), batch.samples), np.float32)
        fill(audio, batch)
        begun = time.perf_counter()
        half, peaks = self._compute(torch.from_numpy(audio), batch.lengths)
        ended = time.perf_counter()
        if self._ended is not None:
            self.timeline.waited_s += begun - self._ended
            self.timeline.total_s += begun - self._ended
        self.timeline.total_s += ended - begun
        self._ended = ended
        return Output(
            half.numpy(), peaks.numpy(), _already, lambda: self._slots.put(None), len(batch.rows)
        )


@dataclass
class _Slot:
    """Pinned memory of one batch: audio, frames, peaks, flat and as large as any batch's."""

    audio: Tensor
    frames: Tensor
    peaks: Tensor


class CudaLane(Lane):
    """A GPU with copies on streams of their own.

    Parameters
    ----------
    rows : int
        Most rows of a batch; batches of a fixed shape are filled up to it.
    """

    def __init__(self, encoder: Encoder, forward: Forward, crew: Crew, rows: int) -> None:
        super().__init__(encoder, forward)
        self._rows = rows
        spec = encoder.spec
        values = spec.chunk_frames * len(spec.layer_names) * spec.dim
        self._slots: Channel[_Slot] = crew.channel(SLOTS)
        for _ in range(SLOTS):
            self._slots.put(
                _Slot(
                    torch.empty(rows * spec.chunk_samples, pin_memory=True),
                    torch.empty(rows * values, dtype=torch.float16, pin_memory=True),
                    torch.empty(rows, pin_memory=True),
                )
            )
        self._inward = _cuda.Stream(encoder.device)
        self._outward = _cuda.Stream(encoder.device)
        self._marks: deque[tuple[Any, Any]] = deque()
        self._last: Any = None

    def run(self, batch: Batch) -> Output:
        slot = self._slots.get()
        rows = self._rows if batch.fixed else len(batch.rows)
        staged = slot.audio[: rows * batch.samples].view(rows, batch.samples)
        fill(staged.numpy(), batch)
        lengths = batch.lengths + batch.lengths[:1] * (rows - len(batch.rows))
        compute = _cuda.current_stream(self.encoder.device)
        begin, end, copied = (_cuda.Event(enable_timing=True) for _ in range(3))
        with torch.cuda.stream(self._inward):
            audio = staged.to(self.encoder.device, non_blocking=True)
        compute.wait_stream(self._inward)
        audio.record_stream(compute)
        begin.record(compute)
        half, peaks = self._compute(audio, lengths)
        end.record(compute)
        out = slot.frames[: half[: len(batch.rows)].numel()].view(len(batch.rows), *half.shape[1:])
        with torch.cuda.stream(self._outward):
            self._outward.wait_event(end)
            out.copy_(half[: len(batch.rows)], non_blocking=True)
            slot.peaks[:rows].copy_(peaks, non_blocking=True)
            copied.record(self._outward)
        half.record_stream(self._outward)
        peaks.record_stream(self._outward)
        self._marks.append((begin, end))
        self._count()
        return Output(
            out.numpy(), slot.peaks.numpy(), copied.synchronize, lambda: self._slots.put(slot),
            len(batch.rows),
        )  # fmt: skip

    def finish(self) -> Timeline:
        torch.cuda.synchronize(self.encoder.device)
        self._count()
        return self.timeline

    def _count(self) -> None:
        """Add up the gaps between batches that have ended."""
        while self._marks and self._marks[0][1].query():
            begin, end = self._marks.popleft()
            if self._last is not None:
                gap = max(self._last.elapsed_time(begin), 0.0) / 1000
                self.timeline.waited_s += gap
                self.timeline.total_s += gap
            self.timeline.total_s += begin.elapsed_time(end) / 1000
            self._last = end


def fill(staged: NDArray[np.float32], batch: Batch) -> None:
    """Rows into (rows, samples), zeros behind each; rows that are left over repeat the first."""
    for place, row in zip(staged, batch.rows, strict=False):
        place[: len(row.audio)] = row.audio
        place[len(row.audio) :] = 0
    staged[len(batch.rows) :] = staged[:1]


def make_lane(encoder: Encoder, forward: Forward, crew: Crew, rows: int) -> Lane:
    """The lane of the encoder's device."""
    if encoder.device.type == "cuda":
        return CudaLane(encoder, forward, crew, rows)
    return HostLane(encoder, forward, crew)


def _already() -> None:
    """There is nothing to wait for."""
