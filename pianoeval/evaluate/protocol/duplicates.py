"""Copies and shared music that no column of the manifest tells of: found in the notes themselves.

*Performance.* Two files hold one performance when they have the same notes and every onset agrees
within 10 ms after a constant shift. Velocities and pedals may differ: a file that was saved again
by another programme, cut free of leading silence or scaled in loudness is still the same take.
People do not repeat themselves that closely: in PercePiano, whose players play identical passages
several times, copies agree to the last digit and the nearest other pair is 24 ms apart.

*Music.* Content groups computed again from what was played (``corpora.content_groups``), without
the manifest's own columns.

Clips without MIDI are in neither: ``Notes.unchecked`` names them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pianoeval.corpora.content_groups import CHORD_GAP_S, content_groups, note_stream
from pianoeval.errors import BadInputError, MissingAssetError
from pianoeval.evaluate.protocol.groups import families
from pianoeval.midi.io import Performance, read_midi
from pianoeval.params import MidiLimits

TOLERANCE_S = 0.010
# So few chords say little: then nothing at all may differ, beyond the rounding of MIDI ticks.
MIN_MOMENTS = 8
EXACT_S = 0.001


@dataclass(frozen=True)
class Duplicate:
    """Two clips with the same performance; ``other`` lies ``shift_s`` later than ``one``.

    ``deviation_s`` is the largest difference of an onset after the shift.
    """

    one: str
    other: str
    shift_s: float
    deviation_s: float


@dataclass(frozen=True, eq=False)
class Notes:
    """What the notes tell about every clip of a manifest.

    Attributes
    ----------
    performance, music : Series of object, indexed by clip
        Group of each clip, named after its first member; None where it was not checked.
    duplicates : list of Duplicate
        Every pair of one performance.
    unchecked : dict of str to str
        Clips whose notes are not known, with the reason.
    """

    performance: pd.Series
    music: pd.Series
    duplicates: list[Duplicate]
    unchecked: dict[str, str]


def read_performances(
    manifest: pd.DataFrame, root: Path, limits: MidiLimits
) -> tuple[dict[str, Performance], dict[str, str]]:
    """Notes of every clip that has MIDI, and why the others have none.

    Parameters
    ----------
    root : Path
        Folder that the manifest's paths are relative to.

    Raises
    ------
    MissingAssetError
        A MIDI file of the manifest is not there.
    """
    found: dict[str, Performance] = {}
    unchecked: dict[str, str] = {}
    for clip, midi in manifest[["clip", "midi_path"]].itertuples(index=False):
        if not isinstance(midi, str):
            unchecked[clip] = "no MIDI"
            continue
        path = root / midi
        if not path.is_file():
            raise MissingAssetError(
                f"the MIDI of '{clip}' is missing", where=path,
                next_step="dvc repro degrade   (or: dvc pull)",
            )  # fmt: skip
        try:
            found[clip] = read_midi(path, limits)
        except BadInputError as error:
            unchecked[clip] = error.what
    return found, unchecked


def _by_pitch(performance: Performance) -> NDArray[np.float64]:
    """Onset, offset and velocity, notes ordered by pitch and then onset, shape (3, n).

    In playing order two notes of a chord may change places when a file is saved again.
    """
    order = np.lexsort((performance.onset_s, performance.pitch_midi))
    columns = (performance.onset_s, performance.offset_s, performance.velocity)
    return np.stack([column[order].astype(np.float64) for column in columns])


def _moments(performance: Performance) -> int:
    """Chords of the performance, notes less than 50 ms apart being one."""
    return int((np.diff(performance.onset_s) > CHORD_GAP_S).sum()) + min(performance.n_notes, 1)


def duplicates(performances: Mapping[str, Performance]) -> list[Duplicate]:
    """Every pair of clips that hold one performance, in the order of their names.

    Only clips with the same number of notes of every pitch are compared.
    """
    alike: dict[bytes, list[str]] = defaultdict(list)
    for clip in sorted(performances):
        alike[np.sort(performances[clip].pitch_midi).tobytes()].append(clip)
    found: list[Duplicate] = []
    for clips in alike.values():
        if len(clips) > 1 and performances[clips[0]].n_notes:
            found += _compare(clips, [performances[clip] for clip in clips])
    return sorted(found, key=lambda pair: (pair.one, pair.other))


def _compare(clips: list[str], played: list[Performance]) -> list[Duplicate]:
    """Pairs of one performance among clips of equal pitches."""
    notes = np.stack([_by_pitch(performance) for performance in played])  # (clips, 3, n)
    few = np.array([_moments(performance) < MIN_MOMENTS for performance in played])
    found: list[Duplicate] = []
    for i in range(len(clips) - 1):
        later = notes[i + 1 :] - notes[i]
        shift = np.median(later[:, 0], axis=1)
        deviation = np.abs(later[:, 0] - shift[:, None]).max(axis=1)
        release = np.abs(later[:, 1] - shift[:, None]).max(axis=1)
        exact = (np.maximum(deviation, release) <= EXACT_S) & ~later[:, 2].any(axis=1)
        same = np.where(few[i] | few[i + 1 :], exact, deviation <= TOLERANCE_S)
        for j in np.flatnonzero(same):
            pair = (clips[i], clips[i + 1 + int(j)])
            found.append(Duplicate(*pair, float(shift[j]), float(deviation[j])))
    return found


def performance_groups(clips: list[str], pairs: list[Duplicate]) -> dict[str, str]:
    """Connected clips of ``pairs``; a clip without a copy is a group of its own."""
    row = {clip: number for number, clip in enumerate(sorted(clips))}
    ends = (
        np.array([row[pair.one] for pair in pairs], dtype=np.intp),
        np.array([row[pair.other] for pair in pairs], dtype=np.intp),
    )
    graph = coo_array((np.ones(len(pairs)), ends), shape=(len(row), len(row)))
    component = connected_components(graph, directed=False)[1]
    first: dict[int, str] = {}
    return {clip: first.setdefault(int(component[number]), clip) for clip, number in row.items()}


def music_groups(manifest: pd.DataFrame, performances: Mapping[str, Performance]) -> dict[str, str]:
    """Content groups of the notes as played, by clip.

    A degraded version is put where its take is: wrong notes would split it off, or join it to
    music that nobody played.
    """
    family = families(manifest)
    source: dict[str, str] = {}
    for clip in sorted(performances, key=lambda clip: (clip != family[clip], clip)):
        source.setdefault(str(family[clip]), clip)
    groups = content_groups({clip: note_stream(performances[clip]) for clip in source.values()})
    return {clip: groups[source[str(family[clip])]] for clip in performances}


def read_notes(manifest: pd.DataFrame, root: Path, limits: MidiLimits) -> Notes:
    """Read the MIDI of a manifest's clips and group them by what they play.

    Raises
    ------
    MissingAssetError
        A MIDI file of the manifest is not there.
    """
    return group_notes(manifest, *read_performances(manifest, root, limits))


def group_notes(
    manifest: pd.DataFrame, performances: Mapping[str, Performance], unchecked: dict[str, str]
) -> Notes:
    """Group the clips of a manifest by what they play; ``unchecked`` clips are in no group."""
    pairs = duplicates(performances)
    clips = manifest["clip"].to_numpy(dtype=object)

    def by_clip(groups: Mapping[str, str]) -> pd.Series:
        return pd.Series([groups.get(clip) for clip in clips], index=clips, dtype=object)

    return Notes(
        performance=by_clip(performance_groups(list(performances), pairs)),
        music=by_clip(music_groups(manifest, performances)),
        duplicates=pairs,
        unchecked=unchecked,
    )


def compare_content_groups(manifest: pd.DataFrame, music: pd.Series) -> dict[str, int]:
    """How the manifest's content groups and those found in the notes agree.

    ``merged``: groups of the notes that lie in several content groups (a leak, unless the scheme
    declares it); ``split``: content groups that the notes alone would divide (harmless).
    """
    table = pd.DataFrame(
        {"column": manifest.set_index("clip")["content_group"], "notes": music}
    ).dropna()
    return {
        "content_groups": int(table["column"].nunique()),
        "in_the_notes": int(table["notes"].nunique()),
        "merged": int((table.groupby("notes")["column"].nunique() > 1).sum()),
        "split": int((table.groupby("column")["notes"].nunique() > 1).sum()),
    }
