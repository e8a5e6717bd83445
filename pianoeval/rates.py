"""Measured speeds of the expensive steps, so that a plan can say how long it will take."""

from __future__ import annotations

import json
from pathlib import Path

from pianoeval.cache import write_atomic
from pianoeval.errors import PianoevalError
from pianoeval.paths import cache_root

# Seconds of audio a second and process, measured once on a 2-core x86-64 server; used until
# this machine has measured its own.
DEFAULTS = {"audio": 60.0, "contour": 5.0, "embedding-transkun": 4.0, "embedding-mel": 60.0}
_FILE = "rates.json"
_MIN_AUDIO_S = 60.0


def _measured(folder: Path) -> dict[str, float]:
    try:
        measured = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(step): float(rate) for step, rate in measured.items()}


def read_rates(folder: Path | None = None) -> dict[str, float]:
    """Seconds of audio a second and process, by step; measured values replace the defaults."""
    return DEFAULTS | _measured(folder or cache_root())


def record_rate(folder: Path, step: str, audio_s: float, seconds: float, workers: int) -> None:
    """Keep the speed of a run that was long enough to mean something, beside the items."""
    if audio_s < _MIN_AUDIO_S or seconds <= 0:
        return
    rates = _measured(folder) | {step: round(audio_s / seconds / workers, 2)}
    try:
        write_atomic(folder / _FILE, json.dumps(rates, indent=1, sort_keys=True).encode())
    except PianoevalError:  # a read-only cache serves items all the same; the estimate is a comfort
        return
