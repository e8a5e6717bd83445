"""Transkun: against the published package's numbers, slow literal twins, and broken weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from encoder_cases import load
from numpy.typing import NDArray
from torch import nn

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.linear import linear
from pianoeval.encoders.registry import create_encoder, required_assets
from pianoeval.encoders.transkun.encoder import summarise_hops, summarise_stream, transkun_spec
from pianoeval.encoders.transkun.net import FrontEnd, TranskunNet, _Block, n_steps, rms_norm
from pianoeval.encoders.transkun.untrained import random_state
from pianoeval.encoders.transkun.weights import _block, convert_state, load_state
from pianoeval.errors import ConfigError, CorruptDataError, MissingAssetError
from pianoeval.params import TranskunParams

F8 = NDArray[np.float64]

# Mean and standard deviation over steps 0..15 and all values, then values 0, 300, 600, 900, 1100
# and 1400 of step 7, of the fixture ``notes`` in one chunk. Computed once with the modules
# LayersTransformer and Util of the published package transkun 2.0.1 and a summary of its hidden
# states; ours differed by at most 4e-5.
PUBLISHED = {
    "1": (0.006557, 0.157497, 0.10564, 0.01675, -0.00641, 0.05335, 0.07562, 0.00374),
    "2": (-0.002103, 0.174857, -0.00689, -0.03467, -0.0445, 0.05409, 0.03048, -0.0421),
    "3": (-0.002966, 0.201242, -0.02932, 0.00722, 0.13644, 0.06198, -0.04976, -0.07234),
    "4": (-0.004557, 0.235968, -0.20774, -0.00491, 0.01171, 0.07599, -0.38607, 0.12089),
    "5": (0.004558, 0.260763, -0.05803, 0.16298, 0.09823, 0.12262, -0.8091, 0.05918),
    "6": (0.014389, 0.417867, 0.3915, 0.17665, 0.32533, 0.1004, -0.35984, 0.17039),
    "ctx": (0.154632, 0.894224, -0.15435, 0.18313, 0.35074, -0.26898, 0.30755, 0.02458),
}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    try:
        return load_state()
    except MissingAssetError as error:
        pytest.skip(f"run 'make assets' first: {error}")


@pytest.mark.parametrize(("precision", "atol"), [("float32", 2e-4), ("bfloat16", 0.1)])
def test_equals_the_published_package(
    precision: str, atol: float, notes: NDArray[np.float32]
) -> None:
    params = TranskunParams(precision=precision)  # type: ignore[arg-type]
    out = load(params).encode(notes[None])[0]
    assert len(out) == 17  # ceil(132300 / 8192)
    for column, (layer, want) in enumerate(PUBLISHED.items()):
        got = out[:16, column]
        values = out[7, column, [0, 300, 600, 900, 1100, 1400]]
        np.testing.assert_allclose([got.mean(), got.std(), *values], want, atol=atol, err_msg=layer)


def _published_block(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names: dict[str, tuple[int, ...]] = {}
    for tag in "FT":
        attention, feed = f"b.mhaBlock{tag}.", f"b.fnnBlock{tag}."
        names |= {f"{attention}module.{n}_proj_weight": (256, 256) for n in "qkv"}
        names |= {attention + "module.out_proj.weight": (256, 256)}
        names |= {attention + "module.out_proj.bias": (256,), attention + "scale": (256,)}
        names |= {feed + "module.0.weight": (1024, 256), feed + "module.0.bias": (1024,)}
        names |= {feed + "module.3.weight": (256, 1024), feed + "module.3.bias": (256,)}
        names |= {feed + "scale": (256,)}
    return {
        name: torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        for name, shape in names.items()
    }


def _attend_literally(x: F8, raw: F8, state: dict[str, F8], tag: str) -> F8:
    """One sequence (length, 256): attention, then feed-forward, one head and query at a time."""
    attention, feed = f"b.mhaBlock{tag}.", f"b.fnnBlock{tag}."

    def normed(y: F8) -> F8:
        return y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)

    q = normed(x) @ state[attention + "module.q_proj_weight"]
    k = raw @ state[attention + "module.k_proj_weight"]
    v = raw @ state[attention + "module.v_proj_weight"]
    heard = np.zeros_like(x)
    for head in range(8):
        part = slice(32 * head, 32 * head + 32)
        for i in range(len(x)):
            score = np.array([q[i, part] @ k[j, part] / math.sqrt(32) for j in range(len(x))])
            weight = np.exp(score - score.max())
            heard[i, part] = (weight / weight.sum()) @ v[:, part]
    out = heard @ state[attention + "module.out_proj.weight"].T
    x = x + (out + state[attention + "module.out_proj.bias"]) * state[attention + "scale"]
    up = normed(x) @ state[feed + "module.0.weight"].T + state[feed + "module.0.bias"]
    gelu = np.vectorize(lambda z: 0.5 * z * (1 + math.erf(z / math.sqrt(2))))(up)
    down = gelu @ state[feed + "module.3.weight"].T + state[feed + "module.3.bias"]
    return np.asarray(x + down * state[feed + "scale"])


def test_axial_block_equals_its_literal_twin() -> None:
    published = _published_block(seed=3)
    block = _Block()
    block.load_state_dict(_block(dict(published), "b."))
    x = torch.randn(2, 3, 4, 256, generator=torch.Generator().manual_seed(4))
    got = x.clone()
    with torch.inference_mode():
        block(got, torch.empty(24, 5 * 256))
    weights = {name: value.double().numpy() for name, value in published.items()}
    for item in range(2):
        raw = x[item].double().numpy()
        want = np.stack([_attend_literally(raw[t], raw[t], weights, "F") for t in range(3)])
        for token in range(4):
            want[:, token] = _attend_literally(want[:, token], raw[:, token], weights, "T")
        np.testing.assert_allclose(got[item].numpy(), want, atol=2e-5)


def test_front_end_equals_its_literal_twin(notes: NDArray[np.float32]) -> None:
    generator = torch.Generator().manual_seed(0)
    front = FrontEnd()
    front.mel[:] = torch.rand(2049, 229, generator=generator)
    front.mel[:3], front.mel[700:] = 0, 0
    front.windows[:] = torch.rand(6, 4096, generator=generator)
    audio = notes[4000:14_000].astype(np.float64)
    padded = np.concatenate([np.zeros(2048), audio, np.zeros(10 * 1024 + 2048 - 10_000)])
    frames = np.stack([padded[1024 * i : 1024 * i + 4096] for i in range(11)])
    frames = (frames - frames.mean()) / (frames.std(ddof=1) + 1e-8)
    for channel in range(6):
        windowed = frames * front.windows[channel].double().numpy()
        power = np.abs(np.fft.rfft(windowed, norm="ortho")) ** 2
        mel = power @ front.mel.double().numpy()
        want = (np.log(mel + 1e-5) - np.log(1e-5)) / -np.log(1e-5)
        got = front(torch.from_numpy(notes[None, 4000:14_000]))[0, channel].numpy()
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_linear_and_norm_equal_torch() -> None:
    x, weight, bias = torch.randn(50, 256), torch.randn(64, 256) / 16, torch.randn(64)
    plain = F.linear(x, weight, bias)
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(linear(x, weight, bias), plain, **close)
    torch.testing.assert_close(linear(x, weight, bias, then="gelu"), F.gelu(plain), **close)
    torch.testing.assert_close(rms_norm(x), F.rms_norm(x, (256,), None, 1e-6))


def test_summaries() -> None:
    generator = np.random.default_rng(0)
    stream = generator.standard_normal((1, 2, 149, 256)).astype(np.float32)
    out = torch.empty(1, 2, 1536)
    summarise_stream(torch.from_numpy(stream), 59, out)
    x = stream[0, 1].astype(np.float64)
    keys = x[61:]
    want = [x[0], x[1:59].mean(0), keys.mean(0), keys.std(0), x[59], x[60]]
    np.testing.assert_allclose(out[0, 1].numpy(), np.concatenate(want), atol=1e-6)

    hops = generator.standard_normal((3, 90, 8, 256)).astype(np.float32)
    y = hops[2].astype(np.float64)
    mean, std = y[2:].mean(0), y[2:].std(0)  # over keys: (hops, values)
    want = [mean.mean(0), std.mean(0), y[0].mean(0), y[1].mean(0), mean.std(0), std.std(0)]
    got = summarise_hops(torch.from_numpy(hops))[2].numpy()
    np.testing.assert_allclose(got, np.concatenate(want), atol=1e-6)


def test_context_is_the_transposed_convolution(
    loaded: Callable[[str], Encoder], notes: NDArray[np.float32]
) -> None:
    encoder = loaded("transkun")
    net: TranskunNet = encoder.net  # type: ignore[attr-defined]
    kept: list[torch.Tensor] = []
    audio = notes[None, :30_000]
    with torch.inference_mode():
        net(torch.from_numpy(audio), 6, lambda depth, x: kept.append(x.clone()))
        events = kept[-1][0, :4, 59:].permute(1, 2, 0)  # (event, dim, step)
        hops = net.upConv1dSkip(events).unflatten(-1, (4, 8)).permute(2, 0, 3, 1)
    want = summarise_hops(hops).numpy()
    np.testing.assert_allclose(encoder.encode(audio)[0, :, 6], want, atol=1e-4)


def test_weights_that_do_not_fit(state: dict[str, torch.Tensor]) -> None:
    name = "backbone.encoderLayers.3.fnnBlockT.scale"
    with pytest.raises(CorruptDataError, match="lack"):
        convert_state({k: v for k, v in state.items() if k != name})
    with pytest.raises(CorruptDataError, match=r"unknown.*surprise"):
        convert_state(state | {"surprise": torch.zeros(1)})
    for wrong in (
        {k: v for k, v in state.items() if k != "backbone.inputConv.bias"},
        state | {"backbone.surprise": torch.zeros(1)},
        state | {"backbone.inputConv.bias": torch.zeros(3)},
    ):
        with pytest.raises(CorruptDataError, match="do not fit"):
            TranskunNet(convert_state(wrong), 8192, torch.float32)


def test_weights_that_are_not_there(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path))
    with pytest.raises(MissingAssetError, match=r"pianoeval fetch transkun-2\.0"):
        load_state()


def test_random_control(notes: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded, its own key, and without the published file."""
    monkeypatch.setenv("PIANOEVAL_CACHE", "/nowhere")
    params = {seed: TranskunParams(chunk_s=2.0, weights="random", seed=seed)
              for seed in (1, 2)}  # fmt: skip
    assert required_assets(params[1]) == ()
    first, again, other = (
        create_encoder(params[seed]).encode(notes[None, :9000]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all()
    assert np.abs(first - other).max() > 0.1
    trained = TranskunParams(chunk_s=2.0)
    assert required_assets(trained) == ("transkun-2.0",)
    configs = [transkun_spec(p).config() for p in (*params.values(), trained)]
    assert all(config not in configs[:i] for i, config in enumerate(configs))


def test_random_weights_have_the_published_layout(state: dict[str, torch.Tensor]) -> None:
    """Names, shapes and types of the published file; what is no weight is the same."""
    drawn = random_state(0)
    heads = ("scorer.", "velocityPredictor.", "refinedOFPredictor.")
    published = {k: v for k, v in state.items() if not k.startswith(heads)}
    assert {k: (v.shape, v.dtype) for k, v in drawn.items()} == {
        k: (v.shape, v.dtype) for k, v in published.items()
    }
    for fixed in ("freq2mels", "spectrogramExtractor.win"):
        name = "framewiseFeatureExtractor." + fixed
        torch.testing.assert_close(drawn[name], published[name], atol=3e-5, rtol=0)


def test_random_weights_are_as_pytorch_draws_them() -> None:
    """Against modules that PyTorch has just created: range and spread of every kind of tensor."""
    torch.manual_seed(0)
    drawn = random_state(3)
    fresh: dict[str, nn.Module] = {
        "backbone.inputConv.": nn.Conv2d(6, 64, 3),
        "backbone.downConv.1.": nn.Conv2d(64, 128, 3),
        "backbone.downConv.2.": nn.GroupNorm(4, 128),
        "backbone.downConv.13.": nn.Conv2d(256, 256, 3),
        "backbone.upConv1dSkip.": nn.ConvTranspose1d(256, 256, 8, stride=8),
        "backbone.posEmbedBuilder.mlp.3.": nn.Linear(256, 64),
        "backbone.encoderLayers.5.mhaBlockT.module.out_proj.": nn.Linear(256, 256),
        "backbone.encoderLayers.0.fnnBlockF.module.0.": nn.Linear(256, 1024),
        "backbone.encoderLayers.0.fnnBlockF.module.3.": nn.Linear(1024, 256),
    }
    for prefix, module in fresh.items():
        for name, there in module.named_parameters():
            ours = drawn[prefix + name]
            assert ours.shape == there.shape
            for measure in (torch.std, lambda x: x.abs().max()):
                want = float(measure(there.detach()))
                assert float(measure(ours)) == pytest.approx(want, rel=0.2, abs=1e-9), prefix
    glorot = nn.init.xavier_uniform_(torch.empty(256, 256))
    query = drawn["backbone.encoderLayers.2.mhaBlockF.module.q_proj_weight"]
    assert float(query.abs().max()) == pytest.approx(float(glorot.abs().max()), rel=0.01)
    assert float(query.std()) == pytest.approx(float(glorot.std()), rel=0.02)
    fourier = drawn["backbone.posEmbedBuilderAttnTF.proj.weight"]
    assert float(fourier.std()) == pytest.approx(1.0, abs=0.15)
    scales = [value for name, value in drawn.items() if name.endswith("scale")]
    assert len(scales) == 24
    assert all((value == 0.01).all() for value in scales)


@pytest.mark.parametrize(
    "change", [{"compile": True}, {"chunk_s": 16.5}, {"chunk_s": 0.1}, {"layers": "7"}]
)
def test_parameters_that_do_not_fit(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        transkun_spec(TranskunParams(**change))  # type: ignore[arg-type]


def test_chunks_are_whole_steps() -> None:
    spec = transkun_spec(TranskunParams())
    assert (spec.chunk_frames, spec.chunk_samples) == (54, 442_368)
    assert spec.frame_rate_hz == pytest.approx(5.383, abs=1e-3)
    assert n_steps(441_000) == 55  # one more than the audio has, as published
