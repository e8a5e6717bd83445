"""Half pedal: how fast every string is damped, independent of the synthesiser.

A damper that only brushes the string slows its decay instead of stopping it (Lehtonen, Askenfelt
& Välimäki 2009, JASA 126, EL49: part-pedalling). Performances recorded on a reproducing piano carry
continuous CC64, most of it between the extremes, so a threshold at 64 would discard what the
dimension "pedal" is rated on.

Model
-----
With pedal value v the dampers act with the fraction ``(1 - x)³``, ``x = (v - low) / (high - low)``
clipped to 0..1: full at ``v <= low``, none at ``v >= high``. At full action a string of key k loses
60 dB in ``damper_t60_s(k)``. A released string has lost, at time t after the key release r,

    attenuation(t) = 60 dB / T60(k) · ∫_r^t (1 - x(v(τ)))³ dτ .

Keys above 89 have no dampers. A key struck again stops its older sound at 250 dB/s.
The integral is the same for all notes, so it is computed once and looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pianoeval.errors import ConfigError
from pianoeval.midi.io import Performance

F8 = NDArray[np.float64]

ENDED_DB = 60.0
HIGHEST_DAMPED_KEY = 89
RESTRIKE_DB_S = 250.0
_T60_KEYS = (21, 45, 60, 88)
_T60_S = (0.55, 0.35, 0.25, 0.12)


def damper_t60_s(pitch_midi: ArrayLike) -> F8:
    """Seconds to lose 60 dB with the damper fully down; ``inf`` above key 89."""
    pitch = np.asarray(pitch_midi, dtype=np.float64)
    t60 = np.interp(pitch, _T60_KEYS, _T60_S)
    return np.where(pitch > HIGHEST_DAMPED_KEY, np.inf, t60)


def damping_fraction(pedal_value: ArrayLike, low: int, high: int) -> F8:
    """Share of full damping, 0..1, at a CC64 value; raises ConfigError unless low < high."""
    if not low < high:
        raise ConfigError(
            f"render.half_pedal_low is {low} and render.half_pedal_high is {high}",
            allowed="half_pedal_low < half_pedal_high",
            next_step="edit params.yaml",
        )
    x = (np.asarray(pedal_value, dtype=np.float64) - low) / (high - low)
    return np.asarray((1.0 - np.clip(x, 0.0, 1.0)) ** 3, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Damping:
    """What the dampers do to every note of a performance.

    Attributes
    ----------
    release_s : float64, shape (n,)
        When the key is up, or the same key is struck again.
    restrike_s : float64, shape (n,)
        When the same key is struck again; ``inf`` if never.
    rate_db_s : float64, shape (n,)
        Loss with the damper fully down; 0 where there is none.
    knot_s, integral_s : float64, shape (k,)
        Damping integral at the pedal changes; piecewise linear between them.
    last_fraction : float
        Slope of the integral after the last knot.
    """

    release_s: F8
    restrike_s: F8
    rate_db_s: F8
    knot_s: F8
    integral_s: F8
    last_fraction: float

    def integral_at(self, time_s: ArrayLike) -> F8:
        """Damping integral, in seconds of full damping, at any time."""
        time = np.asarray(time_s, dtype=np.float64)
        inside = np.interp(time, self.knot_s, self.integral_s)
        after = np.maximum(time - self.knot_s[-1], 0.0) * self.last_fraction
        before = np.minimum(time - self.knot_s[0], 0.0)
        return np.asarray(inside + after + before, dtype=np.float64)

    def attenuation_db(self, note: int, time_s: ArrayLike) -> F8:
        """Loss of one note at the given times, in dB (0 before its release)."""
        time = np.asarray(time_s, dtype=np.float64)
        release = float(self.release_s[note])
        held = self.integral_at(np.maximum(time, release)) - self.integral_at(release)
        loss = self.rate_db_s[note] * held
        struck = RESTRIKE_DB_S * np.maximum(time - self.restrike_s[note], 0.0)
        return np.asarray(loss + struck, dtype=np.float64)

    def ends_s(self, lost_db: float = ENDED_DB) -> F8:
        """When every note has lost ``lost_db`` to damper or hammer; ``inf`` if it never does.

        The two causes are taken apart, so the result is never early and at most
        ``lost_db / 250`` s late.
        """
        with np.errstate(divide="ignore"):
            target = self.integral_at(self.release_s) + lost_db / self.rate_db_s
        index = np.searchsorted(self.integral_s, target, side="left")
        damped = np.full(len(target), np.inf)
        inside = (index > 0) & (index < len(self.integral_s))
        hi = index[inside]
        span = self.integral_s[hi] - self.integral_s[hi - 1]
        part = (target[inside] - self.integral_s[hi - 1]) / span
        damped[inside] = self.knot_s[hi - 1] + part * (self.knot_s[hi] - self.knot_s[hi - 1])
        first = index == 0
        damped[first] = self.knot_s[0] + target[first] - self.integral_s[0]
        after = (index == len(self.integral_s)) & np.isfinite(target)
        if self.last_fraction > 0:
            rest = target[after] - self.integral_s[-1]
            damped[after] = self.knot_s[-1] + rest / self.last_fraction
        return np.asarray(np.minimum(damped, self.restrike_s + lost_db / RESTRIKE_DB_S))


def damping(performance: Performance, low: int = 25, high: int = 85) -> Damping:
    """Damping of every note from key releases and continuous CC64.

    Before the first pedal event the pedal is up; of several events at one time the last counts.
    """
    if len(performance.pedal_time_s):
        knot_s = np.asarray(performance.pedal_time_s, dtype=np.float64)
        fraction = damping_fraction(performance.pedal_value, low, high)
    else:
        knot_s = np.zeros(1)
        fraction = damping_fraction(np.zeros(1), low, high)
    steps = np.diff(knot_s) * fraction[:-1]
    restrike = _next_strike_s(performance)
    with np.errstate(divide="ignore"):
        rate = ENDED_DB / damper_t60_s(performance.pitch_midi)
    return Damping(
        release_s=np.minimum(performance.offset_s, restrike),
        restrike_s=restrike,
        rate_db_s=rate,
        knot_s=knot_s,
        integral_s=np.concatenate([[0.0], np.cumsum(steps)]),
        last_fraction=float(fraction[-1]),
    )


def _next_strike_s(performance: Performance) -> F8:
    """Onset of the next note of the same key, ``inf`` for the last; notes are sorted by onset."""
    pitch = np.asarray(performance.pitch_midi)
    order = np.lexsort((np.arange(len(pitch)), pitch))
    following = np.full(len(pitch), np.inf)
    same = pitch[order[1:]] == pitch[order[:-1]]
    following[order[:-1][same]] = np.asarray(performance.onset_s)[order[1:][same]]
    return following
