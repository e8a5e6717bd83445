"""Notes of every clip with MIDI, beside its score where there is one; ``note_store`` reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from pianoeval.builder import n_workers
from pianoeval.errors import BadInputError
from pianoeval.features.note_store import BLOCKS, NOTES, NoteTables
from pianoeval.midi.io import read_midi
from pianoeval.midi.metre import read_metre
from pianoeval.midi.notewise import NOTE_FEATURES, note_table
from pianoeval.params import MidiLimits, RunParams
from pianoeval.progress import track
from pianoeval.quarantine import check_quarantine

log = logging.getLogger(__name__)

_WORTH_A_POOL = 400  # clips; below that, starting processes costs more than it saves


@dataclass(frozen=True)
class _Job:
    clip: str
    midi: Path
    score: Path | None


def clip_notes(
    midi: Path, score: Path | None = None, limits: MidiLimits | None = None
) -> tuple[pd.DataFrame, str]:
    """Notes of one MIDI file, a row each, and how its beats are known (``NoteTable.metre``).

    Raises
    ------
    BadInputError
        One of the files cannot be read.
    """
    performance = read_midi(midi, limits)
    if score is None:
        notes = note_table(performance)
    else:
        notes = note_table(performance, read_midi(score, limits), read_metre(score))
    table = pd.DataFrame({name: v.astype(np.float32) for name, v in notes.columns.items()})
    table["onset_s"] = notes.onset_s
    table["beat"], table["measure"] = notes.beat.astype(np.int32), notes.measure.astype(np.int32)
    return table, notes.metre


def notes_tables(
    manifest: pd.DataFrame, root: Path, limits: MidiLimits, run: RunParams
) -> NoteTables:
    """Notes of every clip that has a ``midi_path``, in manifest order; the same whatever ``run``.

    Parameters
    ----------
    manifest : DataFrame
        Columns ``clip, midi_path, score_path`` are read.
    root : Path
        What the paths are relative to.

    Returns
    -------
    notes : DataFrame
        ``NOTE_FEATURES`` (float32; NaN = not there), ``onset_s``, ``beat, measure`` (int32).
        ``attrs["blocks"]`` has the names of the columns by block.
    clips : DataFrame
        ``clip, start, length, metre``. ``attrs["quarantined"]`` has clips that cannot be read,
        and why.

    Raises
    ------
    BadInputError
        More clips are unreadable than ``run.max_failed_fraction`` allows.
    """
    jobs = list(_jobs(manifest, root))
    tables: list[pd.DataFrame] = []
    rows: list[tuple[str, int, int, str]] = []
    quarantined: dict[str, str] = {}
    start = 0
    for job, (table, told) in zip(jobs, _results(jobs, limits, run), strict=True):
        if table is None:
            quarantined[job.clip] = told
        else:
            rows.append((job.clip, start, len(table), told))
            tables.append(table)
            start += len(table)
    check_quarantine(quarantined, len(jobs), run.max_failed_fraction, step=NOTES)
    clips = pd.DataFrame(rows, columns=["clip", "start", "length", "metre"])
    clips = clips.astype({"clip": str, "start": np.int64, "length": np.int64, "metre": str})
    clips.attrs["quarantined"] = quarantined
    notes = pd.concat(tables, ignore_index=True) if tables else _no_notes()
    notes.attrs[BLOCKS] = {block: list(names) for block, names in NOTE_FEATURES.items()}
    known = clips["metre"].value_counts().to_dict()
    log.info("notes: %d of %d clips; beats: %s", len(notes), len(clips), known)
    return notes, clips


def _no_notes() -> pd.DataFrame:
    names = [name for block in NOTE_FEATURES.values() for name in block]
    kinds = {**dict.fromkeys(names, "f4"), "onset_s": "f8", "beat": "i4", "measure": "i4"}
    return pd.DataFrame({name: np.zeros(0, kind) for name, kind in kinds.items()})


def _jobs(manifest: pd.DataFrame, root: Path) -> Iterator[_Job]:
    columns = zip(manifest["clip"], manifest["midi_path"], manifest["score_path"], strict=True)
    for clip, midi, score in columns:
        if pd.notna(midi):
            yield _Job(str(clip), root / midi, root / score if pd.notna(score) else None)


def _attempt(job: _Job, limits: MidiLimits) -> tuple[pd.DataFrame | None, str]:
    """Notes of a clip and its metre, or None and the reason why it has none."""
    try:
        return clip_notes(job.midi, job.score, limits)
    except BadInputError as error:
        return None, str(error)


def _results(
    jobs: list[_Job], limits: MidiLimits, run: RunParams
) -> Iterator[tuple[pd.DataFrame | None, str]]:
    attempt = partial(_attempt, limits=limits)
    workers = n_workers(run)
    if workers == 1 or len(jobs) < _WORTH_A_POOL:
        yield from track(map(attempt, jobs), NOTES, len(jobs))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from track(pool.map(attempt, jobs, chunksize=16), NOTES, len(jobs))
