"""A named feature, and the small statistics that feature modules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import PianoevalError

Floats = NDArray[np.float64]
_Source = TypeVar("_Source")


@dataclass(frozen=True)
class Feature:
    """``name`` is ``group_name``; ``unit`` is an SI unit, ``MIDI``, ``1`` (ratio) or ``log2``."""

    name: str
    unit: str
    doc: str


def registry(features: Iterable[Feature]) -> dict[str, Feature]:
    """Features by name, in order; raises PianoevalError for a name used twice."""
    table: dict[str, Feature] = {}
    for feature in features:
        if feature.name in table:
            raise PianoevalError(f"feature '{feature.name}' is defined twice")
        table[feature.name] = feature
    return table


def collect(
    parts: Iterable[Callable[[_Source], dict[str, float]]],
    source: _Source,
    known: dict[str, Feature],
) -> dict[str, float]:
    """Run the parts and order their values as in ``known``; the names must agree exactly."""
    values: dict[str, float] = {}
    for part in parts:
        values.update(part(source))
    if values.keys() != known.keys():
        odd = sorted(values.keys() ^ known.keys())
        raise PianoevalError(f"features without a definition or a value: {', '.join(odd)}")
    return {name: float(values[name]) for name in known}


def correlation(x: Floats, y: Floats) -> float:
    """Pearson correlation; 0 if either side does not vary (no linear relation is visible)."""
    if len(x) < 3:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    # The bound keeps rounding noise of a constant from being read as variation.
    return float(x @ y) / scale if scale > 1e-9 * max(1, len(x)) else 0.0


def slope(x: Floats, y: Floats) -> float:
    """Least-squares slope of y on x; 0 if x does not vary."""
    if len(x) < 2:
        return 0.0
    x = x - x.mean()
    power = float(x @ x)
    return float(x @ (y - y.mean())) / power if power > 1e-12 else 0.0


def arch(x: Floats, y: Floats) -> float:
    """Quadratic coefficient of y on x scaled to -1..1; negative = rises, then falls.

    0 with fewer than four points or fewer than three different x.
    """
    span = float(np.ptp(x)) if len(x) else 0.0
    if len(x) < 4 or span <= 0 or len(np.unique(x)) < 3:
        return 0.0
    z = 2.0 * (x - x.min()) / span - 1.0
    basis = np.stack([np.ones_like(z), z, z**2], axis=1)
    solution: Any = np.linalg.lstsq(basis, y, rcond=None)[0]
    return float(solution[2])


def autocorrelation(values: Floats, lag: int = 1) -> float:
    """Correlation of a series with itself ``lag`` steps later; 0 if too short or constant."""
    return correlation(values[:-lag], values[lag:]) if len(values) > lag + 2 else 0.0


def smooth(time_s: Floats, values: Floats, width_s: float) -> Floats:
    """Gaussian-weighted running mean at each time, float64 (n,); sd of the kernel = ``width_s``.

    Only neighbours within 3 sd are summed, so long clips stay linear in time and memory.
    """
    low = np.searchsorted(time_s, time_s - 3 * width_s, side="left")
    high = np.searchsorted(time_s, time_s + 3 * width_s, side="right")
    counts = high - low
    centre = np.repeat(np.arange(len(time_s)), counts)
    other = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    other += np.repeat(low, counts)
    weight = np.exp(-0.5 * ((time_s[other] - time_s[centre]) / width_s) ** 2)
    total = np.bincount(centre, weights=weight * values[other], minlength=len(time_s))
    return np.asarray(total / np.bincount(centre, weights=weight, minlength=len(time_s)), float)


def interval_union(start_s: Floats, end_s: Floats) -> float:
    """Total length covered by intervals whose starts ascend, in seconds."""
    reach = np.maximum.accumulate(end_s)
    before = np.concatenate([[start_s[0]], reach[:-1]])
    return float(np.maximum(end_s - np.maximum(start_s, before), 0.0).sum())
