"""What happened to the clips of a shard, in a file that outlives the worker.

A worker that dies cannot say which clip it was at. It therefore writes a line before and after
each clip, and whoever gets the shard next reads them: a line ``start`` without its end is a
death. Where a clip takes too long, ``faulthandler`` writes down where it hangs and ends the
process; its thread needs no interpreter lock, so a hang in foreign code ends too.
"""

from __future__ import annotations

import faulthandler
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = "Timeout ("  # how faulthandler begins


@dataclass(frozen=True)
class Past:
    """What earlier workers made of a clip."""

    deaths: int = 0
    late: bool = False
    done: bool = False
    place: str = ""


class Journal:
    """The file of one shard; one worker at a time writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def past(self) -> dict[str, Past]:
        """By key; clips that were never begun are not in it."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, Past] = {}
        current = ""
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "start":
                current, _, place = rest.partition(" ")
                deaths = found.get(current, Past()).deaths + 1  # until its end is read
                found[current] = Past(deaths, place=place)
            elif word in ("done", "left") and rest in found:
                before = found[rest]
                found[rest] = Past(before.deaths - 1, done=word == "done", place=before.place)
            elif line.startswith(_TIMEOUT) and current:
                before = found[current]
                found[current] = Past(before.deaths, late=True, place=before.place)
        return found

    @contextmanager
    def attempt(self, key: str, limit_s: float) -> Iterator[None]:
        """Around one clip: after ``limit_s`` seconds the process ends."""
        with self.path.open("a", encoding="utf-8") as stream:
            _say(stream.fileno(), f"start {key} {socket.gethostname()}:{os.getpid()}\n")
            word = "left"
            faulthandler.dump_traceback_later(limit_s, exit=True, file=stream)
            try:
                yield
                word = "done"
            finally:
                faulthandler.cancel_dump_traceback_later()
                _say(stream.fileno(), f"{word} {key}\n")


def _say(descriptor: int, line: str) -> None:
    """One write, past the buffer: the process may end at any moment."""
    os.write(descriptor, line.encode())
