"""Pitch as the MIDI has it, frame by frame beside pYIN: what the contour should have been.

Of a wind instrument it is the bent pitch of the note that is held. Of a piano it is the skyline,
the highest key that is down (Uitdenbogerd & Zobel 1999, ACM Multimedia); neither pedal nor
reverberation is counted. A recording has none, for nothing says that MIDI beside it keeps its time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.audio.pitch import CONTOUR_NAMES
from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import ItemCache, item_key
from pianoeval.midi.io import Performance, read_midi
from pianoeval.midi.winds import pitch_curve, read_winds
from pianoeval.params import MidiLimits, Params
from pianoeval.provenance import sha256_file
from pianoeval.store import RaggedStore

F8 = NDArray[np.float64]

_log = logging.getLogger(__name__)

STEP = "skyline"
CODE_VERSION = 1


@dataclass(frozen=True)
class SkylineJob:
    """What a worker needs for one clip; sample 0 of its audio is ``lead_s`` before the first note.

    ``level`` is that of the audio, as the store of contours has it.
    """

    path: Path
    is_bent: bool
    lead_s: float
    n_frames: int
    frame_rate_hz: float
    level: tuple[float, ...]
    limits: MidiLimits


def highest_key(performance: Performance, time_s: F8) -> F8:
    """The highest key that is down at each of the sorted times: float64; NaN where there is none.

    A key is down from its onset until before its offset.
    """
    first = np.searchsorted(time_s, performance.onset_s, side="left")
    end = np.searchsorted(time_s, performance.offset_s, side="left")
    line = np.full(len(time_s), np.nan)
    for note in np.argsort(performance.pitch_midi, kind="stable"):
        line[first[note] : end[note]] = performance.pitch_midi[note]
    return line


def skyline_item(job: SkylineJob) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """One clip of the store: ``frames`` float32 (frames, 1, 3), as those of contours."""
    time_s = np.arange(job.n_frames) / job.frame_rate_hz - job.lead_s
    if job.is_bent:
        line = read_winds(job.path, job.limits)
        pitch = pitch_curve(line, time_s + float(line.onset_s[0]))
    else:
        keys = read_midi(job.path, job.limits)
        pitch = highest_key(keys, time_s + float(keys.onset_s[0]))
    voiced = np.isfinite(pitch)
    columns = (np.where(voiced, pitch / 127.0, 0.0), voiced, voiced)
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.stack(columns, axis=1).astype(np.float32)[:, None, :],
        "level": np.asarray(job.level, np.float32),
    }
    return arrays, {"frame_rate_hz": job.frame_rate_hz, "columns": list(CONTOUR_NAMES)}


def skyline_jobs(
    manifest: pd.DataFrame, root: Path, audio: RaggedStore, contours: RaggedStore, params: Params
) -> list[ItemJob]:
    """One job a clip of the store of contours that was played from MIDI."""
    known = set(contours.clips)
    rate_hz = float(contours.attrs["frame_rate_hz"])
    lead_s = float(audio.attrs["render"]["lead_s"])
    is_bent = audio.attrs["instrument"].get("engine") == "winds"
    jobs = []
    for row in manifest.to_dict("records"):
        clip = str(row["clip"])
        if clip not in known or isinstance(row["audio_path"], str):
            continue
        path, n_frames = root / str(row["midi_path"]), contours.length(clip)
        level = tuple(map(float, contours.level[contours.row(clip)]))
        job = SkylineJob(path, is_bent, lead_s, n_frames, rate_hz, level, params.midi)
        inputs = {"midi": sha256_file(path), "audio": audio.digest(clip)}
        config = {"frame_rate_hz": rate_hz, "lead_s": lead_s, "bent": is_bent, "frames": n_frames}
        key = item_key(STEP, CODE_VERSION, inputs, config)
        jobs.append(ItemJob(clip, key, job, n_frames / rate_hz))
    return jobs


def skyline_corpus(
    manifest: pd.DataFrame,
    root: Path,
    audio: RaggedStore,
    contours: RaggedStore,
    params: Params,
    cache: ItemCache,
    out: Path,
) -> BuildReport | None:
    """The known pitch of every clip that was played from MIDI, into the store ``out``.

    ``root`` is the folder that the manifest's paths are relative to. None, and no store, where
    there is no such clip. Raises what :func:`~pianoeval.builder.build_store` raises.
    """
    jobs = skyline_jobs(manifest, root, audio, contours, params)
    _log.info(
        "%d of %d clips were played from MIDI: their pitch is known", len(jobs), len(contours)
    )
    if not jobs:
        return None
    attrs = {
        "step": STEP,
        "code_version": CODE_VERSION,
        "columns": list(CONTOUR_NAMES),
        "frame_rate_hz": contours.attrs["frame_rate_hz"],
        "audio": audio.attrs.get("instrument_name"),
        "lead_s": audio.attrs["render"]["lead_s"],
    }
    return build_store(
        STEP,
        jobs,
        skyline_item,
        cache=cache,
        out=out,
        attrs=attrs,
        run=params.run,
        already_quarantined=contours.quarantined,
    )
