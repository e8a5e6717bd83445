"""Numbers as JSON can hold them: six significant digits, and null for what is undefined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def number(value: float) -> float | None:
    """Six significant digits, enough for every figure; None for NaN and infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def numbers(values: NDArray[np.float64]) -> Any:
    """Nested lists of :func:`number`, of the shape of ``values``."""
    if values.ndim == 0:
        return number(float(values))
    return [numbers(part) for part in values]
