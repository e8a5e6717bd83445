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
_MIN_AUDIO_S = 60.0


def _path() -> Path:
    return cache_root() / "rates.json"


def read_rates() -> dict[str, float]:
    """Seconds of audio a second and process, by step; measured values replace the defaults."""
    try:
        measured = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return dict(DEFAULTS)
    return DEFAULTS | {step: float(rate) for step, rate in measured.items()}


def record_rate(step: str, audio_s: float, seconds: float, workers: int) -> None:
    """Keep the speed of a run that was long enough to mean something."""
    if audio_s < _MIN_AUDIO_S or seconds <= 0:
        return
    rates = read_rates() | {step: round(audio_s / seconds / workers, 2)}
    try:
        write_atomic(_path(), json.dumps(rates, indent=1, sort_keys=True).encode())
    except PianoevalError:  # a read-only cache serves items all the same; the estimate is a comfort
        return
