"""MuQ: specification, configurations, checkpoints, early exit, random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import case_params, fetch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.encoders.muq.config import DEFAULT_CONFIG, random_state, read_shape
from pianoeval.encoders.muq.encoder import MuqEncoder, muq_spec
from pianoeval.encoders.muq.weights import MuqWeights
from pianoeval.errors import ConfigError, CorruptDataError, MissingAssetError
from pianoeval.params import CheckpointParams

Audio = NDArray[np.float32]
Config = dict[str, Any]
pytestmark = pytest.mark.usefixtures("checkpoint_cache")


def params(**change: Any) -> CheckpointParams:
    return CheckpointParams(kind="muq", **change)


def changed(key: str, value: Any) -> Config:
    """The published configuration with ``key``, as ``w2v2_config.hidden_act``, set; None: gone."""
    config = copy.deepcopy(DEFAULT_CONFIG)
    *groups, last = key.split(".")
    place = config[groups[0]] if groups else config
    if value is None:
        del place[last]
    else:
        place[last] = value
    return config


def small(n_layers: int = 3) -> tuple[Config, dict[str, Tensor]]:
    inner = {**DEFAULT_CONFIG["w2v2_config"], "num_attention_heads": 2, "intermediate_size": 24}
    config = {
        **DEFAULT_CONFIG, "n_mels": 16, "conv_dim": 4, "encoder_dim": 16,
        "encoder_depth": n_layers, "w2v2_config": inner,
    }  # fmt: skip
    return config, random_state(read_shape(config, "small"), n_layers, 0)


def test_specification_of_the_published_model() -> None:
    spec = muq_spec(params(weights="random", seed=7, chunk_s=10.0))
    assert (spec.sample_rate_hz, spec.chunk_samples, spec.chunk_frames) == (24_000, 240_000, 250)
    assert (spec.period_samples, spec.span_samples, spec.frame_rate_hz) == (960, 240, 25.0)
    assert spec.layer_names == tuple(str(i) for i in range(13))
    assert spec.dim == 1024
    assert spec.min_samples == 1025
    assert spec.weights_sha256 == ""
    assert dict(spec.options) == {"random_version": 1, "random_seed": 7}
    chosen = muq_spec(params(weights="random", layers="9..12"))
    assert chosen.layer_names == ("9", "10", "11", "12")


def test_the_published_network_has_316_million_parameters() -> None:
    with torch.device("meta"):
        weights = MuqWeights(read_shape(DEFAULT_CONFIG, "published"), 12)
    assert sum(p.numel() for p in weights.parameters()) == 316_343_296


@given(st.integers(1025, 60_000))
def test_frames_are_those_of_two_halvings(n: int) -> None:
    hops = n // 240
    halved = (hops + 1) // 2
    assert muq_spec(params(weights="random")).n_frames(n) == (halved + 1) // 2


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("label_rate", 50, "label_rate: 50"),
        ("features", ["melspec_2048", "chromagram"], "features: "),
        ("hop_length", 320, "hop_length: 320"),
        ("is_flash", True, "is_flash: True"),
        ("n_mels", 126, "n_mels: 126"),
        ("w2v2_config.position_embeddings_type", "relative", "position_embeddings_type: 'relative"),
        ("w2v2_config.hidden_act", "gelu", "hidden_act: 'gelu'"),
        ("w2v2_config.conv_depthwise_kernel_size", 30, "kernel_size: 30"),
        ("w2v2_config.num_attention_heads", 7, "multiple of twice"),
        ("w2v2_config.rotary_embedding_base", None, "lacks w2v2_config.rotary_embedding_base"),
        ("stat.melspec_2048_mean", None, "lacks stat.melspec_2048_mean"),
        ("stat.melspec_2048_std", 0.0, "melspec_2048_std: 0"),
        ("stat.melspec_2048_mean", [6.7] * 128, "melspec_2048_mean: .*one number"),
        ("encoder_depth", "12", "encoder_depth: '12'"),
    ],
)
def test_another_configuration_is_refused(key: str, value: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        read_shape(changed(key, value), "somewhere")
    assert caught.value.where == "somewhere"
    assert caught.value.allowed
    assert caught.value.next_step


def test_what_a_configuration_leaves_out_is_the_package_s_default() -> None:
    want = read_shape(DEFAULT_CONFIG, "published")
    for key in ("label_rate", "features", "hop_length", "conv_dim", "is_flash", "n_mels"):
        assert read_shape(changed(key, None), "x") == want
    assert read_shape({**DEFAULT_CONFIG, "mask_prob": 0.6}, "x") == want
    assert read_shape(changed("stat.melspec_2048_mean", -3.5), "x").mean == -3.5


@pytest.mark.parametrize("chunk_s", [0.05, 61.0])
def test_chunks_out_of_range_are_refused(chunk_s: float) -> None:
    with pytest.raises(ConfigError, match="chunk_s"):
        muq_spec(params(weights="random", chunk_s=chunk_s))


def test_a_checkpoint_that_was_not_fetched_is_asked_for() -> None:
    with pytest.raises(MissingAssetError, match="encoder get"):
        muq_spec(params())


def test_training_leftovers_are_ignored_and_all_else_is_an_error(tmp_path: Path) -> None:
    config, state = small()
    name = "model.conformer.layers.1.ffn1.output_dense.weight"
    leftovers = {
        "model.cls_token": torch.zeros(16), "model.linear.weight": torch.zeros(4, 16),
        "model.conformer.embed_positions.inv_freq": torch.zeros(4), "model.rvq.x": torch.zeros(1),
        "model.conformer.pos_conv_embed.conv.bias": torch.zeros(16),
        "model.quantizer_melspec_2048.codebook": torch.zeros(8, 2),
    }  # fmt: skip

    def digest(label: str, weights: dict[str, Tensor]) -> str:
        return fetch("muq", config, weights, tmp_path / label)

    def load(digest: str, **change: Any) -> MuqEncoder:
        return MuqEncoder(params(digest=digest, chunk_s=1.0, **change))

    audio = np.linspace(-0.5, 0.5, 9000, dtype=np.float32)[None]
    plain = load(digest("plain", state)).encode(audio)
    np.testing.assert_array_equal(load(digest("all", state | leftovers)).encode(audio), plain)
    extra = "model.conformer.layers.3.x"
    less = {key: value for key, value in state.items() if key != name}
    broken = {
        "missing": less, "unexpected": {**state, "model.conformer.extra": torch.zeros(1)},
        "of another shape": {**state, name: torch.zeros(16, 23)},
        f"unexpected: {extra}": {**state, extra: torch.zeros(1)},
    }  # fmt: skip
    for label, weights in broken.items():
        with pytest.raises(CorruptDataError, match=label):
            load(digest(label.split(":")[0], weights))
    with pytest.raises(CorruptDataError, match="missing"):
        load(digest("missing", less), layers="2")


@pytest.mark.parametrize("layers", ["0", "1", "0,2", "3"])
def test_early_exit_keeps_no_more_layers_and_changes_nothing(
    layers: str, tmp_path: Path, notes: Audio
) -> None:
    config, state = small()
    digest = fetch("muq", config, state, tmp_path / "model")
    every = MuqEncoder(params(digest=digest, chunk_s=1.0))
    some = MuqEncoder(params(digest=digest, chunk_s=1.0, layers=layers))
    wanted = [int(layer) for layer in layers.split(",")]
    assert len(some._net.layers) == max(wanted)
    audio = notes[None, :20_000]
    np.testing.assert_array_equal(some.encode(audio), every.encode(audio)[:, :, wanted])


def test_random_weights_are_those_of_the_seed_and_fewer_layers_the_same() -> None:
    config, state = small(3)
    shape = read_shape(config, "small")
    again, other, fewer = (random_state(shape, n, s) for n, s in ((3, 0), (3, 1), (1, 0)))
    for name, value in state.items():
        assert torch.equal(value, again[name])
    for name, value in fewer.items():
        assert torch.equal(value, state[name])
    name = "model.conformer.layers.0.ffn1.intermediate_dense"
    assert not torch.equal(state[f"{name}.weight"], other[f"{name}.weight"])
    with torch.device("meta"):
        assert set(state) == set(MuqWeights(shape, 3).state_dict())
    plain = torch.nn.Linear(16, 24)  # PyTorch's own drawing
    torch.nn.init.kaiming_uniform_(plain.weight, a=5**0.5)
    for drawn in (state[f"{name}.weight"], plain.weight):
        assert drawn.abs().max() <= 0.25
        assert 0.12 < drawn.std() < 0.17


def test_it_hears_silence_and_loudness(notes: Audio) -> None:
    given_params = case_params("muq")
    assert isinstance(given_params, CheckpointParams)
    encoder = MuqEncoder(given_params)
    silence = encoder.encode(np.zeros((1, 24_000), np.float32))[0]
    assert np.isfinite(silence).all()
    np.testing.assert_allclose(silence[3:-3, 0] - silence[5, 0], 0, atol=1e-5)
    loud, soft = (encoder.encode(gain * notes[None, :24_000]) for gain in (1.0, 0.25))
    assert np.abs(loud - soft).max() > 0.05 * np.abs(loud).max()
