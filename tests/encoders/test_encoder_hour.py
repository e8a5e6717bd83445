"""An hour of audio: where its chunks lie, and that they stream."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from encoder_cases import case_params, load
from numpy.typing import NDArray

from pianoeval.encoders.chunking import AudioStream, encode_clip, frame_times_s, plan_chunks
from pianoeval.encoders.registry import KINDS, encoder_spec

pytestmark = pytest.mark.usefixtures("checkpoint_cache")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap_s", [0.0, 2.0])
def test_plan_of_an_hour(kind: str, overlap_s: float) -> None:
    spec = encoder_spec(case_params(kind, chunk_s=10.0, overlap_s=overlap_s))
    n = 3600 * spec.sample_rate_hz + 123
    plan = plan_chunks(n, spec)
    kept = np.zeros(spec.n_frames(n), np.int64)
    for chunk in plan:
        assert chunk.stop - chunk.start == spec.chunk_samples
        kept[chunk.position : chunk.position + chunk.last - chunk.first] += 1
    assert (kept == 1).all()
    assert (plan[0].start, plan[-1].stop) == (0, n)
    assert 355 <= len(plan) <= 370 if overlap_s == 0 else 440 <= len(plan) <= 470
    times = frame_times_s(n, spec)
    step = spec.frame_group / spec.frame_rate_hz
    grid = np.arange(len(times)) // spec.frame_group * step
    assert (np.diff(times) >= 0).all()
    assert np.abs(times - grid).max() < step


def test_an_hour_streams(notes: NDArray[np.float32]) -> None:
    encoder = load(case_params("audiomae", chunk_s=10.24, overlap_s=1.0, layers="1"))
    spec = encoder.spec
    n = 3600 * spec.sample_rate_hz + 123
    sound = np.rint(notes * 32767).astype(np.int16)

    def part(k: int) -> NDArray[np.int16]:
        """Three seconds of notes, their loudness changing from part to part."""
        return (sound // (1 + k % 7)).astype(np.int16)

    def parts() -> Iterator[NDArray[np.int16]]:
        for k in range(n // len(sound)):
            yield part(k)
        yield part(n // len(sound))[: n % len(sound)]

    plan = plan_chunks(n, spec)
    checked = {0, 1, len(plan) // 2, len(plan) - 1}
    position = 0
    tracemalloc.start()
    for k, (place, frames) in enumerate(encode_clip(AudioStream(n, parts()), encoder)):
        assert place == position
        position += len(frames)
        if k in checked:
            chunk = plan[k]
            first, last = chunk.start // len(sound), chunk.stop // len(sound) + 1
            near = np.concatenate([part(i) for i in range(first, last)])
            samples = near[chunk.start - first * len(sound) :][: spec.chunk_samples]
            alone = encoder.encode(samples[None].astype(np.float32) / 32768)[0]
            np.testing.assert_array_equal(frames, alone[chunk.first : chunk.last])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert position == spec.n_frames(n) == 22_499 * spec.frame_group
    assert peak < 8 * 2**20  # the hour has 220 MB of samples
