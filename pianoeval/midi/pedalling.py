"""The right foot: a continuous CC64 curve that follows the harmony.

Syncopated ("legato") pedalling: the dampers fall as the new harmony is struck and rise again
60-150 ms later, when the old one has died (Repp 1996, J. Acoust. Soc. Am. 100). The curve has
ramps and half values, as a Disklavier records it, because renderers and features that see only
on and off lose what pedalling is about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.012  # spacing of events on a ramp
PRESS_S = 0.09
LIFT_S = 0.07
HOLD_STEP_S = 0.25  # the foot drifts a little while it holds
DRIFT_CC = 3.0
MIN_SPAN_S = 0.4  # changes closer than this are taken in one pedal


@dataclass(frozen=True)
class Foot:
    """How a player pedals: share of harmonies pedalled, depth (CC64), delay after the onset."""

    use: float
    depth: float
    delay_s: float


def _ramp(start_s: float, length_s: float, low: float, high: float) -> list[tuple[float, int]]:
    """Cosine-shaped movement from ``low`` to ``high``."""
    steps = max(2, round(length_s / STEP_S))
    x = np.arange(1, steps + 1) / steps
    values = low + (high - low) * (1 - np.cos(np.pi * x)) / 2
    return [
        (start_s + length_s * float(a), round(float(v))) for a, v in zip(x, values, strict=True)
    ]


def _hold(
    start_s: float, end_s: float, depth: float, rng: np.random.Generator
) -> list[tuple[float, int]]:
    times = np.arange(start_s + HOLD_STEP_S, end_s, HOLD_STEP_S)
    drift = np.clip(np.cumsum(rng.normal(0, DRIFT_CC, len(times))), -12, 9)
    return [
        (float(t), int(np.clip(round(depth + float(d)), 1, 127)))
        for t, d in zip(times, drift, strict=True)
    ]


def pedal_curve(
    harmony_s: NDArray[np.float64], end_s: float, foot: Foot, rng: np.random.Generator
) -> list[tuple[float, int]]:
    """Events ``(time_s, value)`` in time order, ending with the pedal up.

    Each harmony is pedalled with probability ``foot.use``; the pedal comes up as the next one
    is struck. The draws do not depend on ``use``, so players differ by their habits alone.
    """
    spans = _spans(harmony_s, end_s)
    events: list[tuple[float, int]] = []
    free_s = 0.0
    for index, (start_s, stop_s) in enumerate(spans):
        chance, depth_draw, delay_draw, lift_draw = rng.uniform(-1, 1, 4)
        wobble = np.random.default_rng(rng.integers(2**32))
        if (chance + 1) / 2 >= foot.use:
            continue
        depth = float(np.clip(foot.depth + 14 * depth_draw, 45, 127))
        delay_s = 0.02 if index == 0 else foot.delay_s * (1 + 0.3 * float(delay_draw))
        press_s = max(start_s + delay_s, free_s)
        lift_s = max(stop_s - 0.01 + 0.03 * float(lift_draw), press_s + PRESS_S)
        events += _ramp(press_s, PRESS_S, 0, depth)
        held = _hold(press_s + PRESS_S, lift_s, depth, wobble)
        events += held
        events += _ramp(lift_s, LIFT_S, held[-1][1] if held else depth, 0)
        free_s = lift_s + LIFT_S + STEP_S
    return events


def _spans(harmony_s: NDArray[np.float64], end_s: float) -> list[tuple[float, float]]:
    """Stretches of one pedal: from each change to the next, too short ones joined."""
    starts = [float(harmony_s[0])] if len(harmony_s) else []
    for time_s in harmony_s[1:]:
        if time_s - starts[-1] >= MIN_SPAN_S:
            starts.append(float(time_s))
    return list(zip(starts, [*starts[1:], end_s], strict=True))
