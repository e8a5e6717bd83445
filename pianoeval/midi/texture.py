"""What the notes of a performance form together: chords, melody, bass, pedalled sound.

Everything here is derived from a :class:`Performance` once and read by the feature modules.

Conventions
-----------
* Time starts at the first key press, so features do not change when a clip is shifted.
* A *chord* is a run of notes whose key presses lie within ``CHORD_S`` of its first one. Human
  chords spread over 10-30 ms, melody leads included (Goebl 2001, JASA 110, Fig. 1).
* *Melody* is the skyline: the top note of a chord, unless a higher key is still held
  (Uitdenbogerd & Zobel 1998). *Bass* is its mirror image. A single line is both.
* A note *sounds* until its damper falls: at the key release, or, with the pedal down
  (CC64 >= ``PEDAL_DOWN``), when the pedal is next released or the string is struck again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pianoeval.midi.io import Performance

CHORD_S = 0.04
PEDAL_DOWN = 64
FRAME_S = 0.05
DECAY_S = 1.5  # decay of a middle piano string to 1/e, order of magnitude

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Texture:
    """Derived arrays of one performance; ``n`` notes, ``c`` chords, ``f`` frames of ``FRAME_S``.

    ``onset_s, offset_s, sound_end_s`` : float64 (n,)
    ``pitch, velocity`` : float64 (n,)
    ``chord`` : int (n,), index of the note's chord; ``chord_onset_s`` : float64 (c,)
    ``melody, bass`` : bool (n,)
    ``span_s`` : first key press to last key release, > 0
    ``pedal_time_s, pedal_value`` : float64 (p,), the pedal as a step curve from time 0
    ``sounding`` : float64 (f, 128), loudness of each key; 0 where damped
    """

    onset_s: Floats
    offset_s: Floats
    sound_end_s: Floats
    pitch: Floats
    velocity: Floats
    chord: Ints
    chord_onset_s: Floats
    melody: Mask
    bass: Mask
    span_s: float
    pedal_time_s: Floats
    pedal_value: Floats
    sounding: Floats

    @property
    def n_notes(self) -> int:
        return len(self.onset_s)

    @property
    def n_chords(self) -> int:
        return len(self.chord_onset_s)

    @property
    def held_s(self) -> Floats:
        """Key press to key release of each note, float64 (n,)."""
        return self.offset_s - self.onset_s

    def chord_mean(self, values: Floats) -> Floats:
        """Mean of a note quantity within each chord, float64 (c,)."""
        sums = np.bincount(self.chord, weights=values, minlength=self.n_chords)
        return np.asarray(sums / np.bincount(self.chord, minlength=self.n_chords), np.float64)

    def pedal_at(self, time_s: Floats) -> Floats:
        """Pedal value (0..127) in force at given times; 0 before the first event."""
        return step_at(self.pedal_time_s, self.pedal_value, time_s)


def step_at(time_s: Floats, value: Floats, query_s: Floats) -> Floats:
    """Value of a step curve at ``query_s``; 0 before its first event."""
    index = np.searchsorted(time_s, query_s, side="right")
    return np.concatenate([[0.0], value])[index]


def chords(onset_s: Floats, window_s: float = CHORD_S) -> tuple[Ints, Floats]:
    """Chord index of each note, int (n,), and first onset of each chord, float64 (c,).

    ``onset_s`` must ascend. A chord is closed ``window_s`` after its first note.
    """
    index = np.zeros(len(onset_s), np.int64)
    firsts: list[float] = []
    start = -np.inf
    for position, onset in enumerate(onset_s.tolist()):
        if onset - start > window_s:
            firsts.append(onset)
            start = onset
        index[position] = len(firsts) - 1
    return index, np.asarray(firsts, np.float64)


def skyline(onset_s: Floats, offset_s: Floats, pitch: Floats, chord: Ints) -> Mask:
    """Top note of every chord that no held, higher key covers, bool (n,)."""
    n_chords = int(chord[-1]) + 1
    top = np.full(n_chords, -np.inf)
    np.maximum.at(top, chord, pitch)
    melody: Mask = pitch == top[chord]
    held_until, held_pitch = -np.inf, -np.inf
    for position in np.flatnonzero(melody).tolist():
        # A finger-legato overlap of up to CHORD_S does not hide the next melody note.
        if pitch[position] < held_pitch and held_until > onset_s[position] + CHORD_S:
            melody[position] = False
        else:
            held_until, held_pitch = float(offset_s[position]), float(pitch[position])
    return melody


def sound_ends(
    onset_s: Floats, offset_s: Floats, pitch: Floats, pedal_time_s: Floats, pedal_value: Floats
) -> Floats:
    """When each note's damper falls, float64 (n,), never later than the last key release."""
    ends = offset_s.copy()
    if len(pedal_time_s):
        down = pedal_value >= PEDAL_DOWN
        lifted = np.where(~down, pedal_time_s, np.inf)
        next_lift = np.append(np.minimum.accumulate(lifted[::-1])[::-1], np.inf)
        after = np.searchsorted(pedal_time_s, offset_s, side="right")
        pedalled = step_at(pedal_time_s, pedal_value, offset_s) >= PEDAL_DOWN
        ends = np.where(pedalled, next_lift[after], ends)
    order = np.lexsort((onset_s, pitch))
    same_key = pitch[order][1:] == pitch[order][:-1]
    struck_again = np.full(len(onset_s), np.inf)
    struck_again[order[:-1][same_key]] = onset_s[order[1:][same_key]]
    ends = np.minimum(np.minimum(ends, struck_again), float(offset_s.max()))
    return np.asarray(np.maximum(ends, np.minimum(offset_s, struck_again)), np.float64)


def sounding_roll(
    onset_s: Floats, end_s: Floats, pitch: Floats, velocity: Floats, span_s: float
) -> Floats:
    """Loudness of each key over time, float64 (frames, 128): velocity share x exp(-t/DECAY_S).

    A caricature of a piano's decay; its purpose is to weigh fresh notes above old ones.
    """
    n_frames = max(1, int(np.ceil(span_s / FRAME_S - 1e-9)))
    first = np.minimum((onset_s / FRAME_S + 1e-6).astype(np.int64), n_frames - 1)
    last = np.clip(np.ceil(end_s / FRAME_S - 1e-9).astype(np.int64), first + 1, n_frames)
    counts = last - first
    note = np.repeat(np.arange(len(onset_s)), counts)
    frame = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    level = velocity[note] / 127.0 * np.exp(-frame * FRAME_S / DECAY_S)
    roll = np.zeros((n_frames, 128))
    np.maximum.at(roll, (first[note] + frame, pitch[note].astype(np.int64)), level)
    return roll


def texture(performance: Performance) -> Texture:
    """Derive chords, lines and pedalled sound of a performance with at least one note."""
    origin = float(performance.onset_s[0])
    onset, offset = performance.onset_s - origin, performance.offset_s - origin
    # A time shift leaves rounding noise, which must not decide who belongs to which chord.
    onset, offset = np.round(onset, 6), np.round(offset, 6)
    pitch = performance.pitch_midi.astype(np.float64)
    velocity = performance.velocity.astype(np.float64)
    chord, chord_onset = chords(onset)
    pedal_time = np.round(performance.pedal_time_s - origin, 6)
    pedal_value = performance.pedal_value.astype(np.float64)
    ends = sound_ends(onset, offset, pitch, pedal_time, pedal_value)
    span = max(float(offset.max()), 1e-3)
    return Texture(
        onset_s=onset, offset_s=offset, sound_end_s=ends, pitch=pitch, velocity=velocity,
        chord=chord, chord_onset_s=chord_onset,
        melody=skyline(onset, offset, pitch, chord), bass=skyline(onset, offset, -pitch, chord),
        span_s=span, pedal_time_s=pedal_time, pedal_value=pedal_value,
        sounding=sounding_roll(onset, ends, pitch, velocity, span),
    )  # fmt: skip
