"""MERT: specification, flags, normalisation, frames, early exit, precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import case_params, fetch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import Wav2Vec2FeatureExtractor

from pianoeval.encoders.mert.config import DEFAULT_CONFIG, random_state, read_shape
from pianoeval.encoders.mert.encoder import MertEncoder, mert_spec, standardise
from pianoeval.errors import ConfigError, MissingAssetError
from pianoeval.params import CheckpointParams

Audio = NDArray[np.float32]
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
TINY: dict[str, Any] = {
    **DEFAULT_CONFIG, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
LARGE: dict[str, Any] = {  # scripts/hf_config/mert_large.json of the authors, what concerns us
    **DEFAULT_CONFIG, "attention_relax": 32.0, "conv_bias": False, "do_stable_layer_norm": True,
    "feat_extract_norm": "group", "hidden_act": "gelu", "feat_extract_activation": "gelu",
    "hidden_size": 1024, "intermediate_size": 4096, "layer_norm_eps": 1e-05,
    "num_attention_heads": 16, "num_hidden_layers": 24, "mask_time_prob": 0.075,
}  # fmt: skip


def params(**change: Any) -> CheckpointParams:
    return CheckpointParams(kind="mert", **change)


def tiny(**change: Any) -> MertEncoder:
    """The tiny checkpoint of the contract tests."""
    given_params = case_params("mert", **change)
    assert isinstance(given_params, CheckpointParams)
    return MertEncoder(given_params)


def test_specification_of_the_published_model() -> None:
    spec = mert_spec(params(weights="random", seed=7, chunk_s=10.0))
    assert (spec.sample_rate_hz, spec.chunk_samples, spec.chunk_frames) == (24_000, 240_000, 749)
    assert (spec.period_samples, spec.span_samples, spec.frame_rate_hz) == (320, 400, 75.0)
    assert spec.layer_names == tuple(str(i) for i in range(13))
    assert spec.dim == 768
    assert spec.weights_sha256 == ""
    assert dict(spec.options) == {"random_version": 1, "random_seed": 7}


def test_the_330m_configuration_has_25_states_and_its_norms_first() -> None:
    shape = read_shape(LARGE, "large")
    assert (shape.n_layers, shape.dim, shape.heads, shape.norm_first) == (24, 1024, 16, True)
    assert (shape.layer_norm_convs, shape.alpha, shape.norm_features) == (False, 1.0, True)
    assert (shape.period, shape.span) == (320, 400)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("feature_extractor_cqt", True), ("conv_pos_batch_norm", True), ("hidden_act", "relu"),
        ("feat_extract_activation", "silu"), ("feat_extract_norm", "batch"),
        ("sample_rate", 16_000), ("deepnorm", "yes"), ("adapter_attn_dim", 16),
        ("do_stable_layer_norm", None), ("conv_bias", 2),
    ],
)  # fmt: skip
def test_a_flag_that_is_not_supported_is_named_with_its_value(
    flag: str, value: Any, tmp_path: Any
) -> None:
    config = {**TINY, flag: value}
    with pytest.raises(ConfigError) as error:
        read_shape(config, "here")
    assert f"{flag}: {value!r}" in str(error.value)
    assert f"allowed: {flag}: " in str(error.value)
    digest = fetch("mert", config, random_state(read_shape(TINY, "here"), 3, 0), tmp_path / "mert")
    with pytest.raises(ConfigError, match=flag):
        mert_spec(params(digest=digest))


def test_sizes_are_not_guessed_and_contradictions_are_refused() -> None:
    lacking = {key: value for key, value in TINY.items() if key != "hidden_size"}
    for config, said in (
        (lacking, "lacks hidden_size"),
        ({}, "lacks sample_rate, hidden_size"),
        ({**TINY, "deepnorm": True, "do_stable_layer_norm": True}, "one of them at most"),
        ({**TINY, "num_attention_heads": 5}, "a multiple of num_attention_heads"),
        ({**TINY, "conv_stride": [5, 2]}, "convolutions of"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_shape(config, "here")
    with pytest.raises(ConfigError, match="chunk_s"):
        mert_spec(params(weights="random", chunk_s=0.015))
    with pytest.raises(MissingAssetError, match="encoder get mert"):
        mert_spec(params())


@settings(deadline=None, max_examples=60)
@given(st.integers(400, 20_000))
def test_frames_are_what_the_convolutions_give(n_samples: int) -> None:
    sizes = zip(DEFAULT_CONFIG["conv_kernel"], DEFAULT_CONFIG["conv_stride"], strict=True)
    x = torch.empty(1, 1, n_samples, device="meta")
    for kernel, stride in sizes:
        x = torch.nn.Conv1d(1, 1, kernel, stride, device="meta")(x)
    assert mert_spec(params(weights="random")).n_frames(n_samples) == x.shape[-1]


def test_the_encoder_gives_as_many_frames_as_its_specification_says(notes: Audio) -> None:
    encoder = tiny()
    for n_samples in (400, 719, 720, 721, 20_000):
        out = encoder.encode(notes[None, 5000 : 5000 + n_samples])
        assert out.shape[1] == encoder.spec.n_frames(n_samples)


def test_normalisation_is_that_of_wav2vec2(notes: Audio) -> None:
    """transformers' own, padded rows too; silence and a constant become zeros."""
    ends = [20_000, 400, 7777, 20_000, 20_000]
    rows = [notes[:20_000] + np.float32(0.1), 30 * notes[5000:5400], notes[:7777] / 1000]
    rows += [np.zeros(20_000, np.float32), np.full(20_000, 0.5, np.float32)]
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)
    padded = np.stack([np.pad(row, (0, 20_000 - len(row))) for row in rows])
    found = standardise(torch.from_numpy(padded), ends)
    for row, ours, n in zip(rows, found, ends, strict=True):
        theirs = extractor(row.astype(np.float64), sampling_rate=24_000).input_values[0]
        np.testing.assert_allclose(ours[:n], theirs, atol=2e-6)
        assert not ours[n:].any()
        alone = standardise(torch.from_numpy(row)[None], None)[0]
        np.testing.assert_allclose(ours[:n], alone, atol=1e-6)


def test_whether_it_normalises_is_what_the_checkpoint_says(notes: Audio, tmp_path: Path) -> None:
    config = {**TINY, "feat_extract_norm": "layer", "conv_bias": True}
    state, audio = random_state(read_shape(config, "x"), 3, 0), notes[None, :9000]

    def encoder(name: str, **preprocessor: Any) -> MertEncoder:
        (tmp_path / name).mkdir()
        text = json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", **preprocessor})
        (tmp_path / name / "preprocessor_config.json").write_text(text)
        return MertEncoder(params(digest=fetch("mert", config, state, tmp_path / name)), "mine")

    silent, yes = encoder("silent"), encoder("yes", do_normalize=True, sampling_rate=24_000)
    no = encoder("no", do_normalize=False)
    assert len({e.spec.weights_sha256 for e in (silent, yes, no)}) == 3
    np.testing.assert_array_equal(silent.encode(audio), yes.encode(audio))
    scaled = standardise(torch.from_numpy(audio), None).numpy()
    np.testing.assert_array_equal(no.encode(scaled), yes.encode(audio))
    assert np.abs(no.encode(audio) - yes.encode(audio)).max() > 0.01
    for wrong in ({"do_normalize": "yes"}, {"sampling_rate": 16_000}):
        with pytest.raises(ConfigError, match=r"preprocessor_config\.json has") as caught:
            encoder(next(iter(wrong)), **wrong)
        assert caught.value.where == "encoders.mine"


def test_it_hears_neither_gain_nor_offset(notes: Audio) -> None:
    encoder, audio = tiny(), notes[None, :20_000]
    expected = encoder.encode(audio)
    for other in (audio / 4, audio + np.float32(0.25)):
        np.testing.assert_allclose(encoder.encode(other), expected, atol=1e-3)


@pytest.mark.parametrize("flags", [{}, {"do_stable_layer_norm": True}], ids=["post", "pre"])
@pytest.mark.parametrize("layers", ["0", "2", "1,3", "0,3"])
def test_early_exit_changes_nothing_and_keeps_no_later_layer(
    layers: str, flags: dict[str, Any], notes: Audio, tmp_path: Any
) -> None:
    config = {**TINY, **flags}
    digest = fetch("mert", config, random_state(read_shape(config, "x"), 3, 4), tmp_path / "mert")
    every, some = (MertEncoder(params(digest=digest, layers=layer)) for layer in ("all", layers))
    columns = [int(layer) for layer in layers.split(",")]
    audio = notes[None, :20_000]
    np.testing.assert_array_equal(some.encode(audio), every.encode(audio)[:, :, columns])
    kept = {name for name, _ in some._net.named_parameters()}
    assert not any(name.startswith(f"encoder.layers.{max(columns)}.") for name in kept)


def test_random_weights_follow_the_seed_and_not_the_depth() -> None:
    shape = read_shape(TINY, "x")
    whole, part, other = (random_state(shape, *how) for how in ((3, 0), (1, 0), (3, 1)))
    assert set(part) < set(whole)
    assert all(torch.equal(value, whole[name]) for name, value in part.items())
    matrices = [name for name, value in whole.items() if value.dim() > 1]
    assert not any(torch.equal(whole[name], other[name]) for name in matrices)
    dense = whole["encoder.layers.2.feed_forward.output_dense.weight"]
    assert float(dense.std()) == pytest.approx(0.02, rel=0.1)
    conv = whole["feature_extractor.conv_layers.3.conv.weight"]
    assert float(conv.std()) == pytest.approx((2 / (16 * 3)) ** 0.5, rel=0.1)


def test_bfloat16_is_near_float32_and_not_the_same(notes: Audio) -> None:
    """Full size, random weights, four layers; found: 0.8 % root mean square in every state."""
    audio = notes[None, :24_000]
    exact, rough = (
        MertEncoder(params(weights="random", layers="0..4", precision=precision)).encode(audio)
        for precision in ("float32", "bfloat16")
    )
    error = np.sqrt(np.square(exact - rough).mean((0, 1, 3)) / np.square(exact).mean((0, 1, 3)))
    assert rough.dtype == np.float32
    assert (error > 1e-4).all()
    assert (error < 0.02).all()


def test_silence_a_constant_and_a_click_are_finite() -> None:
    encoder = tiny()
    click = np.zeros((1, 5000), np.float32)
    click[0, 2500] = 1
    for audio in (np.zeros((1, 5000), np.float32), np.ones((1, 5000), np.float32), click):
        out = encoder.encode(audio)
        assert np.isfinite(out).all()
        assert np.abs(out).max() < 100
