"""Encoders by kind. Modules are imported when needed, so that planning does not load torch."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams, EncoderParams, TranskunParams


class _Kind(NamedTuple):
    """Module, its function ``spec(params, name)`` and its class ``(params, name)``."""

    module: str
    spec: str
    encoder: str


_KINDS = {
    "transkun": _Kind("transkun.encoder", "transkun_spec", "TranskunEncoder"),
    "mel": _Kind("mel", "mel_spec", "MelEncoder"),
    "muq": _Kind("muq.encoder", "muq_spec", "MuqEncoder"),
    "mert": _Kind("mert.encoder", "mert_spec", "MertEncoder"),
    "audiomae": _Kind("audiomae.encoder", "audiomae_spec", "AudioMaeEncoder"),
    "dac": _Kind("codecs.dac", "dac_spec", "DacEncoder"),
    "jukebox": _Kind("codecs.jukebox", "jukebox_spec", "JukeboxEncoder"),
}
KINDS = tuple(_KINDS)


def required_assets(params: EncoderParams) -> tuple[str, ...]:
    """Assets of wheels that must be fetched before the encoder can run."""
    if isinstance(params, TranskunParams) and params.weights == "pretrained":
        return ("transkun-2.0",)
    return ()


def needs_checkpoint(params: EncoderParams) -> bool:
    """Whether weights of a model hub or a local folder are wanted."""
    return isinstance(params, CheckpointParams) and params.weights == "pretrained"


def encoder_spec(params: EncoderParams, name: str | None = None) -> EncoderSpec:
    """What ``create_encoder`` would give, without its weights.

    Raises
    ------
    ConfigError
        Parameters that do not fit the kind.
    MissingAssetError
        Its checkpoint, whose configuration says what the layers are, has not been fetched.
    """
    spec: EncoderSpec = _find(params.kind, "spec")(params, name or params.kind)
    return spec


def create_encoder(params: EncoderParams, name: str | None = None) -> Encoder:
    """Load an encoder on ``params.device``.

    Raises
    ------
    ConfigError
        Parameters that do not fit the kind, or a device that is not there.
    MissingAssetError
        Its weights have not been fetched.
    CorruptDataError
        Its weights lack a parameter, or hold one that is not known.
    """
    if params.device == "cuda":
        check_cuda(name or params.kind)
    encoder: Encoder = _find(params.kind, "encoder")(params, name or params.kind)
    return encoder


def _find(kind: str, what: str) -> Any:
    place = _KINDS[kind]
    module = importlib.import_module(f"pianoeval.encoders.{place.module}")
    return getattr(module, getattr(place, what))


def check_cuda(name: str) -> None:
    """Raise ConfigError where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            "device is cuda, and there is no such device here", where=f"encoders.{name}",
            allowed="cpu, or a machine with a GPU; embeddings that are cached need neither",
            next_step="set device: cpu in params.yaml, or: dvc pull",
        )  # fmt: skip
