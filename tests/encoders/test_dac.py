"""DAC: transformers' model, published and weight-normalised checkpoints, tiles, quantiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import fetch
from numpy.typing import NDArray
from reference_run import needs_reference, run_reference
from safetensors import safe_open
from torch import Tensor, nn
from transformers import DacConfig, DacModel

from pianoeval.encoders.codecs.dac import (
    DEFAULT_CONFIG,
    DacEncoder,
    DacNet,
    dac_spec,
    draw_weights,
    fold_weight_norm,
)
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.params import CheckpointParams

Audio = NDArray[np.float32]
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
GOLDEN = Path(__file__).parent / "golden" / "dac.safetensors"


def params(**change: Any) -> CheckpointParams:
    return CheckpointParams(kind="dac", **{"chunk_s": 2.0, **change})


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Configuration, weights, and audio with what transformers 4 made of it."""
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights = {n.removeprefix("weights."): v for n, v in held.items() if n.startswith("weights.")}
    return config, weights, {n: v for n, v in held.items() if not n.startswith("weights.")}


def net_of(config: dict[str, Any], weights: dict[str, Tensor]) -> DacNet:
    net = DacNet(DacConfig(**{n: v for n, v in config.items() if n != "model_type"}))
    net.load_state_dict({n: v for n, v in weights.items() if not n.startswith("decoder.")})
    return net


def relative(got: Tensor | Audio, want: Tensor | Audio) -> float:
    """Largest difference, of the largest value."""
    a, b = torch.as_tensor(got), torch.as_tensor(want)
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def test_parity_with_the_golden_file(golden: Any, tmp_path: Path) -> None:
    config, weights, held = golden
    digest = fetch("dac", config, weights, tmp_path / "dac")
    encoder = DacEncoder(params(digest=digest))
    assert encoder.spec.dim == config["encoder_hidden_size"] * 8
    out = encoder.encode(held["audio"].numpy())
    assert relative(out[:, :, 0], held["latent"]) < 1e-5
    assert relative(out[:, :, 1], held["quantized"]) < 1e-5
    assert encoder.net.quantizer is not None
    codes = encoder.net.quantizer(torch.from_numpy(out[:, :, 0]).transpose(1, 2))[1]
    assert torch.equal(codes, held["codes"])
    assert min(len(codes[:, book].unique()) for book in range(3)) > 5
    np.testing.assert_array_equal(
        DacEncoder(params(digest=digest)).encode(held["audio"].numpy()), out
    )


def test_parity_at_full_size_with_transformers(notes: Audio) -> None:
    encoder = DacEncoder(params(weights="random"))
    with torch.device("meta"):  # the decoder stays there
        theirs = DacModel(DacConfig(**DEFAULT_CONFIG)).eval()
    assert encoder.net.quantizer is not None
    theirs.encoder.load_state_dict(encoder.net.encoder.state_dict(), assign=True)
    theirs.quantizer.load_state_dict(encoder.net.quantizer.state_dict(), assign=True)
    audio = notes[None, 10_000:27_000]  # three tiles, and not a whole hop
    with torch.inference_mode():
        x = torch.from_numpy(audio)[:, None]
        latent, done = theirs.encoder(x), theirs.encode(x)
    out = encoder.encode(audio)
    assert out.shape == (1, 33, 2, 1024)
    assert relative(out[:, :, 0], latent.transpose(1, 2)) < 1e-5
    assert relative(out[:, :, 1], done.quantized_representation.transpose(1, 2)) < 1e-5
    # random weights, too, must tell frames apart: many codes in every codebook
    assert min(len(done.audio_codes[0, book].unique()) for book in range(9)) > 15
    assert np.abs(out[:, :, 1]).max() > 0.1 * np.abs(out[:, :, 0]).max()


@needs_reference
def test_full_size_equals_transformers_4(notes: Audio, tmp_path: Path) -> None:
    encoder = DacEncoder(params(weights="random", seed=3))
    audio = notes[None, 10_000:27_000]
    given = {**encoder.net.state_dict(), "audio": torch.from_numpy(audio)}
    config = {"config": json.dumps(DEFAULT_CONFIG)}
    want = run_reference("dac", given, config, tmp_path)
    out = encoder.encode(audio)
    assert relative(out[:, :, 0], want["latent"]) < 1e-5
    same = np.abs(out[:, :, 1] - want["quantized"].numpy()).max(-1) < 1e-6
    assert same.mean() > 0.95  # two codes may be equally near


def test_published_size() -> None:
    spec = dac_spec(params(weights="random", chunk_s=10.0))
    assert (spec.chunk_samples, spec.chunk_frames, spec.dim) == (861 * 512, 861, 1024)
    assert [spec.n_frames(n) for n in (511, 512, 1023, 1024, 44_100)] == [0, 1, 1, 2, 86]
    assert spec.frame_rate_hz == pytest.approx(86.13, abs=0.01)
    with torch.device("meta"):
        net = DacNet(DacConfig(**DEFAULT_CONFIG))
    assert sum(p.numel() for p in net.encoder.parameters()) == 22_299_200
    assert net.quantizer is not None
    assert [len(book.codebook.weight) for book in net.quantizer.quantizers] == [1024] * 9


def test_quantized_is_the_sum_of_the_nearest_codes(golden: Any) -> None:
    config, weights, held = golden
    w = {name: value.double().numpy() for name, value in weights.items()}
    residual = held["latent"].double().numpy()
    total = np.zeros_like(residual)
    for book in range(config["n_codebooks"]):
        name = f"quantizer.quantizers.{book}."
        low = residual @ w[name + "in_proj.weight"][:, :, 0].T + w[name + "in_proj.bias"]
        codes = w[name + "codebook.weight"]
        cosine = low @ (codes / np.linalg.norm(codes, axis=1, keepdims=True)).T
        chosen = codes[cosine.argmax(-1)]
        decoded = chosen @ w[name + "out_proj.weight"][:, :, 0].T + w[name + "out_proj.bias"]
        total, residual = total + decoded, residual - decoded
    assert relative(held["quantized"].double(), torch.from_numpy(total)) < 1e-5


@pytest.mark.parametrize("samples", [64, 1000, 1500])
@pytest.mark.parametrize("tile", [64, 100, 512])
def test_tiles_change_nothing(samples: int, tile: int, golden: Any) -> None:
    config, weights, held = golden
    net = net_of(config, weights)
    audio = held["audio"][:, None, :samples]
    lengths = torch.tensor([samples, max(64, samples - 333)])
    whole = net.latent(audio, None, 1 << 20)
    assert whole.shape[-1] == samples // 64
    assert relative(net.latent(audio, None, tile), whole) < 1e-5
    padded = audio.clone()
    padded[1, :, lengths[1] :] = 0
    masked = net.latent(padded, lengths, tile)
    assert relative(masked[:1], whole[:1]) < 1e-5
    alone = net.latent(audio[1:, :, : lengths[1]], None, 1 << 20)
    assert relative(masked[1:, :, : alone.shape[-1]], alone) < 1e-5


@pytest.mark.parametrize("style", ["plain", "old", "new"])
def test_weight_norm_is_folded(style: str) -> None:
    conv = nn.Conv1d(3, 4, 5)
    plain = {f"encoder.conv1.{name}": value.clone() for name, value in conv.state_dict().items()}
    if style == "new":
        nn.utils.parametrizations.weight_norm(conv)
    elif style == "old":
        with pytest.warns(FutureWarning):
            nn.utils.weight_norm(conv)
    with torch.no_grad():  # a gain that is not the norm
        for name, value in conv.named_parameters():
            if name.endswith(("weight_g", "original0")):
                value.mul_(2.0)
    state = {f"encoder.conv1.{name}": value for name, value in conv.state_dict().items()}
    folded = fold_weight_norm(state, "here")
    assert set(folded) == set(plain)
    factor = 1.0 if style == "plain" else 2.0
    want = factor * plain["encoder.conv1.weight"]
    torch.testing.assert_close(folded["encoder.conv1.weight"], want)
    if style != "plain":
        state.pop(next(name for name in state if name.endswith(("weight_g", "original0"))))
        with pytest.raises(CorruptDataError, match=r"encoder\.conv1\.\S*(weight_g|original0)"):
            fold_weight_norm(state, "here")


def test_a_weight_in_two_spellings_is_refused() -> None:
    g, v = torch.ones(4, 1, 1), torch.ones(4, 3, 5)
    old = {"a.weight_g": g, "a.weight_v": v}
    new = {"a.parametrizations.weight.original0": g, "a.parametrizations.weight.original1": v}
    for state in ({**old, "a.weight": v}, {**new, "a.weight": v}, {**old, **new}):
        with pytest.raises(CorruptDataError, match=r"two spellings: a\.weight"):
            fold_weight_norm(state, "here")


def test_a_checkpoint_is_loaded_strictly(golden: Any, tmp_path: Path) -> None:
    config, weights, _ = golden
    lost, more, shape = dict(weights), dict(weights), dict(weights)
    lost.pop("encoder.block.1.res_unit2.snake1.alpha")
    more["encoder.block.9.conv1.bias"] = torch.zeros(2)
    shape["quantizer.quantizers.0.codebook.weight"] = torch.zeros(7, 4)
    for i, (state, name) in enumerate(
        ((lost, "snake1.alpha"), (more, r"block\.9"), (shape, "0.cod"))
    ):
        digest = fetch("dac", config, state, tmp_path / str(i))
        with pytest.raises(CorruptDataError, match=name):
            DacEncoder(params(digest=digest))
    # what is not wanted need not be there
    small = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    digest = fetch("dac", config, small, tmp_path / "small")
    encoder = DacEncoder(params(digest=digest, layers="latent"))
    assert encoder.net.quantizer is None
    with pytest.raises(CorruptDataError, match="quantizer"):
        DacEncoder(params(digest=digest))


@pytest.mark.parametrize(
    "change",
    [{"sampling_rate": 16_000}, {"model_type": "encodec"}, {"downsampling_ratios": [2, 5]}],
)
def test_another_model_is_refused(change: dict[str, Any], golden: Any, tmp_path: Path) -> None:
    config, weights, _ = golden
    digest = fetch("dac", {**config, **change}, weights, tmp_path / "dac")
    with pytest.raises(ConfigError, match="even ratios"):
        dac_spec(params(digest=digest))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"precision": "bfloat16"}, "layers: latent"),
        ({"compile": True, "device": "cuda"}, "compile"),
        ({"chunk_s": 61.0}, "chunk_s"),
        ({"chunk_s": 0.005}, "chunk_s"),
        ({"layers": "3"}, "unknown layer"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        dac_spec(params(weights="random", **change))


def test_a_frame_hears_less_than_four_thousand_samples_around_it() -> None:
    net = DacNet(DacConfig(**{**DEFAULT_CONFIG, "encoder_hidden_size": 2}), quantized=False)
    draw_weights(net, 0)
    for value in net.parameters():
        value.abs_()  # nothing cancels
    audio = torch.zeros(1, 1, 40 * 512, requires_grad=True)
    net.latent(audio, None, 1 << 20)[0, :, 20].sum().backward()
    assert audio.grad is not None
    heard = audio.grad[0, 0].nonzero()[:, 0] - 20 * 512
    assert (int(heard[0]), int(heard[-1])) == (-3733, 511 + 3733)


def test_random_weights_follow_the_seed() -> None:
    tiny = DacConfig(**{**DEFAULT_CONFIG, "encoder_hidden_size": 2})
    nets = [DacNet(tiny) for _ in range(3)]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        draw_weights(net, seed)
    first, again, other = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.conv1.weight"], other["encoder.conv1.weight"])
    assert (first["encoder.snake1.alpha"] == 1).all()
    assert dac_spec(params(weights="random", seed=1)).config()["random_seed"] == 1
