"""Features of a performance relative to its score played deadpan.

The score is a MIDI rendering without expression: exact onsets, steady tempo, nominal lengths.
Its seconds serve as score time, so tempo is a ratio to the rendering's own. ``log2`` tempo 0
is the speed of the rendering, +1 twice as fast.

All features but the match rates and ``score_*`` need two matched score onsets; with fewer they
are undefined and NaN.
"""

from __future__ import annotations

import numpy as np

from pianoeval.midi.align import Alignment, align
from pianoeval.midi.feature import (
    Feature,
    Floats,
    arch,
    autocorrelation,
    collect,
    correlation,
    registry,
    slope,
    smooth,
)
from pianoeval.midi.io import Performance
from pianoeval.midi.pairing import Pair, pair_up
from pianoeval.midi.texture import Mask

GRID_S = 0.5  # score time between points of the tempo curve: a beat at 120 bpm
LOCAL_S = 0.75  # sd of the kernel, score time, that separates tempo from single onsets
ROLL_S = 0.06  # a chord spread wider is heard as rolled

RELATIVE_FEATURES: dict[str, Feature] = registry(
    (
        Feature("match_missing", "1", "score notes without a match, share"),
        Feature("match_extra", "1", "performed notes without a match, share"),
        Feature("score_note_rate", "1/s", "notes a second in the deadpan rendering"),
        Feature("score_articulation", "log2", "median held/interval in the rendering"),
        Feature("score_velocity", "MIDI", "mean velocity of the rendering"),
        Feature("score_velocity_sd", "MIDI", "sd of velocity of the rendering"),
        Feature("tempo_mean", "log2", "score span over performed span of the matched onsets"),
        Feature("tempo_sd", "log2", "sd of the tempo curve on a grid of GRID_S score time"),
        Feature("tempo_range", "log2", "percentile 95 minus 5 of the tempo curve"),
        Feature("tempo_roughness", "log2", "mean absolute second difference of the curve"),
        Feature("tempo_autocorr1", "1", "autocorrelation of the curve, one grid step later"),
        Feature("tempo_slope", "log2", "linear change over the clip; negative = slows"),
        Feature("tempo_arch", "log2", "quadratic bend; negative = faster in the middle"),
        Feature("tempo_ending", "log2", "last eighth minus the median: final slowing < 0"),
        Feature("tempo_interval_sd", "log2", "sd of interval-by-interval log tempo"),
        Feature("onset_deviation", "s", "sd of chord onsets about the smoothed time map"),
        Feature("onset_deviation_score", "s", "the same in score time, free of the pace"),
        Feature("onset_autocorr1", "1", "autocorrelation of these deviations, next chord"),
        Feature("length_ratio_median", "log2", "held time over score length at local tempo"),
        Feature("length_ratio_sd", "log2", "sd of the same"),
        Feature("length_ratio_p10", "log2", "percentile 10 of the same"),
        Feature("length_ratio_p90", "log2", "percentile 90 of the same"),
        Feature("length_ratio_melody", "log2", "median of the same on the score's skyline"),
        Feature("length_ratio_rest", "log2", "median of the same off the skyline"),
        Feature("length_ratio_long", "log2", "median over score notes above the median length"),
        Feature("length_ratio_short", "log2", "median over the other score notes"),
        Feature("length_sounding", "log2", "median pedalled length over score length"),
        Feature("velocity_score_corr", "1", "correlation with the rendering's velocity"),
        Feature("velocity_over_score", "MIDI", "mean performed minus rendered velocity"),
        Feature("velocity_residual_sd", "MIDI", "sd after phrase contour and voice are removed"),
        Feature("velocity_accent_length", "MIDI", "velocity gained a doubling of score length"),
        Feature("velocity_lead", "MIDI", "score skyline minus the rest, matched notes"),
        Feature("velocity_lead_chord", "MIDI", "the same within score chords"),
        Feature("velocity_lead_sd", "MIDI", "sd over score chords of that difference"),
        Feature("velocity_chord_sd", "MIDI", "sd within score chords, mean"),
        Feature("velocity_tempo_corr", "1", "correlation of loudness and tempo on the grid"),
        Feature("melody_lead", "s", "onset of the rest minus the top note, in score chords"),
        Feature("melody_lead_sd", "s", "sd of that lead over score chords"),
        Feature("asynchrony_mean", "s", "spread of onsets of score chords, mean"),
        Feature("asynchrony_p90", "s", "percentile 90 of that spread"),
        Feature("asynchrony_rolled", "1", "share of score chords spread over ROLL_S"),
    )
)  # fmt: skip


def relative_features(
    performance: Performance, score: Performance, link: Alignment | None = None
) -> dict[str, float]:
    """Every feature of ``RELATIVE_FEATURES``, in that order.

    Parameters
    ----------
    performance, score : Performance
        With at least one note each; ``score`` is the deadpan rendering.
    link : Alignment, optional
        Their alignment, if it is at hand.

    Raises
    ------
    BadInputError
        One of them has no notes.
    """
    link = link if link is not None else align(score, performance)
    pair = pair_up(score, performance, link)
    if len(pair.score_onset_s) < 2:
        values = dict.fromkeys(RELATIVE_FEATURES, float("nan"))
        return values | _matching(pair) | _nominal(pair)
    parts = (_matching, _nominal, _tempo, _onsets, _lengths, _velocities, _leads, _asynchrony)
    return collect(parts, pair, RELATIVE_FEATURES)


def _matching(pair: Pair) -> dict[str, float]:
    return {
        "match_missing": 1.0 - len(pair.note) / pair.score.n_notes,
        "match_extra": 1.0 - len(pair.twin) / pair.played.n_notes,
    }


def _nominal(pair: Pair) -> dict[str, float]:
    sheet = pair.score
    gap = np.append(np.diff(sheet.chord_onset_s), np.nan)[sheet.chord]
    ratio = np.log2(np.maximum(sheet.held_s, 1e-3) / gap)
    known = ratio[np.isfinite(ratio)]
    return {
        "score_note_rate": sheet.n_notes / sheet.span_s,
        "score_articulation": float(np.median(known)) if len(known) else 0.0,
        "score_velocity": float(sheet.velocity.mean()),
        "score_velocity_sd": float(sheet.velocity.std()),
    }


def tempo_curve(score_onset_s: Floats, onset_s: Floats) -> tuple[Floats, Floats]:
    """log2 tempo ratio on a regular grid of score time: centres (g,), values (g,)."""
    start, end = float(score_onset_s[0]), float(score_onset_s[-1])
    steps = max(1, round((end - start) / GRID_S))
    grid = np.linspace(start, end, steps + 1)
    played = np.interp(grid, score_onset_s, onset_s)
    ratio = np.diff(grid) / np.maximum(np.diff(played), 1e-2)
    return (grid[1:] + grid[:-1]) / 2, np.log2(ratio)


def _tempo(pair: Pair) -> dict[str, float]:
    x, y = pair.score_onset_s, pair.onset_s
    time, curve = tempo_curve(x, y)
    mean = float(np.log2((x[-1] - x[0]) / max(y[-1] - y[0], 1e-2)))
    bend = np.diff(curve, n=2) if len(curve) > 2 else np.zeros(1)
    low, middle, high = np.percentile(curve, [5, 50, 95])
    wide = np.diff(x) >= 0.06  # ornaments have no tempo
    steps = np.log2(np.diff(x)[wide] / np.maximum(np.diff(y)[wide], 1e-2))
    level = np.interp(time, x, pair.velocity)
    tail = curve[-max(1, len(curve) // 8) :]
    return {
        "tempo_mean": mean,
        "tempo_sd": float(curve.std()),
        "tempo_range": float(high - low),
        "tempo_roughness": float(np.abs(bend).mean()),
        "tempo_autocorr1": autocorrelation(curve),
        "tempo_slope": slope(time, curve) * float(x[-1] - x[0]),
        "tempo_arch": arch(time, curve),
        "tempo_ending": float(tail.mean() - middle),
        "tempo_interval_sd": float(steps.std()) if len(steps) else 0.0,
        "velocity_tempo_corr": correlation(level, curve),
    }


def _onsets(pair: Pair) -> dict[str, float]:
    x, y = pair.score_onset_s, pair.onset_s
    pace = (y[-1] - y[0]) / (x[-1] - x[0])
    # The global line goes first: a kernel mean of a slope is biased at the clip's ends.
    swing = y - y[0] - pace * (x - x[0])
    residual = swing - smooth(x, swing, LOCAL_S)
    deviation = float(residual.std())
    return {
        "onset_deviation": deviation,
        "onset_deviation_score": deviation / max(float(pace), 1e-3),
        "onset_autocorr1": autocorrelation(residual),
    }


def _lengths(pair: Pair) -> dict[str, float]:
    sheet, played = pair.score, pair.played
    start = sheet.onset_s[pair.note]
    nominal = np.maximum(sheet.held_s[pair.note], 1e-2)
    line = np.interp(
        np.stack([start, start + nominal]), pair.score_onset_s, pair.onset_s
    )  # local tempo; past the last onset the mean tempo takes over
    pace = (pair.onset_s[-1] - pair.onset_s[0]) / (pair.score_onset_s[-1] - pair.score_onset_s[0])
    past = np.maximum(start + nominal - pair.score_onset_s[-1], 0.0)
    due = np.maximum(line[1] - line[0] + past * pace, 1e-2)
    held = np.log2(np.maximum(played.held_s[pair.twin], 1e-3) / due)
    sound = np.maximum((played.sound_end_s - played.onset_s)[pair.twin], 1e-3)
    melody = sheet.melody[pair.note]
    longer = nominal > np.median(nominal)
    p10, median, p90 = np.percentile(held, [10, 50, 90])
    return {
        "length_ratio_median": float(median),
        "length_ratio_sd": float(held.std()),
        "length_ratio_p10": float(p10),
        "length_ratio_p90": float(p90),
        "length_ratio_melody": _median(held, melody, float(median)),
        "length_ratio_rest": _median(held, ~melody, float(median)),
        "length_ratio_long": _median(held, longer, float(median)),
        "length_ratio_short": _median(held, ~longer, float(median)),
        "length_sounding": float(np.median(np.log2(sound / due))),
    }


def _median(values: Floats, some: Mask, otherwise: float) -> float:
    """Median of some values; that of all where there are none of the kind."""
    return float(np.median(values[some])) if some.any() else otherwise


def _velocities(pair: Pair) -> dict[str, float]:
    sheet, velocity = pair.score, pair.played.velocity[pair.twin]
    rendered = sheet.velocity[pair.note]
    melody = sheet.melody[pair.note]
    contour = smooth(pair.score_onset_s, pair.velocity, LOCAL_S)[pair.chord]
    residual = velocity - contour
    voice = np.where(melody, _mean(residual, melody), _mean(residual, ~melody))
    length = np.log2(np.maximum(sheet.held_s[pair.note], 1e-2))
    return {
        "velocity_score_corr": correlation(velocity, rendered),
        "velocity_over_score": float((velocity - rendered).mean()),
        "velocity_residual_sd": float((residual - voice).std()),
        "velocity_accent_length": slope(length, residual),
        "velocity_lead": _mean(velocity, melody) - _mean(velocity, ~melody)
        if 0 < melody.sum() < len(melody)
        else 0.0,
    }


def _mean(values: Floats, some: Mask) -> float:
    return float(values[some].mean()) if some.any() else 0.0


def _top_and_rest(pair: Pair, values: Floats) -> Floats:
    """Top note minus mean of the rest, for each score chord with two matched notes or more."""
    pitch = pair.score.pitch[pair.note]
    n_chords = len(pair.score_onset_s)
    order = np.lexsort((pitch, pair.chord))
    last = np.flatnonzero(np.diff(pair.chord[order], append=n_chords) > 0)
    top = values[order[last]]
    count = np.bincount(pair.chord, minlength=n_chords)
    rest = np.bincount(pair.chord, weights=values, minlength=n_chords) - top
    several = count > 1
    return np.asarray(top[several] - rest[several] / (count[several] - 1), np.float64)


def _leads(pair: Pair) -> dict[str, float]:
    """Velocity and time by which the top note of score chords leads; 0 if there are no chords."""
    over = _top_and_rest(pair, pair.played.velocity[pair.twin])
    ahead = -_top_and_rest(pair, pair.played.onset_s[pair.twin])
    some = len(over) > 0
    return {
        "velocity_lead_chord": float(over.mean()) if some else 0.0,
        "velocity_lead_sd": float(over.std()) if some else 0.0,
        "melody_lead": float(np.clip(ahead, -0.3, 0.3).mean()) if some else 0.0,
        "melody_lead_sd": float(np.clip(ahead, -0.3, 0.3).std()) if some else 0.0,
    }


def _asynchrony(pair: Pair) -> dict[str, float]:
    """Spread of onset and velocity within score chords; 0 if there are no chords."""
    n_chords = len(pair.score_onset_s)
    onset, velocity = pair.played.onset_s[pair.twin], pair.played.velocity[pair.twin]
    several = np.bincount(pair.chord, minlength=n_chords) > 1
    if not several.any():
        names = ("asynchrony_mean", "asynchrony_p90", "asynchrony_rolled", "velocity_chord_sd")
        return dict.fromkeys(names, 0.0)
    first, last = np.full(n_chords, np.inf), np.full(n_chords, -np.inf)
    np.minimum.at(first, pair.chord, onset)
    np.maximum.at(last, pair.chord, onset)
    spread = (last - first)[several]
    level = pair.velocity[pair.chord]
    squares = np.bincount(pair.chord, weights=(velocity - level) ** 2, minlength=n_chords)
    sd = np.sqrt(squares / np.bincount(pair.chord, minlength=n_chords))
    return {
        "asynchrony_mean": float(spread.mean()),
        "asynchrony_p90": float(np.percentile(spread, 90)),
        "asynchrony_rolled": float((spread > ROLL_S).mean()),
        "velocity_chord_sd": float(sd[several].mean()),
    }
