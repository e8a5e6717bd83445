"""Memory that a long-lived worker has freed goes back to the system.

glibc keeps what is freed between blocks that are still in use. Activations have another size for
every clip that is shorter than a chunk, so the heap of a worker grows to about twice what it uses
(measured on transkun: 430 to 740 MB within 32 clips). Giving it back after every clip costs 13 %
of the time, because the system clears the pages again; so it is given back when half as much
again has come together.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_STATUS = Path("/proc/self/statm")
_GROWTH = 1.5


class Trimmer:
    """Call :meth:`after_item` between items; it does nothing where there is no glibc."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None) if os.name == "posix" else None
        self._trim = getattr(libc, "malloc_trim", None) if _STATUS.exists() else None
        self._least = 0  # bytes that stayed after the last time; 0 before the first

    def after_item(self) -> None:
        """Give back what is free when memory has grown by half."""
        if self._trim is None or resident_bytes() <= _GROWTH * self._least:
            return
        self._trim(0)
        self._least = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process (Linux)."""
    pages = int(_STATUS.read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
