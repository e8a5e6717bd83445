"""Low-rank adapters: the frozen encoder at the start, gradients to adapters alone, merging."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import case_params, fetch
from torch import Tensor

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.differentiable import Differentiable, differentiable, spread
from pianoeval.encoders.lora import Lora, adapted, adapted_frames, adapters_of, merge
from pianoeval.encoders.mert.config import DEFAULT_CONFIG, random_state, read_shape
from pianoeval.encoders.registry import create_encoder
from pianoeval.errors import ConfigError

BOTH = ["attention", "feed_forward"]
# Layers, matrices a layer (attention, then all), and the largest difference of the two passes.
CASES: dict[str, tuple[dict[str, Any], int, int, float]] = {
    "transkun": ({"weights": "random", "layers": "1,2"}, 5, 9, 1e-5),
    "muq": ({"layers": "0,2"}, 3, 7, 1e-5),
    "mert": ({"layers": "1..3"}, 2, 4, 1e-5),
}
DEPTH = {"transkun": 2, "muq": 2, "mert": 3}
kinds = pytest.mark.parametrize("kind", CASES)


@pytest.fixture(scope="module")
def nets(checkpoint_cache: Path) -> dict[str, Differentiable]:
    return {
        kind: differentiable(create_encoder(case_params(kind, **change)))
        for kind, (change, *_) in CASES.items()
    }


@pytest.fixture(scope="module")
def audio() -> Tensor:
    """Two rows of noise, 0.6 s at 44.1 kHz; shorter than a chunk of any encoder."""
    return 0.1 * torch.randn(2, 26_460, generator=torch.Generator().manual_seed(0))


def moved(net: Differentiable, targets: list[str] = BOTH, rank: int = 3) -> Lora:
    """Adapters that are no longer at their start."""
    lora = adapters_of(net, targets, rank, 6.0, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for b in lora.b:
            b.copy_(0.05 * torch.randn(b.shape, generator=generator))
    return lora


@kinds
def test_the_pass_with_gradients_agrees_with_the_encoder(
    kind: str, nets: dict[str, Differentiable], audio: Tensor
) -> None:
    net = nets[kind]
    with torch.no_grad():
        found = net(audio).numpy()
    wanted = net.encoder.encode(audio.numpy())
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= CASES[kind][3] * np.abs(wanted).max()


def test_a_mert_whose_norms_come_first_agrees_too(
    checkpoint_cache: Path, tmp_path: Path, audio: Tensor
) -> None:
    config = {**DEFAULT_CONFIG, "hidden_size": 24, "num_hidden_layers": 2,
              "num_attention_heads": 3, "intermediate_size": 48, "conv_dim": [8] * 7,
              "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
              "do_stable_layer_norm": True}  # fmt: skip
    state = random_state(read_shape(config, "tiny"), 2, 0)
    digest = fetch("mert", config, state, tmp_path / "mert")
    net = differentiable(create_encoder(case_params("mert", digest=digest)))
    with torch.no_grad():
        found = net(audio).numpy()
    wanted = net.encoder.encode(audio.numpy())
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@kinds
def test_new_adapters_change_no_bit(
    kind: str, nets: dict[str, Differentiable], audio: Tensor
) -> None:
    net = nets[kind]
    lora = adapters_of(net, BOTH, 4, 8.0, 0)
    frozen = net.encoder.encode(audio.numpy())
    with torch.no_grad():
        assert torch.equal(adapted_frames(net, lora, audio), net(audio))
    with adapted(net, lora) as encoder:
        assert np.array_equal(encoder.encode(audio.numpy()), frozen)


@kinds
def test_gradients_reach_adapters_alone(
    kind: str, nets: dict[str, Differentiable], audio: Tensor
) -> None:
    net = nets[kind]
    for lora, to_a in ((adapters_of(net, BOTH, 4, 8.0, 0), False), (moved(net), True)):
        torch.autograd.backward(adapted_frames(net, lora, audio).square().sum())
        for a, b in zip(lora.a, lora.b, strict=True):
            assert b.grad is not None
            assert a.grad is not None
            assert torch.isfinite(b.grad).all()
            assert b.grad.abs().max() > 0
            assert bool(a.grad.abs().max() > 0) is to_a  # A's passes through B, which starts at 0
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())


@kinds
def test_the_gradient_is_the_slope_of_the_loss(
    kind: str, nets: dict[str, Differentiable], audio: Tensor
) -> None:
    """Central difference along the gradient, in float32."""
    net = nets[kind]
    lora = moved(net)
    weight = torch.randn(net(audio).shape, generator=torch.Generator().manual_seed(2))

    def loss() -> Tensor:
        return (adapted_frames(net, lora, audio).double() * weight.double()).sum()

    torch.autograd.backward(loss())
    parameters = list(lora.parameters())
    steps = [p.grad.clone() for p in parameters if p.grad is not None]
    assert len(steps) == len(parameters)
    length = float(sum(step.square().sum() for step in steps)) ** 0.5
    h = 2e-3
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.add_(step, alpha=sign * h / length)
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(length, rel=0.03)


@kinds
def test_merged_is_adapted_and_is_undone_bit_for_bit(
    kind: str, nets: dict[str, Differentiable], audio: Tensor
) -> None:
    net = nets[kind]
    lora, spec = moved(net), net.encoder.spec
    frozen = net.encoder.encode(audio.numpy())
    with torch.no_grad():
        wanted = adapted_frames(net, lora, audio).numpy()
    with adapted(net, lora) as encoder:
        found = encoder.encode(audio.numpy())
        assert encoder.spec.weights_sha256 not in ("", spec.weights_sha256)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert np.abs(found - frozen).max() > 1e-3 * np.abs(frozen).max()
    with pytest.raises(ConfigError), adapted(net, lora):
        raise ConfigError("something else went wrong")
    assert net.encoder.spec is spec
    assert np.array_equal(net.encoder.encode(audio.numpy()), frozen)


def test_merging_adds_the_scaled_product(checkpoint_cache: Path) -> None:
    net = differentiable(create_encoder(case_params("mert", layers="2")))
    lora = moved(net)
    name = "net.encoder.layers.1.attention.out_proj.weight"
    number = lora.names.index(name)
    before = net.tensors()[name].numpy().astype(np.float64).copy()
    a, b = (part[number].detach().numpy().astype(np.float64) for part in (lora.a, lora.b))
    assert a.shape == (3, 24)
    merge(net, lora)
    np.testing.assert_allclose(net.tensors()[name].numpy(), before + 6 / 3 * b @ a, atol=1e-6)


@kinds
def test_adapters_are_of_the_wanted_kinds_and_layers(
    kind: str, nets: dict[str, Differentiable]
) -> None:
    net, (_, attention, both, _) = nets[kind], CASES[kind]
    assert len(adapters_of(net, ["attention"], 2, 2.0, 0).names) == attention * DEPTH[kind]
    every = adapters_of(net, BOTH, 2, 2.0, 0)
    assert len(every.names) == both * DEPTH[kind]
    again = adapters_of(net, BOTH, 2, 2.0, 0)
    assert every.digest() == again.digest() != adapters_of(net, BOTH, 2, 2.0, 1).digest()


def test_a_matrix_smaller_than_the_rank_has_a_smaller_one() -> None:
    lora = Lora({"a": (2, 5), "b": (9, 8)}, rank=4, alpha=1.0, seed=0)
    assert [tuple(a.shape) for a in lora.a] == [(2, 5), (4, 8)]
    assert lora.delta(0).shape == (2, 5)


def refused() -> Iterator[tuple[Encoder, str]]:
    yield create_encoder(case_params("mel")), "transkun, muq, mert"
    yield create_encoder(case_params("transkun", weights="random", layers="2,ctx")), "1 to 6"
    yield create_encoder(case_params("muq", layers="0")), "from 1 on"


def test_what_cannot_be_adapted_is_refused(checkpoint_cache: Path) -> None:
    for encoder, allowed in refused():
        with pytest.raises(ConfigError) as caught:
            differentiable(encoder)
        assert allowed in str(caught.value)


def test_a_spread_of_equal_values_has_a_gradient_of_0() -> None:
    x = torch.ones(1, 4, 2, requires_grad=True)
    torch.autograd.backward(spread(x, 1).sum())
    assert x.grad is not None
    assert (x.grad == 0).all()
    y = torch.tensor([[1.0, 2.0, 4.0]])
    assert float(spread(y, 1)) == pytest.approx(float(np.std([1, 2, 4])))
