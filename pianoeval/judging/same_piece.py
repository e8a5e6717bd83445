"""Whether files play the same piece: told by the notes of MIDI, not told by audio.

Two takes are of one piece if a run of notes recurs as in ``corpora.content_groups``, or if they
strike the same keys about as often at about the same time: of the counts of each pitch at five
places of the take, soft in between and placed by note number, at least half are shared. The second
outlives many wrong, missing and displaced notes, the first a take of a part alone. Of 2,400 pairs
of takes of one segment (studio, down to its worst tier, and PercePiano) the least shares .52; of
3,000 pairs of different movements about one in thirty shares half or more, and passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pianoeval.corpora.content_groups import MIN_SHARED, Stream, note_stream, shared_fraction
from pianoeval.errors import BadInputError
from pianoeval.judging.files import Recording
from pianoeval.midi.io import read_midi
from pianoeval.models.base import Float64
from pianoeval.params import MidiLimits
from pianoeval.provenance import sha256_file

_PLACES, _PITCHES = 5, 128

# One take may be much slower than another, or end a repeat earlier.
_LONGER = 1.8


@dataclass(frozen=True)
class Sameness:
    """What is known of takes being of one piece.

    Attributes
    ----------
    compared : int
        Files whose notes were compared.
    texts : list of str
        What could not be told, or looks odd.
    """

    compared: int
    texts: list[str] = field(default_factory=list)


def check_same_piece(
    recordings: Sequence[Recording], limits: MidiLimits, score_midi: Path | None = None
) -> Sameness:
    """Compare the notes of all MIDI files, and of the score, as corpora compare them.

    Raises
    ------
    BadInputError
        Some file's notes are not those of the others.
    """
    midi = [one for one in recordings if one.kind == "midi"]
    streams = {one.name: note_stream(read_midi(one.path, limits)) for one in midi}
    if score_midi is not None:
        streams[f"{score_midi} (the score)"] = note_stream(read_midi(score_midi, limits))
    parts = pieces(streams)
    if len(parts) > 1:
        told = "\n".join(f"  {', '.join(part)}" for part in parts)
        raise BadInputError(
            f"these files do not play the same piece; by their notes they are\n{told}",
            allowed=f"takes that share {100 * MIN_SHARED:g} % of their notes",
            next_step="rank the takes of one piece at a time",
        )  # fmt: skip
    texts = [*_audio(recordings, len(midi)), *_lengths(recordings), *_copies(recordings)]
    return Sameness(len(midi), texts)


def pieces(streams: Mapping[str, Stream]) -> list[list[str]]:
    """Names of the streams that are linked to one another, in their order."""
    counts = {name: _counts(stream) for name, stream in streams.items()}
    found: list[list[str]] = []
    for name, stream in streams.items():
        alike = [
            part
            for part in found
            if any(
                _overlap(counts[name], counts[other]) >= MIN_SHARED
                or shared_fraction(stream, streams[other]) >= MIN_SHARED
                for other in part
            )
        ]
        joined = [*(other for part in alike for other in part), name]
        found = [*(part for part in found if part not in alike), joined]
    return found


def _counts(stream: Stream) -> Float64:
    """How often each pitch is struck at each place, shape (pitches, places)."""
    at = (np.arange(len(stream)) + 0.5) / max(len(stream), 1) * (_PLACES - 1)
    place = np.floor(at).astype(np.int64)
    counts = np.zeros((_PITCHES, _PLACES))
    np.add.at(counts, (stream, place), 1 - (at - place))
    np.add.at(counts, (stream, np.minimum(place + 1, _PLACES - 1)), at - place)
    return counts


def _overlap(one: Float64, other: Float64) -> float:
    """Part of the counts of the shorter take that are shared, in [0, 1]."""
    return float(np.minimum(one, other).sum() / max(min(one.sum(), other.sum()), 1e-9))


def _audio(recordings: Sequence[Recording], n_midi: int) -> list[str]:
    if n_midi == len(recordings):
        return []
    texts = [
        "nobody has checked that the recordings play the same piece: that cannot be told from"
        " audio; ranks of different pieces mean nothing"
    ]
    if n_midi:
        texts.append(
            "some takes are recordings and some are MIDI that is synthesised: the difference of"
            " their pianos and rooms is taken for playing"
        )
    return texts


def _copies(recordings: Sequence[Recording]) -> list[str]:
    sizes: dict[int, list[Recording]] = {}
    for one in recordings:
        sizes.setdefault(one.path.stat().st_size, []).append(one)
    same: dict[str, list[str]] = {}
    for alike in sizes.values():
        for one in alike if len(alike) > 1 else []:
            same.setdefault(sha256_file(one.path), []).append(one.name)
    return [
        f"{', '.join(names)}: the same file byte for byte, so no comparison of playing"
        for names in same.values()
        if len(names) > 1
    ]


def _lengths(recordings: Sequence[Recording]) -> list[str]:
    ordered = sorted(recordings, key=lambda one: one.duration_s)
    shortest, longest = ordered[0], ordered[-1]
    if longest.duration_s <= _LONGER * shortest.duration_s:
        return []
    return [
        f"{longest.name} lasts {longest.duration_s:.1f} s and {shortest.name}"
        f" {shortest.duration_s:.1f} s: is it the same music from start to end?"
    ]
