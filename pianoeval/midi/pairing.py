"""A performance laid beside its score: matched notes, and matched score chords."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pianoeval.midi.align import Alignment
from pianoeval.midi.io import Performance
from pianoeval.midi.texture import Floats, Ints, Texture, texture


@dataclass(frozen=True, eq=False)
class Pair:
    """A score and a performance with their matched notes (``m``) and matched chords (``k``)."""

    score: Texture
    played: Texture
    link: Alignment
    note: Ints  # (m,) score note
    twin: Ints  # (m,) performance note
    chord: Ints  # (m,) index into the k matched score chords
    score_onset_s: Floats  # (k,)
    onset_s: Floats  # (k,) median performed onset
    velocity: Floats  # (k,) mean performed velocity


def pair_up(score: Performance, performance: Performance, link: Alignment) -> Pair:
    """Derive both textures and gather the matched notes by score chord."""
    sheet, played = texture(score), texture(performance)
    group = sheet.chord[link.score_note]
    names, chord = np.unique(group, return_inverse=True)
    onset = played.onset_s[link.performance_note]
    count = np.maximum(np.bincount(chord, minlength=len(names)), 1)
    middle = np.array([np.median(part) for part in _split(onset, chord, len(names))])
    velocity = played.velocity[link.performance_note]
    return Pair(
        score=sheet, played=played, link=link,
        note=link.score_note, twin=link.performance_note, chord=chord.astype(np.int64),
        score_onset_s=sheet.chord_onset_s[names], onset_s=np.maximum.accumulate(middle),
        velocity=np.bincount(chord, weights=velocity, minlength=len(names)) / count,
    )  # fmt: skip


def _split(values: Floats, group: Ints, n_groups: int) -> list[Floats]:
    """Values of each group."""
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(1, n_groups))
    return np.split(values[order], edges) if n_groups else []
