"""What every encoder must keep to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from encoder_cases import PARAMS, load
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.chunking import encode_clip, plan_chunks
from pianoeval.encoders.registry import KINDS, encoder_spec, required_assets
from pianoeval.errors import BadInputError
from pianoeval.params import EncoderParams

# Float32 sums in another order: 1e-5 of the largest value, which is about 30.
TOLERANCE = 5e-4
kinds = pytest.mark.parametrize("kind", KINDS)
Loaded = Callable[[str], Encoder]
Audio = NDArray[np.float32]


@kinds
def test_spec_needs_no_weights_and_is_the_loaded_one(kind: str, loaded: Loaded) -> None:
    spec = encoder_spec(PARAMS[kind])
    assert spec == loaded(kind).spec
    assert spec.chunk_samples % spec.period_samples == 0
    assert spec.chunk_s == pytest.approx(2.0, abs=spec.period_samples / spec.sample_rate_hz)
    assert bool(spec.weights_sha256) == bool(required_assets(PARAMS[kind]))


@kinds
@pytest.mark.parametrize("n_samples", [4096, 8192, 8193, 30_000])
def test_shape_dtype_and_frame_count(
    kind: str, n_samples: int, loaded: Loaded, notes: Audio
) -> None:
    encoder = loaded(kind)
    out = encoder.encode(notes[None, 5000 : 5000 + n_samples])
    frames = -(-n_samples // encoder.spec.period_samples)
    assert out.shape == (1, frames, len(encoder.spec.layer_names), encoder.spec.dim)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


@kinds
def test_deterministic_and_two_loads_give_one_embedding(
    kind: str, loaded: Loaded, notes: Audio
) -> None:
    audio = notes[None, :40_000]
    first = loaded(kind).encode(audio)
    np.testing.assert_array_equal(first, loaded(kind).encode(audio))
    np.testing.assert_array_equal(first, load(PARAMS[kind]).encode(audio))


@kinds
def test_an_item_does_not_depend_on_its_batch(kind: str, loaded: Loaded, notes: Audio) -> None:
    encoder = loaded(kind)
    items = np.stack([notes[:40_000], 0.2 * notes[40_000:80_000], np.zeros(40_000, np.float32)])
    together = encoder.encode(items)
    for i in range(len(items)):
        np.testing.assert_allclose(together[i], encoder.encode(items[i : i + 1])[0], atol=TOLERANCE)


@kinds
def test_silence_and_clipped_audio_are_finite(kind: str, loaded: Loaded, notes: Audio) -> None:
    for audio in (np.zeros(40_000, np.float32), np.sign(notes[5000:45_000])):
        out = loaded(kind).encode(audio[None])
        assert np.isfinite(out).all()
        assert np.abs(out).max() < 1000


@kinds
def test_unusable_audio_is_refused(kind: str, loaded: Loaded) -> None:
    encoder = loaded(kind)
    for n_samples in (0, 1, encoder.spec.min_samples - 1, encoder.spec.chunk_samples + 1):
        with pytest.raises(BadInputError, match="shape"):
            encoder.encode(np.zeros((1, n_samples), np.float32))
    with pytest.raises(BadInputError, match="too short"):
        plan_chunks(1, encoder.spec)
    bad = np.zeros((1, 10_000), np.float32)
    bad[0, 77] = np.nan
    with pytest.raises(BadInputError, match="not finite"):
        encoder.encode(bad)


@kinds
def test_long_audio_is_its_chunks_in_their_places(kind: str, loaded: Loaded, notes: Audio) -> None:
    encoder = loaded(kind)
    spec = encoder.spec
    audio = np.concatenate([notes, 0.5 * notes[:50_000]])
    frames = np.full((spec.n_frames(len(audio)), len(spec.layer_names), spec.dim), np.nan)
    for position, part in encode_clip(audio, encoder):
        frames[position : position + len(part)] = part
    assert np.isfinite(frames).all()
    first = encoder.encode(audio[None, : spec.chunk_samples])[0]
    last = encoder.encode(audio[None, -spec.chunk_samples :])[0]
    np.testing.assert_array_equal(frames[: len(first) // 2], first[: len(first) // 2])
    np.testing.assert_array_equal(frames[-len(last) // 2 :], last[-len(last) // 2 :])


@pytest.mark.parametrize("layers", ["2", "1,3", "ctx"])
def test_stopping_after_the_last_wanted_layer_changes_nothing(
    layers: str, loaded: Loaded, notes: Audio
) -> None:
    every = loaded("transkun")
    some = load(EncoderParams(kind="transkun", chunk_s=2.0, layers=layers))
    columns = [every.spec.layer_names.index(name) for name in layers.split(",")]
    audio = notes[None, :40_000]
    np.testing.assert_array_equal(some.encode(audio), every.encode(audio)[:, :, columns])


def test_transkun_does_not_hear_gain_and_mel_does(loaded: Loaded, notes: Audio) -> None:
    audio = notes[None, :40_000]
    transkun, mel = loaded("transkun"), loaded("mel")
    np.testing.assert_allclose(transkun.encode(audio), transkun.encode(audio / 16), atol=TOLERANCE)
    assert np.abs(mel.encode(audio) - mel.encode(audio / 16)).max() > 1


def test_int16_is_the_same_audio(loaded: Loaded, notes: Audio) -> None:
    encoder = loaded("mel")
    integers = np.rint(notes * 32768).astype(np.int16)
    floats = integers.astype(np.float32) / 32768
    (_, a), *_ = encode_clip(integers, encoder)
    (_, b), *_ = encode_clip(floats, encoder)
    np.testing.assert_array_equal(a, b)
