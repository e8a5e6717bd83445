"""Parameters of frozen encoders, one form a kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pianoeval.params_block import Block, Seed

Layers = str | int | tuple[int | str, ...]  # hashable: workers know an encoder by its block


class EncoderBlock(Block):
    """What every frozen encoder is told; every field is part of the embedding key."""

    chunk_s: float = Field(10.0, gt=0, description="audio encoded at once")
    overlap_s: float = Field(0.0, ge=0, description="shared by neighbouring chunks of a long clip")
    last_chunk: Literal["shifted", "short"] = Field(
        "shifted", description="of a long clip: as long as the others, or what is left"
    )
    layers: Layers = Field("all", description="'all', '4', '9..12', [4], '1..6,ctx'")
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="its numbers differ in the last digits"
    )
    compile: bool = Field(False, description="torch.compile; cuda only")


class TranskunParams(EncoderBlock):
    """Transkun 2.0, whose weights are a pinned asset."""

    kind: Literal["transkun"] = "transkun"
    weights: Literal["pretrained", "random"] = Field("pretrained", description="random = control")
    seed: Seed = Field(0, description="of the random weights")


class MelParams(EncoderBlock):
    """Log-mel spectrogram; it has no weights."""

    kind: Literal["mel"] = "mel"
    sample_rate_hz: int = Field(44_100, gt=0)
    n_mels: int = Field(128, gt=0)
    hop_frames: int = Field(1024, gt=0, description="samples a hop")
    window_frames: int = Field(4096, gt=0, description="samples a window")
    fft_frames: int = Field(0, ge=0, description="samples a transform; 0 = window_frames")


class CheckpointParams(EncoderBlock):
    """An encoder whose weights come from a model hub or a local folder."""

    kind: Literal["muq", "mert", "audiomae", "dac", "jukebox"]
    weights: Literal["pretrained", "random"] = Field("pretrained", description="random = control")
    seed: Seed = Field(0, description="of the random weights")
    model: str = Field("", description="hub id, as 'owner/name'")
    revision: str = Field("", description="commit of the hub repository, 40 hex digits")
    file: str = Field("", description="weights file, where a repository holds several")
    digest: str = Field("", description="of config and weights; written by 'pianoeval encoder get'")


EncoderParams = Annotated[
    TranskunParams | MelParams | CheckpointParams, Field(discriminator="kind")
]
