"""Progress with rate and ETA: a rich bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)
T = TypeVar("T")
_LOG_EVERY_S = 15.0


class Meter:
    """Counts finished work, ``amount`` being in whatever unit ``unit`` names.

    Use as a context manager; call :meth:`advance` once an item.
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
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                console=Console(stderr=True),
            )  # fmt: skip
            self._task = self._bar.add_task(description, total=total, rate="")

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

    def advance(self, amount: float = 1.0) -> None:
        """One item finished, worth ``amount`` units."""
        self.done += 1
        self.done_amount += amount
        if self._bar:
            self._bar.update(self._task, advance=1, rate=self._rate())
        elif time.monotonic() - self.last_log > _LOG_EVERY_S:
            self.last_log = time.monotonic()
            log.info("%s: %s", self.description, self.summary())

    def summary(self) -> str:
        """``12/180, 8.1 s audio/s, 95 s left``."""
        elapsed = time.monotonic() - self.started
        text = f"{self.done}/{self.total}, {self._rate()}"
        if 0 < self.done_amount < self.total_amount:
            left = elapsed * (self.total_amount - self.done_amount) / self.done_amount
            text += f", {left:.0f} s left"
        return text + f" ({elapsed:.0f} s so far)"

    def _rate(self) -> str:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        return f"{self.done_amount / elapsed:.3g} {self.unit or 'items'}/s"


def track(iterable: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield from ``iterable`` with a meter."""
    with Meter(description, total) as meter:
        for value in iterable:
            yield value
            meter.advance()
