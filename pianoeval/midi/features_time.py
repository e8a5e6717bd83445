"""Time: pace, rhythm, tempo wander, and how exactly chords are played together.

Inter-onset intervals (IOI) run from chord to chord. A clip of a single chord has no IOI; its
span stands in for one, so that rates and intervals stay defined.
"""

from __future__ import annotations

import numpy as np

from pianoeval.midi.feature import Feature, Floats, autocorrelation, slope, smooth
from pianoeval.midi.texture import FRAME_S, Ints, Texture

PULSE_S = (0.2, 2.0)  # 30 to 300 beats a minute

SPEC = (
    Feature("time_span", "s", "first key press to last key release"),
    Feature("time_note_rate", "1/s", "notes a second"),
    Feature("time_chord_rate", "1/s", "chords a second"),
    Feature("time_note_rate_sd", "1/s", "sd of the note count of 1 s windows"),
    Feature("time_note_rate_max", "1/s", "greatest note count of a 1 s window"),
    Feature("ioi_mean", "s", "mean inter-onset interval"),
    Feature("ioi_median", "s", "median inter-onset interval"),
    Feature("ioi_p10", "s", "percentile 10 of the intervals"),
    Feature("ioi_p90", "s", "percentile 90 of the intervals"),
    Feature("ioi_log_sd", "log2", "sd of log2 intervals"),
    Feature("ioi_cv", "1", "sd over mean of the intervals"),
    Feature("ioi_npvi", "1", "normalised pairwise variability (Grabe & Low 2002) / 100"),
    Feature("ioi_autocorr1", "1", "autocorrelation of log intervals at lag 1"),
    Feature("ioi_jitter", "log2", "mean distance of neighbours' log2 ratio to a simple ratio"),
    Feature("ioi_even_jitter", "log2", "the same, of neighbours nearest to 1:1; 0 if none"),
    Feature("ioi_entropy", "bit", "entropy of log2 intervals in bins of a quarter octave"),
    Feature("ioi_tempo_sd", "log2", "sd of the smoothed curve of log intervals"),
    Feature("ioi_slope", "log2", "linear change of log intervals over the clip: slowing down"),
    Feature("ioi_last", "log2", "last interval against the median"),
    Feature("pulse_period", "s", "first peak, 0.2-2 s, within 10 % of the top autocorrelation"),
    Feature("pulse_clarity", "1", "that autocorrelation over the one at lag 0"),
    Feature("time_melody_ioi", "s", "median interval along the skyline"),
    Feature("time_melody_rate", "1/s", "skyline notes a second"),
    Feature("chord_spread_mean", "s", "last minus first key press of chords; 0 if none"),
    Feature("chord_spread_p90", "s", "percentile 90 of the same"),
    Feature("chord_melody_lead", "s", "mean onset of the others minus the top note's, in chords"),
    Feature("chord_bass_lead", "s", "mean onset of the others minus the bottom note's, in chords"),
    Feature("chord_near_share", "1", "share of intervals under 0.1 s: rolls and ornaments"),
    Feature("chord_size_mean", "1", "notes a chord"),
    Feature("chord_share", "1", "share of chords with two or more notes"),
)

_RATIOS = np.log2(np.array([1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3, 4]))


def timing(tex: Texture) -> dict[str, float]:
    """All features of ``SPEC`` for one performance."""
    return {**_rates(tex), **_intervals(tex), **_pulse(tex), **_together(tex)}


def intervals(tex: Texture) -> Floats:
    """Chord-to-chord intervals in seconds, float64 (max(1, c - 1),)."""
    gaps = np.diff(tex.chord_onset_s)
    return gaps if len(gaps) else np.array([tex.span_s])


def _rates(tex: Texture) -> dict[str, float]:
    last = max(float(tex.onset_s[-1]), 1.0)
    starts = np.arange(0.0, last - 1.0 + 1e-9, 0.25)
    counts = np.searchsorted(tex.onset_s, starts + 1.0) - np.searchsorted(tex.onset_s, starts)
    line = np.diff(tex.onset_s[tex.melody])
    return {
        "time_span": tex.span_s,
        "time_note_rate": tex.n_notes / tex.span_s,
        "time_chord_rate": tex.n_chords / tex.span_s,
        "time_note_rate_sd": float(counts.std()),
        "time_note_rate_max": float(counts.max()),
        "time_melody_ioi": float(np.median(line)) if len(line) else tex.span_s,
        "time_melody_rate": float(tex.melody.sum()) / tex.span_s,
    }


def _intervals(tex: Texture) -> dict[str, float]:
    gap = intervals(tex)
    log = np.log2(gap)
    time = tex.chord_onset_s[: len(gap)]
    ratio = np.diff(log) if len(log) > 1 else np.zeros(1)
    distance = np.abs(ratio[:, None] - _RATIOS).min(axis=1)
    even = np.abs(ratio) < 0.25
    _, counts = np.unique(np.floor(log * 4), return_counts=True)
    share = counts / counts.sum()
    p10, median, p90 = np.percentile(gap, [10, 50, 90])
    return {
        "ioi_mean": float(gap.mean()),
        "ioi_median": float(median),
        "ioi_p10": float(p10),
        "ioi_p90": float(p90),
        "ioi_log_sd": float(log.std()),
        "ioi_cv": float(gap.std() / gap.mean()),
        "ioi_npvi": _npvi(gap),
        "ioi_autocorr1": autocorrelation(log),
        "ioi_jitter": float(np.minimum(distance, 1.0).mean()),
        "ioi_even_jitter": float(np.abs(ratio[even]).mean()) if even.any() else 0.0,
        "ioi_entropy": float(-(share * np.log2(share)).sum()),
        "ioi_tempo_sd": float(smooth(time, log, 1.0).std()),
        "ioi_slope": slope(time, log) * tex.span_s,
        "ioi_last": float(log[-1] - np.log2(median)),
        "chord_near_share": float((gap < 0.1).mean()),
    }


def _npvi(gap: Floats) -> float:
    if len(gap) < 2:
        return 0.0
    return float(np.mean(np.abs(np.diff(gap)) / ((gap[1:] + gap[:-1]) / 2)))


def _pulse(tex: Texture) -> dict[str, float]:
    """Autocorrelation of key presses, weighted by velocity, smeared over three frames."""
    n_frames = len(tex.sounding)
    frame = np.minimum((tex.onset_s / FRAME_S + 1e-6).astype(np.int64), n_frames - 1)
    presses = np.bincount(frame, weights=tex.velocity / 127.0, minlength=n_frames)
    train: Floats = np.convolve(presses, [0.5, 1.0, 0.5], mode="same")[:n_frames]
    train = train - train.mean()
    size = 1 << (2 * n_frames).bit_length()
    power = np.abs(np.fft.rfft(train, size)) ** 2
    correlation: Floats = np.fft.irfft(power, size)[:n_frames]
    low, high = (round(edge / FRAME_S) for edge in PULSE_S)
    window = correlation[low : high + 1]
    if not len(window) or correlation[0] <= 1e-12:
        return {"pulse_period": tex.span_s, "pulse_clarity": 0.0}
    # Unbiased: long lags have fewer products.
    window = window * n_frames / (n_frames - np.arange(low, low + len(window)))
    # Multiples of a pulse correlate as well as the pulse: the first peak near the top wins.
    padded = np.concatenate([[-np.inf], window, [-np.inf]])
    peak = (window >= padded[:-2]) & (window >= padded[2:]) & (window >= 0.9 * window.max())
    best = int(peak.argmax()) if peak.any() else int(window.argmax())
    return {
        "pulse_period": (low + best) * FRAME_S,
        "pulse_clarity": float(np.clip(window[best] / correlation[0], -1.0, 1.0)),
    }


def _together(tex: Texture) -> dict[str, float]:
    size = np.bincount(tex.chord, minlength=tex.n_chords)
    several = size > 1
    shared = {"chord_size_mean": float(size.mean()), "chord_share": float(several.mean())}
    if not several.any():
        zero = ("chord_spread_mean", "chord_spread_p90", "chord_melody_lead", "chord_bass_lead")
        return shared | dict.fromkeys(zero, 0.0)
    latest = np.zeros(tex.n_chords)
    np.maximum.at(latest, tex.chord, tex.onset_s)
    spread = (latest - tex.chord_onset_s)[several]
    return shared | {
        "chord_spread_mean": float(spread.mean()),
        "chord_spread_p90": float(np.percentile(spread, 90)),
        "chord_melody_lead": _lead(tex, tex.pitch, size),
        "chord_bass_lead": _lead(tex, -tex.pitch, size),
    }


def _lead(tex: Texture, height: Floats, size: Ints) -> float:
    """How long before the rest of its chord the highest note is struck, in seconds."""
    top = np.full(tex.n_chords, -np.inf)
    np.maximum.at(top, tex.chord, height)
    leads = (height == top[tex.chord]) & (size[tex.chord] > 1)
    chord = tex.chord[leads]
    number = size[chord]
    rest = (tex.chord_mean(tex.onset_s)[chord] * number - tex.onset_s[leads]) / (number - 1)
    return float((rest - tex.onset_s[leads]).mean())
