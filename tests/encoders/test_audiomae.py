"""Audio-MAE: network against transformers' ViT, checkpoints of every layout, specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import TINY_VIT, fetch
from numpy.typing import NDArray
from torch import Tensor
from transformers import ViTConfig, ViTModel

from pianoeval.encoders.audiomae.encoder import AudioMaeEncoder, audiomae_spec, read_vit_config
from pianoeval.encoders.audiomae.net import VitConfig, VitNet, random_state, sincos_positions
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.params import CheckpointParams

Audio = NDArray[np.float32]
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
TINY = VitConfig(dim=24, depth=3, heads=3, image=(1024, 128))
DECODER = {"mask_token": (1, 1, 8), "decoder_embed.weight": (8, 24), "decoder_pred.bias": (256,)}


def params(**change: Any) -> CheckpointParams:
    return CheckpointParams(kind="audiomae", **{"chunk_s": 2.0, **change})


def drawn(config: VitConfig = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Every parameter at random, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    net = VitNet(config, config.depth, final_norm=True)
    return {
        name: 0.1 * torch.randn(value.shape, generator=generator)
        + ("norm" in name and name.endswith("weight"))
        for name, value in net.state_dict().items()
    }


def of_transformers(config: VitConfig, state: dict[str, Tensor]) -> ViTModel:
    """transformers' ViT (Hugging Face) with the same weights, under its own names."""
    shape = ViTConfig(
        hidden_size=config.dim, num_hidden_layers=config.depth, layer_norm_eps=1e-6,
        num_attention_heads=config.heads, intermediate_size=config.hidden,
        image_size=config.image, patch_size=16, num_channels=1,  # type: ignore[arg-type]
        hidden_act="gelu", qkv_bias=True,
    )  # fmt: skip
    with torch.device("meta"):  # its own initialisation takes ten seconds
        theirs = ViTModel(shape, add_pooling_layer=False)
    named = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    parts = {
        "norm1": ["layernorm_before"], "norm2": ["layernorm_after"],
        "attn.qkv": [f"attention.{x}_proj" for x in "qkv"], "attn.proj": ["attention.o_proj"],
        "mlp.fc1": ["mlp.fc1"], "mlp.fc2": ["mlp.fc2"],
    }  # fmt: skip
    for i in range(config.depth):
        for own, targets in parts.items():
            for kind in ("weight", "bias"):
                pieces = state[f"blocks.{i}.{own}.{kind}"].chunk(len(targets))
                named |= {
                    f"layers.{i}.{target}.{kind}": piece
                    for target, piece in zip(targets, pieces, strict=True)
                }
    theirs.load_state_dict(named, strict=True, assign=True)
    return theirs.eval()


@pytest.mark.parametrize(
    ("config", "state"),
    [
        (VitConfig(dim=24, depth=2, heads=3, mlp_ratio=2, image=(64, 128)), drawn),
        (VitConfig(image=(192, 128)), lambda config: dict(random_state(config, config.depth, 0))),
    ],
    ids=["tiny", "full"],
)
@torch.inference_mode()
def test_network_equals_that_of_transformers(config: VitConfig, state: Any) -> None:
    weights = state(config)
    net = VitNet(config, config.depth, final_norm=True)
    net.load_state_dict(weights)
    image = torch.randn(1, *config.image, generator=torch.Generator().manual_seed(1))
    found: list[Tensor] = []
    net(image, None, lambda _, tokens: found.append(tokens))
    wanted = of_transformers(config, weights)(image[:, None], output_hidden_states=True)
    states = [*wanted.hidden_states[:-1], wanted.last_hidden_state]
    assert len(found) == len(states) == config.depth + 1
    for own, theirs in zip(found, states, strict=True):
        torch.testing.assert_close(own, theirs[:, 1:], atol=5e-5, rtol=0)


def test_positions_are_sines_and_cosines_of_band_and_time() -> None:
    found = sincos_positions(VitConfig(dim=16, heads=2, image=(64, 128)))[0]
    assert found.shape == (1 + 4 * 8, 16)
    assert not found[0].any()
    for token in (0, 7, 8, 31):
        want = []
        for place in (token % 8, token // 8):
            want += [np.sin(place / 10 ** (4 * k / 4)) for k in range(4)]
            want += [np.cos(place / 10 ** (4 * k / 4)) for k in range(4)]
        np.testing.assert_allclose(found[1 + token], want, atol=1e-6)


def test_full_size_and_published_numbers() -> None:
    spec = audiomae_spec(params(weights="random", chunk_s=10.24))
    assert (spec.sample_rate_hz, spec.frame_rate_hz, spec.dim) == (16_000, 50.0, 768)
    assert spec.layer_names == tuple(str(i) for i in range(13))
    assert spec.chunk_frames == 512  # 51.2 a second of 10 s, as the papers count
    trained = dict(random_state(VitConfig(), 12, 0))
    del trained["pos_embed"]
    head = 768 * 527 + 527
    # "n_parameters": 85659407 in the authors' log of fine-tuning
    assert sum(value.numel() for value in trained.values()) + head == 85_659_407


def test_chunks_are_whole_steps_and_at_most_the_positions() -> None:
    spec = audiomae_spec(params(weights="random", chunk_s=10.0))
    assert spec.chunk_frames == 62 * 8
    assert spec.chunk_samples == 62 * 2560 + 240
    for chunk_s in (0.05, 10.4):
        with pytest.raises(ConfigError, match="chunk_s"):
            audiomae_spec(params(weights="random", chunk_s=chunk_s))
    overlapping = audiomae_spec(params(weights="random", overlap_s=0.5))
    assert overlapping.overlap_frames == 24  # three steps: 0.48 s


def encode(tmp_path: Path, config: dict[str, Any], state: dict[str, Tensor], audio: Audio) -> Any:
    digest = fetch("audiomae", config, state, tmp_path)
    return AudioMaeEncoder(params(digest=digest)).encode(audio[None, :20_000])[0]


def test_layouts_of_checkpoints(tmp_path: Path, notes: Audio) -> None:
    state = drawn()
    plain = encode(tmp_path / "timm", {"model_args": TINY_VIT}, state, notes)
    wrapped = {f"encoder.{name}": value for name, value in state.items()}
    again = encode(tmp_path / "wrapped", {"model_args": TINY_VIT}, wrapped, notes)
    np.testing.assert_array_equal(plain, again)
    published = state | {name: torch.ones(shape) for name, shape in DECODER.items()}
    again = encode(tmp_path / "decoder", {"model_args": TINY_VIT}, published, notes)
    np.testing.assert_array_equal(plain, again)


def test_a_fine_tuned_checkpoint_has_no_final_norm(tmp_path: Path, notes: Audio) -> None:
    state = drawn()
    plain = encode(tmp_path / "a", {"model_args": TINY_VIT}, state, notes)
    tuned = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: value
             for name, value in state.items()}  # fmt: skip
    tuned["head.weight"] = torch.zeros(527, 24)
    pooled = encode(
        tmp_path / "b", {"model_args": {**TINY_VIT, "global_pool": "avg"}}, tuned, notes
    )
    np.testing.assert_array_equal(plain[:, :-1], pooled[:, :-1])
    weight, bias = state["norm.weight"], state["norm.bias"]
    last = torch.nn.functional.layer_norm(torch.tensor(pooled[:, -1]), (24,), weight, bias, 1e-6)
    np.testing.assert_allclose(plain[:, -1], last, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blocks.1.attn.qkv.bias": None}, "1 missing: blocks.1.attn.qkv.bias"),
        ({"norm.weight": None, "norm.bias": None}, "2 missing: norm.weight, norm.bias"),
        ({"blocks.3.norm1.bias": torch.ones(24)}, "1 unexpected: blocks.3.norm1.bias"),
        ({"cls_token": torch.ones(1, 2, 24)}, "of another shape: cls_token"),
    ],
)
def test_weights_that_do_not_fit(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    state = {name: value for name, value in (drawn() | change).items() if value is not None}
    digest = fetch("audiomae", {"model_args": TINY_VIT}, state, tmp_path)
    with pytest.raises(CorruptDataError, match=said):
        AudioMaeEncoder(params(digest=digest))


def test_configurations() -> None:
    assert read_vit_config({}, "x") == VitConfig()
    card = {
        "architecture": "vit_base_patch16_224", "num_classes": 0, "num_features": 768,
        "pretrained_cfg": {"input_size": [1, 1024, 128], "license": "cc-by-nc-4.0"},
        "model_args": {"global_pool": "avg"},
    }  # fmt: skip
    assert read_vit_config(card, "x") == VitConfig()
    wrapper = {"model_type": "audiomae", "img_size": [1024, 128], "in_chans": 1}
    assert read_vit_config(wrapper, "x") == VitConfig()
    for wrong in (
        {"architecture": "vit_large_patch16_224"},
        {"model_args": {"init_values": 1e-5}},
        {"pretrained_cfg": {"input_size": [3, 224, 224]}},
        {"img_size": [1024, 64]},
    ):
        with pytest.raises(ConfigError, match=r"config\.json"):
            read_vit_config(wrong, "x")


def test_random_weights_follow_the_seed_and_not_the_depth() -> None:
    some, every = random_state(TINY, 1, 7), random_state(TINY, 3, 7)
    assert set(some) < set(every)
    assert all(torch.equal(value, every[name]) for name, value in some.items())
    other = random_state(TINY, 1, 8)
    assert not torch.equal(some["blocks.0.mlp.fc1.weight"], other["blocks.0.mlp.fc1.weight"])
    bound = (6 / (24 + 96)) ** 0.5
    largest = float(every["blocks.2.mlp.fc1.weight"].abs().max())
    assert 0.98 * bound < largest <= bound
