"""What the numbers of every encoder must keep to. A kind is added in encoder_cases.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from encoder_cases import CASES, case_params, load
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder
from pianoeval.encoders.chunking import encode_clip, plan_chunks
from pianoeval.encoders.registry import KINDS, encoder_spec
from pianoeval.errors import BadInputError, ConfigError

kinds = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.usefixtures("checkpoint_cache")
Loaded = Callable[[str], Encoder]
Audio = NDArray[np.float32]


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(KINDS)


def assert_close(kind: str, got: NDArray[np.float32], want: NDArray[np.float32]) -> None:
    """Within the tolerance that the kind states, of the largest value of each layer."""
    assert got.shape == want.shape
    size = np.abs(want).max((*range(want.ndim - 2), want.ndim - 1))  # a layer
    worst = np.abs(got - want).max((*range(want.ndim - 2), want.ndim - 1))
    assert (worst <= CASES[kind].tolerance * size).all(), worst / size


@kinds
def test_spec_needs_no_weights_and_is_the_loaded_one(kind: str, loaded: Loaded) -> None:
    params = case_params(kind)
    spec = encoder_spec(params)
    encoder = loaded(kind)
    assert spec == encoder.spec
    assert spec.kind == kind
    assert spec.chunk_s == pytest.approx(2.0, abs=0.1)
    # chunks advance by their frames: these lie within a chunk, and leave less than one of them
    step = spec.period_samples * spec.frame_group
    covered = spec.chunk_frames * spec.period_samples
    assert covered - step < spec.chunk_samples < covered + step + spec.span_samples
    assert spec.n_frames(spec.min_samples) == spec.frame_group or spec.span_samples == 1
    assert bool(spec.weights_sha256) == (kind != "mel")
    assert encoder.device.type == "cpu"


@kinds
def test_shape_dtype_and_frame_count(kind: str, loaded: Loaded, notes: Audio) -> None:
    encoder = loaded(kind)
    spec = encoder.spec
    step = spec.period_samples * spec.frame_group
    lengths = {spec.min_samples, spec.min_samples + 1, 8192, 8193, 20_000}
    for n in (n for n in sorted(lengths) if n >= spec.min_samples):
        out = encoder.encode(notes[None, 5000 : 5000 + n])
        starts = [s for s in range(0, n, step) if s + spec.span_samples <= n]
        frames = len(starts) * spec.frame_group
        assert out.shape == (1, frames, len(spec.layer_names), spec.dim)
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        assert np.abs(out).max() > 0


@kinds
def test_deterministic_and_two_loads_give_one_embedding(
    kind: str, loaded: Loaded, notes: Audio
) -> None:
    audio = notes[None, :20_000]
    first = loaded(kind).encode(audio)
    np.testing.assert_array_equal(first, loaded(kind).encode(audio))
    np.testing.assert_array_equal(first, load(case_params(kind)).encode(audio))


@kinds
def test_an_item_does_not_depend_on_its_batch(kind: str, loaded: Loaded, notes: Audio) -> None:
    encoder = loaded(kind)
    items = np.stack([notes[:20_000], 0.2 * notes[20_000:40_000], np.zeros(20_000, np.float32)])
    together = encoder.encode(items)
    for i in range(len(items)):
        assert_close(kind, together[i], encoder.encode(items[i : i + 1])[0])


@kinds
def test_shorter_rows_of_a_batch_are_as_alone_or_refused(
    kind: str, loaded: Loaded, notes: Audio
) -> None:
    encoder = loaded(kind)
    spec = encoder.spec
    lengths = [20_000, 17_000, max(spec.min_samples, 9001), 14_321]
    items = np.zeros((len(lengths), 24_000), np.float32)
    for row, n in zip(items, lengths, strict=True):
        row[:n] = notes[4000 : 4000 + n] + 0.01
    if not encoder.masked:
        with pytest.raises(BadInputError, match="one length"):
            encoder.encode(items, lengths)
        return
    together = encoder.encode(items, lengths)
    assert together.shape[1] == spec.n_frames(24_000)
    for i, n in enumerate(lengths):
        alone = encoder.encode(items[i : i + 1, :n])[0]
        assert_close(kind, together[i, : len(alone)], alone)


@kinds
def test_silence_and_clipped_audio_are_finite(kind: str, loaded: Loaded, notes: Audio) -> None:
    full = np.sign(notes[5000:25_000])
    for audio in (np.zeros(20_000, np.float32), full, np.ones(20_000, np.float32)):
        out = loaded(kind).encode(audio[None])
        assert np.isfinite(out).all()
        assert np.abs(out).max() < 1000
    assert np.abs(np.diff(loaded(kind).encode(full[None]), axis=1)).max() > 0


@kinds
def test_unusable_audio_is_refused(kind: str, loaded: Loaded) -> None:
    encoder = loaded(kind)
    spec = encoder.spec
    for n_samples in (0, 1, spec.min_samples - 1, spec.chunk_samples + 1):
        with pytest.raises(BadInputError, match="shape"):
            encoder.encode(np.zeros((1, n_samples), np.float32))
    with pytest.raises(BadInputError, match="too short"):
        plan_chunks(1, spec)
    bad = np.zeros((1, 10_000), np.float32)
    for value in (np.nan, np.inf):
        bad[0, 77] = value
        with pytest.raises(BadInputError, match="not finite"):
            encoder.encode(bad)


@kinds
@pytest.mark.parametrize("overlap_s", [0.0, 0.2])
def test_long_audio_is_its_chunks_in_their_places(
    kind: str, overlap_s: float, notes: Audio
) -> None:
    encoder = load(case_params(kind, chunk_s=0.7, overlap_s=overlap_s))
    spec = encoder.spec
    audio = notes[: 2 * spec.chunk_samples + 7777]
    shape = (spec.n_frames(len(audio)), len(spec.layer_names), spec.dim)
    frames = np.full(shape, np.nan, np.float32)
    for position, part in encode_clip(audio, encoder):
        assert np.isnan(frames[position : position + len(part)]).all()  # each frame once
        frames[position : position + len(part)] = part
    assert np.isfinite(frames).all()
    plan = plan_chunks(len(audio), spec)
    assert plan[0].start == 0
    assert plan[-1].stop == len(audio)
    advance = (spec.chunk_frames - spec.overlap_frames) * spec.period_samples
    assert plan[1].start == advance
    assert bool(spec.overlap_frames) == bool(overlap_s)
    for chunk in plan:
        assert chunk.first % spec.frame_group == chunk.position % spec.frame_group == 0
        alone = encoder.encode(audio[None, chunk.start : chunk.stop])[0, chunk.first : chunk.last]
        np.testing.assert_array_equal(frames[chunk.position :][: len(alone)], alone)


@pytest.mark.parametrize(
    ("kind", "layers"), [(kind, layers) for kind, case in CASES.items() for layers in case.layers]
)
def test_stopping_after_the_last_wanted_layer_changes_nothing(
    kind: str, layers: str, loaded: Loaded, notes: Audio
) -> None:
    every = loaded(kind)
    some = load(case_params(kind, layers=layers))
    assert some.spec.layer_names == tuple(layers.split(","))
    columns = [every.spec.layer_names.index(name) for name in layers.split(",")]
    audio = notes[None, :20_000]
    np.testing.assert_array_equal(some.encode(audio), every.encode(audio)[:, :, columns])


@kinds
def test_bfloat16_is_finite_and_near_float32(kind: str, notes: Audio) -> None:
    if not CASES[kind].bfloat16:
        with pytest.raises(ConfigError, match="bfloat16"):
            encoder_spec(case_params(kind, precision="bfloat16"))
        return
    audio, layers = notes[None, :20_000], CASES[kind].bfloat16_layers
    want = load(case_params(kind, layers=layers)).encode(audio)
    got = load(case_params(kind, layers=layers, precision="bfloat16")).encode(audio)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    difference = np.abs(got - want).mean((0, 1, 3)) / np.abs(want).mean((0, 1, 3))
    assert 0 < difference.max() <= CASES[kind].bfloat16, difference


@kinds
def test_what_hears_gain(kind: str, loaded: Loaded, notes: Audio) -> None:
    audio = notes[None, :20_000]
    loud, soft = loaded(kind).encode(audio), loaded(kind).encode(audio / 16)
    if CASES[kind].hears_gain:
        assert np.abs(loud - soft).max() > 0.01 * np.abs(loud).max()
    else:
        assert_close(kind, soft, loud)


@kinds
def test_int16_is_the_same_audio(kind: str, loaded: Loaded, notes: Audio) -> None:
    integers = np.rint(notes[:20_000] * 32768).astype(np.int16)
    floats = integers.astype(np.float32) / 32768
    ((_, a),) = encode_clip(integers, loaded(kind))
    ((_, b),) = encode_clip(floats, loaded(kind))
    np.testing.assert_array_equal(a, b)
