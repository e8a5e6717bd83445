"""What a player of one melody instrument does, and what none can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance
from pianoeval.provenance import sha256_bytes

F8 = NDArray[np.float64]

MAX_BEND_CENTS = 200.0
MIN_NOTE_S = 0.001
MAX_BREATH_S = 10.0
_NEXT = "remove the file, or write it with pianoeval.midi.winds.write_winds"


@dataclass(frozen=True, eq=False)
class WindPerformance:
    """What a player of one melody instrument does; times in seconds from the file's start.

    ``onset_s, offset_s`` : float64 (n,), sorted; a note ends before or where the next begins
    ``pitch_midi, velocity`` : int16 (n,); sounding (concert) pitch; velocity in 1..127
    ``bend_time_s, bend_cents`` : float64 (b,), cents within ±200; straight lines between points,
    constant before the first and after the last; two points at one time are a jump; none: 0
    ``level_time_s, level`` : float64 (e,), expression in 0..1 (CC 11 / 127), likewise; none: 1
    ``breath_time_s`` : float64 (r, 2), begin and end of inhalations, sorted
    ``program`` : of General MIDI, from 0 (65 alto saxophone, 71 clarinet, 73 flute)
    """

    onset_s: F8
    offset_s: F8
    pitch_midi: NDArray[np.int16]
    velocity: NDArray[np.int16]
    bend_time_s: F8
    bend_cents: F8
    level_time_s: F8
    level: F8
    breath_time_s: F8
    program: int

    @property
    def n_notes(self) -> int:
        return len(self.onset_s)

    @property
    def end_s(self) -> float:
        """End of the last note."""
        return float(self.offset_s[-1]) if self.n_notes else 0.0

    def digest(self) -> str:
        """SHA-256 of what is played."""
        arrays = (self.onset_s, self.offset_s, self.pitch_midi, self.velocity, self.bend_time_s,
                  self.bend_cents, self.level_time_s, self.level, self.breath_time_s,
                  np.asarray([self.program], np.int16))  # fmt: skip
        return sha256_bytes(b"|".join(np.ascontiguousarray(a).tobytes() for a in arrays))

    def bend_at(self, time_s: F8) -> F8:
        """Cents that the pitch is bent by: float64, shape of ``time_s``."""
        return _curve(time_s, self.bend_time_s, self.bend_cents, 0.0)

    def level_at(self, time_s: F8) -> F8:
        """Expression in 0..1: float64, shape of ``time_s``."""
        return _curve(time_s, self.level_time_s, self.level, 1.0)


def pitch_curve(performance: WindPerformance, time_s: F8) -> F8:
    """MIDI pitch that sounds at each time, bends included: float64; NaN where no note is held."""
    time_s = np.asarray(time_s, np.float64)
    note = np.searchsorted(performance.onset_s, time_s, side="right") - 1
    held = (note >= 0) & (time_s < performance.offset_s[np.maximum(note, 0)])
    pitch = performance.pitch_midi[np.maximum(note, 0)] + performance.bend_at(time_s) / 100
    return np.where(held, pitch, np.nan)


def plain_notes(performance: WindPerformance) -> Performance:
    """The notes alone, as of a keyboard."""
    p = performance
    nothing = np.zeros(0)
    return Performance(
        p.onset_s, p.offset_s, p.pitch_midi, p.velocity, nothing, nothing.astype(np.int16)
    )


def check_winds(performance: WindPerformance, where: Path | str | None = None) -> None:
    """Raise BadInputError for what one player of one melody instrument cannot do."""
    p = performance
    curves = (
        ("bends", p.bend_time_s, p.bend_cents, -MAX_BEND_CENTS, MAX_BEND_CENTS),
        ("levels", p.level_time_s, p.level, 0.0, 1.0),
    )
    wrong = _wrong_notes(p) or _wrong_breaths(p.breath_time_s)
    for what, time_s, values, low, high in curves:
        wrong = wrong or _wrong_curve(what, time_s, values, low, high)
    if wrong:
        raise BadInputError(wrong, where=where, next_step=_NEXT)


def _wrong_notes(p: WindPerformance) -> str:
    if p.n_notes == 0:
        return "no notes"
    if not len(p.onset_s) == len(p.offset_s) == len(p.pitch_midi) == len(p.velocity):
        return "onsets, offsets, pitches and velocities of different numbers"
    if not (np.isfinite(p.onset_s).all() and np.isfinite(p.offset_s).all()) or p.onset_s[0] < 0:
        return "note times that are negative or not finite"
    if (p.offset_s - p.onset_s < MIN_NOTE_S - 1e-9).any():
        return f"a note shorter than {MIN_NOTE_S * 1000:g} ms"
    if (p.onset_s[1:] < p.offset_s[:-1]).any():
        return "two notes at once, or notes out of order"
    if p.pitch_midi.min() < 0 or p.pitch_midi.max() > 127:
        return "pitches outside of 0 to 127"
    if p.velocity.min() < 1 or p.velocity.max() > 127:
        return "velocities outside of 1 to 127"
    return "" if 0 <= p.program <= 127 else f"program {p.program}, not 0 to 127"


def _wrong_curve(what: str, time_s: F8, values: F8, low: float, high: float) -> str:
    if len(time_s) != len(values):
        return f"{what}: {len(time_s)} times of {len(values)} values"
    if not np.isfinite(time_s).all() or (time_s < 0).any() or (np.diff(time_s) < 0).any():
        return f"{what}: times that are negative, not finite or out of order"
    inside = (values >= low) & (values <= high)  # false for NaN
    return "" if inside.all() else f"{what} outside of {low:g} to {high:g}"


def _wrong_breaths(edges_s: F8) -> str:
    if edges_s.ndim != 2 or edges_s.shape[1] != 2:
        return f"inhalations of shape {edges_s.shape}, not (r, 2)"
    if (
        not np.isfinite(edges_s).all()
        or (edges_s < 0).any()
        or (np.diff(edges_s.ravel()) < 0).any()
    ):
        return "inhalations that are negative, not finite, out of order or overlap"
    seconds = np.diff(edges_s, axis=1)
    wrong = (seconds < MIN_NOTE_S - 1e-9).any() or (seconds > MAX_BREATH_S + 1e-9).any()
    return (
        f"an inhalation of less than {MIN_NOTE_S:g} or more than {MAX_BREATH_S:g} s"
        if wrong
        else ""
    )


def _curve(time_s: F8, points_s: F8, values: F8, otherwise: float) -> F8:
    values = values if len(points_s) else np.asarray([otherwise])
    return np.asarray(np.interp(time_s, points_s if len(points_s) else [0.0], values), np.float64)
