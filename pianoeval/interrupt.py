"""A program that is told to end (Ctrl-C, SIGTERM, SIGHUP) is gone within two seconds.

Python runs signal handlers in the main thread, between two of its own instructions; a long call of
foreign code (a decomposition, a forward pass, a synthesis) delays them for as long as it takes. A
second thread therefore hears of the signal too. The main thread has ``GRACE_S`` to unwind; then
that thread ends child processes, runs what was registered with ``multiprocessing.util.Finalize``
(partial files go) and ends the process. Worker processes have nothing to unwind and end at once.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker, util
from pathlib import Path
from types import FrameType
from typing import Any

GRACE_S = 0.8  # for the main thread
_CHILDREN_S = 0.2  # for workers that are told to end
_LAST_S = 0.6  # then the system ends the process, whatever it is at
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_S = 0.5  # between two looks at the parent
_SHOW_CURSOR = b"\r\x1b[?25h"  # a progress bar hides it


class Interrupted(SystemExit):
    """Raised in the main thread; its exit status is 128 and the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@dataclass
class _State:
    message: str = ""
    heard: int = 0  # the signal
    unwinds: bool = False  # the main thread is where it can be told with an exception
    worker: bool = False
    listens: bool = False


_state = _State()
_leaving = threading.Lock()  # taken once
_begin = threading.Lock()


@contextmanager
def beginning() -> Iterator[None]:
    """Around the making of a partial file: none is begun while, or after, they are removed."""
    with _begin:
        yield


@contextmanager
def program(message: str) -> Iterator[None]:
    """Around a program: told to end, it says ``message`` and exits with 130, 143 or 129."""
    before = listen(message)
    _state.unwinds = True
    try:
        yield
    except BaseException:
        if _state.heard:  # whatever a library has made of it
            leave()
        raise
    finally:
        _state.unwinds = False
        _stop_listening(before)


def listen(message: str = "", parent: int | None = None) -> dict[int, Any]:
    """Hear the signals; outside of :func:`program` there is nothing to unwind.

    Parameters
    ----------
    parent : int, optional
        The process whose end counts as a SIGTERM.

    Returns
    -------
    dict
        The handlers before, none if it listens already. What was ignored, as under nohup, stays so.
    """
    if _state.listens:
        return {}
    _state.listens, _state.message, _state.heard = True, message, 0
    before: dict[int, Any] = {
        n: h for n in _SIGNALS if (h := signal.getsignal(n)) != signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, _hear)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=[reading, parent], daemon=True).start()
    return before


def listen_as_worker(parent: int) -> None:
    """A worker leaves at once, in the middle of foreign code too; Ctrl-C is its parent's."""
    _state.worker = True
    listen(parent=parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop_listening(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
    if before:
        os.close(signal.set_wakeup_fd(-1))
        _state.listens = False


@contextmanager
def children_hear_no_ctrl_c() -> Iterator[None]:
    """Around the start of processes, or of threads that start them.

    A terminal sends Ctrl-C to all of them; while they start they would answer with a traceback.
    What is blocked in a thread is blocked in the threads and processes that it starts.
    """
    resource_tracker.ensure_running()  # to start it would end the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear(number: int, frame: FrameType | None) -> None:
    """In the main thread."""
    if _state.heard or _state.worker:  # it is on its way out
        return
    _note(number)
    if not _state.unwinds:
        leave()
    raise Interrupted(number)


def _note(number: int) -> None:
    """From now on nobody else has anything to say."""
    _state.heard = _state.heard or number
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = threading.excepthook = _silent


def _silent(what: object) -> None:
    """What fails in other threads while the process ends is of no interest."""


def _watch(reading: int, parent: int | None) -> None:
    above = None if parent is None else _parent_of(parent)
    while True:
        ready, _, _ = select.select([reading], [], [], None if parent is None else _PARENT_S)
        if ready:
            if not (heard := os.read(reading, 1)):  # closed
                os.close(reading)
                return
            if (number := heard[0]) in _SIGNALS:
                break
        if not ready and parent and (os.getppid() != parent or _parent_of(parent) != above):
            parent = None
            os.kill(os.getpid(), signal.SIGTERM)
    if not _state.worker:
        time.sleep(GRACE_S)
    _note(number)
    leave()


def _parent_of(process: int) -> int | None:
    """The process that started a shell which waits for us: /bin/sh of Debian does, others exec.

    None where the system has no such file, as macOS, whose shell is replaced by what it starts.
    """
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return None
    return int(status.rpartition(b")")[2].split()[1])


def leave() -> None:
    """End the process: its children, its partial files, one line of message."""
    if not _leaving.acquire(blocking=False):
        time.sleep(_CHILDREN_S + 2 * _LAST_S)  # another thread is at it
    # Its default action needs no interpreter: something below may hang.
    signal.setitimer(signal.ITIMER_REAL, _CHILDREN_S + _LAST_S)
    _say(_state.message)
    if not _state.worker:
        _end_children()
    _begin.acquire(timeout=_CHILDREN_S)  # kept
    _quietly(util._run_finalizers, 0)  # type: ignore[attr-defined]
    os._exit(128 + _state.heard)


def _say(message: str) -> None:
    """Past the buffers, which the main thread may hold; it is the last word."""
    if message:
        cursor = _SHOW_CURSOR if os.isatty(2) else b""
        _quietly(_write_error, cursor + message.encode() + b"\n")
    # What libraries say of processes that end around them is of no use to anybody.
    _quietly(os.dup2, os.open(os.devnull, os.O_WRONLY), 2)


def _write_error(text: bytes) -> None:
    """Nothing where it would wait for a reader that has stopped: partial files have to go."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, text)


def _end_children() -> None:
    """Tell them all, then wait for each; who stays is killed."""
    children = multiprocessing.active_children()
    for child in children:
        _quietly(child.terminate)
    end = time.monotonic() + _CHILDREN_S
    for child in children:
        _quietly(child.join, max(end - time.monotonic(), 0.0))
        _quietly(child.kill)


def _quietly(call: Callable[..., Any], *arguments: Any) -> None:
    """It has ended already, or nobody reads any more."""
    try:
        call(*arguments)
    except (OSError, ValueError, AssertionError):
        return
