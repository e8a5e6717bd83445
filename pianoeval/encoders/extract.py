"""Embed every clip of an audio store: one item a clip, then one store.

An item is keyed by the digest of the clip's samples, their rate, the hash of the weights, and
the encoder's configuration, so it survives renamed clips, corpora and encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.builder import BuildReport, Fill, ItemJob, build_store, missing_jobs
from pianoeval.cache import Array, Blocks, ItemCache, item_key
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.batched.fill import device_fill
from pianoeval.encoders.batched.sinks import check_range
from pianoeval.encoders.chunking import (
    AudioStream,
    Samples,
    array_stream,
    encode_clip,
    plan_chunks,
)
from pianoeval.encoders.inventory import check_ready
from pianoeval.encoders.registry import create_encoder, encoder_spec
from pianoeval.encoders.speed import rate_name
from pianoeval.encoders.stream import open_audio, resampled
from pianoeval.errors import ConfigError
from pianoeval.params import EncoderParams, Params
from pianoeval.progress import part_done
from pianoeval.store import RaggedStore


@dataclass(frozen=True)
class EmbedJob:
    """What a worker needs for one clip."""

    audio_store: Path
    clip: str
    encoder: EncoderParams
    name: str


def embedding_step(spec: EncoderSpec) -> str:
    """Name of the step in the item cache."""
    return f"embedding-{spec.kind}"


def embedding_attrs(spec: EncoderSpec, audio: RaggedStore) -> dict[str, Any]:
    """What an embedding store says about itself."""
    return {
        "step": embedding_step(spec),
        "encoder": spec.name,
        "kind": spec.kind,
        "code_version": spec.code_version,
        "weights_sha256": spec.weights_sha256,
        "dim": spec.dim,
        "frame_rate_hz": spec.frame_rate_hz,
        "instrument_name": audio.attrs.get("instrument_name"),
        "audio_sample_rate_hz": audio.attrs["sample_rate_hz"],
        **spec.config(),
    }


def embed_jobs(audio_store: Path, encoder_name: str, params: Params) -> list[ItemJob]:
    """One job a clip of the audio store, in its order; nothing is loaded or computed.

    Raises
    ------
    ConfigError
        No such encoder, or parameters that do not fit it.
    """
    encoder = _encoder_params(encoder_name, params)
    spec = encoder_spec(encoder, encoder_name)
    audio = RaggedStore(audio_store)
    rate_hz = int(audio.attrs["sample_rate_hz"])
    config = {**spec.config(), "audio_sample_rate_hz": rate_hz}
    jobs = []
    for clip in audio.clips:
        inputs = {"audio": audio.digest(clip), "weights": spec.weights_sha256}
        key = item_key(embedding_step(spec), spec.code_version, inputs, config)
        payload = EmbedJob(audio_store, clip, encoder, encoder_name)
        jobs.append(ItemJob(clip, key, payload, audio.length(clip) / rate_hz))
    return jobs


def embed_corpus(
    audio_store: Path,
    encoder_name: str,
    params: Params,
    cache: ItemCache,
    out: Path,
    *,
    fill: Fill | None = None,
) -> BuildReport:
    """Embed every clip of ``audio_store`` and write the embedding store ``out``.

    What is missing is computed by ``fill``; unless told, in batches on the GPU where the encoder's
    device is one, and in a pool of processes where it is not.

    Raises
    ------
    ConfigError
        No such encoder, or parameters that do not fit it.
    MissingAssetError
        Something has to be computed and the weights have not been fetched.
    PianoevalError
        As :func:`~pianoeval.builder.build_store`.
    """
    jobs = embed_jobs(audio_store, encoder_name, params)
    encoder = _encoder_params(encoder_name, params)
    spec = encoder_spec(encoder, encoder_name)
    if missing_jobs(embedding_step(spec), jobs, cache):
        check_ready(encoder_name, encoder)  # one clear error here instead of one from a worker
    audio = RaggedStore(audio_store)
    if fill is None and spec.device == "cuda":
        fill = device_fill(encoder, encoder_name)
    return build_store(
        embedding_step(spec), jobs, embed_item, cache=cache, out=out,
        attrs=embedding_attrs(spec, audio), run=params.run, already_quarantined=audio.quarantined,
        fill=fill, work=rate_name(spec),
    )  # fmt: skip


def _encoder_params(name: str, params: Params) -> EncoderParams:
    if name not in params.encoders:
        raise ConfigError(
            f"unknown encoder '{name}'", allowed=", ".join(sorted(params.encoders)),
            next_step="edit params.yaml",
        )  # fmt: skip
    return params.encoders[name]


def embed_item(job: EmbedJob) -> tuple[Mapping[str, Array | Blocks], Mapping[str, Any]]:
    """Embed one clip in a worker process; the encoder is loaded once a process.

    Frames are computed while they are consumed, so that memory does not grow with the length.
    """
    about = job.audio_store / "zarr.json"
    audio = _open_store(job.audio_store, about.stat().st_mtime_ns if about.exists() else 0)
    encoder = _load_encoder(job.encoder, job.name)
    stream = open_audio(audio, job.clip, encoder.spec.sample_rate_hz)
    frames = embed_stream(stream, encoder, where=job.clip)
    level = audio.level[audio.row(job.clip)].astype(np.float32)
    return {"frames": frames, "level": level}, {"frame_rate_hz": encoder.spec.frame_rate_hz}


def embed_audio(
    samples: Samples, sample_rate_hz: int, encoder: Encoder, *, where: str = "audio"
) -> NDArray[np.float16]:
    """Embed mono audio in memory: float16, shape (frames, layers, dim).

    Audio at another rate than the encoder's is resampled (soxr VHQ).

    Raises
    ------
    BadInputError, PianoevalError
        As :func:`embed_stream`.
    """
    stream = resampled(array_stream(samples), sample_rate_hz, encoder.spec.sample_rate_hz)
    frames = embed_stream(stream, encoder, where=where)
    return np.concatenate(list(frames.parts))


def embed_stream(stream: AudioStream, encoder: Encoder, *, where: str) -> Blocks:
    """Frames of a clip, float16 (frames, layers, dim), computed chunk by chunk when iterated.

    Raises
    ------
    BadInputError
        Shorter than the encoder's shortest input; while iterated, a sample that is not finite.
    PianoevalError
        While iterated: a value that float16 cannot hold.
    CorruptDataError
        While iterated: the audio differs from what was written.
    """
    spec = encoder.spec
    plan_chunks(stream.n_samples, spec)  # too short: said before anything is written

    def parts() -> Iterator[NDArray[np.float16]]:
        for position, frames in encode_clip(stream, encoder):
            check_range(float(np.abs(frames).max(initial=0.0)), spec, where)
            yield frames.astype(np.float16)
            part_done((position + len(frames)) / spec.frame_rate_hz)

    shape = (spec.n_frames(stream.n_samples), len(spec.layer_names), spec.dim)
    return Blocks(shape, np.float16, parts())


@lru_cache(maxsize=1)
def _open_store(path: Path, written: int) -> RaggedStore:
    """A worker may outlive the store: what was ``written`` later is opened anew."""
    return RaggedStore(path)


@lru_cache(maxsize=1)
def _load_encoder(params: EncoderParams, name: str) -> Encoder:
    import torch

    torch.set_num_threads(1)  # there is one process a core already
    return create_encoder(params, name)
