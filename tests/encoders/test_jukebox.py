"""Jukebox's VQ-VAE: transformers 4, checkpoints of every layout, tiles, nearest codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import fetch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference_run import needs_reference, run_reference
from safetensors import safe_open
from torch import Tensor

from pianoeval.checkpoints import get_checkpoint
from pianoeval.encoders.codecs.jukebox import JukeboxEncoder, jukebox_spec, random_net, top_level
from pianoeval.encoders.codecs.jukebox_net import (
    JukeboxConfig,
    JukeboxNet,
    nearest_codes,
    quantize,
    read_net_config,
)
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.params import CheckpointParams

Audio = NDArray[np.float32]
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
GOLDEN = Path(__file__).parent / "golden" / "jukebox.safetensors"


def params(**change: Any) -> CheckpointParams:
    return CheckpointParams(kind="jukebox", **{"chunk_s": 2.0, **change})


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Configuration, weights, and audio with what transformers 4 made of it."""
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights = {n.removeprefix("weights."): v for n, v in held.items() if n.startswith("weights.")}
    return config, weights, {n: v for n, v in held.items() if not n.startswith("weights.")}


def relative(got: Tensor | Audio, want: Tensor | Audio) -> float:
    """Largest difference, of the largest value."""
    a, b = torch.as_tensor(got), torch.as_tensor(want)
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def by_openai(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of OpenAI's modules, as ``EncoderConvBlock`` and ``Resnet1D`` nest them."""
    named = {}
    for name, value in weights.items():
        if found := re.match(r"(encoders\.\d\.level_blocks\.\d)\.(.*)", name):
            place, rest = found.groups()
            steps = len({n for n in weights if n.startswith(f"{place}.downsample_block.")
                         and n.endswith("weight") and "resnet" not in n})  # fmt: skip
            parts = rest.split(".")
            if parts[0] == "proj_out":
                rest = f"model.{steps}.{parts[1]}"
            elif "resnet_block" in parts:
                conv = {"conv1d_1": 1, "conv1d_2": 3}[parts[4]]
                rest = f"model.{int(parts[1]) // 2}.1.model.{parts[3]}.model.{conv}.{parts[5]}"
            else:
                rest = f"model.{int(parts[1]) // 2}.0.{parts[2]}"
            name = f"{place}.{rest}"
        named[re.sub(r"\.codebook$", ".k", name)] = value
    return named


def test_parity_with_the_golden_file(golden: Any, tmp_path: Path) -> None:
    config, weights, held = golden
    encoder = JukeboxEncoder(params(digest=fetch("jukebox", config, weights, tmp_path / "jukebox")))
    out = encoder.encode(held["audio"].numpy())
    assert relative(out[:, :, 0], held["latent"]) < 1e-5
    np.testing.assert_array_equal(out[:, :, 1], held["quantized"])  # codes are copied
    assert len(held["codes"].unique()) > 20


@needs_reference
def test_full_size_equals_transformers_4(notes: Audio, tmp_path: Path) -> None:
    encoder = JukeboxEncoder(params(weights="random", seed=3))
    generator = torch.Generator().manual_seed(0)
    for name, value in encoder.net.encoders.named_parameters():
        if name.endswith("bias"):
            value.copy_(0.01 * torch.randn(value.shape, generator=generator))
    audio = notes[None, 20_000:85_000]  # several tiles, and not a whole hop
    given = {**encoder.net.state_dict(), "audio": torch.from_numpy(audio)}
    want = run_reference("jukebox", given, {"config": "{}"}, tmp_path)
    out = encoder.encode(audio)
    assert out.shape == (1, 507, 2, 64)
    assert relative(out[:, :, 0], want["latent"]) < 1e-5
    same = (out[:, :, 1] == want["quantized"].numpy()).all(-1)
    assert same.mean() > 0.99  # two codes may be equally near
    assert len(want["codes"].unique()) > 20


@pytest.mark.parametrize("layout", ["hub", "openai"])
def test_every_published_layout_is_read(layout: str, golden: Any, tmp_path: Path) -> None:
    config, weights, held = golden
    if layout == "hub":  # the whole of JukeboxModel: prefixed, and with priors
        state = {f"vqvae.{name}": value for name, value in weights.items()}
        state["priors.0.prior.proj.weight"] = torch.zeros(3, 3)
        nested = {"model_type": "jukebox", "vqvae_config": config}
        digest = fetch("jukebox", nested, state, tmp_path / "hub")
    else:
        (tmp_path / "config.json").write_text(json.dumps(config))
        torch.save({"model": by_openai(weights), "step": 1}, tmp_path / "vqvae.pth.tar")
        given = params(file="vqvae.pth.tar")
        digest = get_checkpoint("jukebox", given, tmp_path).digest
    file = "" if layout == "hub" else "vqvae.pth.tar"
    encoder = JukeboxEncoder(params(digest=digest, file=file))
    assert relative(encoder.encode(held["audio"].numpy())[:, :, 0], held["latent"]) < 1e-5


def test_only_the_top_level_is_kept(golden: Any) -> None:
    config, weights, _ = golden
    net = JukeboxNet(read_net_config(config, "here"))
    assert set(top_level(weights, codes=True)) == set(net.state_dict())
    assert set(top_level(by_openai(weights), codes=True)) == set(net.state_dict())
    latent = JukeboxNet(read_net_config(config, "here"), quantized=False)
    assert set(top_level(weights, codes=False)) == set(latent.state_dict())


def test_a_checkpoint_is_loaded_strictly(golden: Any, tmp_path: Path) -> None:
    config, weights, _ = golden
    unit = "encoders.2.level_blocks.1.downsample_block.1.resnet_block.0.conv1d_2.bias"
    lost, more, shape = dict(weights), dict(weights), dict(weights)
    lost.pop(unit)
    more["encoders.2.level_blocks.3.proj_out.bias"] = torch.zeros(2)
    shape["bottleneck.level_blocks.2.codebook"] = torch.zeros(31, 8)
    other = {**weights, "mystery": torch.zeros(1)}
    for i, (state, name) in enumerate(
        ((lost, unit), (more, r"level_blocks\.3"), (shape, "codebook"), (other, "mystery"))
    ):
        digest = fetch("jukebox", config, state, tmp_path / str(i))
        with pytest.raises(CorruptDataError, match=name):
            JukeboxEncoder(params(digest=digest))
    small = {n: v for n, v in weights.items() if n.startswith("encoders.2.")}
    digest = fetch("jukebox", config, small, tmp_path / "small")
    assert JukeboxEncoder(params(digest=digest, layers="latent")).net.bottleneck is None
    with pytest.raises(CorruptDataError, match="codebook"):
        JukeboxEncoder(params(digest=digest))


def test_published_size_and_configuration() -> None:
    spec = jukebox_spec(params(weights="random", chunk_s=10.0))
    assert (spec.chunk_samples, spec.chunk_frames, spec.dim) == (3445 * 128, 3445, 64)
    assert [spec.n_frames(n) for n in (127, 128, 255, 256)] == [0, 1, 1, 2]
    assert spec.frame_rate_hz == pytest.approx(344.53, abs=0.01)
    assert read_net_config({}, "here") == JukeboxConfig()
    assert JukeboxConfig().dilations == (1, 3, 9, 27)
    assert JukeboxConfig(multipliers=(2, 1, 2)).dilations[-1] == 3**7
    assert JukeboxConfig(res_dilation_cycle=2).dilations == (1, 3, 1, 3)


@pytest.mark.parametrize(
    "found",
    [{"model_type": "encodec"}, {"levels": 2}, {"vqvae_config": {"act_fn": "gelu"}},
     {"res_strides_t": [3, 2, 2]}, {"multipliers": [1, 1]}],
)  # fmt: skip
def test_another_model_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="three levels"):
        read_net_config(found, "here")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"precision": "bfloat16"}, "layers: latent"),
        ({"compile": True, "device": "cuda"}, "compile"),
        ({"chunk_s": 61.0}, "chunk_s"),
        ({"layers": "0"}, "unknown layer"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        jukebox_spec(params(weights="random", **change))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**31),
    st.sampled_from([0.0, 100.0]),
)  # fmt: skip
def test_the_nearest_code_is_found(n: int, codes: int, dim: int, seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    book = (offset + rng.standard_normal((codes, dim))).astype(np.float32)
    vectors = (offset + rng.standard_normal((n, dim))).astype(np.float32)
    chosen = nearest_codes(torch.from_numpy(vectors), torch.from_numpy(book)).numpy()
    distance = ((vectors[:, None].astype(float) - book[None].astype(float)) ** 2).sum(-1)
    worse = distance[np.arange(n), chosen] - distance.min(1)
    assert worse.max() <= 1e-6 * (1 + dim * offset**2)


def test_of_equal_codes_the_first_is_taken_and_bfloat16_does_not_choose() -> None:
    book = torch.tensor([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert nearest_codes(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), book).tolist() == [1, 1]
    fine = torch.tensor([[1.0, 0.0], [1.001, 0.0]])  # one value in bfloat16
    assert nearest_codes(torch.tensor([[1.001, 0.0]]), fine).tolist() == [1]
    assert quantize(torch.tensor([[[1.1], [0.0]]]).bfloat16(), fine).dtype == torch.float32


@pytest.mark.parametrize("samples", [32, 1000, 2500])
@pytest.mark.parametrize("tile", [32, 100, 512])
def test_tiles_change_nothing(samples: int, tile: int, golden: Any) -> None:
    config, weights, held = golden
    net = JukeboxNet(read_net_config(config, "here"))
    net.load_state_dict(top_level(weights, codes=True))
    audio = held["audio"][:, None, :samples]
    whole = net.latent(audio, None, 1 << 20)
    assert whole.shape[-1] == samples // 32
    assert relative(net.latent(audio, None, tile), whole) < 1e-5
    length = max(32, samples - 333)
    padded = audio.clone()
    padded[1, :, length:] = 0
    masked = net.latent(padded, torch.tensor([samples, length]), tile)
    alone = net.latent(audio[1:, :, :length], None, 1 << 20)
    assert relative(masked[:1], whole[:1]) < 1e-5
    assert relative(masked[1:, :, : alone.shape[-1]], alone) < 1e-5


def test_random_codes_are_many_and_follow_the_seed(notes: Audio) -> None:
    encoder = JukeboxEncoder(params(weights="random"))
    out = encoder.encode(notes[None, : encoder.spec.chunk_samples])
    again = JukeboxEncoder(params(weights="random", layers="quantized"))
    np.testing.assert_array_equal(again.encode(notes[None, :30_000])[:, :100, 0],
                                  encoder.encode(notes[None, :30_000])[:, :100, 1])  # fmt: skip
    assert len(np.unique(out[0, :, 1], axis=0)) > 50
    other = random_net(JukeboxConfig(), 1, quantized=False).state_dict()
    name = "encoders.2.level_blocks.0.proj_out.weight"
    assert not torch.equal(encoder.net.state_dict()[name], other[name])
    assert jukebox_spec(params(weights="random", seed=1)).config()["random_seed"] == 1


def test_a_frame_hears_ten_thousand_samples_around_it() -> None:
    net = random_net(JukeboxConfig(res_conv_width=4), 0, quantized=False)
    for name, value in net.named_parameters():  # every unit is active, and nothing cancels
        value.copy_(value.abs() + name.endswith("bias"))
    audio = torch.zeros(1, 1, 200 * 128, requires_grad=True)
    net.latent(audio, None, 1 << 20)[0, :, 100].sum().backward()
    assert audio.grad is not None
    heard = audio.grad[0, 0].nonzero()[:, 0] - 100 * 128
    assert (int(heard[0]), int(heard[-1])) == (-10_455, 127 + 10_455)
