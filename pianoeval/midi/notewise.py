"""What a sequence model reads of each note: the playing, the score, and the difference.

Columns are those of note-level performance models (VirtuosoNet: Jeong, Kwon, Kim & Nam, ISMIR 2019,
section 3; PercePiano: Park et al., Scientific Data 11, 2024, "note-level features"), reckoned from
MIDI alone: no voices, no written dynamics or slurs. NaN = the value does not exist: before the
first and after the last chord, for a note that the score does not have, or without a score.

Rows stand in the order of the score (beat, then key press), or of the playing where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pianoeval.errors import BadInputError
from pianoeval.midi.align import Alignment, align
from pianoeval.midi.feature import Feature, Floats, registry, smooth
from pianoeval.midi.io import Performance
from pianoeval.midi.metre import Metre, equal_metre
from pianoeval.midi.pairing import Pair, pair_up
from pianoeval.midi.relative import LOCAL_S, tempo_curve
from pianoeval.midi.texture import Ints, Texture, texture

PACE_S = 1.0  # sd of the kernel, played time, that separates pace and loudness from single notes
LARGEST_LAG_S = 0.3  # within a chord; what lies further apart is no lag
SHORTEST_S = 1e-3

OWN: dict[str, Feature] = registry(
    (
        Feature("pitch", "MIDI", "key"),
        Feature("velocity", "MIDI", "key velocity"),
        Feature("velocity_local", "MIDI", "velocity minus its running mean"),
        Feature("ioi_before", "log2", "seconds from the chord before to this one"),
        Feature("ioi", "log2", "seconds from this chord to the next"),
        Feature("ioi_change", "log2", "ioi over ioi_before"),
        Feature("pace", "log2", "chords a second, running mean"),
        Feature("held", "log2", "seconds from key press to key release"),
        Feature("sounding", "log2", "seconds until the damper falls"),
        Feature("articulation", "log2", "held over ioi"),
        Feature("chord_size", "1", "notes struck together"),
        Feature("lag", "s", "after the first note of its chord"),
        Feature("top", "1", "1 on the skyline"),
        Feature("bass", "1", "1 on the lowest line"),
        Feature("pedal_onset", "1", "sustain pedal at the key press, 0..1"),
        Feature("pedal_offset", "1", "sustain pedal at the key release"),
        Feature("pedal_low", "1", "least pedal from this chord to the next"),
        Feature("position", "1", "0 at the first key press, 1 at the last"),
    )
)
SCORE: dict[str, Feature] = registry(
    (
        Feature("has_score", "1", "0 where the clip has no score"),
        Feature("matched", "1", "1 where the score has the note"),
        Feature("beat_phase", "1", "place within the beat, 0..1"),
        Feature("measure_phase", "1", "place within the measure, 0..1"),
        Feature("beat_length", "log2", "seconds a beat in the score's rendering"),
        Feature("score_ioi", "log2", "beats from the score's chord to its next"),
        Feature("score_held", "log2", "written length in beats"),
        Feature("score_articulation", "log2", "written length over score_ioi"),
        Feature("score_velocity", "MIDI", "velocity in the score's rendering"),
        Feature("score_top", "1", "1 on the score's skyline"),
        Feature("score_chord_size", "1", "notes written together"),
    )
)
DIFFERENCE: dict[str, Feature] = registry(
    (
        Feature("tempo", "log2", "local tempo over the rendering's"),
        Feature("tempo_change", "log2", "local tempo over the clip's own"),
        Feature("tempo_step", "log2", "tempo of this interval over the local one"),
        Feature("onset_deviation", "s", "chord onset after the smoothed time map"),
        Feature("chord_lag", "s", "onset after the median of its score chord"),
        Feature("velocity_deviation", "MIDI", "velocity minus the rendering's"),
        Feature("velocity_accent", "MIDI", "velocity minus the phrase's contour"),
        Feature("length_deviation", "log2", "held over written length at local tempo"),
        Feature("sounding_deviation", "log2", "pedalled over written length"),
        Feature("missing", "1", "notes of its score chord that were not played"),
    )
)
NOTE_FEATURES: dict[str, dict[str, Feature]] = {
    "own": OWN, "score": SCORE, "difference": DIFFERENCE,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NoteTable:
    """Notes of one clip, ``n`` of them.

    ``columns`` : float64 (n,) by the names of ``NOTE_FEATURES``
    ``onset_s`` : float64 (n,), key press after the first one
    ``beat, measure`` : int64 (n,), from 0, without gaps, never decreasing
    ``metre`` : ``written`` or ``equal`` of the score; ``none`` without one
    """

    columns: dict[str, Floats]
    onset_s: Floats
    beat: Ints
    measure: Ints
    metre: str


def note_table(
    performance: Performance, score: Performance | None = None, metre: Metre | None = None
) -> NoteTable:
    """Every column of every note.

    Parameters
    ----------
    performance, score : Performance
        With at least one note each; ``score`` is the deadpan rendering.
    metre : Metre, optional
        Of the score's file; beats of equal time without it.

    Raises
    ------
    BadInputError
        One of them has no notes.
    """
    if performance.n_notes == 0:
        raise BadInputError("the performance has no notes")
    played = texture(performance)
    columns = _own(played)
    if score is None:
        columns |= _without_score(played.n_notes)
        places = equal_metre().locate(played.onset_s)
        source = "none"
    else:
        metre = metre or equal_metre()
        link = align(score, performance)
        pair = pair_up(score, performance, link)
        due_s = _score_time(score, performance, link)
        places = metre.locate(due_s)
        sheet_s = due_s - float(score.onset_s[0])
        columns |= _score(pair, places.beat_s)
        columns |= {
            "beat_phase": places.beat_phase,
            "measure_phase": places.measure_phase,
            "beat_length": np.log2(places.beat_s),
        }
        columns |= _difference(pair, sheet_s)
        source = metre.source
    order = np.lexsort((played.pitch, played.onset_s, places.beat))
    names = [name for block in NOTE_FEATURES.values() for name in block]
    return NoteTable(
        columns={name: columns[name][order] for name in names},
        onset_s=played.onset_s[order],
        beat=np.unique(places.beat[order], return_inverse=True)[1].astype(np.int64),
        measure=np.unique(places.measure[order], return_inverse=True)[1].astype(np.int64),
        metre=source,
    )


def _log2(seconds: Floats) -> Floats:
    return np.asarray(np.log2(np.maximum(seconds, SHORTEST_S)), np.float64)


def _own(played: Texture) -> dict[str, Floats]:
    """Columns of the playing alone."""
    chord = played.chord
    step = _log2(np.diff(played.chord_onset_s))
    after, before = np.append(step, np.nan), np.insert(step, 0, np.nan)
    pace = np.full(played.n_chords, np.nan)
    if len(step):
        middle = (played.chord_onset_s[1:] + played.chord_onset_s[:-1]) / 2
        pace = np.interp(played.chord_onset_s, middle, -smooth(middle, step, PACE_S))
    held = _log2(played.held_s)
    level = smooth(played.onset_s, played.velocity, PACE_S)
    span_s = max(float(played.onset_s[-1]), SHORTEST_S)
    return {
        "pitch": played.pitch,
        "velocity": played.velocity,
        "velocity_local": played.velocity - level,
        "ioi_before": before[chord],
        "ioi": after[chord],
        "ioi_change": (after - before)[chord],
        "pace": pace[chord],
        "held": held,
        "sounding": _log2(played.sound_end_s - played.onset_s),
        "articulation": held - after[chord],
        "chord_size": np.bincount(chord)[chord].astype(np.float64),
        "lag": played.onset_s - played.chord_onset_s[chord],
        "top": played.melody.astype(np.float64),
        "bass": played.bass.astype(np.float64),
        "pedal_onset": played.pedal_at(played.onset_s) / 127,
        "pedal_offset": played.pedal_at(played.offset_s) / 127,
        "pedal_low": _least_pedal(played)[chord] / 127,
        "position": played.onset_s / span_s,
    }


def _least_pedal(played: Texture) -> Floats:
    """Least pedal value from each chord to the next, float64 (c,)."""
    end = np.append(played.chord_onset_s[1:], played.span_s)
    least = played.pedal_at(played.chord_onset_s)
    first = np.searchsorted(played.pedal_time_s, played.chord_onset_s, side="right")
    last = np.searchsorted(played.pedal_time_s, end, side="right")
    for chord in np.flatnonzero(last > first):
        inside = played.pedal_value[first[chord] : last[chord]]
        least[chord] = min(least[chord], float(inside.min()))
    return least


def _without_score(n_notes: int) -> dict[str, Floats]:
    absent = np.full(n_notes, np.nan)
    columns = dict.fromkeys((*SCORE, *DIFFERENCE), absent)
    return columns | {"has_score": np.zeros(n_notes), "matched": np.zeros(n_notes)}


def _score_time(score: Performance, performance: Performance, link: Alignment) -> Floats:
    """Score time of each performed note: its own note's, else by the time map; (n,)."""
    swapped = replace(
        link, score_time_s=link.performance_time_s, performance_time_s=link.score_time_s
    )
    due_s = swapped.to_performance(performance.onset_s)
    due_s[link.performance_note] = score.onset_s[link.score_note]
    return due_s


def _spread(pair: Pair, values: Floats) -> Floats:
    """Values of matched notes on all performed notes; NaN elsewhere."""
    out = np.full(pair.played.n_notes, np.nan)
    out[pair.twin] = values
    return out


def _score(pair: Pair, beat_s: Floats) -> dict[str, Floats]:
    """Columns of what is written, in beats where it is time."""
    sheet, note = pair.score, pair.note
    step_s = np.append(np.diff(sheet.chord_onset_s), np.nan)[sheet.chord]
    size = np.bincount(sheet.chord)[sheet.chord].astype(np.float64)
    beat = beat_s[pair.twin]
    ioi, held = _log2(step_s[note] / beat), _log2(sheet.held_s[note] / beat)
    return {
        "has_score": np.ones(pair.played.n_notes),
        "matched": np.nan_to_num(_spread(pair, np.ones(len(note)))),
        "score_ioi": _spread(pair, ioi),
        "score_held": _spread(pair, held),
        "score_articulation": _spread(pair, held - ioi),
        "score_velocity": _spread(pair, sheet.velocity[note]),
        "score_top": _spread(pair, sheet.melody[note].astype(np.float64)),
        "score_chord_size": _spread(pair, size[note]),
    }


def _difference(pair: Pair, sheet_s: Floats) -> dict[str, Floats]:
    """Columns that need both; ``sheet_s`` : score time of each performed note, from the first."""
    n_chords = len(pair.score_onset_s)
    if n_chords < 2:  # no tempo: nothing but velocities could be compared, with nothing to go by
        return {name: np.full(pair.played.n_notes, np.nan) for name in DIFFERENCE}
    x, y = pair.score_onset_s, pair.onset_s
    grid, curve = tempo_curve(x, y)
    local = smooth(grid, curve, LOCAL_S)
    tempo = np.interp(sheet_s, grid, local)
    overall = np.log2((x[-1] - x[0]) / max(y[-1] - y[0], 1e-2))
    step = np.log2(np.diff(x) / np.maximum(np.diff(y), 1e-2))
    step = np.append(step, np.nan) - np.interp(x, grid, local)
    pace = (y[-1] - y[0]) / (x[-1] - x[0])
    swing = y - y[0] - pace * (x - x[0])
    velocity = pair.played.velocity[pair.twin]
    contour = smooth(x, pair.velocity, LOCAL_S)
    lag = pair.played.onset_s[pair.twin] - y[pair.chord]
    return {
        "tempo": tempo,
        "tempo_change": tempo - overall,
        "tempo_step": _spread(pair, np.clip(step, -4, 4)[pair.chord]),
        "onset_deviation": _spread(pair, (swing - smooth(x, swing, LOCAL_S))[pair.chord]),
        "chord_lag": _spread(pair, np.clip(lag, -LARGEST_LAG_S, LARGEST_LAG_S)),
        "velocity_deviation": _spread(pair, velocity - pair.score.velocity[pair.note]),
        "velocity_accent": _spread(pair, velocity - contour[pair.chord]),
        "missing": _spread(pair, _unplayed(pair)),
    } | _lengths(pair)


def _lengths(pair: Pair) -> dict[str, Floats]:
    """Held and sounding time over what the written length takes at local tempo."""
    start_s = pair.score.onset_s[pair.note]
    end_s = start_s + np.maximum(pair.score.held_s[pair.note], 1e-2)
    clock = Alignment(pair.note, pair.twin, pair.score_onset_s, pair.onset_s)
    due_s = np.maximum(clock.to_performance(end_s) - clock.to_performance(start_s), 1e-2)
    played = pair.played
    sound_s = (played.sound_end_s - played.onset_s)[pair.twin]
    return {
        "length_deviation": _spread(pair, _log2(played.held_s[pair.twin]) - np.log2(due_s)),
        "sounding_deviation": _spread(pair, _log2(sound_s) - np.log2(due_s)),
    }


def _unplayed(pair: Pair) -> Floats:
    """Notes of each matched note's score chord that nobody played, float64 (m,)."""
    chord = pair.score.chord
    written = np.bincount(chord)
    played = np.bincount(chord[pair.note], minlength=len(written))
    return (written - played)[chord[pair.note]].astype(np.float64)
