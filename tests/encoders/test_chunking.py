"""Placement of chunks: properties, hand-computed plans, and bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.chunking import Chunk, encode_clip, frame_times_s, plan_chunks
from pianoeval.errors import BadInputError


def spec(chunk_frames: int, period: int, rate_hz: int = 1000) -> EncoderSpec:
    return EncoderSpec(
        "ramp", "ramp", rate_hz, chunk_frames * period, period, 1, ("1",), 1, "float32", "", 1
    )


class Ramp(Encoder):
    """One value a frame: the mean of the samples it covers."""

    def __init__(self, chunk_frames: int, period: int, rate_hz: int = 1000) -> None:
        self.spec = spec(chunk_frames, period, rate_hz)
        self.largest = 0

    def _encode(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        self.largest = max(self.largest, chunks.size)
        period = self.spec.period_samples
        starts = np.arange(0, chunks.shape[1], period)
        sums = np.add.reduceat(chunks.astype(np.float64), starts, axis=1)
        counts = np.minimum(period, chunks.shape[1] - starts)
        return (sums / counts)[:, :, None, None].astype(np.float32)


def test_hand_computed_plans() -> None:
    ten = spec(chunk_frames=10, period=4)  # 40 samples a chunk
    assert plan_chunks(3, ten) == [Chunk(0, 3, 0, 1, 0)]
    assert plan_chunks(40, ten) == [Chunk(0, 40, 0, 10, 0)]
    # 41 samples are 11 frames; the last chunk holds frames 1..10 and the cut is (1 + 10) // 2
    assert plan_chunks(41, ten) == [Chunk(0, 40, 0, 5, 0), Chunk(1, 41, 4, 10, 5)]
    # 80 samples: nothing overlaps
    assert plan_chunks(80, ten) == [Chunk(0, 40, 0, 10, 0), Chunk(40, 80, 0, 10, 10)]
    # 100 samples are 25 frames: the last chunk holds 15..24, the one before 10..19, cut at 17
    assert plan_chunks(100, ten) == [
        Chunk(0, 40, 0, 10, 0), Chunk(40, 80, 0, 7, 10), Chunk(60, 100, 2, 10, 17),
    ]  # fmt: skip


@given(st.integers(1, 600), st.integers(1, 20), st.integers(1, 16))
def test_frames_are_covered_once_by_whole_chunks(n: int, chunk_frames: int, period: int) -> None:
    it = spec(chunk_frames, period)
    plan = plan_chunks(n, it)
    covered = [c.position + i for c in plan for i in range(c.last - c.first)]
    assert covered == list(range(-(-n // period)))
    assert all(0 <= c.start < c.stop <= n for c in plan)
    assert all(0 <= c.first < c.last <= it.n_frames(c.stop - c.start) for c in plan)
    if n > it.chunk_samples:
        assert {c.stop - c.start for c in plan} == {it.chunk_samples}
    assert plan[-1].stop == n


@given(st.integers(1, 600), st.integers(1, 20), st.integers(1, 16))
def test_frames_lie_at_most_one_period_before_the_grid(
    n: int, chunk_frames: int, period: int
) -> None:
    it = spec(chunk_frames, period)
    late = np.arange(it.n_frames(n)) * period / it.sample_rate_hz - frame_times_s(n, it)
    assert (late >= -1e-12).all()
    assert (late < period / it.sample_rate_hz).all()
    assert (np.diff(frame_times_s(n, it)) > 0).all()


@given(st.integers(1, 400), st.integers(1, 12), st.integers(1, 9), st.integers(1, 4))
def test_kept_frames_see_the_samples_that_the_plan_says(
    n: int, chunk_frames: int, period: int, batch: int
) -> None:
    encoder = Ramp(chunk_frames, period)
    audio = np.arange(n, dtype=np.float32)
    got = np.concatenate([part for _, part in encode_clip(audio, encoder, batch_size=batch)])
    starts = np.rint(frame_times_s(n, encoder.spec) * 1000).astype(int)
    want = [audio[s : min(s + period, n)].mean() for s in starts]
    np.testing.assert_allclose(got[:, 0, 0], want, atol=1e-3)


def test_the_better_centred_chunk_wins() -> None:
    it = spec(chunk_frames=10, period=4)
    plan = plan_chunks(60, it)  # frames 5..9 lie in both chunks
    kept = range(plan[0].last)
    for frame in range(5, 10):
        in_first, in_last = min(frame, 9 - frame), min(frame - 5, 9 - (frame - 5))
        assert (frame in kept) == (in_first > in_last)


def test_an_hour_is_streamed() -> None:
    rate_hz, hour = 44_100, 3600 * 44_100
    audio = np.broadcast_to(np.int16(1000), (hour,))  # an hour that takes no memory itself
    encoder = Ramp(54, 8192, rate_hz)
    tracemalloc.start()
    frames = sum(len(part) for _, part in encode_clip(audio, encoder))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames == -(-hour // 8192)
    assert encoder.largest == encoder.spec.chunk_samples
    assert peak < 20 << 20  # a chunk is 1.8 MB as float32, 3.5 MB as float64


def test_too_short() -> None:
    it = EncoderSpec("x", "x", 1000, 100, 10, 50, ("1",), 1, "float32", "", 1)
    with pytest.raises(BadInputError, match="at least 50 samples"):
        plan_chunks(49, it)
    assert plan_chunks(50, it)
