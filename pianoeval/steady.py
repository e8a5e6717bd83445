"""pebble's process pool with time limits that do not hang on the wall clock.

pebble takes the time of its limits from ``time.time()``. A clock that is set forward, or a machine
that wakes up, would end every clip in work as if it had hung; one set back would never end any.
"""

from __future__ import annotations

import time
from typing import Any

import pebble.pool.process
from pebble import ProcessPool

__all__ = ["ProcessPool"]


class _Steady:
    """Of the module ``time``, what pebble's pool uses."""

    sleep = staticmethod(time.sleep)
    time = staticmethod(time.monotonic)  # last: from here on the name is this


_module: Any = pebble.pool.process
_module.time = _Steady
