"""How well pYIN finds the pitch that the MIDI has: measures of melody extraction, clip by clip.

After Poliner et al. 2007 (IEEE TASLP 15, 1247-1256), by mir_eval: a pitch is right within 50 cents.
A frame that pYIN calls unvoiced is no right pitch. Intervals resample clips.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from mir_eval import melody
from numpy.typing import NDArray

from pianoeval.store import RaggedStore

F8 = NDArray[np.float64]

COLUMNS = ("instrument", "measure", "value", "ci_low", "ci_high", "n_clips", "n_unknown")
ALL = "all"
MEASURES = (
    "raw_pitch_accuracy", "raw_chroma_accuracy", "overall_accuracy", "voicing_recall",
    "voicing_false_alarm", "pitch_accuracy_where_voiced", "deviation_cents",
)  # fmt: skip
_DRAWS, _CONFIDENCE, _SEED = 2000, 0.95, 42
_TOLERANCE_CENTS = 50.0
_CENTS_OF_MIDI_0 = 1200 * np.log2(440 / 10) - 6900  # above 10 Hz, where mir_eval begins


def clip_measures(known: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
    """Measures of one clip; both float32, shape (frames, 3), with the columns of contours.

    raw_pitch_accuracy, raw_chroma_accuracy
        Share of the voiced frames whose pitch is right, octaves aside in the second.
    overall_accuracy
        Share of all frames that are right: pitch or silence.
    voicing_recall, voicing_false_alarm
        Share of the voiced, and of the other frames that are called voiced.
    pitch_accuracy_where_voiced
        Share of right pitches among the frames that both call voiced.
    deviation_cents
        Median of what lies between two right pitches.

    NaN where a measure has no frame.
    """
    pitch, voiced = known[:, 0].astype(np.float64) * 127, known[:, 1] > 0.5
    estimate, heard = found[:, 0].astype(np.float64) * 127, found[:, 1] > 0.5
    lines = (
        voiced.astype(np.float64), _cents(pitch, voiced),
        heard.astype(np.float64), _cents(estimate, heard),
    )  # fmt: skip
    away = 100 * np.abs(estimate - pitch)[voiced & heard]
    near = away[away < _TOLERANCE_CENTS]
    right, chroma, overall = np.nan, np.nan, np.mean(voiced == heard)
    if voiced.any() and heard.any():  # of anything else mir_eval only warns
        right = melody.raw_pitch_accuracy(*lines)
        chroma = melody.raw_chroma_accuracy(*lines)
        overall = melody.overall_accuracy(*lines)
    elif voiced.any():
        right, chroma = 0.0, 0.0
    values = {
        "raw_pitch_accuracy": right,
        "raw_chroma_accuracy": chroma,
        "overall_accuracy": overall,
        "voicing_recall": np.mean(heard[voiced]) if voiced.any() else np.nan,
        "voicing_false_alarm": np.mean(heard[~voiced]) if not voiced.all() else np.nan,
        "pitch_accuracy_where_voiced": len(near) / len(away) if len(away) else np.nan,
        "deviation_cents": np.median(near) if len(near) else np.nan,
    }
    return {name: float(value) for name, value in values.items()}


def _cents(midi: F8, voiced: NDArray[np.bool_]) -> F8:
    return np.where(voiced, 100 * midi + _CENTS_OF_MIDI_0, 0.0)


def audit_contours(
    instruments: Mapping[str, str], contours: RaggedStore, skyline: RaggedStore | None
) -> pd.DataFrame:
    """A row an instrument and measure: mean over clips, with an interval.

    Parameters
    ----------
    instruments : mapping
        ``{clip: instrument}`` of the clips of ``contours``.
    skyline : RaggedStore or None
        Known pitch; of clips that are not in it nothing is known.

    Returns
    -------
    DataFrame
        `COLUMNS`; ``n_unknown`` counts the instrument's clips without a known pitch. A row has no
        value where no clip has one.
    """
    names = np.array([instruments[clip] for clip in contours.clips], object)
    known = set(skyline.clips) if skyline is not None else set()
    table = np.full((len(names), len(MEASURES)), np.nan)
    for row, clip in enumerate(contours.clips):
        if skyline is not None and clip in known:
            measures = clip_measures(skyline.frames(clip)[:, 0], contours.frames(clip)[:, 0])
            table[row] = [measures[name] for name in MEASURES]
    unknown = np.array([clip not in known for clip in contours.clips])
    several = sorted(set(names))
    rows = []
    for name in [*several, *([ALL] if len(several) > 1 else [])]:
        here = np.full(len(names), True) if name == ALL else names == name
        for column, measure in enumerate(MEASURES):
            values = table[here, column]
            values = values[np.isfinite(values)]
            rows.append((name, measure, *_mean(values), len(values), int(unknown[here].sum())))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _mean(values: F8) -> tuple[float, float, float]:
    """Mean and the limits of its percentile interval over clips; none of a single clip."""
    if len(values) == 0:
        return (float("nan"),) * 3
    if len(values) == 1:
        return float(values[0]), float("nan"), float("nan")
    n = len(values)
    taken = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=_DRAWS)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(taken @ values / n, [tail, 1 - tail])
    return float(values.mean()), float(low), float(high)
