"""Progress with rate and ETA: a rich bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)
T = TypeVar("T")
_LOG_EVERY_S = 15.0
_FOLLOW_EVERY_S = 1.0


class Meter:
    """Counts finished work, ``amount`` being in whatever unit ``unit`` names.

    Use as a context manager; call :meth:`advance` once an item, or with ``items=0`` for a part.
    """

    def __init__(
        self, description: str, total: int, *, amount: float = 0.0, unit: str = ""
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.total_amount = amount or float(total)
        self.done, self.done_amount = 0, 0.0
        self.started = self.last_log = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                console=Console(stderr=True),
            )  # fmt: skip
            self._task = self._bar.add_task(
                description, total=self.total_amount, count=self._count(), rate=""
            )

    def __enter__(self) -> Meter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        if kind is None and self.total:
            log.info("%s: %s", self.description, self.summary())

    def advance(self, amount: float = 1.0, items: int = 1) -> None:
        """``items`` finished, or a part of one (0), worth ``amount`` units."""
        self.done += items
        self.done_amount += amount
        if self._bar:
            self._bar.update(
                self._task, completed=self.done_amount, count=self._count(), rate=self._rate()
            )
        elif time.monotonic() - self.last_log > _LOG_EVERY_S:
            self.last_log = time.monotonic()
            log.info("%s: %s", self.description, self.summary())

    def summary(self) -> str:
        """``12/180, 8.1 s audio/s, 95 s left``."""
        elapsed = time.monotonic() - self.started
        text = f"{self._count()}, {self._rate()}"
        if 0 < self.done_amount < self.total_amount:
            left = elapsed * (self.total_amount - self.done_amount) / self.done_amount
            text += f", {left:.0f} s left"
        return text + f" ({elapsed:.0f} s so far)"

    def _count(self) -> str:
        return f"{self.done}/{self.total}"

    def _rate(self) -> str:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        return f"{self.done_amount / elapsed:.3g} {self.unit or 'items'}/s"


def track(iterable: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield from ``iterable`` with a meter."""
    with Meter(description, total) as meter:
        for value in iterable:
            yield value
            meter.advance()


class Follower:
    """Keeps a meter up with items that other processes have in work, as a context manager.

    Each item has a slot that only its worker writes, so there is no lock that a killed worker
    could hold.

    Parameters
    ----------
    amounts : sequence of float
        What each item is worth in all.
    slots : array of double
        Shared with the workers: what is done of each item.
    """

    def __init__(self, meter: Meter, amounts: Sequence[float], slots: Any) -> None:
        self._meter, self._amounts, self._slots = meter, amounts, slots
        self._shown = [0.0] * len(amounts)
        self._lock, self._ended = Lock(), Event()
        self._thread = Thread(target=self._follow, daemon=True)

    def finish(self, number: int) -> None:
        """An item is finished, or has failed."""
        with self._lock:
            left = self._amounts[number] - self._shown[number]
            self._shown[number] = self._amounts[number]
            self._meter.advance(left)

    def _follow(self) -> None:
        while not self._ended.wait(_FOLLOW_EVERY_S):
            with self._lock:
                new = 0.0
                for number, done in enumerate(self._slots):
                    more = min(done, self._amounts[number]) - self._shown[number]
                    if more > 0:
                        self._shown[number] += more
                        new += more
                if new:
                    self._meter.advance(new, items=0)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()


_listener: Callable[[float], None] | None = None


def listen(listener: Callable[[float], None] | None) -> None:
    """Let ``listener`` hear of parts of the item that this process computes."""
    global _listener
    _listener = listener


def part_done(amount: float) -> None:
    """So much of the item in work is done, in the unit of its meter; shown if anybody listens."""
    if _listener is not None:
        _listener(amount)
