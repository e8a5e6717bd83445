"""Controlled degradation: known faults at known strength, so that every label has a truth.

A severity in [0, 1] sets the strength of each fault in physical units,
``maximum * severity ** exponent`` (``SCALES``); 0 leaves the performance as it is.

====================  ============================  =======================================
dimension             unit (severity 0.2 .. 1)      what happens
====================  ============================  =======================================
timing_jitter         sd of onsets, 20 .. 100 ms    chords move, and their notes a little
wrong_notes           share, 5 .. 15 %              a neighbouring key is struck instead
missing_notes         share, 3 .. 8 %               notes are left out, inner ones first
dynamics_compression  30 .. 70 %                    velocities drawn to their mean
pedal_smear           pedal held 30 .. 150 ms long  late and incomplete lifts, down to a
                      and floor of CC64 16 .. 80    pedal that never clears
articulation_error    log sd of key-down time,      notes held too long or too short
                      0.16 .. 0.8
====================  ============================  =======================================

Neighbouring keys and inner voices follow what pianists do: Repp 1996, "The art of inaccuracy",
Music Perception 14. Each fault draws from its own generator: one severity changed changes one
fault only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import ConfigError
from pianoeval.midi.io import Performance
from pianoeval.midi.score import KEY_RETURN_S, MIN_NOTE_S, release_before_restrike

Rng = np.random.Generator

LOWEST_KEY, HIGHEST_KEY = 21, 108
CHORD_S = 0.035  # onsets closer than this are one chord
CHORD_SHARE = 0.8  # share of the jitter's variance that moves whole chords
MAX_SD = 2.5  # draws are cut at this many sd: a label is a severity, not an accident


@dataclass(frozen=True)
class Severities:
    """Strength of each fault, 0 (none) to 1."""

    timing_jitter: float = 0.0
    wrong_notes: float = 0.0
    missing_notes: float = 0.0
    dynamics_compression: float = 0.0
    pedal_smear: float = 0.0
    articulation_error: float = 0.0

    def __post_init__(self) -> None:
        for name, value in self.as_dict().items():
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"severity {name} is {value:g}", allowed="0 to 1")

    def as_dict(self) -> dict[str, float]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def overall(self) -> float:
        """Mean of the six."""
        return float(np.mean(list(self.as_dict().values())))


DIMENSIONS = tuple(field.name for field in fields(Severities))
# Dimension: (value at severity 1, exponent). Pedal: seconds held long; its floor is below.
SCALES: dict[str, tuple[float, float]] = {
    "timing_jitter": (0.100, 1.0),
    "wrong_notes": (0.15, 0.68),
    "missing_notes": (0.08, 0.6),
    "dynamics_compression": (0.70, 0.53),
    "pedal_smear": (0.150, 1.0),
    "articulation_error": (0.80, 1.0),
}
PEDAL_FLOOR = 80.0  # CC64 at severity 1, in proportion to severity
# Severities of each tier: bands that do not touch, so tiers are ordered in every dimension.
TIER_BANDS: dict[int, tuple[float, float]] = {
    1: (0.20, 0.38),
    2: (0.42, 0.58),
    3: (0.62, 0.78),
    4: (0.82, 1.00),
}


def strength(dimension: str, severity: float) -> float:
    """Physical strength of a fault, in the unit of the module's table."""
    maximum, exponent = SCALES[dimension]
    return float(maximum * severity**exponent)


def draw_severities(tier: int, rng: Rng) -> Severities:
    """Each dimension's severity, drawn on its own within the band of ``tier`` (0 = none)."""
    if tier == 0:
        return Severities()
    if tier not in TIER_BANDS:
        raise ConfigError(
            f"tier {tier}", allowed=", ".join(map(str, (0, *TIER_BANDS))),
            next_step="edit tiers of the corpus in params.yaml",
        )  # fmt: skip
    low, high = TIER_BANDS[tier]
    return Severities(**{name: float(rng.uniform(low, high)) for name in DIMENSIONS})


def degrade(performance: Performance, severities: Severities, rng: Rng) -> Performance:
    """Apply every fault whose severity is above 0; severity 0 throughout returns the input."""
    steps: dict[str, Callable[[Performance, float, Rng], Performance]] = {
        "wrong_notes": strike_wrong_notes,
        "missing_notes": drop_notes,
        "articulation_error": misarticulate,
        "dynamics_compression": compress_dynamics,
        "pedal_smear": smear_pedal,
        "timing_jitter": jitter_timing,
    }
    generators = dict(zip(steps, rng.spawn(len(steps)), strict=True))
    for name, step in steps.items():
        severity = getattr(severities, name)
        if severity > 0:
            performance = step(performance, strength(name, severity), generators[name])
    return performance


def _rebuilt(performance: Performance, **arrays: NDArray[Any]) -> Performance:
    """Replace note arrays; then sort, and let no key sound twice at once."""
    changed = replace(performance, **arrays)
    release = np.maximum(changed.offset_s, changed.onset_s + MIN_NOTE_S)
    release = release_before_restrike(changed.onset_s, release, changed.pitch_midi)
    order = np.lexsort((changed.pitch_midi, changed.onset_s))
    return Performance(
        changed.onset_s[order], release[order], changed.pitch_midi[order],
        changed.velocity[order], changed.pedal_time_s, changed.pedal_value,
    )  # fmt: skip


def _normal(rng: Rng, n: int) -> NDArray[np.float64]:
    return np.clip(rng.standard_normal(n), -MAX_SD, MAX_SD)


def chords(onset_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the chord each note belongs to: a new one after a gap of ``CHORD_S``."""
    return np.concatenate([[0], np.cumsum(np.diff(onset_s) > CHORD_S)]).astype(np.int64)


def jitter_timing(performance: Performance, sd_s: float, rng: Rng) -> Performance:
    """Move onsets by a normal draw of total sd ``sd_s``; each note keeps its length."""
    group = chords(performance.onset_s)
    move = np.sqrt(CHORD_SHARE) * _normal(rng, int(group[-1]) + 1)[group]
    move = sd_s * (move + np.sqrt(1 - CHORD_SHARE) * _normal(rng, performance.n_notes))
    onset_s, offset_s = performance.onset_s + move, performance.offset_s + move
    # Nothing starts before the file does: the whole performance waits, with its pedal.
    wait_s = max(0.0, -float(onset_s.min()))
    onset_s = _separate(onset_s + wait_s, performance.pitch_midi)
    moved = replace(performance, pedal_time_s=performance.pedal_time_s + wait_s)
    return _rebuilt(moved, onset_s=onset_s, offset_s=offset_s + wait_s)


def _separate(onset_s: NDArray[np.float64], pitch_midi: NDArray[np.int16]) -> NDArray[np.float64]:
    """Keep strokes of one key at least a key's return apart."""
    onset_s = onset_s.copy()
    for key in np.unique(pitch_midi):
        rows = np.flatnonzero(pitch_midi == key)
        rows = rows[np.argsort(onset_s[rows], kind="stable")]
        for before, after in pairwise(rows):
            onset_s[after] = max(onset_s[after], onset_s[before] + MIN_NOTE_S + KEY_RETURN_S)
    return onset_s


def _count(n_notes: int, share: float) -> int:
    """Whole notes for a share, at least one and never all."""
    return min(max(1, round(share * n_notes)), max(n_notes - 1, 0))


def strike_wrong_notes(performance: Performance, share: float, rng: Rng) -> Performance:
    """Replace a share of the notes by a key one or two semitones away that is free then."""
    n = performance.n_notes
    pitch = performance.pitch_midi.copy()
    moves = rng.choice([-2, -1, 1, 2], size=(n, 1), p=[0.15, 0.35, 0.35, 0.15])
    choices = np.concatenate([moves, -moves, np.tile([1, -1, 2, -2], (n, 1))], axis=1)
    wanted, done = _count(n, share), 0
    for row in rng.permutation(n):
        if done == wanted:
            break
        near = np.abs(performance.onset_s - performance.onset_s[row]) < 0.25
        near |= (performance.onset_s <= performance.offset_s[row]) & (
            performance.offset_s >= performance.onset_s[row]
        )
        taken = set(pitch[near].tolist())
        for move in choices[row]:
            key = int(performance.pitch_midi[row]) + int(move)
            if LOWEST_KEY <= key <= HIGHEST_KEY and key not in taken:
                pitch[row] = key
                done += 1
                break
    return _rebuilt(performance, pitch_midi=pitch)


def drop_notes(performance: Performance, share: float, rng: Rng) -> Performance:
    """Leave out a share of the notes; the highest of a chord is three times as safe."""
    n = performance.n_notes
    group = chords(performance.onset_s)
    highest = np.full(int(group[-1]) + 1, -1)
    np.maximum.at(highest, group, performance.pitch_midi)
    weight = np.where(performance.pitch_midi == highest[group], 1.0, 3.0)
    gone = rng.choice(n, size=_count(n, share), replace=False, p=weight / weight.sum())
    keep = np.setdiff1d(np.arange(n), gone)
    return Performance(
        performance.onset_s[keep], performance.offset_s[keep], performance.pitch_midi[keep],
        performance.velocity[keep], performance.pedal_time_s, performance.pedal_value,
    )  # fmt: skip


def compress_dynamics(performance: Performance, share: float, rng: Rng) -> Performance:
    """Draw velocities towards their mean by ``share``; the mean stays (``rng`` is not used)."""
    level = performance.velocity.astype(np.float64)
    level = level.mean() + (1 - share) * (level - level.mean())
    velocity = np.clip(np.rint(level), 1, 127).astype(np.int16)
    return replace(performance, velocity=velocity)


def misarticulate(performance: Performance, log_sd: float, rng: Rng) -> Performance:
    """Multiply each key-down time by ``exp`` of a normal draw of sd ``log_sd``."""
    held = (performance.offset_s - performance.onset_s) * np.exp(
        log_sd * _normal(rng, performance.n_notes)
    )
    return _rebuilt(performance, offset_s=performance.onset_s + held)


def smear_pedal(performance: Performance, hold_s: float, rng: Rng) -> Performance:
    """Hold the pedal ``hold_s`` too long, and never let it rise above a floor of CC64.

    The new curve is the running maximum of the old one over the last ``hold_s`` and the floor,
    which grows in proportion to ``hold_s``; ``rng`` is not used. A dry performance gets the
    floor throughout.
    """
    floor = round(PEDAL_FLOOR * hold_s / SCALES["pedal_smear"][0])
    time_s, value = performance.pedal_time_s, performance.pedal_value.astype(np.int64)
    moments = np.unique(np.concatenate([[0.0], time_s, time_s + hold_s]))
    if len(time_s) == 0:
        curve = np.full(len(moments), floor)
    else:
        # In force at t: every value whose own stretch [time, next time) meets [t - hold, t].
        until = np.append(time_s[1:], np.inf)
        met = (time_s[None] <= moments[:, None]) & (until[None] > moments[:, None] - hold_s)
        curve = np.maximum(np.where(met, value[None], 0).max(axis=1), floor)
    changed = np.concatenate([[True], np.diff(curve) != 0])
    return replace(
        performance, pedal_time_s=moments[changed], pedal_value=curve[changed].astype(np.int16)
    )
