"""Dynamics: how loud, how varied, which voice leads. Velocities are MIDI, 1..127."""

from __future__ import annotations

import numpy as np

from pianoeval.midi.feature import Feature, arch, autocorrelation, correlation, slope, smooth
from pianoeval.midi.texture import Mask, Texture

PHRASE_S = 1.0  # sd of the kernel that separates the phrase's contour from single notes
_PERCENTILES = (5, 25, 50, 75, 95)
_LEVELS = (0, 30, 45, 60, 75, 90)  # lower edges; about pp, p, mp, mf, f, ff

SPEC = (
    Feature("velocity_mean", "MIDI", "mean key velocity"),
    Feature("velocity_sd", "MIDI", "standard deviation of velocity"),
    *(Feature(f"velocity_p{p:02d}", "MIDI", f"percentile {p} of velocity") for p in _PERCENTILES),
    *(
        Feature(f"velocity_share_{low:02d}", "1", f"share of notes from {low} to the next level")
        for low in _LEVELS
    ),
    Feature("velocity_max", "MIDI", "greatest velocity"),
    Feature("velocity_range", "MIDI", "percentile 95 minus percentile 5 of velocity"),
    Feature("velocity_skew", "1", "third standardised moment of velocity; 0 if constant"),
    Feature("velocity_cv", "1", "standard deviation of velocity over its mean"),
    Feature("velocity_n_levels", "1", "different velocities over notes"),
    Feature("velocity_slope", "MIDI", "linear change of velocity over the whole clip"),
    Feature("velocity_arch", "MIDI", "quadratic bend over the clip; negative = swells, then fades"),
    Feature("velocity_phrase_sd", "MIDI", "sd of the contour smoothed over PHRASE_S"),
    Feature("velocity_phrase_range", "MIDI", "range of the smoothed contour"),
    Feature("velocity_local_sd", "MIDI", "sd of what the smoothed contour leaves"),
    Feature("velocity_step", "MIDI", "mean absolute change from chord to chord"),
    Feature("velocity_step_up_p90", "MIDI", "percentile 90 of chord-to-chord change: accents"),
    Feature("velocity_autocorr1", "1", "autocorrelation of chord velocity, one chord later"),
    Feature("velocity_autocorr4", "1", "autocorrelation of chord velocity, four chords later"),
    Feature("velocity_within_chord_sd", "MIDI", "sd within chords of two or more notes; 0 if none"),
    Feature("velocity_melody", "MIDI", "mean velocity of the skyline"),
    Feature("velocity_melody_sd", "MIDI", "sd of velocity along the skyline"),
    Feature("velocity_melody_over_rest", "MIDI", "skyline minus all other notes; 0 if none"),
    Feature("velocity_melody_over_chord", "MIDI", "top note minus rest of its chord; 0 if none"),
    Feature("velocity_bass_over_inner", "MIDI", "bass line minus inner voices; 0 if none"),
    Feature("velocity_pitch_corr", "1", "correlation of velocity with pitch"),
    Feature("velocity_chord_size_corr", "1", "correlation of chord velocity with chord size"),
    Feature("velocity_duration_corr", "1", "correlation of velocity with log key-held time"),
    Feature("loudness_mean", "1", "mean over frames of the summed sounding velocity shares"),
    Feature("loudness_sd", "1", "sd over frames of log loudness"),
    Feature("loudness_p95", "1", "percentile 95 of loudness over frames"),
    Feature("loudness_range", "log2", "percentile 95 over percentile 10 of loudness over frames"),
    Feature("loudness_rise", "1", "mean positive change of loudness a second"),
)


def dynamics(tex: Texture) -> dict[str, float]:
    """All features of ``SPEC`` for one performance."""
    return {**_levels(tex), **_contour(tex), **_voices(tex), **_loudness(tex)}


def _levels(tex: Texture) -> dict[str, float]:
    v = tex.velocity
    points = np.percentile(v, _PERCENTILES)
    sd = float(v.std())
    values = {f"velocity_p{p:02d}": float(x) for p, x in zip(_PERCENTILES, points, strict=True)}
    level = np.bincount(np.searchsorted(_LEVELS, v, side="right") - 1, minlength=len(_LEVELS))
    share = zip(_LEVELS, level / len(v), strict=True)
    values |= {f"velocity_share_{low:02d}": float(x) for low, x in share}
    return values | {
        "velocity_mean": float(v.mean()),
        "velocity_sd": sd,
        "velocity_max": float(v.max()),
        "velocity_range": float(points[-1] - points[0]),
        "velocity_skew": float((((v - v.mean()) / sd) ** 3).mean()) if sd > 0 else 0.0,
        "velocity_cv": sd / float(v.mean()),
        "velocity_n_levels": len(np.unique(v)) / len(v),
    }


def _contour(tex: Texture) -> dict[str, float]:
    level = tex.chord_mean(tex.velocity)
    time = tex.chord_onset_s
    contour = smooth(time, level, PHRASE_S)
    steps = np.diff(level) if len(level) > 1 else np.zeros(1)
    return {
        "velocity_slope": slope(time, level) * tex.span_s,
        "velocity_arch": arch(time, level),
        "velocity_phrase_sd": float(contour.std()),
        "velocity_phrase_range": float(np.ptp(contour)),
        "velocity_local_sd": float((level - contour).std()),
        "velocity_step": float(np.abs(steps).mean()),
        "velocity_step_up_p90": float(np.percentile(steps, 90)),
        "velocity_autocorr1": autocorrelation(level, 1),
        "velocity_autocorr4": autocorrelation(level, 4),
    }


def _difference(tex: Texture, some: Mask, others: Mask) -> float:
    """Mean velocity of some notes minus that of others; 0 where one side is empty."""
    if not some.any() or not others.any():
        return 0.0
    return float(tex.velocity[some].mean() - tex.velocity[others].mean())


def _voices(tex: Texture) -> dict[str, float]:
    v = tex.velocity
    size = np.bincount(tex.chord, minlength=tex.n_chords).astype(np.float64)
    mean = tex.chord_mean(v)
    in_chord = size[tex.chord] > 1
    spread = np.sqrt(np.maximum(tex.chord_mean(v**2) - mean**2, 0.0))
    lead = tex.melody & in_chord
    number = size[tex.chord[lead]]
    over = (v[lead] - mean[tex.chord[lead]]) * number / np.maximum(number - 1, 1)
    inner = ~tex.melody & ~tex.bass
    return {
        "velocity_within_chord_sd": float(spread[size > 1].mean()) if (size > 1).any() else 0.0,
        "velocity_melody": float(v[tex.melody].mean()),
        "velocity_melody_sd": float(v[tex.melody].std()),
        "velocity_melody_over_rest": _difference(tex, tex.melody, ~tex.melody),
        "velocity_melody_over_chord": float(over.mean()) if len(over) else 0.0,
        "velocity_bass_over_inner": _difference(tex, tex.bass & ~tex.melody, inner),
        "velocity_pitch_corr": correlation(v, tex.pitch),
        "velocity_chord_size_corr": correlation(mean, size),
        "velocity_duration_corr": correlation(v, np.log(np.maximum(tex.held_s, 1e-3))),
    }


def _loudness(tex: Texture) -> dict[str, float]:
    total = tex.sounding.sum(axis=1)
    log = np.log2(np.maximum(total, 0.05))  # a lone, faded note is the floor
    low, high = np.percentile(log, [10, 95])
    rise = np.maximum(np.diff(total), 0.0).sum() / tex.span_s
    return {
        "loudness_mean": float(total.mean()),
        "loudness_sd": float(log.std()),
        "loudness_p95": float(np.percentile(total, 95)),
        "loudness_range": float(high - low),
        "loudness_rise": float(rise),
    }
