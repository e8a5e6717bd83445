"""Threads that end together, and bounded channels between them.

The first error of any thread stops all of them and is raised in the thread that leads; so does
Ctrl-C, which Python raises there. Every wait is on a channel, and stopping wakes all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - a signal between threads, never shown
    """The crew is ending: whoever waits for a channel should leave."""


class Channel(Generic[T]):
    """A bounded queue that can be stopped."""

    def __init__(self, size: int) -> None:
        self._size, self._values, self._stopped = size, deque[T](), False
        self._changed = Condition()

    def put(self, value: T) -> None:
        """Wait for room; raises Stopped when the crew ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._values) < self._size)
            self._check()
            self._values.append(value)
            self._changed.notify_all()

    def get(self) -> T:
        """Wait for a value; raises Stopped when the crew ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or bool(self._values))
            self._check()
            value = self._values.popleft()
            self._changed.notify_all()
            return value

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._values.clear()
            self._changed.notify_all()

    def _check(self) -> None:
        if self._stopped:
            raise Stopped


class Crew:
    """Threads and their channels; leaving the block stops and joins them, whatever happened."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pianoeval")
        self._channels: list[Channel[Any]] = []
        self._working: list[Future[None]] = []
        self._error: BaseException | None = None

    def channel(self, size: int) -> Channel[Any]:
        """A channel that ends with the crew."""
        made: Channel[Any] = Channel(size)
        self._channels.append(made)
        return made

    def start(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread of its own; all channels must have been made before."""
        future = self._pool.submit(work)
        self._working.append(future)
        future.add_done_callback(self._ended)

    def join(self) -> None:
        """Wait until every thread has finished its work; raises the first error of any."""
        for future in self._working:
            self.check(future.exception())
        self.check(None)

    def check(self, error: BaseException | None) -> None:
        """Raise what stopped the crew, or ``error`` if it is one of its own."""
        if self._error is not None:
            raise self._error from None
        if error is not None and not isinstance(error, Stopped):
            raise error

    def _ended(self, future: Future[None]) -> None:
        error = future.exception()
        if error is not None and not isinstance(error, Stopped):
            self._error = self._error or error
            self._stop()

    def _stop(self) -> None:
        for channel in self._channels:
            channel.stop()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, Stopped):  # the leader was woken by another thread's error
            self.check(None)
