"""Expressive rendering of a score by rules: simulated pianists, not recordings.

The rules follow the KTH system (Friberg, Bresin & Sundberg 2006, Adv. Cogn. Psychol. 2,
145-161; technical description: Friberg 1991, Comput. Music J. 15(2), 56-71) and measurements
of pianists. Each is scaled by a weight ``k``; a simulated player is a fixed set of weights.

=================  ==========================================================================
phrase arch        faster and louder towards a turning point, slower and softer to both ends,
                   on phrases and on half phrases (Todd 1985; Friberg 1995)
final ritard       tempo falls as in Friberg & Sundberg 1999, at the end of a piece
duration contrast  short notes shorter and softer (KTH DDC), bar length kept
metrical accent    stronger beats louder (Clarke 1988; Lerdahl & Jackendoff's grid)
high-loud          3 dB an octave at k = 1 (KTH)
melody             louder and 15-32 ms early (Palmer 1996; Goebl 2001)
chord asynchrony   5-12 ms sd among the other notes (Goebl & Parncutt 2003)
articulation       legato overlap, detached, staccato and repetition gaps (Bresin & Battel
                   2000), a micropause before a new phrase (KTH punctuation)
pedal              lifted with, pressed shortly after a change of harmony (Repp 1996)
noise              1/f drift and white motor noise (Gilden et al. 1995; Juslin et al. 2002)
=================  ==========================================================================

Level becomes velocity by a square law (Dannenberg 2006): ``velocity = v0 * 10 ** (dB / 40)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pianoeval.midi import pedalling
from pianoeval.midi.io import Performance
from pianoeval.midi.score import (
    KEY_RETURN_S,
    MIN_NOTE_S,
    Notes,
    ScoreNotes,
    before_the_beat_s,
    release_before_restrike,
)
from pianoeval.provenance import sha256_bytes

Vector = NDArray[np.float64]

ARCH_SLOWDOWN = 0.16  # relative lengthening at a phrase's end against its turn, k = 1
ARCH_DB = 3.0  # level at the turn against the ends, k = 1
HALF_PHRASE_WEIGHT = 0.4
RITARD_BEATS = 4.0
RITARD_END = 0.55  # tempo of the last note against the tempo before the ritard, k = 1
METRICAL_DB = 4.0  # downbeat against the weakest position, k = 1
HIGH_LOUD_DB_PER_OCTAVE = 3.0
ACCENT_DB = 3.0
# KTH duration contrast: inter-onset interval (s), change of it (s), change of level (dB).
CONTRAST_IOI_S = (0.03, 0.2, 0.4, 0.6)
CONTRAST_S = (0.0, -0.0165, -0.0105, 0.0)
CONTRAST_DB = (0.0, -0.825, -0.525, 0.0)
STACCATO = 0.45  # sounding part of a staccato note's written length
LEGATO_OVERLAP_S = 0.03
DRIFT_DB = 0.9  # 1/f wandering of the level, sd
TOUCH_DB = 0.8  # unevenness of single key strokes, sd


@dataclass(frozen=True)
class Player:
    """A simulated pianist: rule weights (k, 1 = the rule's default) and habits in units."""

    name: str
    tempo: float  # against the written tempo
    velocity: float  # at mezzo-forte
    dynamic_range: float  # scales every level rule
    phrase_arch: float
    arch_turn: float  # turning point, 0..1 of the phrase
    ritard: float
    contrast: float
    metrical: float
    high_loud: float
    melody_db: float
    melody_lead_s: float
    asynchrony_s: float
    detached: float  # sounding part of a note that carries no slur
    punctuation: float
    pedal_use: float
    pedal_depth: float  # CC64
    pedal_delay_s: float
    drift: float  # sd of relative inter-onset intervals, 1/f
    motor_s: float  # sd of single onsets, white


RANGES: dict[str, tuple[float, float]] = {
    "tempo": (0.92, 1.08),
    "velocity": (57.0, 70.0),
    "dynamic_range": (1.0, 1.25),
    "phrase_arch": (0.4, 1.8),
    "arch_turn": (0.45, 0.7),
    "ritard": (0.6, 1.3),
    "contrast": (0.0, 2.0),
    "metrical": (0.4, 1.4),
    "high_loud": (0.1, 0.5),
    "melody_db": (2.5, 4.5),
    "melody_lead_s": (0.015, 0.032),
    "asynchrony_s": (0.005, 0.012),
    "detached": (0.78, 0.98),
    "punctuation": (0.5, 1.5),
    "pedal_use": (0.7, 1.1),
    "pedal_depth": (72.0, 118.0),
    "pedal_delay_s": (0.06, 0.15),
    "drift": (0.015, 0.035),
    "motor_s": (0.003, 0.007),
}


def seeded(seed: int, *names: str) -> np.random.Generator:
    """A generator for a named thing: the same on every machine, whatever else is drawn."""
    digest = sha256_bytes("\x1f".join(names).encode())
    words = [int(digest[start : start + 8], 16) for start in range(0, 32, 8)]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def sample_player(name: str, seed: int) -> Player:
    """Draw the weights of a named player, each uniform in ``RANGES``."""
    rng = seeded(seed, "player", name)
    weights = {key: float(rng.uniform(low, high)) for key, (low, high) in RANGES.items()}
    return Player(name=name, **weights)


def perform(score: ScoreNotes, player: Player, rng: np.random.Generator) -> Performance:
    """Play ``score`` as ``player``; ``rng`` draws what differs between takes (noise only)."""
    notes = score.notes
    beats = np.unique(np.concatenate([notes["onset_beats"], [0.0, score.end_beats]]))
    times_s = _beat_times(score, player, beats, rng)
    onset_s = np.interp(notes["onset_beats"], beats, times_s) + _micro_timing(notes, player, rng)
    velocity = _velocities(score, player, rng)
    length_s = _sounding_lengths(score, player, beats, times_s, rng)
    offset_s = onset_s + np.maximum(length_s, MIN_NOTE_S)
    pedal = pedalling.pedal_curve(
        np.interp(score.harmony_beats, beats, times_s), float(times_s[-1]),
        pedalling.Foot(
            use=score.pedal_style * player.pedal_use, depth=player.pedal_depth,
            delay_s=player.pedal_delay_s,
        ),
        rng,
    )  # fmt: skip
    start_s = float(onset_s.min())
    onset_s, offset_s = onset_s - start_s, offset_s - start_s
    offset_s = release_before_restrike(onset_s, offset_s, notes["pitch_midi"])
    shifted = [(max(0.0, time_s - start_s), value) for time_s, value in pedal]
    return Performance.from_notes(
        zip(onset_s, offset_s, notes["pitch_midi"], velocity, strict=True), shifted
    )


def phrase_shape(beats: Vector, boundaries: Vector, turn: float) -> Vector:
    """Parabola of each phrase: 0 at its turning point, 1 at its farther end (Friberg 1995)."""
    index = np.clip(np.searchsorted(boundaries, beats, "right") - 1, 0, len(boundaries) - 2)
    start, end = boundaries[index], boundaries[index + 1]
    position = (beats - start) / np.maximum(end - start, 1e-9)
    return np.asarray(((position - turn) / max(turn, 1.0 - turn)) ** 2, np.float64)


def _arches(score: ScoreNotes, player: Player, beats: Vector) -> Vector:
    """Phrases plus half phrases, with mean near zero."""
    whole = score.phrase_beats
    halves = np.sort(np.concatenate([whole, (whole[:-1] + whole[1:]) / 2]))
    shape = phrase_shape(beats, whole, player.arch_turn)
    shape = shape + HALF_PHRASE_WEIGHT * phrase_shape(beats, halves, player.arch_turn)
    # Mean of the parabola over a phrase, so that the arch bends the tempo and does not set it.
    turn = player.arch_turn
    mean = (turn**3 + (1 - turn) ** 3) / (3 * max(turn, 1 - turn) ** 2)
    return shape - (1 + HALF_PHRASE_WEIGHT) * mean


def one_over_f(n: int, rng: np.random.Generator) -> Vector:
    """Pink noise, zero mean and unit sd, by shaping the spectrum; zeros when ``n < 3``."""
    if n < 3:
        return np.zeros(n)
    frequency = np.fft.rfftfreq(n)
    frequency[0] = np.inf
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.sqrt(frequency)
    noise = np.fft.irfft(spectrum, n)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float64)


def _beat_times(
    score: ScoreNotes, player: Player, beats: Vector, rng: np.random.Generator
) -> Vector:
    """Seconds at each of ``beats``: written tempo bent by the tempo rules."""
    # Slowness is integrated on a fine grid, because an arch bends inside a long note too.
    fine = np.union1d(np.linspace(0, score.end_beats, 1 + round(score.end_beats * 24)), beats)
    slowness = 1.0 + player.phrase_arch * ARCH_SLOWDOWN * _arches(score, player, fine)
    slowness = slowness / player.tempo * _ritard(score, player, fine)
    steps = np.diff(fine) * score.beat_s * (slowness[1:] + slowness[:-1]) / 2
    times_s = np.interp(beats, fine, np.concatenate([[0.0], np.cumsum(steps)]))
    intervals = _duration_contrast(score, player, beats, np.diff(times_s))
    intervals = intervals * np.exp(player.drift * one_over_f(len(intervals), rng))
    return np.concatenate([[0.0], np.cumsum(intervals)])


def _ritard(score: ScoreNotes, player: Player, beats: Vector) -> Vector:
    """Final ritard: ``v(x) = (1 + (w**3 - 1) x) ** (1/3)`` (Friberg & Sundberg 1999, q = 3)."""
    if not score.closes:
        return np.ones_like(beats)
    x = np.clip(1 - (score.end_beats - beats) / min(RITARD_BEATS, score.end_beats), 0, 1)
    end = 1 - player.ritard * (1 - RITARD_END)
    return np.asarray((1 + (end**3 - 1) * x) ** (-1 / 3), np.float64)


def _duration_contrast(
    score: ScoreNotes, player: Player, beats: Vector, intervals: Vector
) -> Vector:
    """Shorten short intervals; each bar keeps its length, or the rule would only be a tempo."""
    changed = intervals + player.contrast * np.interp(intervals, CONTRAST_IOI_S, CONTRAST_S)
    changed = np.maximum(changed, intervals / 2)
    order = np.argsort(score.notes["onset_beats"], kind="stable")
    first = np.searchsorted(score.notes["onset_beats"][order], beats[:-1], "right") - 1
    bars = score.notes["bar"][order][np.maximum(first, 0)]
    for bar in np.unique(bars):
        rows = bars == bar
        changed[rows] *= intervals[rows].sum() / changed[rows].sum()
    return changed


def chord_sizes(notes: Notes) -> NDArray[np.int64]:
    """How many notes share each note's written onset (graces excluded)."""
    keys = np.where(notes["grace"] > 0, -1.0 - np.arange(len(notes)), notes["onset_beats"])
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse], np.int64)


def _micro_timing(notes: Notes, player: Player, rng: np.random.Generator) -> Vector:
    """Seconds added to each onset: graces, rolls, melody lead, asynchrony, motor noise."""
    chord = chord_sizes(notes) > 1
    spread = np.clip(rng.standard_normal(len(notes)), -2.5, 2.5)
    shift = before_the_beat_s(notes, 0.06, 0.028)
    shift += np.where(chord, player.asynchrony_s, 0.0) * spread * np.where(notes["melody"], 0.5, 1)
    lead = player.melody_lead_s * rng.uniform(0.6, 1.4, len(notes))
    shift -= np.where(chord & notes["melody"] & (notes["roll"] == 0), lead, 0.0)
    _, group = np.unique(notes["onset_beats"], return_inverse=True)
    motor = player.motor_s * np.clip(rng.standard_normal(group.max() + 1), -2.5, 2.5)
    return np.asarray(shift + motor[group], np.float64)


def _velocities(score: ScoreNotes, player: Player, rng: np.random.Generator) -> NDArray[np.int16]:
    """Sum of the level rules in dB, then the square law."""
    notes = score.notes
    onset = notes["onset_beats"]
    level = notes["level_db"] - player.phrase_arch * ARCH_DB * _arches(score, player, onset)
    level += player.metrical * METRICAL_DB * (notes["strength"] - notes["strength"].mean())
    pitch = notes["pitch_midi"].astype(np.float64)
    level += player.high_loud * HIGH_LOUD_DB_PER_OCTAVE * (pitch - pitch.mean()) / 12
    melody = notes["melody"].astype(np.float64)
    level += player.melody_db * (melody - melody.mean())
    level += ACCENT_DB * notes["accent"] - 1.5 * (notes["grace"] > 0)
    length_s = notes["duration_beats"] * score.beat_s
    level += player.contrast * np.interp(length_s, CONTRAST_IOI_S, CONTRAST_DB)
    moments, group = np.unique(onset, return_inverse=True)
    level += DRIFT_DB * one_over_f(len(moments), rng)[group]
    level = player.dynamic_range * level + TOUCH_DB * rng.standard_normal(len(notes))
    velocity = player.velocity * 10 ** (level / 40)
    return np.clip(np.rint(velocity), 12, 124).astype(np.int16)


def _sounding_lengths(
    score: ScoreNotes, player: Player, beats: Vector, times_s: Vector, rng: np.random.Generator
) -> Vector:
    """Seconds each key is held."""
    notes = score.notes
    end_beats = np.minimum(notes["onset_beats"] + notes["duration_beats"], score.end_beats)
    written_s = np.interp(end_beats, beats, times_s)
    written_s = written_s - np.interp(notes["onset_beats"], beats, times_s)
    part = np.where(notes["slurred"], 1.0, player.detached)
    part = np.where(notes["staccato"], STACCATO, part)
    last = np.isclose(end_beats[:, None], score.phrase_beats[None, 1:]).any(axis=1)
    part = np.where(last, part * (1 - 0.12 * player.punctuation), part)
    part = part * np.exp(0.06 * np.clip(rng.standard_normal(len(notes)), -2.5, 2.5))
    overlap_s = np.where(notes["slurred"] & ~notes["staccato"] & ~last, LEGATO_OVERLAP_S, 0.0)
    length_s = written_s * part + overlap_s
    return np.where(notes["grace"] > 0, 0.06 - KEY_RETURN_S / 3, length_s)
