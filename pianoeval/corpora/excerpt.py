"""What the bars of an excerpt say beyond their notes: dynamics, phrases, beats, harmony."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.midi.score import NOTE_DTYPE

PHRASE_BARS = 4
# Level against mezzo-forte: about 3 dB a step.
DYNAMICS_DB = {"ppp": -9.0, "pp": -6.5, "p": -4.0, "mp": -1.5, "mf": 0.0, "f": 3.0, "ff": 5.5}

# Triads and seventh chords as semitones above the root.
CHORDS = (
    {0, 4, 7, 10}, {0, 4, 7, 11}, {0, 3, 7, 10}, {0, 3, 6, 10}, {0, 3, 6, 9}, {0, 4, 8},
    {0, 3, 7, 11},
)  # fmt: skip


@dataclass(frozen=True)
class Press:
    """One key press while it is being collected; beats from the start of the excerpt."""

    onset: Fraction
    end: Fraction
    pitch: int
    part: int
    bar: int
    strength: float
    grace: int = 0
    roll: int = 0
    staccato: bool = False
    accent: bool = False
    slurred: bool = False
    fermata: bool = False
    tie: str | None = None


def exact(value: Any) -> Fraction:
    """Beats as a fraction: scores hold thirds and fifths of a beat as rounded decimals."""
    return Fraction(value).limit_denominator(960)


def meter_of(bar: Any) -> Any:
    """The time signature in force; music21's context search skips the bar's own."""
    return bar.timeSignature or bar.getContextByClass("TimeSignature")


def levels(score: Any, bars: list[Any]) -> list[tuple[float, float]]:
    """Written dynamics as (beat of the excerpt, dB); the last one before it counts at its start."""
    start = float(bars[0].offset)
    marks: dict[float, float] = {}
    for part in score.parts:
        for mark in part.recurse().getElementsByClass("Dynamic"):
            if mark.value in DYNAMICS_DB:
                at = float(mark.getOffsetInHierarchy(part)) - start
                marks[at] = DYNAMICS_DB[mark.value]
    before = [at for at in marks if at <= 0]
    level = [(0.0, marks[max(before)] if before else 0.0)]
    return level + sorted((at, db) for at, db in marks.items() if at > 0)


def table(presses: list[Press], end: Fraction, dynamics: list[tuple[float, float]]) -> NDArray[Any]:
    """Rows of ``NOTE_DTYPE``: unisons between parts merged, the melody marked."""
    unique: dict[tuple[Fraction, int, int], Press] = {}
    for press in presses:
        key = (press.onset, press.pitch, press.grace)
        kept = unique.get(key)
        if kept is None:
            unique[key] = press
        else:  # one key cannot be pressed twice at once: the longer note stands
            unique[key] = replace(kept, end=max(kept.end, press.end))
    rows = sorted(unique.values(), key=lambda p: (p.onset, p.pitch, -p.grace))
    top: dict[Fraction, int] = {}
    for press in rows:
        if press.part == 0 and not press.grace:
            top[press.onset] = max(press.pitch, top.get(press.onset, 0))
    at = [beat for beat, _ in dynamics]
    values = []
    for press in rows:
        level = dynamics[int(np.searchsorted(at, float(press.onset), "right")) - 1][1]
        melody = press.part == 0 and not press.grace and top[press.onset] == press.pitch
        values.append((
            float(press.onset), float(min(press.end, end) - press.onset), press.pitch,
            press.part, press.bar, press.strength, melody, press.grace, press.roll,
            press.staccato, press.accent, press.slurred, level,
        ))  # fmt: skip
    return np.array(values, NOTE_DTYPE)


def phrases(presses: list[Press], offsets: list[Fraction], end: Fraction) -> NDArray[np.float64]:
    """Boundaries: the ends of fermatas, and every fourth bar where no fermata is within two."""
    marks = {min(p.end, end) for p in presses if p.fermata}
    # Four voices end a fermata together; a hold inside the last beat is the same boundary.
    bounds = [Fraction(0), *sorted(m for m in marks if Fraction(1) <= m <= end - 1), end]
    for bar in range(PHRASE_BARS, len(offsets) - 1, PHRASE_BARS):
        if all(abs(offsets[bar] - bound) >= 2 * (offsets[1] - offsets[0]) for bound in bounds):
            bounds.append(offsets[bar])
    return np.array(sorted({float(bound) for bound in bounds}))


def beats(bars: list[Any], offsets: list[Fraction]) -> list[tuple[float, bool]]:
    """Every felt beat as (beat of the excerpt, is it a downbeat)."""
    found: list[tuple[float, bool]] = []
    for bar, offset in zip(bars, offsets, strict=True):
        meter = meter_of(bar)
        padding = float(bar.paddingLeft)
        length = float(bar.duration.quarterLength)
        step = float(meter.beatDuration.quarterLength)
        for position in np.arange(0, padding + length - 1e-6, step):
            if position >= padding:
                found.append((float(offset) + float(position) - padding, position == 0))
    return found


def harmonies(notes: NDArray[Any], felt: list[tuple[float, bool]]) -> NDArray[np.float64]:
    """Beats where the pedal must change, given every felt beat and whether it opens a bar.

    A struck downbeat always changes it. Within a bar the harmony counts as changed when the
    notes under the melody, from this beat to the next and since the last change, do not fit one
    triad or seventh chord; so broken chords and the off-beats of a stride or waltz bass keep
    their pedal, and a chorale changes with each chord.
    """
    changes = [0.0]
    held: set[int] = set()
    onset = notes["onset_beats"]
    plain = notes["grace"] == 0
    ends = [*(beat for beat, _ in felt[1:]), np.inf][: len(felt)]
    for (beat, downbeat), end in zip(felt, ends, strict=True):
        inside = (onset >= beat - 1e-6) & (onset < end - 1e-6) & plain
        struck = bool((np.isclose(onset, beat) & plain).any())
        classes = {int(p) % 12 for p in notes["pitch_midi"][inside & ~notes["melody"]]}
        if struck and beat > 0 and (downbeat or not _one_chord(held | classes)):
            changes.append(beat)
            held = set()
        held |= classes
    return np.array(changes)


def _one_chord(classes: set[int]) -> bool:
    """Whether all pitch classes belong to one triad or seventh chord."""
    return any(
        all((pitch - root) % 12 in chord for pitch in classes)
        for root in range(12)
        for chord in CHORDS
    )
