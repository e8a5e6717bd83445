"""Pitch contours: probabilistic YIN (Mauch & Dixon 2014, ICASSP) of every clip's audio.

pYIN assumes one voice. On piano polyphony it follows the most periodic one, often the bass or a
pedalled pitch: read the contour together with the voiced probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.audio.level import level_features
from pianoeval.audio.pyin import Grid, pyin
from pianoeval.audio.wave import resample, to_float32
from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import ItemCache, item_key
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.params import ContourParams, Params
from pianoeval.store import RaggedStore

F4 = NDArray[np.float32]

STEP = "contour"
CODE_VERSION = 2
CONTOUR_NAMES: Sequence[str] = ("pitch", "voiced", "voiced_probability")
_LIBRARIES = ("numba", "numpy", "scipy")  # that compute it
_A4_HZ, _A4_MIDI = 440.0, 69.0


@dataclass(frozen=True)
class ContourJob:
    """What a worker needs for one clip."""

    store: Path
    clip: str
    contours: ContourParams


def pitch_contour(samples: F4, sample_rate_hz: int, params: ContourParams) -> F4:
    """pYIN of mono audio: float32, shape (frames, 3), at ``sample_rate_hz / hop`` of ``params``.

    Columns: MIDI pitch / 127 (0 where unvoiced, which the second column tells from a pitch);
    voiced 0 or 1; probability of being voiced. Frame i is centred on sample ``i · hop_frames``.

    Raises
    ------
    ConfigError
        ``fmin_hz`` has less than two periods in a window, ``fmax_hz`` is above Nyquist or not
        above ``fmin_hz``, or the grid between them is too fine.
    BadInputError
        Empty or non-finite audio.
    """
    rate_hz = params.sample_rate_hz
    lowest_hz = 2 * rate_hz / params.frame_length_frames
    if not lowest_hz <= params.fmin_hz < params.fmax_hz <= rate_hz / 2:
        raise ConfigError(
            f"contours: {params.fmin_hz:g}..{params.fmax_hz:g} Hz does not fit",
            allowed=f"fmin_hz < fmax_hz in {lowest_hz:g}..{rate_hz / 2:g} Hz",
            next_step="edit contours: in params.yaml",
        )
    if samples.ndim != 1 or len(samples) == 0 or not np.isfinite(samples).all():
        raise BadInputError("pitch of an empty or non-finite signal", allowed="finite mono samples")
    grid = Grid(
        rate_hz, params.fmin_hz, params.fmax_hz, params.frame_length_frames, params.hop_frames,
        params.resolution_semitones,
    )  # fmt: skip
    frequency_hz, voiced, probability = pyin(resample(samples, sample_rate_hz, rate_hz), grid)
    pitch = _A4_MIDI + 12 * np.log2(frequency_hz / _A4_HZ)
    columns = (np.where(voiced, pitch / 127.0, 0.0), voiced, probability)
    return np.stack(columns, axis=1).astype(np.float32)


def contour_item(job: ContourJob) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """One clip of the contour store: ``frames`` float32 (frames, 1, 3), ``level`` float32 (3,)."""
    store = _open(str(job.store))
    rate_hz = int(store.attrs["sample_rate_hz"])
    samples = to_float32(store.frames(job.clip)[:, 0, 0])
    contour = pitch_contour(samples, rate_hz, job.contours)
    arrays: dict[str, NDArray[Any]] = {
        "frames": contour[:, None, :],
        "level": level_features(samples, rate_hz),
    }
    frame_rate_hz = job.contours.sample_rate_hz / job.contours.hop_frames
    return arrays, {"frame_rate_hz": frame_rate_hz, "columns": list(CONTOUR_NAMES)}


@lru_cache(maxsize=2)
def _open(path: str) -> RaggedStore:
    return RaggedStore(Path(path))


def contour_identity(params: ContourParams) -> dict[str, Any]:
    """What changes a contour besides its audio; which instrument played is in the audio."""
    config = params.model_dump(mode="json", exclude={"instrument"})
    return {"contours": config, **{name: version(name) for name in _LIBRARIES}}


def contour_jobs(audio: RaggedStore, params: Params) -> list[ItemJob]:
    """One job a clip of an audio store."""
    config = contour_identity(params.contours)
    rate_hz = int(audio.attrs["sample_rate_hz"])
    jobs = []
    for clip in audio.clips:
        inputs = {"audio": audio.digest(clip), "sample_rate_hz": str(rate_hz)}
        job = ContourJob(audio.path, clip, params.contours)
        key = item_key(STEP, CODE_VERSION, inputs, config)
        jobs.append(ItemJob(clip, key, job, audio.length(clip) / rate_hz))
    return jobs


def contour_corpus(audio: RaggedStore, params: Params, cache: ItemCache, out: Path) -> BuildReport:
    """pYIN of every clip of an audio store, into the store ``out``.

    Clips quarantined there stay quarantined here. Raises what
    :func:`~pianoeval.builder.build_store` raises.
    """
    attrs = {
        "step": STEP,
        "code_version": CODE_VERSION,
        "columns": list(CONTOUR_NAMES),
        "frame_rate_hz": params.contours.sample_rate_hz / params.contours.hop_frames,
        "audio": audio.attrs.get("instrument_name"),
        **contour_identity(params.contours),
    }
    return build_store(
        STEP,
        contour_jobs(audio, params),
        contour_item,
        cache=cache,
        out=out,
        attrs=attrs,
        run=params.run,
        already_quarantined=audio.quarantined,
    )
