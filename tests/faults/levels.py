"""Sizes and figures of the fault tests: short within ``make test``, thorough in ``make faults``.

``PIANOEVAL_FAULTS=full`` chooses the thorough size. ``PIANOEVAL_FAULTS_OUT`` names a file of JSON
lines to which each test adds what it measured; ``benchmarks/service_levels.py`` makes the table.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

FULL = os.environ.get("PIANOEVAL_FAULTS") == "full"


def scale(short: int, full: int) -> int:
    """``short`` within ``make test``, ``full`` in ``make faults``."""
    return full if FULL else short


def record(level: str, claim: str, **figures: float | int | str) -> None:
    """Add a measured figure.

    Parameters
    ----------
    level : str
        Row of the service levels, as ``killed``, ``signals``, ``disk``, ``damage``, ``bad input``,
        ``determinism``, ``sharing``, ``ablations``.
    claim : str
        What was tried, in a few words.
    **figures
        Counts and seconds with their unit in the name: ``kills=50, slowest_exit_s=0.8``.
    """
    if out := os.environ.get("PIANOEVAL_FAULTS_OUT"):
        with Path(out).open("a", encoding="utf-8") as stream:
            size = {} if FULL else {"size": "short"}
            stream.write(json.dumps({"level": level, "claim": claim, **figures, **size}) + "\n")
