"""Encoder parameters that the tests share."""

from __future__ import annotations

import pytest

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.registry import create_encoder
from pianoeval.errors import MissingAssetError
from pianoeval.params import EncoderParams

RATE_HZ = 44_100
PARAMS = {
    "transkun": EncoderParams(kind="transkun", chunk_s=2.0),
    "mel": EncoderParams(kind="mel", chunk_s=2.0),
}


def load(params: EncoderParams) -> Encoder:
    """An encoder, or skip."""
    try:
        return create_encoder(params)
    except MissingAssetError as error:
        pytest.skip(f"run 'make assets' first: {error}")
