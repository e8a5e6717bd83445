"""Which note of a performance plays which note of its score.

Two steps. *Dynamic time warping* over chords, with the overlap of their pitches as the only
evidence, gives a coarse map from score time to performance time that tolerates any tempo,
missing and extra notes, and rolled chords. Then every pitch is matched by itself: score and
performance notes of one key are paired one to one by least total distance in warped time, and
pairs further apart than a tolerance are no pairs. The map is refitted to the pairs and the
matching repeated once. Compare Nakamura, Yoshii & Katayose (ISMIR 2017) for the problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance
from pianoeval.midi.texture import CHORD_S, Floats, Ints, chords

SCORE_CHORD_S = 0.01  # a score is exact; grace notes stay apart from their main note
GAP_COST = 0.15  # added where one side waits, so that a diagonal is preferred
MAX_CELLS = 20_000_000  # above this the search keeps to a band around the diagonal
TOLERANCE_S = (1.5, 0.75)  # of the first and of the repeated matching, performance time


@dataclass(frozen=True, eq=False)
class Alignment:
    """Matched notes and the time map.

    ``score_note, performance_note`` : int (m,), indices of matched notes, in score order
    ``score_time_s, performance_time_s`` : float64 (k,), ascending knots of the map
    """

    score_note: Ints
    performance_note: Ints
    score_time_s: Floats
    performance_time_s: Floats

    def to_performance(self, score_time_s: Floats) -> Floats:
        """Performance time of score times; beyond the ends at the mean tempo of the clip."""
        return _extrapolate(score_time_s, self.score_time_s, self.performance_time_s)


def align(score: Performance, performance: Performance) -> Alignment:
    """Align a performance with its score.

    Raises
    ------
    BadInputError
        One of them has no notes.
    """
    for name, side in (("score", score), ("performance", performance)):
        if side.n_notes == 0:
            raise BadInputError(f"the {name} has no notes to align")
    score_chord, score_onset = chords(score.onset_s, SCORE_CHORD_S)
    chord, onset = chords(performance.onset_s, CHORD_S)
    path = warp(
        _multi_hot(score.pitch_midi, score_chord, len(score_onset)),
        _multi_hot(performance.pitch_midi, chord, len(onset)),
    )
    knots = _path_knots(path, score_onset, onset, score, performance)
    for tolerance_s in TOLERANCE_S:
        pairs = match(score, performance, _extrapolate(score.onset_s, *knots), tolerance_s)
        knots = _pair_knots(score, performance, pairs, score_chord, knots)
    return Alignment(pairs[0], pairs[1], *knots)


def _multi_hot(pitch: NDArray[np.int16], chord: Ints, n_chords: int) -> NDArray[np.float32]:
    """Keys of each chord as 0/1, float32 (n_chords, 128)."""
    table = np.zeros((n_chords, 128), np.float32)
    table[chord, pitch] = 1.0
    return table


def _band(n_rows: int, n_columns: int, row: int) -> tuple[int, int]:
    """Columns searched in one row: all, or a band around the diagonal if the table is huge."""
    if n_rows * n_columns <= MAX_CELLS:
        return 0, n_columns
    width = max(64, MAX_CELLS // n_rows)
    # Neighbouring bands must overlap, or the path would break on a steep diagonal.
    width = max(width, 2 * (n_columns // n_rows + 2))
    centre = round(row * (n_columns - 1) / max(n_rows - 1, 1))
    return max(0, centre - width // 2), min(n_columns, centre + width // 2 + 1)


def warp(score: NDArray[np.float32], performance: NDArray[np.float32]) -> Ints:
    """Dynamic time warping of two chord sequences, int (length, 2): (score, performance).

    Cost of a cell: 1 - Dice overlap of the two key sets. Steps (1,1), (1,0), (0,1); the last
    two cost ``GAP_COST`` more. Rows are computed at once: the chain of horizontal steps is a
    running minimum of (entry cost - cumulated cost).
    """
    n, m = len(score), len(performance)
    sizes, size = score.sum(axis=1), performance.sum(axis=1)
    moves: list[NDArray[np.int8]] = []
    lows: list[int] = []
    before, before_low = np.zeros(0), 0
    for row in range(n):
        low, high = _band(n, m, row)
        overlap = performance[low:high] @ score[row]
        cost = 1.0 - 2.0 * overlap.astype(np.float64) / (size[low:high] + sizes[row])
        if row == 0:
            entry, move = np.full(high - low, np.inf), np.zeros(high - low, np.int8)
            entry[0] = cost[0]
        else:
            entry, move = _enter(before, before_low, cost, low, high)
        run = np.cumsum(cost + GAP_COST)
        total = np.minimum.accumulate(entry - run) + run
        move[total < entry - 1e-9] = 2
        moves.append(move)
        lows.append(low)
        before, before_low = total, low
    return _trace(moves, lows, n, m)


def _enter(
    before: Floats, before_low: int, cost: Floats, low: int, high: int
) -> tuple[Floats, NDArray[np.int8]]:
    """Cheapest way into each cell of a row from the row above: 0 diagonal, 1 straight."""
    padded = np.full(high - low + 1, np.inf)  # columns low - 1 .. high - 1 of the row above
    first, last = max(low - 1, before_low), min(high, before_low + len(before))
    padded[first - low + 1 : last - low + 1] = before[first - before_low : last - before_low]
    diagonal, straight = padded[:-1] + cost, padded[1:] + cost + GAP_COST
    return np.minimum(diagonal, straight), (straight < diagonal).astype(np.int8)


def _trace(moves: list[NDArray[np.int8]], lows: list[int], n: int, m: int) -> Ints:
    row, column = n - 1, m - 1
    path = [(row, column)]
    while row > 0 or column > 0:
        move = 2 if row == 0 else int(moves[row][column - lows[row]])
        row -= move != 2
        column -= move != 1
        path.append((row, column))
    return np.asarray(path[::-1], np.int64)


def _path_knots(
    path: Ints, score_onset: Floats, onset: Floats, score: Performance, performance: Performance
) -> tuple[Floats, Floats]:
    """Knots at the first performance chord of each score chord on the path."""
    rows, first = np.unique(path[:, 0], return_index=True)
    return _monotone(score_onset[rows], onset[path[first, 1]], score, performance)


def _monotone(
    x: Floats, y: Floats, score: Performance, performance: Performance
) -> tuple[Floats, Floats]:
    """Knots without steps backwards or standstills; two at least, the ends if need be."""
    y = np.maximum.accumulate(y)
    keep = np.concatenate([[True], np.diff(y) > 1e-4])
    x, y = x[keep], y[keep]
    if len(x) < 2:
        span = max(float(np.ptp(performance.onset_s)), 1e-3)
        score_span = max(float(np.ptp(score.onset_s)), 1e-3)
        start_x, start_y = float(score.onset_s[0]), float(performance.onset_s[0])
        x = np.array([start_x, start_x + score_span])
        y = np.array([start_y, start_y + span])
    return x, y


def _extrapolate(query: Floats, x: Floats, y: Floats) -> Floats:
    tempo = (y[-1] - y[0]) / (x[-1] - x[0])
    inside = np.interp(query, x, y)
    before, after = np.minimum(query - x[0], 0.0), np.maximum(query - x[-1], 0.0)
    return np.asarray(inside + tempo * (before + after), np.float64)


def match(
    score: Performance, performance: Performance, expected_s: Floats, tolerance_s: float
) -> tuple[Ints, Ints]:
    """Pair notes of equal pitch one to one by least total time distance.

    ``expected_s`` : float64 (n,), performance time at which each score note is due.
    Returns indices (score, performance) of the pairs nearer than ``tolerance_s``.
    """
    left: list[Ints] = []
    right: list[Ints] = []
    for key in np.intersect1d(score.pitch_midi, performance.pitch_midi):
        due = np.flatnonzero(score.pitch_midi == key)
        played = np.flatnonzero(performance.pitch_midi == key)
        for some_due, some_played in _islands(due, played, expected_s, performance, tolerance_s):
            distance = np.abs(expected_s[some_due, None] - performance.onset_s[some_played])
            cost = np.minimum(distance, tolerance_s)
            a, b = linear_sum_assignment(cost)
            near = distance[a, b] < tolerance_s
            left.append(some_due[a[near]])
            right.append(some_played[b[near]])
    if not left:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    score_note, note = np.concatenate(left), np.concatenate(right)
    order = np.argsort(score_note)
    return score_note[order], note[order]


def _islands(
    due: Ints, played: Ints, expected_s: Floats, performance: Performance, tolerance_s: float
) -> list[tuple[Ints, Ints]]:
    """Split the notes of one key at silences of the tolerance, which keeps the tables small."""
    times = np.concatenate([expected_s[due], performance.onset_s[played]])
    order = np.argsort(times, kind="stable")
    island = np.zeros(len(times), np.int64)
    island[order[1:]] = np.cumsum(np.diff(times[order]) >= tolerance_s)
    due_island, played_island = island[: len(due)], island[len(due) :]
    both = np.intersect1d(due_island, played_island)
    return [(due[due_island == i], played[played_island == i]) for i in both]


def _pair_knots(
    score: Performance,
    performance: Performance,
    pairs: tuple[Ints, Ints],
    score_chord: Ints,
    knots: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """Knots at the median performance onset of each score chord with a matched note."""
    if not len(pairs[0]):
        return knots
    frame = np.stack(
        [score_chord[pairs[0]].astype(np.float64), performance.onset_s[pairs[1]]], axis=1
    )
    order = np.lexsort((frame[:, 1], frame[:, 0]))
    chord, onset = frame[order, 0], frame[order, 1]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(chord) > 0]))
    ends = np.append(starts[1:], len(chord))
    middle = 0.5 * (onset[(starts + ends - 1) // 2] + onset[(starts + ends) // 2])
    rows = chord[starts].astype(np.int64)
    first = np.searchsorted(score_chord, rows)
    return _monotone(score.onset_s[first], middle, score, performance)
