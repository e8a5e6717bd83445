"""The clips of a target as the tables of this package need them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pianoeval.corpora.asap_files import PLACES
from pianoeval.corpora.content_groups import content_groups, note_stream
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.errors import BadInputError
from pianoeval.midi.io import read_midi
from pianoeval.models.base import Float64
from pianoeval.params import MidiLimits
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table

_log = logging.getLogger(__name__)
OVERALL = "overall"
DIFFICULTY = "difficulty"


@dataclass(frozen=True, eq=False)
class Target:
    """Clips of a target.

    Attributes
    ----------
    clips : DataFrame
        Indexed by clip: columns of the manifest, ``note_density`` (notes a second; NaN without
        MIDI), ``tempo`` (beats a minute as annotated; NaN where nobody did) and ``level``.
    known : list of str
        Segments whose notes the source has.
    """

    clips: pd.DataFrame
    known: list[str]

    def human(self, clips: Sequence[str], leave_out: Sequence[str]) -> pd.DataFrame:
        """Rows of ``clips`` that people played, without what the source has."""
        table = self.clips.loc[list(clips)]
        played = ~table["is_score_render"] & (table["tier"] == 0)
        return table[
            played & ~table["movement"].isin(leave_out) & ~table["segment"].isin(self.known)
        ]


def read_target(target: CorpusPaths, source: CorpusPaths, limits: MidiLimits) -> Target:
    """Read the manifest, labels and places of a target, and what of it the source has.

    Raises
    ------
    BadInputError
        More than one level of difficulty for a piece.
    """
    table = read_manifest(target.manifest)
    lengths = table["end_s"] - table["start_s"]
    density = [
        read_midi(target.root / path, limits).n_notes / length if isinstance(path, str) else np.nan
        for path, length in zip(table["midi_path"], lengths, strict=True)
    ]
    table = table.assign(note_density=density).set_index("clip", drop=False)
    table["tempo"] = _tempo(target).reindex(table.index)
    table["level"] = _levels(target).reindex(table.index)
    if (table.groupby("movement")["level"].nunique() > 1).any():
        raise BadInputError(
            "a piece has two levels of difficulty", where=target.corpus, next_step="mend the labels"
        )
    return Target(table, known_segments(target, source, limits))


def _tempo(target: CorpusPaths) -> pd.Series[float]:
    path = target.source / PLACES
    if not path.is_file():
        return pd.Series(dtype=float)
    places = read_table(path).set_index("clip")
    return 60.0 * places["beats"] / places["seconds"]


def _levels(target: CorpusPaths) -> pd.Series[float]:
    labels = read_labels(target.labels)
    return labels[labels["task"] == DIFFICULTY].groupby("clip")["value"].mean()


def known_segments(target: CorpusPaths, source: CorpusPaths, limits: MidiLimits) -> list[str]:
    """Segments of the target that share a content group with a segment of the source.

    One recording stands for a segment: its score, or the first performance.
    """
    streams, ours = {}, {}
    for whose, paths in (("source", source), ("target", target)):
        table = read_manifest(paths.manifest)
        for segment, rows in table.groupby("segment"):
            files = [f for f in (*rows["score_path"], *rows["midi_path"]) if isinstance(f, str)]
            if files:
                key = f"{whose}|{segment}"
                streams[key] = note_stream(read_midi(paths.root / files[0], limits))
                ours[key] = (whose, str(segment))
    groups = content_groups(streams)
    heard = {groups[key] for key, (whose, _) in ours.items() if whose == "source"}
    found = sorted(
        s for key, (whose, s) in ours.items() if whose == "target" and groups[key] in heard
    )
    if found:
        _log.warning(
            "%d segments of the target have notes of the source: %s", len(found), found[:5]
        )
    return found


def with_mean(dimensions: Sequence[str]) -> list[str]:
    """Dimensions, then what their mean is called: ``overall``, unless one of them is."""
    return [*dimensions, "mean_of_all" if OVERALL in dimensions else OVERALL]


def with_overall(values: Float64) -> Float64:
    """Dimensions, then their mean: float64 (clips, dimensions + 1)."""
    return np.column_stack([values, values.mean(axis=1)])


def usable(target: Target, clips: Sequence[str], leave_out: Sequence[str]) -> pd.DataFrame:
    """:meth:`Target.human` with ``row``, the place of each clip among ``clips``."""
    human = target.human(clips, leave_out)
    row_of = {clip: row for row, clip in enumerate(clips)}
    return human.assign(row=[row_of[clip] for clip in human.index])
