"""Embed every clip of an audio store: one item a clip, then one store.

An item is keyed by the digest of the clip's samples, their rate, the hash of the weights, and
the encoder's configuration, so it survives renamed clips, corpora and encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pianoeval.assets import asset_path
from pianoeval.builder import BuildReport, ItemJob, build_store, missing_jobs
from pianoeval.cache import ItemCache, item_key
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.chunking import encode_clip, to_float
from pianoeval.encoders.registry import create_encoder, encoder_spec, required_assets
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.params import EncoderParams, Params
from pianoeval.store import RaggedStore


@dataclass(frozen=True)
class EmbedJob:
    """What a worker needs for one clip."""

    audio_store: Path
    clip: str
    encoder: EncoderParams


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
        payload = EmbedJob(audio_store, clip, encoder)
        jobs.append(ItemJob(clip, key, payload, audio.length(clip) / rate_hz))
    return jobs


def embed_corpus(
    audio_store: Path, encoder_name: str, params: Params, cache: ItemCache, out: Path
) -> BuildReport:
    """Embed every clip of ``audio_store`` and write the embedding store ``out``.

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
        for asset in required_assets(encoder):
            asset_path(asset)  # one clear error here instead of one from a worker
    audio = RaggedStore(audio_store)
    return build_store(
        embedding_step(spec), jobs, embed_item, cache=cache, out=out,
        attrs=embedding_attrs(spec, audio), run=params.run, already_quarantined=audio.quarantined,
    )  # fmt: skip


def _encoder_params(name: str, params: Params) -> EncoderParams:
    if name not in params.encoders:
        raise ConfigError(
            f"unknown encoder '{name}'", allowed=", ".join(sorted(params.encoders)),
            next_step="edit params.yaml",
        )  # fmt: skip
    return params.encoders[name]


def embed_item(job: EmbedJob) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]:
    """Embed one clip in a worker process; the encoder is loaded once a process."""
    audio = _open_store(job.audio_store)
    encoder = _load_encoder(job.encoder)
    rate_hz = int(audio.attrs["sample_rate_hz"])
    frames = embed_audio(audio.frames(job.clip)[:, 0, 0], rate_hz, encoder, where=job.clip)
    level = audio.level[audio.row(job.clip)].astype(np.float32)
    return {"frames": frames, "level": level}, {"frame_rate_hz": encoder.spec.frame_rate_hz}


def embed_audio(
    samples: NDArray[np.int16] | NDArray[np.float32],
    sample_rate_hz: int,
    encoder: Encoder,
    *,
    where: str = "audio",
) -> NDArray[np.float16]:
    """Embed mono audio: float16, shape (frames, layers, dim).

    Audio at another rate than the encoder's is resampled (soxr VHQ). Network activations take
    memory for one chunk, whatever the length.

    Raises
    ------
    BadInputError
        Shorter than the encoder's shortest input, or not finite.
    PianoevalError
        A value that float16 cannot hold.
    """
    spec = encoder.spec
    if sample_rate_hz != spec.sample_rate_hz:
        samples = soxr.resample(to_float(samples), sample_rate_hz, spec.sample_rate_hz, "VHQ")
    frames = np.empty(
        (spec.n_frames(len(samples)), len(spec.layer_names), spec.dim), dtype=np.float16
    )
    for position, part in encode_clip(samples, encoder):
        peak = float(np.abs(part).max(initial=0.0))
        if not peak <= float(np.finfo(np.float16).max):  # NaN too
            raise PianoevalError(
                f"{spec.kind} gives a value of {peak:g}, which float16 cannot hold", where=where,
                allowed="finite, up to 65504", next_step="set precision: float32 for this encoder",
            )  # fmt: skip
        frames[position : position + len(part)] = part
    return frames


@lru_cache(maxsize=1)
def _open_store(path: Path) -> RaggedStore:
    return RaggedStore(path)


@lru_cache(maxsize=1)
def _load_encoder(params: EncoderParams) -> Encoder:
    import torch

    torch.set_num_threads(1)  # there is one process a core already
    return create_encoder(params)
