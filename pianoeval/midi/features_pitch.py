"""Pitch: register, intervals, and key by the Krumhansl-Kessler profiles (Krumhansl 1990)."""

from __future__ import annotations

import numpy as np

from pianoeval.midi.feature import Feature, Floats
from pianoeval.midi.texture import Texture

SPEC = (
    Feature("pitch_mean", "MIDI", "mean pitch of all notes"),
    Feature("pitch_sd", "MIDI", "sd of pitch over all notes"),
    Feature("pitch_min", "MIDI", "lowest pitch"),
    Feature("pitch_max", "MIDI", "highest pitch"),
    Feature("pitch_p10", "MIDI", "percentile 10 of pitch"),
    Feature("pitch_p90", "MIDI", "percentile 90 of pitch"),
    Feature("pitch_melody", "MIDI", "mean pitch of the skyline"),
    Feature("pitch_bass", "MIDI", "mean pitch of the bass line"),
    Feature("pitch_hands", "MIDI", "skyline minus bass line, mean pitch"),
    Feature("pitch_melody_step", "MIDI", "mean absolute skyline interval; 0 if one note"),
    Feature("pitch_melody_stepwise", "1", "share of skyline intervals of at most two semitones"),
    Feature("pitch_repeat_share", "1", "share of skyline intervals of zero semitones"),
    Feature("pitch_entropy", "bit", "entropy of pitch classes weighted by key-held time"),
    Feature("key_major", "1", "greatest correlation with a major profile"),
    Feature("key_minor", "1", "greatest correlation with a minor profile"),
    Feature("key_mode", "1", "major minus minor"),
    Feature("key_clarity", "1", "greatest correlation minus the greatest of another tonic"),
    Feature("key_chromatic_share", "1", "held-time share outside the best key's scale"),
    Feature("chord_dissonance", "1", "pairs struck together in interval class 1 or 2, share"),
    Feature("chord_thirds", "1", "pairs struck together in interval class 3 or 4, share"),
)

MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
_MAJOR_SCALE = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], bool)
_MINOR_SCALE = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1], bool)  # both sevenths below


def pitches(tex: Texture) -> dict[str, float]:
    """All features of ``SPEC`` for one performance."""
    return {**_register(tex), **_key(tex), **_vertical(tex)}


def _register(tex: Texture) -> dict[str, float]:
    melody, bass = tex.pitch[tex.melody], tex.pitch[tex.bass]
    step = np.abs(np.diff(melody)) if len(melody) > 1 else np.zeros(1)
    p10, p90 = np.percentile(tex.pitch, [10, 90])
    return {
        "pitch_mean": float(tex.pitch.mean()),
        "pitch_sd": float(tex.pitch.std()),
        "pitch_min": float(tex.pitch.min()),
        "pitch_max": float(tex.pitch.max()),
        "pitch_p10": float(p10),
        "pitch_p90": float(p90),
        "pitch_melody": float(melody.mean()),
        "pitch_bass": float(bass.mean()),
        "pitch_hands": float(melody.mean() - bass.mean()),
        "pitch_melody_step": float(step.mean()),
        "pitch_melody_stepwise": float((step <= 2).mean()),
        "pitch_repeat_share": float((step == 0).mean()),
    }


def key_correlations(histogram: Floats) -> tuple[Floats, Floats]:
    """Correlation of a pitch-class histogram with the 12 major and 12 minor keys, C first."""
    centred = histogram - histogram.mean()
    scale = float(np.sqrt(centred @ centred))
    if scale < 1e-12:
        return np.zeros(12), np.zeros(12)
    result = []
    for profile in (MAJOR, MINOR):
        p = profile - profile.mean()
        p = p / np.sqrt(p @ p)
        result.append(np.array([centred @ np.roll(p, tonic) for tonic in range(12)]) / scale)
    return result[0], result[1]


def _key(tex: Texture) -> dict[str, float]:
    classes = tex.pitch.astype(np.int64) % 12
    share = np.bincount(classes, weights=np.maximum(tex.held_s, 1e-3), minlength=12)
    share = share / share.sum()
    major, minor = key_correlations(share)
    best = np.sort(np.maximum(major, minor))
    is_major = bool(major.max() >= minor.max())
    tonic = int((major if is_major else minor).argmax())
    scale = np.roll(_MAJOR_SCALE if is_major else _MINOR_SCALE, tonic)
    heard = share[share > 0]
    return {
        "pitch_entropy": float(-(heard * np.log2(heard)).sum()),
        "key_major": float(major.max()),
        "key_minor": float(minor.max()),
        "key_mode": float(major.max() - minor.max()),
        "key_clarity": float(best[-1] - best[-2]),
        "key_chromatic_share": float(share[~scale].sum()),
    }


def _vertical(tex: Texture) -> dict[str, float]:
    """Interval classes of all pairs within chords."""
    present = np.zeros((tex.n_chords, 12))
    np.add.at(present, (tex.chord, tex.pitch.astype(np.int64) % 12), 1.0)
    pairs = np.array([(present * np.roll(present, step, axis=1)).sum() for step in range(1, 7)])
    pairs[5] /= 2.0
    unison = (present * (present - 1)).sum() / 2.0
    total = pairs.sum() + unison
    if total == 0:
        return {"chord_dissonance": 0.0, "chord_thirds": 0.0}
    return {
        "chord_dissonance": float(pairs[:2].sum() / total),
        "chord_thirds": float(pairs[2:4].sum() / total),
    }
