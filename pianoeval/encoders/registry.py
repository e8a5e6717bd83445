"""Encoders by kind. Modules are imported when needed, so that planning does not load torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.errors import ConfigError
from pianoeval.params import EncoderParams

if TYPE_CHECKING:
    import torch

KINDS = ("transkun", "mel")
_ASSETS: dict[str, tuple[str, ...]] = {"transkun": ("transkun-2.0",), "mel": ()}


def required_assets(params: EncoderParams) -> tuple[str, ...]:
    """Assets that must be fetched before the encoder can run; none for random weights."""
    return _ASSETS[params.kind] if params.weights == "pretrained" else ()


def encoder_spec(params: EncoderParams, name: str | None = None) -> EncoderSpec:
    """What ``create_encoder`` would give, without its weights; raises ConfigError."""
    if params.kind == "transkun":
        from pianoeval.encoders.transkun import transkun_spec

        return transkun_spec(params, name or params.kind)
    if params.kind == "mel":
        from pianoeval.encoders.mel import mel_spec

        return mel_spec(params, name or params.kind)
    raise _unknown(params.kind)


def create_encoder(
    params: EncoderParams, name: str | None = None, device: str | torch.device = "cpu"
) -> Encoder:
    """Load an encoder.

    Raises
    ------
    ConfigError
        Parameters that do not fit the kind.
    MissingAssetError
        Its weights have not been fetched.
    """
    if params.kind == "transkun":
        from pianoeval.encoders.transkun import TranskunEncoder

        return TranskunEncoder(params, name or params.kind, device)
    if params.kind == "mel":
        from pianoeval.encoders.mel import MelEncoder

        return MelEncoder(params, name or params.kind, device)
    raise _unknown(params.kind)


def _unknown(kind: str) -> ConfigError:
    return ConfigError(
        f"unknown encoder kind '{kind}'", allowed=", ".join(KINDS), next_step="edit params.yaml"
    )
