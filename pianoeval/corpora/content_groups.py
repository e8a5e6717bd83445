"""Content groups: recordings whose notes overlap must not stand on two sides of a split.

Two recordings share content when a run of notes of the shorter one recurs in the longer one and
covers at least half of it. The run is the best local alignment (Smith & Waterman 1981) of the two
note streams, match +1, mismatch and gap -1, so a few wrong, missing or reordered notes do not
hide it. Groups are the connected components.

Half is a choice, and the numbers behind it are these. Among the 99 scores of PercePiano,
segments of different movements share at most .09. Inside a movement there is no clean gap: any
threshold from .44 to .52 gives the same 45 groups, .20 gives 41. What stays apart may still share
a phrase; the worst pair (D 960, second movement, segments 6 and 9) shares .43.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pianoeval.midi.io import Performance

MIN_SHARED = 0.5
MIN_NOTES = 8
CHORD_GAP_S = 0.05
# Candidate pairs share this part of the shorter one's 4-note patterns. Over 300 PercePiano clips
# no pair that the alignment accepts has less than .21, and 95 % of all pairs fall below .1.
PATTERN_NOTES = 4
MIN_PATTERNS = 0.1
# Pairs are aligned many at once. The first waves have none that is settled if all others of the
# wave share their notes; so few pairs of what is one group are aligned in vain.
_FORESTS = 3
_WAVE = 1024
_CELLS = 1 << 16  # of an alignment's row, all pairs together: they stay in the processor's cache

Stream = NDArray[np.int16]
Pair = tuple[int, int]


def note_stream(performance: Performance) -> Stream:
    """Pitches in playing order, those of one chord (gaps < 50 ms) from low to high; int16 (n,)."""
    if performance.n_notes == 0:
        return np.empty(0, np.int16)
    new_chord = np.diff(performance.onset_s, prepend=performance.onset_s[0]) > CHORD_GAP_S
    order = np.lexsort((performance.pitch_midi, np.cumsum(new_chord)))
    return performance.pitch_midi[order].astype(np.int16)


def shared_notes(one: Stream, other: Stream, enough: int | None = None) -> int:
    """Score of the best local alignment: matched notes less errors.

    ``enough`` ends the search once it is reached; the value is then a lower bound.
    """
    short, long = (one, other) if len(one) <= len(other) else (other, one)
    steps = np.arange(len(long) + 1, dtype=np.int32)
    row = np.zeros(len(long) + 1, np.int32)
    best = 0
    for pitch in short:
        cells = np.zeros_like(row)
        step = row[:-1] + np.where(long == pitch, 1, -1)
        np.maximum(step, row[1:] - 1, out=cells[1:])
        np.maximum(cells, 0, out=cells)
        # A gap in the shorter stream costs 1 a note: a running maximum of (score + position).
        row = np.maximum.accumulate(cells + steps) - steps
        best = max(best, int(row.max()))
        if enough is not None and best >= enough:
            break
    return best


def shared_fraction(one: Stream, other: Stream) -> float:
    """``shared_notes`` as a part of the shorter stream, in [0, 1]; 0 for an empty stream."""
    shorter = min(len(one), len(other))
    return shared_notes(one, other) / shorter if shorter else 0.0


def content_groups(
    streams: Mapping[str, Stream],
    segments: Mapping[str, str] | None = None,
    min_shared: float = MIN_SHARED,
) -> dict[str, str]:
    """Group of every key of ``streams``.

    Parameters
    ----------
    streams : mapping of str to int16 (notes,)
        One note stream a recording (or a segment's score). An empty one, for audio without
        MIDI, is joined to others by ``segments`` only.
    segments : mapping of str to str, optional
        Declared segment of a key: keys of one segment are one group whatever they play.
    min_shared : float
        Part of the shorter stream that must recur in the longer.

    Returns
    -------
    dict of str to str
        The group is named after its first member: the segment where declared, else the key.
    """
    keys = sorted(streams, key=natural_key)
    declared = dict(segments or {})
    groups = _Components(keys)
    first_of: dict[str, str] = {}
    for key in keys:
        if key in declared:
            groups.join(first_of.setdefault(declared[key], key), key)
    rows = [streams[key] for key in keys]
    for wave in _waves(_candidates(rows), keys, groups):
        for (one, other), is_shared in zip(wave, _share(wave, rows, min_shared), strict=True):
            if is_shared:
                groups.join(keys[one], keys[other])
    names: dict[str, str] = {}
    for key in keys:
        names.setdefault(groups.find(key), declared.get(key, key))
    return {key: names[groups.find(key)] for key in streams}


def _waves(pairs: list[Pair], keys: list[str], groups: _Components) -> Iterator[list[Pair]]:
    """Pairs to align at once, of keys that are not yet joined when they are asked for."""
    for _ in range(_FORESTS):
        wave: list[Pair] = []
        left: list[Pair] = []
        hoped = groups.copy()
        for one, other in pairs:
            if hoped.find(keys[one]) != hoped.find(keys[other]):
                hoped.join(keys[one], keys[other])
                wave.append((one, other))
            else:
                left.append((one, other))
        yield wave
        pairs = [(a, b) for a, b in left if groups.find(keys[a]) != groups.find(keys[b])]
    for start in range(0, len(pairs), _WAVE):
        block = pairs[start : start + _WAVE]
        yield [(a, b) for a, b in block if groups.find(keys[a]) != groups.find(keys[b])]


def _share(pairs: list[Pair], streams: list[Stream], min_shared: float) -> NDArray[np.bool_]:
    """Whether each pair shares enough notes to be one group; bool (pairs,)."""
    lengths = np.array([sorted((len(streams[a]), len(streams[b]))) for a, b in pairs], np.int64)
    found = np.zeros(len(pairs), np.bool_)
    order = np.lexsort(lengths.reshape(-1, 2).T)  # the longer stream's length ascends
    start = 0
    while start < len(order):
        cells = np.arange(1, len(order) - start + 1) * (lengths[order[start:], 1] + 1)
        some = order[start : start + max(1, int(np.searchsorted(cells, _CELLS, side="right")))]
        shorter = lengths[some, 0]
        enough = np.maximum(np.ceil(min_shared * shorter), np.minimum(shorter, MIN_NOTES))
        found[some] = _align([pairs[i] for i in some], streams, enough)
        start += len(some)
    return found


def _align(
    pairs: list[Pair], streams: list[Stream], enough: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether ``shared_notes`` of each pair reaches ``enough``; one row of all pairs at a time."""
    ordered = [sorted((streams[a], streams[b]), key=len) for a, b in pairs]
    short, long = _padded([p[0] for p in ordered], -1), _padded([p[1] for p in ordered], -2)
    found = enough <= 0
    at = np.flatnonzero(~found)
    kind = np.int16 if short.shape[1] + long.shape[1] < np.iinfo(np.int16).max else np.int32
    steps = np.arange(long.shape[1] + 1, dtype=kind)
    row = np.zeros((len(at), len(steps)), kind)
    for pitch in short.T:
        cells = np.zeros_like(row)
        step = row[:, :-1] + np.where(long[at] == pitch[at, None], kind(1), kind(-1))
        np.maximum(step, row[:, 1:] - kind(1), out=cells[:, 1:])
        np.maximum(cells, 0, out=cells)
        row = np.maximum.accumulate(cells + steps, axis=1) - steps
        reached = row.max(axis=1) >= enough[at]
        if reached.any():
            found[at[reached]] = True
            at, row = at[~reached], row[~reached]
    return found


def _padded(streams: list[Stream], filler: int) -> Stream:
    """Rows of one length; what is filled in equals no pitch."""
    table = np.full((len(streams), max(map(len, streams))), filler, np.int16)
    for row, stream in zip(table, streams, strict=True):
        row[: len(stream)] = stream
    return table


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sorting key that puts ``take 2`` before ``take 10``."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]


def _candidates(streams: list[Stream]) -> list[Pair]:
    """Pairs worth aligning, the likeliest first."""
    index: dict[bytes, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for number, stream in enumerate(streams):
        for pattern in _patterns(stream):
            rows.append(number)
            columns.append(index.setdefault(pattern, len(index)))
    shape = (len(streams), max(len(index), 1))
    table = sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)
    counts = np.asarray(table.sum(axis=1)).ravel()
    overlap = sparse.coo_array(sparse.triu(table @ table.T, k=1))
    one, other = overlap.row, overlap.col
    part = overlap.data / np.minimum(counts[one], counts[other])
    kept = part >= MIN_PATTERNS
    order = np.lexsort((other[kept], one[kept], -part[kept]))
    return list(zip(one[kept][order].tolist(), other[kept][order].tolist(), strict=True))


def _patterns(stream: Stream) -> set[bytes]:
    """Every run of four notes; a stream shorter than that is one pattern."""
    if len(stream) == 0:
        return set()
    if len(stream) < PATTERN_NOTES:
        return {stream.tobytes()}
    windows = np.lib.stride_tricks.sliding_window_view(stream, PATTERN_NOTES)
    return {window.tobytes() for window in windows}


class _Components:
    """Disjoint sets (union-find)."""

    def __init__(self, keys: list[str]) -> None:
        self._parent = {key: key for key in keys}

    def copy(self) -> _Components:
        other = _Components([])
        other._parent = self._parent.copy()
        return other

    def find(self, key: str) -> str:
        while self._parent[key] != key:
            self._parent[key] = self._parent[self._parent[key]]
            key = self._parent[key]
        return key

    def join(self, one: str, other: str) -> None:
        self._parent[self.find(other)] = self.find(one)
