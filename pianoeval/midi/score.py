"""What a pianist reads: notes in beats with the marks that the performance rules need.

Times are in beats = quarter notes from the start of the excerpt. Ties are already joined,
unisons merged and ornaments written out, so a row is one key press.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.midi.io import Performance

NOTE_DTYPE = np.dtype(
    [
        ("onset_beats", "f8"),
        ("duration_beats", "f8"),
        ("pitch_midi", "i2"),
        ("part", "i2"),  # 0 = top staff or voice
        ("bar", "i4"),  # counted from the start of the excerpt
        ("strength", "f8"),  # metrical accent, 1 = downbeat
        ("melody", "?"),  # highest note of the top part at its onset
        ("grace", "i2"),  # 0 = none, k = k-th grace note before the main one, counted back
        ("roll", "i2"),  # rank in a rolled chord, 0 = lowest or not rolled
        ("staccato", "?"),
        ("accent", "?"),
        ("slurred", "?"),
        ("level_db", "f8"),  # written dynamics, 0 = mezzo-forte
    ]
)
GRACE_S = 0.07  # a grace note's length, taken from before the beat
ROLL_S = 0.03  # between the notes of a rolled chord
DEADPAN_VELOCITY = 64
MIN_NOTE_S = 0.03  # shortest key press that any instrument still sounds
KEY_RETURN_S = 0.03  # a key must come up this long before it is struck again

Notes = NDArray[Any]  # structured, NOTE_DTYPE


@dataclass(frozen=True, eq=False)
class ScoreNotes:
    """An excerpt of a score.

    Attributes
    ----------
    notes : structured array of ``NOTE_DTYPE``, shape (n,), sorted by (onset, pitch)
    end_beats : float
        Length of the excerpt up to its closing bar line.
    bpm : float
        Quarter notes a minute.
    phrase_beats : float64, shape (p + 1,)
        Phrase boundaries, from 0 to ``end_beats``.
    harmony_beats : float64, shape (h,)
        Where the harmony changes: the pedal is changed there.
    pedal_style : float
        How much pedal the style takes, 0 (none) to 1 (throughout).
    closes : bool
        True when the excerpt ends the piece: only then is there a final ritard.
    """

    notes: Notes
    end_beats: float
    bpm: float
    phrase_beats: NDArray[np.float64]
    harmony_beats: NDArray[np.float64]
    pedal_style: float = 0.5
    closes: bool = False

    @property
    def beat_s(self) -> float:
        """Seconds a quarter note at the written tempo."""
        return 60.0 / self.bpm


def before_the_beat_s(notes: Notes, grace_s: float, roll_s: float) -> NDArray[np.float64]:
    """Shift of each note against its written onset: graces come early, rolls spread late."""
    return notes["roll"] * roll_s - notes["grace"] * grace_s


def release_before_restrike(
    onset_s: NDArray[np.float64], offset_s: NDArray[np.float64], pitch_midi: NDArray[Any]
) -> NDArray[np.float64]:
    """Releases no later than ``KEY_RETURN_S`` before the same key is struck again.

    A note keeps at least ``MIN_NOTE_S``, or half the distance where the repetition is faster.
    """
    release = offset_s.copy()
    for key in np.unique(pitch_midi):
        rows = np.flatnonzero(pitch_midi == key)
        rows = rows[np.argsort(onset_s[rows], kind="stable")]
        gap_s = np.diff(onset_s[rows])
        latest = np.where(gap_s > 2 * KEY_RETURN_S, gap_s - KEY_RETURN_S, gap_s / 2)
        release[rows[:-1]] = np.minimum(release[rows[:-1]], onset_s[rows[:-1]] + latest)
    return release


def deadpan(score: ScoreNotes) -> Performance:
    """The score played to the letter: written tempo, one velocity, full lengths, no pedal."""
    notes = score.notes
    onset_s = notes["onset_beats"] * score.beat_s
    onset_s = onset_s + before_the_beat_s(notes, GRACE_S, ROLL_S)
    length_s = np.where(notes["grace"] > 0, GRACE_S, notes["duration_beats"] * score.beat_s)
    offset_s = onset_s + np.maximum(length_s, MIN_NOTE_S)
    start_s = min(0.0, float(onset_s.min()))
    onset_s, offset_s = onset_s - start_s, offset_s - start_s
    offset_s = release_before_restrike(onset_s, offset_s, notes["pitch_midi"])
    velocity = np.full(len(notes), DEADPAN_VELOCITY)
    return Performance.from_notes(
        zip(onset_s, offset_s, notes["pitch_midi"], velocity, strict=True)
    )
