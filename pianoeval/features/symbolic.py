"""The symbolic table: features of every clip with MIDI, and relative ones where a score exists."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from pianoeval.builder import n_workers
from pianoeval.errors import BadInputError
from pianoeval.midi.feature import Feature
from pianoeval.midi.features import FEATURES, performance_features
from pianoeval.midi.io import read_midi
from pianoeval.midi.relative import RELATIVE_FEATURES, relative_features
from pianoeval.params import MidiLimits, RunParams
from pianoeval.progress import track
from pianoeval.quarantine import check_quarantine

log = logging.getLogger(__name__)

RELATIVE_PREFIX = "rel_"
_WORTH_A_POOL = 400  # clips; below that, starting processes costs more than it saves

SYMBOLIC_FEATURES: dict[str, Feature] = FEATURES | {
    RELATIVE_PREFIX + name: feature for name, feature in RELATIVE_FEATURES.items()
}


@dataclass(frozen=True)
class _Job:
    clip: str
    midi: Path
    score: Path | None


def clip_features(
    midi: Path, score: Path | None = None, limits: MidiLimits | None = None
) -> dict[str, float]:
    """Features of one MIDI file, the relative ones (``rel_...``) only with its score.

    Raises
    ------
    BadInputError
        One of the files cannot be read.
    """
    performance = read_midi(midi, limits)
    values = performance_features(performance)
    if score is not None:
        relative = relative_features(performance, read_midi(score, limits))
        values |= {RELATIVE_PREFIX + name: value for name, value in relative.items()}
    return values


def symbolic_table(
    manifest: pd.DataFrame, root: Path, limits: MidiLimits, run: RunParams
) -> pd.DataFrame:
    """One row a clip that has a ``midi_path``, in manifest order; the same whatever ``run``.

    Columns: ``clip``, then ``SYMBOLIC_FEATURES`` as float64. Without any ``score_path`` there
    are no ``rel_`` columns; where only some clips have one, the others hold NaN there.
    ``table.attrs["quarantined"]`` maps unreadable clips, which have no row, to their reasons.

    Parameters
    ----------
    manifest : DataFrame
        Columns ``clip, midi_path, score_path`` are read.
    root : Path
        What the paths are relative to.

    Raises
    ------
    BadInputError
        More clips are unreadable than ``run.max_failed_fraction`` allows.
    """
    jobs = list(_jobs(manifest, root))
    rows: dict[str, dict[str, float]] = {}
    quarantined: dict[str, str] = {}
    for job, (values, reason) in zip(jobs, _results(jobs, limits, run), strict=True):
        if values is None:
            quarantined[job.clip] = reason
        else:
            rows[job.clip] = values
    check_quarantine(quarantined, len(jobs), run.max_failed_fraction, step="symbolic")
    names = list(SYMBOLIC_FEATURES) if any(job.score for job in jobs) else list(FEATURES)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=names, dtype="float64")
    table = table.rename_axis("clip").reset_index()
    table["clip"] = table["clip"].astype(str)
    table.attrs["quarantined"] = quarantined
    log.info("symbolic: %d clips, %d features", len(table), len(names))
    return table


def _jobs(manifest: pd.DataFrame, root: Path) -> Iterator[_Job]:
    columns = zip(manifest["clip"], manifest["midi_path"], manifest["score_path"], strict=True)
    for clip, midi, score in columns:
        if pd.notna(midi):
            yield _Job(str(clip), root / midi, root / score if pd.notna(score) else None)


def _attempt(job: _Job, limits: MidiLimits) -> tuple[dict[str, float] | None, str]:
    """Values of a clip, or None and the reason why it has none."""
    try:
        return clip_features(job.midi, job.score, limits), ""
    except BadInputError as error:
        return None, str(error)


def _results(
    jobs: list[_Job], limits: MidiLimits, run: RunParams
) -> Iterator[tuple[dict[str, float] | None, str]]:
    attempt = partial(_attempt, limits=limits)
    workers = n_workers(run)
    if workers == 1 or len(jobs) < _WORTH_A_POOL:
        yield from track(map(attempt, jobs), "symbolic", len(jobs))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from track(pool.map(attempt, jobs, chunksize=16), "symbolic", len(jobs))
