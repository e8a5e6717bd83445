"""Another machine at another time, for a process and all that it starts.

Put this folder on PYTHONPATH: Python imports a module of this name when it starts. Folders are
listed the other way round, the clock is eleven years ahead, the host has another name.
"""

import os
import platform
import random
import socket
import time
from types import TracebackType

_AHEAD_S = 11 * 365 * 86_400
_listdir, _scandir, _time, _time_ns = os.listdir, os.scandir, time.time, time.time_ns


class _Backwards:
    """What ``os.scandir`` gives, last entry first."""

    def __init__(self, found: os.scandir) -> None:
        self._found, self._entries = found, reversed(list(found))

    def __iter__(self):
        return self._entries

    def __next__(self):
        return next(self._entries)

    def __enter__(self) -> "_Backwards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        self._found.close()


os.listdir = lambda *given: sorted(_listdir(*given), reverse=True)
os.scandir = lambda *given: _Backwards(_scandir(*given))
time.time = lambda: _time() + _AHEAD_S
time.time_ns = lambda: _time_ns() + _AHEAD_S * 10**9
socket.gethostname = lambda: "elsewhere"
platform.node = lambda: "elsewhere"
random.seed(time.time_ns())
