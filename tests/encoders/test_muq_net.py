"""MuQ's network: parity with the authors' package, its front end, masks, precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_run import needs_reference, run_reference
from safetensors import safe_open
from torch import Tensor

from pianoeval.checkpoints import strict_load
from pianoeval.encoders.muq.config import DEFAULT_CONFIG, MuqShape, random_state, read_shape
from pianoeval.encoders.muq.encoder import UNUSED
from pianoeval.encoders.muq.net import MelFrontEnd, MuqNet, mel_bank, mirror
from pianoeval.encoders.muq.weights import MuqWeights

GOLDEN = Path(__file__).parent / "golden" / "muq.safetensors"
Golden = tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]


@pytest.fixture(scope="module")
def golden() -> Golden:
    """Configuration, weights, and what the authors' package made of the audio."""
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights = {n.removeprefix("weights."): v for n, v in held.items() if n.startswith("weights.")}
    assert len(weights) > 400
    held["audio"] = held["audio"].float() / 32768
    return config, weights, held


def build(
    shape: MuqShape, state: dict[str, Tensor], dtype: torch.dtype = torch.float32, *,
    depth: int | None = None, fast: bool = True,
) -> MuqNet:  # fmt: skip
    depth = shape.n_layers if depth is None else depth
    weights = MuqWeights(shape, depth)
    later = [f"model.conformer.layers.{i}." for i in range(depth, shape.n_layers)]
    strict_load(weights, state, "test", ignored=(*UNUSED, *later))
    return MuqNet(shape, weights, dtype, fast=fast)


@torch.inference_mode()
def states(net: MuqNet, audio: Tensor, n_samples: list[int] | None = None) -> Tensor:
    """(batch, frames, layers, dim)."""
    found: list[Tensor] = []
    net(audio, n_samples, lambda i, x: found.append(x.clone()) if i == len(found) else None)
    return torch.stack(found, 2)


@pytest.fixture(scope="module")
def shallow(golden: Golden) -> MuqNet:
    """The stem and the first two layers."""
    config, weights, _ = golden
    return build(read_shape(config, "golden"), weights, depth=2)


def worst(got: Tensor, want: Tensor) -> float:
    """Largest difference of a layer, of the layer's largest value."""
    assert got.shape == want.shape
    difference, size = (x.abs().amax((0, 1, 3)) for x in (got - want, want))
    return float((difference / size).max())


@pytest.mark.parametrize("fast", [True, False])
def test_every_state_equals_that_of_the_authors_package(golden: Golden, fast: bool) -> None:
    config, weights, held = golden
    net = build(read_shape(config, "golden"), weights, fast=fast)
    torch.testing.assert_close(
        net.front(held["audio"]).transpose(1, 2), held["mel"], atol=2e-5, rtol=1e-5
    )
    got = states(net, held["audio"])
    assert got.shape[2] == 13
    assert worst(got, held["states"]) < 5e-6
    assert worst(states(net, held["audio"][:, :1025]), held["short.states"]) < 5e-6


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_near_float32(golden: Golden, fast: bool) -> None:
    config, weights, held = golden
    net = build(read_shape(config, "golden"), weights, torch.bfloat16, fast=fast)
    got = states(net, held["audio"])
    assert got.dtype == torch.float32
    assert 1e-4 < worst(got, held["states"]) < 0.08


@given(st.lists(st.integers(1025, 7300), min_size=2, max_size=4))
@settings(max_examples=12, deadline=None)
def test_shorter_rows_of_a_batch_are_as_alone(
    golden: Golden, shallow: MuqNet, lengths: list[int]
) -> None:
    audio = golden[2]["audio"][1].repeat(len(lengths), 1)[:, : max(lengths)].clone()
    for row, n in zip(audio, lengths, strict=True):
        row[n:] = 0
    together = states(shallow, audio, lengths)
    for i, n in enumerate(lengths):
        alone = states(shallow, audio[i : i + 1, :n])
        assert worst(together[i : i + 1, : alone.shape[1]], alone) < 5e-6


def test_what_lies_behind_a_row_is_not_heard(golden: Golden, shallow: MuqNet) -> None:
    audio, lengths = golden[2]["audio"], [7300, 4000]
    loud = audio.clone()
    loud[1, 4000:] = 1.0
    heard, meant = (states(shallow, x, lengths)[1, :5] for x in (loud, audio))
    torch.testing.assert_close(heard, meant, atol=0, rtol=0)


@pytest.mark.parametrize("n_mels", [128, 40])
def test_mel_front_end_equals_librosa(n_mels: int) -> None:
    shape = read_shape({**DEFAULT_CONFIG, "n_mels": n_mels}, "test")
    generator = np.random.default_rng(0)
    audio = 0.1 * generator.standard_normal(6001) * np.linspace(1, 0.01, 6001)
    mel = librosa.feature.melspectrogram(
        y=audio, sr=24_000, n_fft=2048, hop_length=240, n_mels=n_mels, htk=True, norm=None,
        pad_mode="reflect", power=2.0, fmin=0.0, fmax=12_000.0, dtype=np.float64,
    )[:, :25]  # fmt: skip
    want = (10 * np.log10(np.maximum(mel, 1e-10)) - 6.768444971712967) / 18.417922652295623
    got = MelFrontEnd(shape)(torch.from_numpy(audio[None].astype(np.float32)))[0]
    np.testing.assert_allclose(got.numpy(), want.T, atol=1e-4)
    filled = mel_bank(n_mels).sum(0) > 0
    assert filled.float().mean() > 0.9


@given(st.lists(st.integers(1025, 2300), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_audio_is_mirrored_at_the_end_of_each_row(lengths: list[int]) -> None:
    whole = max(lengths)
    audio = torch.arange(1.0, whole + 1).repeat(len(lengths), 1)
    padded = mirror(audio, torch.tensor(lengths))
    for row, n in zip(padded, lengths, strict=True):
        want = np.pad(audio[0, :n].numpy(), 1024, mode="reflect")
        np.testing.assert_array_equal(row[: n + 2048].numpy(), want)
    assert torch.equal(mirror(audio, None), mirror(audio, torch.tensor([whole] * len(lengths))))


def published(seed: int) -> tuple[MuqShape, dict[str, Tensor]]:
    """Full size; norms, running statistics and gains at random too."""
    shape = read_shape(DEFAULT_CONFIG, "published")
    state = random_state(shape, shape.n_layers, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2, generator=generator)
        elif value.ndim == 1 and name.endswith("weight"):
            value.normal_(1, 0.2, generator=generator)
        elif value.ndim > 1:
            value.mul_(1.7)
    return shape, state


@needs_reference
@pytest.mark.timeout(1500)
def test_full_size_equals_the_authors_package(tmp_path: Path) -> None:
    shape, state = published(0)
    t = torch.arange(240_000) / 24_000
    tone = 0.2 * torch.sin(2 * torch.pi * (220 + 30 * t) * t) * torch.exp(-3 * (t % 1))
    noise = 0.001 * torch.randn(240_000, generator=torch.Generator().manual_seed(1))
    audio = (tone + noise)[None]
    held = {**state, "audio": audio}
    want = run_reference("muq", held, {"config": json.dumps(DEFAULT_CONFIG)}, tmp_path)["states"]
    assert want.shape == (1, 250, 13, 1024)
    for fast in (True, False):
        assert worst(states(build(shape, state, fast=fast), audio), want) < 5e-6
    half = states(build(shape, state, torch.bfloat16), audio)
    assert worst(half, want) < 0.03
    difference = (half - want).abs().mean((0, 1, 3)) / want.abs().mean((0, 1, 3))
    assert float(difference.max()) < 0.012
