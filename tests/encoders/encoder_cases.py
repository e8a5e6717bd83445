"""One case a kind of encoder: small parameters, tiny checkpoints, and what it promises.

A kind is added by a line in ``CASES``. Kinds with checkpoints get a tiny one with random weights,
fetched through ``get_checkpoint`` as a real one would be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor

from pianoeval.checkpoints import get_checkpoint
from pianoeval.encoders.base import Encoder
from pianoeval.encoders.registry import create_encoder
from pianoeval.errors import MissingAssetError
from pianoeval.params import CheckpointParams, EncoderParams, MelParams, TranskunParams
from pianoeval.paths import cache_root

RATE_HZ = 44_100
Snapshot = tuple[dict[str, Any], Mapping[str, Tensor]]
PARAMS = {"transkun": TranskunParams(chunk_s=2.0), "mel": MelParams(chunk_s=2.0)}
TINY_VIT = {"embed_dim": 24, "depth": 3, "num_heads": 3}


@dataclass(frozen=True)
class Case:
    """What a kind promises.

    Parameters
    ----------
    tolerance : float
        Largest difference between a batch and its rows alone, of the largest value; as in the
        table of docs/encoders.md.
    layers : tuple of str
        Choices that stop early or leave layers out.
    hears_gain : bool
        Whether a quieter copy has another embedding.
    bfloat16 : float
        Largest mean difference from float32, of the mean; 0 where float32 only.
    tiny : callable, optional
        config.json and weights of a tiny checkpoint.
    bfloat16_layers : str
        Layers that can be had in bfloat16.
    """

    tolerance: float
    layers: tuple[str, ...]
    hears_gain: bool
    bfloat16: float
    tiny: Callable[[], Snapshot] | None = None
    bfloat16_layers: str = "all"


def _audiomae() -> Snapshot:
    from pianoeval.encoders.audiomae.net import VitConfig, random_state

    return {"model_args": dict(TINY_VIT)}, random_state(VitConfig(dim=24, depth=3, heads=3), 3, 0)


def _muq() -> Snapshot:
    from pianoeval.encoders.muq.config import DEFAULT_CONFIG, random_state, read_shape

    inner = {**DEFAULT_CONFIG["w2v2_config"], "num_attention_heads": 3, "intermediate_size": 48}
    config = {**DEFAULT_CONFIG, "n_mels": 32, "conv_dim": 8, "encoder_dim": 24,
              "encoder_depth": 3, "w2v2_config": inner}  # fmt: skip
    return config, random_state(read_shape(config, "tiny"), 3, 0)


def _mert() -> Snapshot:
    from pianoeval.encoders.mert.config import DEFAULT_CONFIG, random_state, read_shape

    config = {**DEFAULT_CONFIG, "hidden_size": 24, "num_hidden_layers": 3,
              "num_attention_heads": 3, "intermediate_size": 48, "conv_dim": [8] * 7,
              "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}  # fmt: skip
    return config, random_state(read_shape(config, "tiny"), 3, 0)


def _dac() -> Snapshot:
    from transformers import DacConfig

    from pianoeval.encoders.codecs.dac import DacNet, draw_weights

    config = {"encoder_hidden_size": 4, "n_codebooks": 3, "codebook_size": 32, "codebook_dim": 4,
              "downsampling_ratios": [2, 4, 8, 8], "sampling_rate": 44_100}  # fmt: skip
    net = DacNet(DacConfig(**config))
    draw_weights(net, 0)
    state = net.state_dict()
    for name, value in state.items():  # so few channels would fade away at 0.02
        if name.endswith("weight"):
            value.mul_(50 * value[0].numel() ** -0.5)
    return config, state


def _jukebox() -> Snapshot:
    from pianoeval.encoders.codecs.jukebox import random_net
    from pianoeval.encoders.codecs.jukebox_net import read_net_config

    config = {"res_conv_width": 8, "res_conv_depth": 2, "nb_discrete_codes": 32, "embed_dim": 8}
    state = random_net(read_net_config(config, "tiny"), 0).state_dict()
    codes = state["bottleneck.level_blocks.2.codebook"]  # far apart, as trained ones are
    codes.copy_(0.03 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(0)))
    return config, state


CASES = {
    "transkun": Case(2e-5, ("2", "1,3", "ctx"), False, 0.05),
    "mel": Case(1e-5, ("1",), True, 0.0),
    "muq": Case(1e-5, ("0", "2", "1,3"), True, 0.05, _muq),
    "mert": Case(1e-5, ("0", "2", "1,3"), False, 0.05, _mert),
    "audiomae": Case(1e-5, ("0", "2", "1,3"), True, 0.05, _audiomae),
    "dac": Case(1e-4, ("latent", "quantized"), True, 0.15, _dac, "latent"),
    "jukebox": Case(1e-4, ("latent", "quantized"), True, 0.15, _jukebox, "latent"),
}


def case_params(kind: str, **change: Any) -> EncoderParams:
    """Parameters with 2 s chunks and, where there are weights, those of the tiny checkpoint."""
    if kind in PARAMS:
        return PARAMS[kind].model_validate({**PARAMS[kind].model_dump(), **change})
    given = {"kind": kind, "chunk_s": 2.0, **change}
    if given.get("weights") != "random":
        given.setdefault("digest", tiny_digest(kind, cache_root()))
    params: EncoderParams = TypeAdapter(EncoderParams).validate_python(given)
    return params


@lru_cache
def tiny_digest(kind: str, cache: Path) -> str:
    """Digest of a kind's tiny checkpoint, which lies in ``cache`` afterwards."""
    tiny = CASES[kind].tiny
    assert tiny is not None
    with TemporaryDirectory() as folder:
        return fetch(kind, *tiny(), Path(folder) / kind)


def other_digest(kind: str, folder: Path) -> str:
    """Digest of a checkpoint that differs from the tiny one in a single number."""
    tiny = CASES[kind].tiny
    assert tiny is not None
    config, state = tiny()
    name = next(name for name, value in state.items() if value.dtype == torch.float32)
    changed = state[name].clone()
    changed.view(-1)[0] += 0.5
    return fetch(kind, config, {**state, name: changed}, folder)


def fetch(kind: str, config: dict[str, Any], state: Mapping[str, Tensor], folder: Path) -> str:
    """Write config.json and model.safetensors to ``folder``, fetch them, give the digest."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in state.items()},
              folder / "model.safetensors")  # fmt: skip
    params = TypeAdapter(CheckpointParams).validate_python({"kind": kind})
    return get_checkpoint(kind, params, folder).digest


def load(params: EncoderParams) -> Encoder:
    """An encoder, or skip."""
    try:
        return create_encoder(params)
    except MissingAssetError as error:
        if params.kind != "transkun":
            raise
        pytest.skip(f"run 'make assets' first: {error}")
