"""Simulated students of wind instruments: an exercise and eight faults become a performance.

Each fault has a severity in 0 to 1 and its own generator, so a change of one changes nothing that
the others draw; strength grows in proportion, and severity 0 is a good student, not a machine. All
constants are choices of ours; docs/auditions.md lists them beside what is known of real players.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pianoeval.midi.winds import WindPerformance

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Draw = Callable[[str], np.random.Generator]

WRONG_SHARE, MISSING_SHARE = 0.15, 0.10  # of notes, at severity 1
OCTAVE_SLIPS = 0.1  # of wrong notes; the others are one or two semitones off
HESITATIONS_PER_MIN = 7.0
PAUSE_S = (0.35, 1.0)
REPEATED_NOTES = (2, 5)  # after half of the hesitations
JITTER_S, JITTER_SHARE = 0.008, 0.22  # sd; the second in intervals between onsets
WANDER, TREND = (0.012, 0.10), 0.18  # log tempo: sd of what is smooth over some 4 s; to the end
OFFSET_CENTS, NOTE_CENTS, DRIFT_CENTS = (3.0, 18.0), (3.0, 20.0), 25.0
SCOOP_CENTS, SCOOP_S = 60.0, 0.08
VIBRATO_HZ, VIBRATO_CENTS, VIBRATO_FROM_S = (4.8, 6.2), (14.0, 32.0), 0.28
LEAST_CENTS = 2.0  # vibrato below this is none
VIBRATO_OF = {65: 1.0, 71: 0.25, 73: 1.0}  # clarinettists of this school play nearly without
LEGATO, CHOPPY = 0.95, 0.65  # sounding share of a note
TOUCH, MOST_HELD = 0.06, 0.98  # sd of that share between students, whatever their musicality
ARCH, LOUD = 0.28, 0.72  # expression (0..1) of a phrase's middle above its ends; its mean
RITARD = 0.25  # lengthening of the last bar
BREATH_S, BREATH_BARS = 0.22, 4
LATE_BREATH_S = 0.35  # lost by a breath in a wrong place
LEAD_S, MIN_SOUND_S, MAX_CENTS = 0.2, 0.05, 190.0
POINT_S = 0.02


@dataclass(frozen=True)
class Faults:
    """Severities in 0 to 1."""

    wrong_notes: float = 0.0
    missing_notes: float = 0.0
    hesitations: float = 0.0
    unevenness: float = 0.0
    tempo_drift: float = 0.0
    intonation: float = 0.0
    plainness: float = 0.0
    breathing: float = 0.0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


FAULTS = tuple(field.name for field in fields(Faults))


@dataclass(frozen=True, eq=False)
class Exercise:
    """What is on the music stand: float64 seconds at the set tempo, int16 sounding pitch."""

    onset_s: F8
    duration_s: F8
    pitch_midi: NDArray[np.int16]
    bar_s: F8  # beginnings of bars, and the end
    program: int


def play(exercise: Exercise, faults: Faults, draw: Draw) -> WindPerformance:
    """One audition. ``draw(name)`` is the generator of a fault, or of the ``player``.

    The same generators and severities give the same performance.
    """
    onset = _in_time(exercise, faults, draw)
    order, pauses = _hesitate(exercise, faults.hesitations, draw("hesitations"))
    breaths, lost_s = _breaths(exercise, faults.breathing, draw("breathing"))
    length = np.diff(onset, append=_end(exercise, onset))
    step = length[order] + lost_s[order] * _first_time(order)
    start = LEAD_S + np.concatenate([[0.0], np.cumsum(step)[:-1]]) + np.cumsum(pauses)
    written = (exercise.duration_s / np.diff(exercise.onset_s, append=exercise.bar_s[-1]))[order]
    touch = np.clip(draw("touch").normal(0.0, TOUCH), -2 * TOUCH, 2 * TOUCH)
    held = min(CHOPPY + (LEGATO - CHOPPY) * (1.0 - faults.plainness) + touch, MOST_HELD)
    sound = np.maximum(length[order] * np.minimum(written, 1.0) * held, MIN_SOUND_S)
    next_start = np.append(start[1:], start[-1] + step[-1])
    breathed = breaths[order]
    sound = np.where(breathed, np.minimum(sound, next_start - start - BREATH_S), sound)
    sound = np.clip(sound, np.minimum(MIN_SOUND_S, 0.9 * (next_start - start)), next_start - start)
    pitch = _pitches(exercise, faults.wrong_notes, draw("wrong_notes"))[order]
    kept = ~_missing(len(onset), faults.missing_notes, draw("missing_notes"))[order]
    inhaled = _inhalations(start + sound, next_start, breathed)
    start, sound, pitch, order = start[kept], sound[kept], pitch[kept], order[kept]
    bends = _bends(start, sound, pitch, faults, exercise.program, draw)
    level = _levels(exercise, faults.plainness)[order]
    velocity = np.clip(np.rint(64 + 50 * (level - LOUD)), 1, 127).astype(np.int16)
    return WindPerformance(
        start, start + sound, pitch, velocity, *bends,
        np.repeat(start, 2)[1:], np.repeat(level, 2)[:-1], inhaled, exercise.program,
    )  # fmt: skip


def deadpan(exercise: Exercise) -> WindPerformance:
    """The exercise as written, every note held, nothing bent."""
    nothing = np.zeros(0)
    return WindPerformance(
        exercise.onset_s, exercise.onset_s + exercise.duration_s, exercise.pitch_midi,
        np.full(len(exercise.onset_s), 64, np.int16), nothing, nothing, nothing, nothing,
        np.zeros((0, 2)), exercise.program,
    )  # fmt: skip


def _end(exercise: Exercise, onset_s: F8) -> float:
    """When the last note's written time is over, at the tempo that the student has reached."""
    last = exercise.bar_s[-1] - exercise.onset_s[-1]
    around = max(exercise.onset_s[-1] - exercise.onset_s[0], 1e-9)
    return float(onset_s[-1] + last * max(onset_s[-1] - onset_s[0], 1e-9) / around)


def _in_time(exercise: Exercise, faults: Faults, draw: Draw) -> F8:
    """Onsets from 0 with a tempo that wanders, a ritard, and uneven notes; float64 (n,)."""
    rng = draw("tempo_drift")
    steps = np.diff(exercise.onset_s)
    knots = np.arange(0.0, exercise.bar_s[-1] + 8.0, 4.0)
    sd = WANDER[0] + (WANDER[1] - WANDER[0]) * faults.tempo_drift
    wander = np.interp(exercise.onset_s[:-1], knots, rng.normal(0.0, sd, len(knots)))
    trend = rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.0) * TREND * faults.tempo_drift
    place = exercise.onset_s[:-1] / exercise.bar_s[-1]
    late = exercise.onset_s[:-1] >= exercise.bar_s[-2]
    ritard = np.log1p(RITARD * (1.0 - faults.plainness)) * late
    steps = steps * np.exp(wander + trend * place + ritard)
    onset = np.concatenate([[0.0], np.cumsum(steps)])
    usual = float(np.median(steps))
    sd_s = JITTER_S + JITTER_SHARE * usual * faults.unevenness
    noise = np.clip(draw("unevenness").normal(0.0, sd_s, len(onset)), -2.5 * sd_s, 2.5 * sd_s)
    moved = np.diff(onset + noise, prepend=0.0)
    least = np.minimum(0.35 * np.diff(onset, prepend=-usual), MIN_SOUND_S)
    onset = np.cumsum(np.maximum(moved, least))
    return np.asarray(onset - onset[0], np.float64)


def _count(expected: float, rng: np.random.Generator) -> int:
    """A whole number near ``expected``: it is rounded up as often as its fraction says."""
    return int(expected + rng.random())


def _hesitate(exercise: Exercise, severity: float, rng: np.random.Generator) -> tuple[I8, F8]:
    """Notes in the order in which they are played, and the pause before each, in seconds."""
    n = len(exercise.onset_s)
    expected = HESITATIONS_PER_MIN * severity * exercise.bar_s[-1] / 60.0
    count = min(_count(expected, rng), (n - 1) // 8)
    at = np.sort(rng.choice(np.arange(1, n), count, replace=False))
    pauses = rng.uniform(*PAUSE_S, count)
    back = rng.integers(REPEATED_NOTES[0], REPEATED_NOTES[1] + 1, count) * (rng.random(count) < 0.5)
    order: list[int] = []
    waits: list[float] = []
    done = 0
    for place, pause, repeated in zip(at.tolist(), pauses.tolist(), back.tolist(), strict=True):
        order += range(done, place)
        waits += [0.0] * (len(order) - len(waits))
        again = range(max(0, place - repeated), place)
        order += again
        order.append(place)
        waits += [pause] + [0.0] * len(again)
        done = place + 1
    order += range(done, n)
    waits += [0.0] * (len(order) - len(waits))
    return np.asarray(order, np.int64), np.asarray(waits, np.float64)


def _first_time(order: I8) -> NDArray[np.bool_]:
    """Which of the notes played are played for the first time."""
    first = np.zeros(len(order), np.bool_)
    first[np.unique(order, return_index=True)[1]] = True
    return first


def _breaths(
    exercise: Exercise, severity: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], F8]:
    """After which notes the student breathes, and what time that costs, in seconds."""
    n = len(exercise.onset_s)
    phrase = exercise.bar_s[BREATH_BARS:-1:BREATH_BARS]
    good = np.unique(np.clip(np.searchsorted(exercise.onset_s, phrase - 1e-6) - 1, 0, n - 1))
    breaths, lost = np.zeros(n, np.bool_), np.zeros(n)
    breaths[good] = True
    bad = rng.choice(n, min(_count(severity * len(exercise.bar_s) / 3.0, rng), n), replace=False)
    lost[bad] = rng.uniform(0.5, 1.0, len(bad)) * LATE_BREATH_S * ~breaths[bad]
    breaths[bad] = True
    breaths[-1] = False
    lost[-1] = 0.0
    return breaths, lost


def _inhalations(end_s: F8, next_s: F8, breathed: NDArray[np.bool_]) -> F8:
    """Begin and end of each inhalation in the gap after its note; float64 (r, 2)."""
    gap = next_s - end_s
    at = np.flatnonzero(breathed & (gap > 0.06))
    begin = np.maximum(end_s[at] + 0.01, next_s[at] - 0.5)
    return np.stack([begin, next_s[at] - 0.02], axis=1).reshape(-1, 2)


def _pitches(exercise: Exercise, severity: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Some notes replaced: by a neighbour, or by the octave where that stays in the range."""
    pitch = exercise.pitch_midi.copy()
    n, low, high = len(pitch), int(pitch.min()) - 2, int(pitch.max()) + 2
    at = rng.choice(n, min(_count(WRONG_SHARE * severity * n, rng), n), replace=False)
    off = rng.choice([-2, -1, 1, 2], len(at))
    octave = np.where(pitch[at] + 12 <= high, 12, -12)
    slip = (rng.random(len(at)) < OCTAVE_SLIPS) & (pitch[at] + octave >= low)
    pitch[at] = pitch[at] + np.where(slip, octave, off)
    return pitch


def _missing(n: int, severity: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    gone = np.zeros(n, np.bool_)
    gone[rng.choice(n, min(_count(MISSING_SHARE * severity * n, rng), n - 1), replace=False)] = True
    return gone


def _bends(
    start: F8, sound: F8, pitch: NDArray[np.int16], faults: Faults, program: int, draw: Draw
) -> tuple[F8, F8]:
    """Times and cents: out of tune, drifting, scooped into, with vibrato on longer notes."""
    rng, player = draw("intonation"), draw("player")
    bad = faults.intonation
    keys = rng.normal(0.0, NOTE_CENTS[0] + (NOTE_CENTS[1] - NOTE_CENTS[0]) * bad, 128)
    offset = rng.normal(0.0, OFFSET_CENTS[0] + (OFFSET_CENTS[1] - OFFSET_CENTS[0]) * bad)
    drift = rng.uniform(-1.0, 1.0) * DRIFT_CENTS * bad
    cents = offset + keys[pitch] + drift * start / start[-1]
    scooped = rng.random(len(start)) < 0.4 * bad
    rate, extent = player.uniform(*VIBRATO_HZ), player.uniform(*VIBRATO_CENTS)
    extent *= VIBRATO_OF.get(program, 1.0) * (1.0 - faults.plainness)
    times: list[F8] = []
    values: list[F8] = []
    for at, length, centre, scoop in zip(start, sound, cents, scooped, strict=True):
        moves = scoop or (length >= VIBRATO_FROM_S and extent >= LEAST_CENTS)
        inside = np.arange(0.0, length, POINT_S) if moves else np.zeros(1)
        inside = np.append(inside, length)
        curve = np.full(len(inside), centre)
        if length >= VIBRATO_FROM_S and extent >= LEAST_CENTS:
            ramp = np.clip((inside - 0.1) / 0.15, 0.0, 1.0)
            curve = curve + extent * ramp * np.sin(2 * np.pi * rate * (inside - 0.1))
        if scoop:
            curve = curve - SCOOP_CENTS * bad * np.clip(1.0 - inside / SCOOP_S, 0.0, 1.0)
        if values:  # in the gap before it the pitch stays where it was
            times.append(np.asarray([at]))
            values.append(values[-1][-1:])
        times.append(at + inside)
        values.append(curve)
    return np.concatenate(times), np.clip(np.concatenate(values), -MAX_CENTS, MAX_CENTS)


def _levels(exercise: Exercise, plainness: float) -> F8:
    """Expression of each written note: an arch over every four bars, downbeats a little louder."""
    edges = np.append(exercise.bar_s[:-1:BREATH_BARS], exercise.bar_s[-1])
    phrase = np.clip(np.searchsorted(edges, exercise.onset_s, "right") - 1, 0, len(edges) - 2)
    place = (exercise.onset_s - edges[phrase]) / (edges[phrase + 1] - edges[phrase])
    beat = np.isin(np.round(exercise.onset_s, 4), np.round(exercise.bar_s, 4))
    shape = ARCH * (np.sin(np.pi * np.clip(place, 0.0, 1.0)) - 0.6) + 0.05 * beat
    return np.asarray(np.clip(LOUD + shape * (1.0 - plainness), 0.0, 1.0), np.float64)
