"""Ends a process at a chosen moment: its n-th operation on files, or its n-th byte of a file.

The tests put this module on PYTHONPATH as ``sitecustomize``, so that worker processes load it too;
the product has no hook for it. Audit events of Python count the operations.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

ROOTS = "PIANOEVAL_TEST_ROOTS"  # folders whose files count, with ':' between them
MOMENT = "PIANOEVAL_TEST_MOMENT"  # "operation main 17 group", "bytes 4711", or empty
COUNTS = "PIANOEVAL_TEST_COUNTS"  # file that takes "<role> <operations so far>" a line
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def role() -> str:
    """``worker``, ``helper`` (multiprocessing's own) or ``main``."""
    if "--multiprocessing-fork" in sys.orig_argv:
        return "worker"
    return "helper" if any("resource_tracker" in word for word in sys.orig_argv) else "main"


def install() -> None:
    """Begin to count in this process."""
    roots = tuple(folder for folder in os.environ.get(ROOTS, "").split(":") if folder)
    kind, *words = os.environ.get(MOMENT, "").split() or [""]
    if not roots or role() == "helper":
        return
    if kind == "bytes":  # of the main process: where a worker dies, its clip is given up
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        limit = int(words[0]) if role() == "main" else hard
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    counter = _Counter(words if kind == "operation" and words[0] == role() else [])

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                counter.count(path, roots)
        elif event in _CHANGES:
            counter.count(arguments[0], roots)

    sys.addaudithook(hear)
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        counter.count(roots[0], roots)
        flush(descriptor)

    os.fsync = fsync


class _Counter:
    def __init__(self, words: list[str]) -> None:
        self.done, self.lock = 0, threading.Lock()
        self.wanted = int(words[1]) if words else 0
        self.whom = words[2] if words else ""
        self.log = os.environ.get(COUNTS, "")

    def count(self, path: object, roots: tuple[str, ...]) -> None:
        """One operation, if it concerns the folders of the test."""
        if not isinstance(path, (str, bytes, Path)):
            return
        place = os.path.abspath(os.fsdecode(path))
        if place == self.log or not place.startswith(roots):
            return
        with self.lock:
            self.done += 1
            done = self.done
        if self.log:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{role()} {done}\n".encode())
            os.close(descriptor)
        if done == self.wanted:
            if self.whom == "group":
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getppid() if role() == "worker" else os.getpid(), signal.SIGKILL)


if os.environ.get(ROOTS):
    install()
