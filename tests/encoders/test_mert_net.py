"""HuBERT network: parity with transformers' HubertModel and with a golden file, masks, loading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import fetch
from safetensors import safe_open
from torch import Tensor
from transformers import HubertConfig, HubertModel

from pianoeval.encoders.mert.config import DEFAULT_CONFIG, read_shape
from pianoeval.encoders.mert.convolutions import HubertShape
from pianoeval.encoders.mert.encoder import MertEncoder, load_weights
from pianoeval.encoders.mert.net import HubertNet
from pianoeval.errors import CorruptDataError
from pianoeval.params import CheckpointParams

Config = dict[str, Any]
State = dict[str, Tensor]
GOLDEN = Path(__file__).parent / "golden" / "mert.safetensors"
TOLERANCE = 1e-5  # of the largest value; found are 1e-6 (tiny) and 2.5e-6 (full size)
TINY: Config = {
    **DEFAULT_CONFIG, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
KINDS: dict[str, Config] = {
    "95M's flags": {},
    "330M's flags": {"do_stable_layer_norm": True, "attention_relax": 32.0},
    "layer": {"feat_extract_norm": "layer", "conv_bias": True},
    "bias before group norm": {"conv_bias": True, "num_conv_pos_embeddings": 15},
    "all others": {
        "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
        "feat_proj_layer_norm": False, "layer_norm_eps": 1e-3,
    },
}  # fmt: skip
kinds = pytest.mark.parametrize("flags", KINDS.values(), ids=KINDS)


def shape_of(config: Config) -> HubertShape:
    return read_shape(config, "tests")


def of_transformers(config: Config, seed: int = 0) -> HubertModel:
    """transformers' HuBERT (Hugging Face) with every parameter at random."""
    known = {k: v for k, v in config.items() if k not in ("sample_rate", "attention_relax")}
    with torch.device("meta"):  # its own initialisation takes seconds
        theirs = HubertModel(HubertConfig(**known))
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, value: Tensor) -> Tensor:
        gain = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        spread = value[0].numel() ** -0.5 if value.dim() > 1 else 0.2
        drawn = gain + spread * torch.randn(value.shape, generator=generator)
        return drawn.abs() + 0.5 if name.endswith("original0") else drawn

    state = {name: draw(name, value) for name, value in theirs.state_dict().items()}
    theirs.load_state_dict(state, strict=True, assign=True)
    return theirs.eval()


def old_spelling(state: Mapping[str, Tensor]) -> State:
    """As PyTorch named a weight norm before 2.1, and as MERT was published."""
    new = {"parametrizations.weight.original0": "weight_g",
           "parametrizations.weight.original1": "weight_v"}  # fmt: skip
    renamed = dict(state)
    for name in state:
        for part, old in new.items():
            if name.endswith(part):
                renamed[name.replace(part, old)] = renamed.pop(name)
    return renamed


def ours(config: Config, state: Mapping[str, Tensor], depth: int | None = None) -> HubertNet:
    shape = shape_of(config)
    net = HubertNet(shape, shape.n_layers if depth is None else depth)
    load_weights(net, state, "tests")
    return net.prepare(torch.float32)


@torch.inference_mode()
def states(net: HubertNet, audio: Tensor, n_samples: Sequence[int] | None = None) -> list[Tensor]:
    found: list[Tensor] = []
    net(audio, n_samples, lambda _, state: found.append(state.clone()))
    return found


@torch.inference_mode()
def their_states(theirs: HubertModel, audio: Tensor) -> list[Tensor]:
    """All hidden states; transformers 5 gives the last one before its norm, 4 behind it."""
    out = theirs(audio, output_hidden_states=True)
    return [*out.hidden_states[:-1], out.last_hidden_state]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, of the largest value of ``b``."""
    return float((a - b).abs().max() / b.abs().max())


@kinds
def test_parity_with_transformers_in_every_layout(flags: Config) -> None:
    config = {**TINY, **flags}
    theirs, audio = of_transformers(config), noise(2, 9001)
    expected = their_states(theirs, audio)
    found = states(ours(config, theirs.state_dict()), audio)
    assert len(found) == len(expected) == 4
    for a, b in zip(found, expected, strict=True):
        assert difference(a, b) < TOLERANCE


def test_parity_at_full_size_on_all_13_states() -> None:
    theirs, audio = of_transformers(DEFAULT_CONFIG), noise(1, 48_000)
    expected = their_states(theirs, audio)
    found = states(ours(DEFAULT_CONFIG, old_spelling(theirs.state_dict())), audio)
    assert [state.shape for state in found] == [(1, 149, 768)] * 13
    for a, b in zip(found, expected, strict=True):
        assert difference(a, b) < TOLERANCE


@pytest.mark.usefixtures("checkpoint_cache")
@pytest.mark.parametrize("case", ["base", "large"])
def test_parity_with_the_golden_file(case: str, tmp_path: Path) -> None:
    """Made by transformers 4 with tests/encoders/reference/mert.py; from the audio onwards."""
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()[case])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    prefix = f"{case}/weights/"
    weights = {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}
    digest = fetch("mert", config, weights, tmp_path / "mert")
    encoder = MertEncoder(CheckpointParams(kind="mert", digest=digest))
    expected = held[f"{case}/states"].numpy()
    found = encoder.encode(held["audio"].numpy())
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


@torch.inference_mode()
def deepnorm_twin(theirs: HubertModel, audio: Tensor, alpha: float, relax: float) -> list[Tensor]:
    """Post-norm layers after MERT's modelling code: weighted residuals, relaxed attention."""
    encoder = theirs.encoder
    x = theirs.feature_projection(theirs.feature_extractor(audio).mT)
    x = encoder.layer_norm(x + encoder.pos_conv_embed(x))
    found = [x]
    for layer in encoder.layers:
        part = layer.attention
        q, k, v = (
            f(x).unflatten(-1, (part.num_heads, -1)).transpose(1, 2)
            for f in (part.q_proj, part.k_proj, part.v_proj)
        )
        relaxed = part.scaling * q @ k.mT / relax
        scores = (relaxed - relaxed.amax(-1, keepdim=True)) * relax
        heard = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = layer.layer_norm(alpha * x + part.out_proj(heard))
        x = layer.final_layer_norm(alpha * x + layer.feed_forward(x))
        found.append(x)
    return found


def test_deepnorm_and_relaxed_attention_are_as_in_the_authors_code() -> None:
    config = {**TINY, "deepnorm": True, "attention_relax": 32.0}
    theirs, audio = of_transformers(TINY), noise(1, 8000)
    expected = deepnorm_twin(theirs, audio, 6**0.25, 32.0)  # (2 layers)^(1/4)
    found = states(ours(config, theirs.state_dict()), audio)
    for a, b in zip(found, expected, strict=True):
        assert difference(a, b) < TOLERANCE
    plain = states(ours(TINY, theirs.state_dict()), audio)
    assert difference(plain[-1], expected[-1]) > 0.01


@kinds
def test_a_shorter_row_is_heard_as_if_it_were_alone(flags: Config) -> None:
    config = {**TINY, **flags}
    net = ours(config, of_transformers(config).state_dict())
    lengths = [8000, 400, 5333, 7999]
    audio = noise(4, 8000)
    for row, n in zip(audio, lengths, strict=True):
        row[n:] = 0
    together = states(net, audio, lengths)
    for i, n in enumerate(lengths):
        alone = states(net, audio[i : i + 1, :n])
        for a, b in zip(together, alone, strict=True):
            assert difference(a[i : i + 1, : b.shape[1]], b) < TOLERANCE


def test_a_long_chunk_is_computed_in_pieces_that_leave_no_seam() -> None:
    """11 pieces of the second convolution, in a chunk of 4.7 s."""
    theirs, audio = of_transformers(TINY), noise(1, 112_345)
    net = ours(TINY, theirs.state_dict())
    with torch.inference_mode():
        expected = theirs.feature_extractor(audio).mT
        found = net.feature_extractor(audio, None, torch.float32)
    assert difference(found, expected) < TOLERANCE


@kinds
def test_the_convolution_for_other_devices_is_the_same_product(flags: Config) -> None:
    net = ours({**TINY, **flags}, of_transformers({**TINY, **flags}).state_dict())
    layer, x = net.feature_extractor.stack[1], noise(3, 57, 16)
    with torch.inference_mode():
        assert difference(layer.finish(layer.convolve(x), x.dtype), layer(x)) < TOLERANCE


@torch.inference_mode()
def test_rows_of_a_batch_have_their_own_group_norm_on_other_devices() -> None:
    stack = ours(TINY, of_transformers(TINY).state_dict()).feature_extractor.stack
    audio = noise(3, 2000) * torch.tensor([[1.0], [0.1], [5.0]])
    windows = stack[0].windows(audio[..., None])
    folded = stack[0].fold(windows, None)
    together = stack[0].first(windows, folded)
    for i in range(3):
        row = (folded[0][i : i + 1], folded[1][i : i + 1])
        assert difference(together[i], stack[0].first(windows[i : i + 1], row)[0]) < TOLERANCE


def test_two_loads_and_both_spellings_give_one_embedding() -> None:
    state, audio = of_transformers(TINY).state_dict(), noise(1, 4000)
    first = states(ours(TINY, state), audio)
    for other in (state, old_spelling(state)):
        for a, b in zip(states(ours(TINY, other), audio), first, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("part", ["weight_g", "weight_v", "bias"])
def test_the_positional_convolution_is_the_one_that_was_given(part: str) -> None:
    state, audio = old_spelling(of_transformers(TINY).state_dict()), noise(1, 4000)
    before = states(ours(TINY, state), audio)[0]
    name = f"encoder.pos_conv_embed.conv.{part}"
    state[name] = state[name] + noise(*state[name].shape)
    assert difference(states(ours(TINY, state), audio)[0], before) > 0.01


def test_missing_unexpected_and_doubled_parameters_are_an_error() -> None:
    state = of_transformers(TINY).state_dict()
    new = "encoder.pos_conv_embed.conv.parametrizations.weight.original0"
    less = {name: value for name, value in state.items() if name != new}
    with pytest.raises(CorruptDataError, match=r"missing: encoder\.pos_conv_embed\.conv\.weight_g"):
        ours(TINY, less)
    with pytest.raises(CorruptDataError, match=r"unexpected: encoder\.layers\.3\.x"):
        ours(TINY, {**state, "encoder.layers.3.x": torch.zeros(1)}, depth=1)
    with pytest.raises(CorruptDataError, match="two spellings"):
        ours(TINY, {**state, "encoder.pos_conv_embed.conv.weight_g": state[new]})
    with pytest.raises(CorruptDataError, match="of another shape"):
        ours(TINY, {**state, new: state[new][..., 1:]})
