"""Sustain pedal: how much, how deep, how often changed, and what it blurs.

A clip without pedal events is played without pedal: shares and depths are truly 0.
"""

from __future__ import annotations

import numpy as np

from pianoeval.midi.feature import Feature, Floats
from pianoeval.midi.texture import PEDAL_DOWN, Texture

# Half-pedalling happens in the middle third of the travel (values as sound modules read them).
_DEPTHS = {"shallow": (1, 42), "middle": (43, 84), "deep": (85, 126), "full": (127, 127)}

SPEC = (
    Feature("pedal_down_share", "1", "share of time at CC64 >= 64"),
    Feature("pedal_touched_share", "1", "share of time above 0"),
    Feature("pedal_partial_share", "1", "share of time at 1..126"),
    *(
        Feature(f"pedal_{name}_share", "1", f"share of time at {low}..{high}")
        for name, (low, high) in _DEPTHS.items()
    ),
    Feature("pedal_depth_mean", "1", "time-weighted mean depth, 0..1"),
    Feature("pedal_depth_sd", "1", "time-weighted sd of depth"),
    Feature("pedal_depth_down", "1", "mean depth while above 0; 0 if never"),
    Feature("pedal_presses", "1/s", "crossings of 64 upwards a second"),
    Feature("pedal_travel", "1/s", "summed change of depth a second"),
    Feature("pedal_press_median", "s", "median length of a press (>= 64); 0 if none"),
    Feature("pedal_at_onset", "1", "mean depth at key presses"),
    Feature("pedal_at_offset", "1", "mean depth at key releases"),
    Feature("pedal_onset_share", "1", "share of key presses into a pedal already down"),
    Feature("pedal_change_lag", "s", "press minus nearest chord onset, median; 0 if no press"),
    Feature("pedal_extension_mean", "s", "mean time a note sounds on after its key release"),
    Feature("pedal_extension_share", "1", "share of notes that sound on by over 50 ms"),
    Feature("pedal_extension_log", "log2", "mean log ratio of sounding to key-held time"),
    Feature("pedal_notes_per_press", "1", "key presses while down, a press; 0 if no press"),
    Feature("blur_semitones", "1", "mean number of sounding pairs a semitone apart"),
    Feature("blur_seconds", "1", "mean number of sounding pairs one or two semitones apart"),
    Feature("blur_pitch_classes", "1", "mean number of pitch classes sounding"),
    Feature("blur_low", "1", "mean number of strings sounding below C3 (48)"),
    Feature("blur_dissonance", "1", "loudness-weighted share of pairs in interval class 1 or 2"),
)


def pedalling(tex: Texture) -> dict[str, float]:
    """All features of ``SPEC`` for one performance."""
    return {**_depth(tex), **_presses(tex), **_extension(tex), **_blur(tex)}


def _segments(tex: Texture) -> tuple[Floats, Floats]:
    """Depth (0..1) and length (s) of the constant stretches of the pedal within the clip."""
    times = np.clip(tex.pedal_time_s, 0.0, tex.span_s)
    edges = np.concatenate([[0.0], times, [tex.span_s]])
    return np.concatenate([[0.0], tex.pedal_value]) / 127.0, np.diff(edges)


def _depth(tex: Texture) -> dict[str, float]:
    depth, length = _segments(tex)
    weight = length / tex.span_s
    mean = float(depth @ weight)
    touched = float(weight[depth > 0].sum())
    travel = np.abs(np.diff(depth))[(tex.pedal_time_s > 0) & (tex.pedal_time_s <= tex.span_s)]
    value = np.rint(depth * 127)
    shares = {
        f"pedal_{name}_share": float(weight[(value >= low) & (value <= high)].sum())
        for name, (low, high) in _DEPTHS.items()
    }
    return shares | {
        "pedal_down_share": float(weight[depth >= PEDAL_DOWN / 127.0].sum()),
        "pedal_touched_share": touched,
        "pedal_partial_share": float(weight[(depth > 0) & (depth < 1)].sum()),
        "pedal_depth_mean": mean,
        "pedal_depth_sd": float(np.sqrt(max(float(depth**2 @ weight) - mean**2, 0.0))),
        "pedal_depth_down": mean / touched if touched > 0 else 0.0,
        "pedal_travel": float(travel.sum()) / tex.span_s,
        "pedal_at_onset": float(tex.pedal_at(tex.onset_s).mean()) / 127.0,
        "pedal_at_offset": float(tex.pedal_at(tex.offset_s).mean()) / 127.0,
        "pedal_onset_share": float((tex.pedal_at(tex.onset_s) >= PEDAL_DOWN).mean()),
    }


def presses(tex: Texture) -> tuple[Floats, Floats]:
    """Start and end of every stretch at CC64 >= 64 within the clip, float64 (k,), seconds."""
    down = np.concatenate([[False], tex.pedal_value >= PEDAL_DOWN, [False]])
    times = np.append(np.clip(tex.pedal_time_s, 0.0, tex.span_s), tex.span_s)
    change = np.flatnonzero(np.diff(down.astype(np.int8)))
    start, end = times[change[0::2]], times[change[1::2]]
    real = end > start
    return start[real], end[real]


def _presses(tex: Texture) -> dict[str, float]:
    start, end = presses(tex)
    if not len(start):
        names = ("presses", "press_median", "change_lag", "notes_per_press")
        return {f"pedal_{name}": 0.0 for name in names}
    onsets = tex.chord_onset_s
    after = np.searchsorted(onsets, start)
    before = start - onsets[np.maximum(after - 1, 0)]
    ahead = start - onsets[np.minimum(after, len(onsets) - 1)]
    nearest = np.where(np.abs(before) <= np.abs(ahead), before, ahead)
    inside = np.searchsorted(tex.onset_s, end) - np.searchsorted(tex.onset_s, start)
    return {
        "pedal_presses": len(start) / tex.span_s,
        "pedal_press_median": float(np.median(end - start)),
        "pedal_change_lag": float(np.median(nearest)),
        "pedal_notes_per_press": float(inside.mean()),
    }


def _extension(tex: Texture) -> dict[str, float]:
    extra = tex.sound_end_s - tex.offset_s
    held = np.maximum(tex.held_s, 1e-3)
    return {
        "pedal_extension_mean": float(extra.mean()),
        "pedal_extension_share": float((extra > 0.05).mean()),
        "pedal_extension_log": float(np.log2(1.0 + np.maximum(extra, 0.0) / held).mean()),
    }


def _blur(tex: Texture) -> dict[str, float]:
    roll = tex.sounding
    on = roll > 0
    semitone = (on[:, 1:] & on[:, :-1]).sum(axis=1)
    tone = (on[:, 2:] & on[:, :-2]).sum(axis=1)
    classes = np.zeros((len(roll), 12))
    for pitch_class in range(12):
        classes[:, pitch_class] = roll[:, pitch_class::12].sum(axis=1)
    pairs = np.stack(
        [(classes * np.roll(classes, step, axis=1)).sum(axis=1) for step in range(1, 7)], axis=1
    )
    pairs[:, 5] /= 2.0  # a tritone is counted from both of its ends
    total = pairs.sum()
    return {
        "blur_semitones": float(semitone.mean()),
        "blur_seconds": float((semitone + tone).mean()),
        "blur_pitch_classes": float((classes > 0).sum(axis=1).mean()),
        "blur_low": float(on[:, :48].sum(axis=1).mean()),
        "blur_dissonance": float(pairs[:, :2].sum() / total) if total > 0 else 0.0,
    }
