"""Articulation and texture: how long keys are held, how notes join, how many sound at once."""

from __future__ import annotations

import numpy as np

from pianoeval.midi.feature import Feature, Floats, interval_union
from pianoeval.midi.texture import Mask, Texture

SPEC = (
    Feature("held_mean", "s", "mean time a key is held"),
    Feature("held_median", "s", "median time a key is held"),
    Feature("held_p10", "s", "percentile 10 of the time a key is held"),
    Feature("held_p90", "s", "percentile 90 of the time a key is held"),
    Feature("held_log_sd", "log2", "sd of log2 key-held time"),
    Feature("articulation_median", "log2", "key-held time over time to the next chord, median"),
    Feature("articulation_p10", "log2", "percentile 10 of the same"),
    Feature("articulation_p90", "log2", "percentile 90 of the same"),
    Feature("articulation_sd", "log2", "sd of the same"),
    Feature("articulation_melody", "log2", "median along the skyline, to its next note"),
    Feature("articulation_melody_sd", "log2", "sd along the skyline"),
    Feature("articulation_bass", "log2", "median along the bass line, to its next note"),
    Feature("articulation_staccato_share", "1", "share of notes held under half the interval"),
    Feature("articulation_legato_share", "1", "share of skyline notes that reach the next one"),
    Feature("articulation_overlap", "s", "mean key overlap of skyline neighbours; negative = gap"),
    Feature("articulation_sounding", "log2", "median of pedalled length over time to next chord"),
    Feature("articulation_velocity_sd", "MIDI", "sd of release-time neighbours' velocity step"),
    Feature("polyphony_keys", "1", "mean number of keys held"),
    Feature("polyphony_sounding", "1", "mean number of strings sounding, pedal included"),
    Feature("polyphony_p95", "1", "percentile 95 over time of strings sounding"),
    Feature("polyphony_silence_keys", "1", "share of time with no key held"),
    Feature("polyphony_silence", "1", "share of time with no string sounding"),
)


def touch(tex: Texture) -> dict[str, float]:
    """All features of ``SPEC`` for one performance."""
    return {**_held(tex), **_articulation(tex), **_lines(tex), **_polyphony(tex)}


def _held(tex: Texture) -> dict[str, float]:
    held = np.maximum(tex.held_s, 1e-3)
    p10, median, p90 = np.percentile(held, [10, 50, 90])
    return {
        "held_mean": float(held.mean()),
        "held_median": float(median),
        "held_p10": float(p10),
        "held_p90": float(p90),
        "held_log_sd": float(np.log2(held).std()),
    }


def to_next_chord(tex: Texture) -> Floats:
    """Seconds from each note's chord to the next; the last chord takes the median interval."""
    gaps = np.diff(tex.chord_onset_s)
    last = float(np.median(gaps)) if len(gaps) else tex.span_s
    return np.append(gaps, last)[tex.chord]


def _articulation(tex: Texture) -> dict[str, float]:
    room = to_next_chord(tex)
    ratio = np.log2(np.maximum(tex.held_s, 1e-3) / room)
    sounding = np.log2(np.maximum(tex.sound_end_s - tex.onset_s, 1e-3) / room)
    p10, median, p90 = np.percentile(ratio, [10, 50, 90])
    steps = np.diff(tex.velocity[np.argsort(tex.offset_s, kind="stable")])
    return {
        "articulation_median": float(median),
        "articulation_p10": float(p10),
        "articulation_p90": float(p90),
        "articulation_sd": float(ratio.std()),
        "articulation_staccato_share": float((ratio < -1.0).mean()),
        "articulation_sounding": float(np.median(sounding)),
        "articulation_velocity_sd": float(steps.std()) if len(steps) else 0.0,
    }


def _along(tex: Texture, line: Mask) -> tuple[Floats, Floats]:
    """log2(held / interval) and key overlap in seconds between neighbours of a line."""
    onset, held = tex.onset_s[line], np.maximum(tex.held_s[line], 1e-3)
    if len(onset) < 2:
        return np.log2(held / tex.span_s), np.zeros(1)
    gap = np.maximum(np.diff(onset), 1e-3)
    return np.log2(held[:-1] / gap), held[:-1] - gap


def _lines(tex: Texture) -> dict[str, float]:
    melody, overlap = _along(tex, tex.melody)
    bass, _ = _along(tex, tex.bass)
    return {
        "articulation_melody": float(np.median(melody)),
        "articulation_melody_sd": float(melody.std()),
        "articulation_bass": float(np.median(bass)),
        "articulation_legato_share": float((overlap > -0.01).mean()),
        # Beyond a second the "overlap" is a held tone under a new phrase, not a joint.
        "articulation_overlap": float(np.clip(overlap, -1.0, 1.0).mean()),
    }


def _polyphony(tex: Texture) -> dict[str, float]:
    voices = (tex.sounding > 0).sum(axis=1)
    return {
        "polyphony_keys": float(tex.held_s.sum()) / tex.span_s,
        "polyphony_sounding": float((tex.sound_end_s - tex.onset_s).sum()) / tex.span_s,
        "polyphony_p95": float(np.percentile(voices, 95)),
        "polyphony_silence_keys": 1.0 - interval_union(tex.onset_s, tex.offset_s) / tex.span_s,
        "polyphony_silence": 1.0 - interval_union(tex.onset_s, tex.sound_end_s) / tex.span_s,
    }
