"""Measured speeds of the expensive steps, so that a plan can say how long it will take.

A rate is kept by step and, after a colon, by what else decides the speed (layers, precision,
device), as ``embedding-transkun:1..2:float32``. Where that very work has not been measured, the
step alone serves as an estimate.
"""

from __future__ import annotations

import json
from pathlib import Path

from pianoeval.atomic import write_atomic
from pianoeval.errors import PianoevalError
from pianoeval.paths import cache_root

# Seconds of audio a second and process, measured once on a 2-core x86-64 server; used until
# this machine has measured its own.
DEFAULTS = {
    "audio": 60.0,
    "contour": 60.0,
    "embedding-transkun": 4.0,
    "embedding-transkun:1..2:float32": 10.0,
    "embedding-mel": 60.0,
    "embedding-muq": 3.0,
    "embedding-mert": 5.0,
}
_FILE = "rates.json"
_MIN_AUDIO_S = 60.0
_UNKNOWN = 1.0


def _measured(folder: Path) -> dict[str, float]:
    try:
        measured = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {str(work): float(rate) for work, rate in measured.items() if float(rate) > 0}
    except (OSError, ValueError, RecursionError, TypeError, AttributeError):
        return {}


class Rates:
    """Seconds of audio a second and process; this machine's own before the defaults."""

    def __init__(self, folder: Path | None = None) -> None:
        self._measured = _measured(folder or cache_root())

    def of(self, work: str) -> float:
        """Rate of ``work``, ``step`` or ``step:details``; of the step where nothing finer is."""
        step = work.partition(":")[0]
        for known in (self._measured, DEFAULTS):
            for name in (work, step):
                if name in known:
                    return known[name]
        return _UNKNOWN


def record_rate(folder: Path, work: str, audio_s: float, seconds: float, workers: int) -> None:
    """Keep the speed of a run that was long enough to mean something, beside the items."""
    if audio_s < _MIN_AUDIO_S or seconds <= 0:
        return
    rates = _measured(folder) | {work: round(audio_s / seconds / workers, 2)}
    try:
        write_atomic(folder / _FILE, json.dumps(rates, indent=1, sort_keys=True).encode())
    except PianoevalError:  # a read-only cache serves items all the same; the estimate is a comfort
        return
