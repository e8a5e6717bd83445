"""MIDI performances and recordings to the audio store.

One gain an instrument and no normalisation: dynamics and loudness are rated, so they must survive.
Clipping and silence are errors, never mended in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.audio import pianoteq
from pianoeval.audio.instruments import (
    check_instrument,
    instrument_params,
    render_identity,
    sample_bank,
    wind_bank,
)
from pianoeval.audio.level import LevelMeter, level_features
from pianoeval.audio.pedal import Damping, damping
from pianoeval.audio.sources import BANK_RATE_HZ
from pianoeval.audio.synth import HIGHEST_KEY, LOWEST_KEY, mix
from pianoeval.audio.wave import (
    FULL_SCALE,
    check_peak,
    decoder_identity,
    open_audio,
    resample,
    to_int16,
)
from pianoeval.audio.winds import play_winds
from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import Array, Blocks, ItemCache, item_key
from pianoeval.errors import BadInputError
from pianoeval.midi.io import Performance, read_midi
from pianoeval.midi.windline import check_winds, plain_notes
from pianoeval.midi.winds import WindPerformance, read_winds
from pianoeval.params import InstrumentParams, MidiLimits, Params, RenderParams
from pianoeval.provenance import sha256_file

F4 = NDArray[np.float32]
Played = Performance | WindPerformance

STEP = "audio"
CODE_VERSION = 1
FADE_OUT_S = 0.03
_WHOLE_SAMPLES = 1 << 23  # of a recording; three minutes take 0.3 GB, longer ones stream
_NEXT = "mend the MIDI file, or remove the clip"
_NEXT_ENGINE = "read files with read_winds for engine winds, and with read_midi for all others"


@dataclass(frozen=True)
class RenderJob:
    """What a worker needs for one clip: a MIDI file to play, or a recording to decode."""

    path: Path
    is_recording: bool
    start_s: float
    end_s: float
    instrument: InstrumentParams
    render: RenderParams
    limits: MidiLimits


def audio_start_s(performance: Played, render: RenderParams) -> float:
    """MIDI time of sample 0: ``lead_s`` before the first onset (negative if that is early)."""
    return float(performance.onset_s[0]) - render.lead_s


def audio_end_s(performance: Performance, damped: Damping, render: RenderParams) -> float:
    """MIDI time at which the audio ends.

    When the dampers have taken the last note down by ``tail_decay_db``, and at most
    ``max_tail_s`` after the last key release.
    """
    longest = performance.end_s + render.max_tail_s
    return min(longest, float(damped.ends_s(render.tail_decay_db).max()))


def validate_performance(performance: Performance, limits: MidiLimits) -> None:
    """Refuse what cannot be played on a piano or would take hours; raises BadInputError."""
    p = performance
    if p.n_notes == 0:
        raise BadInputError("no notes", next_step=_NEXT)
    if not (np.isfinite(p.onset_s).all() and np.isfinite(p.offset_s).all()):
        raise BadInputError("note times that are not finite numbers", next_step=_NEXT)
    if p.n_notes > limits.max_notes:
        raise BadInputError(
            f"{p.n_notes} notes", allowed=f"{limits.max_notes} (midi.max_notes)", next_step=_NEXT
        )
    duration_s = p.end_s - float(p.onset_s[0])
    if duration_s > limits.max_duration_s:
        allowed = f"{limits.max_duration_s:g} s (midi.max_duration_s)"
        raise BadInputError(f"{duration_s:.0f} s long", allowed=allowed, next_step=_NEXT)
    if (p.offset_s < p.onset_s).any() or (np.diff(p.onset_s) < 0).any():
        raise BadInputError("notes that end before they begin, or out of order", next_step=_NEXT)
    _check_range("key", p.pitch_midi, LOWEST_KEY, HIGHEST_KEY)
    _check_range("velocity", p.velocity, 1, 127)
    _check_range("pedal value", p.pedal_value, 0, 127)


def _check_range(what: str, values: NDArray[np.int16], low: int, high: int) -> None:
    outside = values[(values < low) | (values > high)]
    if len(outside):
        raise BadInputError(f"{what} {outside[0]}", allowed=f"{low} to {high}", next_step=_NEXT)


def render_performance(
    performance: Played,
    instrument: InstrumentParams,
    render: RenderParams,
    limits: MidiLimits | None = None,
) -> F4:
    """Play a performance: float32 mono at ``render.sample_rate_hz``; sample 0 is ``audio_start_s``.

    The engine winds plays what :func:`~pianoeval.midi.winds.read_winds` has read.

    Raises
    ------
    BadInputError
        An unplayable performance, or one that clips or is silent at the instrument's gain.
    MissingAssetError
        The sound font has not been fetched, or lacks the preset; or Pianoteq is not here.
    """
    if isinstance(performance, WindPerformance) != (instrument.engine == "winds"):
        raise BadInputError(
            "a line of a wind instrument on a piano, or the reverse", next_step=_NEXT_ENGINE
        )
    if isinstance(performance, WindPerformance):
        return _finished(_blown(performance, instrument, render, limits or MidiLimits()), render)
    validate_performance(performance, limits or MidiLimits())
    damped = damping(performance, render.half_pedal_low, render.half_pedal_high)
    start_s = audio_start_s(performance, render)
    end_s = audio_end_s(performance, damped, render)
    if instrument.engine == "pianoteq":  # the same seconds of music as on every other instrument
        audio = pianoteq.play(performance, instrument.preset, render.lead_s, end_s)
        audio *= np.float32(10 ** (instrument.gain_db / 20))
    else:
        n_frames = max(int(np.ceil((end_s - start_s) * BANK_RATE_HZ)), 1)
        audio = mix(performance, damped, sample_bank(instrument), start_s, n_frames)
    return _finished(audio, render)


def _blown(
    performance: WindPerformance, instrument: InstrumentParams, render: RenderParams,
    limits: MidiLimits,
) -> F4:  # fmt: skip
    """A line of a wind instrument, at 44,100 Hz."""
    check_winds(performance)
    validate_performance(plain_notes(performance), limits)
    bank = wind_bank(instrument)
    start_s = audio_start_s(performance, render)
    return play_winds(performance, bank, start_s, instrument.breath_db, instrument.gain_db)


def _finished(audio: F4, render: RenderParams) -> F4:
    """At the wanted rate, faded out; raises BadInputError for what clips or is silent."""
    audio = resample(audio, BANK_RATE_HZ, render.sample_rate_hz)
    fade = min(round(FADE_OUT_S * render.sample_rate_hz), len(audio))
    audio[len(audio) - fade :] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    check_peak(audio)
    if np.abs(audio).max() < 0.5 / FULL_SCALE:
        raise BadInputError("silent at 16 bit", next_step="raise gain_db, or remove the clip")
    return audio


def render_item(job: RenderJob) -> tuple[dict[str, Array | Blocks], dict[str, Any]]:
    """One clip of the audio store.

    Returns
    -------
    arrays : ``frames`` int16 (samples, 1, 1); ``level`` float32 (3,)
    meta : ``sample_rate_hz``; ``start_s``, the time of sample 0 in the file
    """
    rate_hz = job.render.sample_rate_hz
    if job.is_recording:
        return _recording(job), {"sample_rate_hz": rate_hz, "start_s": job.start_s}
    read = read_winds if job.instrument.engine == "winds" else read_midi
    performance = read(job.path, job.limits)
    audio = render_performance(performance, job.instrument, job.render, job.limits)
    start_s = audio_start_s(performance, job.render)
    return _arrays(audio, rate_hz), {"sample_rate_hz": rate_hz, "start_s": start_s}


def _arrays(audio: F4, rate_hz: int) -> dict[str, Array | Blocks]:
    return {"frames": to_int16(audio)[:, None, None], "level": level_features(audio, rate_hz)}


def _recording(job: RenderJob) -> dict[str, Array | Blocks]:
    """A decoded recording; a long one is decoded while its frames are consumed."""
    rate_hz = job.render.sample_rate_hz
    source = open_audio(
        job.path, rate_hz, start_s=job.start_s, end_s=job.end_s,
        max_duration_s=job.limits.max_recording_s,
    )  # fmt: skip
    gain = np.float32(10 ** (job.render.recording_gain_db / 20))
    parts = (part * gain for part in source.parts)
    if source.n_samples <= _WHOLE_SAMPLES:
        return _arrays(np.concatenate(list(parts)), rate_hz)
    meter = LevelMeter(rate_hz, source.n_samples)

    def frames() -> Iterator[Array]:
        for part in parts:
            meter.add(part)
            yield to_int16(part)[:, None, None]

    def level() -> Iterator[Array]:
        yield meter.features()  # after the frames: items are written in the order of their arrays

    shape = (source.n_samples, 1, 1)
    return {
        "frames": Blocks(shape, np.int16, frames()), "level": Blocks((3,), np.float32, level())
    }  # fmt: skip


def render_jobs(
    manifest: pd.DataFrame, root: Path, instrument_name: str, params: Params
) -> list[ItemJob]:
    """One job a clip; the key of a recording does not name the instrument.

    Raises
    ------
    BadInputError
        A file of the manifest is missing, or a MIDI clip starts inside its file.
    """
    instrument = instrument_params(params, instrument_name)
    rules = params.render.model_dump(mode="json", exclude={"recording_gain_db"})
    played = {"render": rules, **render_identity(instrument)}
    decoded = {
        "sample_rate_hz": params.render.sample_rate_hz,
        "gain_db": params.render.recording_gain_db,
        "backend": decoder_identity(),
    }
    jobs = []
    for row in manifest.to_dict("records"):
        is_recording = isinstance(row["audio_path"], str)
        path = root / str(row["audio_path"] if is_recording else row["midi_path"])
        start_s, end_s = float(row["start_s"]), float(row["end_s"])
        if not path.is_file():
            raise BadInputError(
                "a file of the manifest is missing", where=path, next_step="dvc repro"
            )
        if not is_recording and start_s != 0:
            raise BadInputError(
                "a MIDI clip is played whole", where=path, allowed="start_s = 0 in the manifest",
                next_step="cut the MIDI file instead",
            )  # fmt: skip
        span = {"start_s": start_s, "end_s": end_s}
        key = item_key(
            STEP, CODE_VERSION, {"recording" if is_recording else "midi": sha256_file(path)},
            {**decoded, **span} if is_recording else played,
        )  # fmt: skip
        job = RenderJob(path, is_recording, start_s, end_s, instrument, params.render, params.midi)
        jobs.append(ItemJob(str(row["clip"]), key, job, end_s - start_s))
    return jobs


def render_corpus(
    manifest: pd.DataFrame,
    root: Path,
    instrument_name: str,
    params: Params,
    cache: ItemCache,
    out: Path,
) -> BuildReport:
    """Render or decode every clip and write the audio store ``out``.

    ``root`` is the folder that the manifest's paths are relative to. Raises what
    :func:`~pianoeval.builder.build_store` raises.
    """
    instrument = instrument_params(params, instrument_name)
    if manifest["audio_path"].isna().any():
        check_instrument(instrument)  # what is missing is one error here, not one a clip
    attrs = {
        "step": STEP,
        "code_version": CODE_VERSION,
        "sample_rate_hz": params.render.sample_rate_hz,
        "instrument_name": instrument_name,
        "render": params.render.model_dump(mode="json"),
        **render_identity(instrument),
    }
    jobs = render_jobs(manifest, root, instrument_name, params)
    return build_store(STEP, jobs, render_item, cache=cache, out=out, attrs=attrs, run=params.run)
