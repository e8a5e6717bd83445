"""Placement of chunks: properties, hand-computed plans, and bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.chunking import (
    AudioStream,
    Chunk,
    encode_clip,
    frame_times_s,
    plan_chunks,
)
from pianoeval.errors import BadInputError, PianoevalError


def spec(chunk_frames: int, period: int, rate_hz: int = 1000) -> EncoderSpec:
    return EncoderSpec(
        "ramp", "ramp", rate_hz, chunk_frames * period, period, 1, ("1",), 1, "float32", "", 1
    )


@st.composite
def overlapping(draw: st.DrawFn) -> EncoderSpec:
    """Any period, group of frames, span and overlap that a chunk allows."""
    period, group = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    groups = draw(st.integers(1, 12))
    overlap = draw(st.integers(0, (groups - 1) // 2))
    span = draw(st.integers(1, period * group))
    size = groups * period * group + draw(st.integers(0, period - 1))
    made = replace(
        spec(groups, period), chunk_samples=max(size, span), min_samples=span, span_samples=span,
        frame_group=group,
    )  # fmt: skip
    return replace(made, overlap_frames=min(overlap, (made.chunk_frames // group - 1) // 2) * group)


class Ramp(Encoder):
    """One value a frame: the mean of the samples it covers."""

    device = torch.device("cpu")

    def __init__(self, chunk_frames: int, period: int, rate_hz: int = 1000) -> None:
        self.spec = spec(chunk_frames, period, rate_hz)
        self.largest = 0

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        audio = chunks.numpy()
        self.largest = max(self.largest, audio.size)
        period = self.spec.period_samples
        starts = np.arange(0, audio.shape[1], period)
        sums = np.add.reduceat(audio.astype(np.float64), starts, axis=1)
        counts = np.minimum(period, audio.shape[1] - starts)
        return torch.from_numpy((sums / counts)[:, :, None, None].astype(np.float32))


class Where(Encoder):
    """Two values a frame: the first sample of its group, and its place in the group."""

    device = torch.device("cpu")

    def __init__(self, made: EncoderSpec) -> None:
        self.spec = replace(made, dim=2)

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        it = self.spec
        frame = torch.arange(it.n_frames(chunks.shape[1]))
        first = chunks[:, frame // it.frame_group * it.frame_group * it.period_samples]
        band = (frame % it.frame_group).float().expand_as(first)
        return torch.stack([first, band], -1)[:, :, None]


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


@given(st.integers(1, 400), st.integers(1, 12), st.integers(1, 9))
def test_kept_frames_see_the_samples_that_the_plan_says(
    n: int, chunk_frames: int, period: int
) -> None:
    encoder = Ramp(chunk_frames, period)
    audio = np.arange(n, dtype=np.float32)
    got = np.concatenate([part for _, part in encode_clip(audio, encoder)])
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


def literal_twin(n: int, it: EncoderSpec) -> list[int]:
    """The chunk that each group of frames comes from: of all that hold it, the one in which it
    lies furthest from an edge (the later of two equals). Ends of the clip are no edges.
    """
    group, step = it.frame_group, it.frame_group * it.period_samples
    total, size = it.n_frames(n) // group, it.chunk_frames // group
    advance = size - it.overlap_frames // group
    starts = [0]
    while starts[-1] + size < total:
        nxt = starts[-1] + advance
        starts.append(
            nxt if nxt * step + it.chunk_samples < n and nxt + size < total else total - size
        )
    winners = []
    for here in range(total):
        margins = []
        for k, start in enumerate(starts):
            left = here - start if k > 0 else 10**9
            right = start + size - 1 - here if k < len(starts) - 1 else 10**9
            margins.append((min(left, right), k) if start <= here < start + size else (-1, k))
        winners.append(max(margins)[1])
    return winners


@given(overlapping(), st.integers(1, 900))
def test_overlaps_are_cut_as_a_literal_twin_does(it: EncoderSpec, n: int) -> None:
    n = max(n, it.min_samples)
    plan = plan_chunks(n, it)
    group = it.frame_group
    frames = [c.position + i for c in plan for i in range(c.last - c.first)]
    assert frames == list(range(it.n_frames(n)))
    assert all(c.first % group == c.last % group == c.position % group == 0 for c in plan)
    assert all(0 <= c.start < c.stop <= n for c in plan)
    assert plan[-1].stop == n
    if n <= it.chunk_samples:
        assert len(plan) == 1
        return
    assert {c.stop - c.start for c in plan} == {it.chunk_samples}
    winners = [k for k, c in enumerate(plan) for _ in range(c.first, c.last, group)]
    assert winners == literal_twin(n, it)
    advance = (it.chunk_frames - it.overlap_frames) * it.period_samples
    assert [c.start for c in plan[:-1]] == [k * advance for k in range(len(plan) - 1)]
    half = it.overlap_frames // group // 2
    assert all(c.first >= half * group for c in plan[1:])
    assert all(it.chunk_frames - c.last >= half * group for c in plan[:-1])


@given(overlapping(), st.integers(1, 900), st.integers(1, 60))
def test_frames_of_a_stream_are_where_their_times_say(it: EncoderSpec, n: int, part: int) -> None:
    n = max(n, it.min_samples)
    audio = np.arange(n, dtype=np.float32)
    parts = [audio[i : i + part] for i in range(0, n, part)]
    found = list(encode_clip(AudioStream(n, parts), Where(it)))
    assert [position for position, _ in found] == [
        sum(len(f) for _, f in found[:k]) for k in range(len(found))
    ]
    frames = np.concatenate([f for _, f in found])[:, 0]
    np.testing.assert_array_equal(frames[:, 0], np.rint(frame_times_s(n, it) * it.sample_rate_hz))
    np.testing.assert_array_equal(frames[:, 1], np.arange(len(frames)) % it.frame_group)
    on_grid = np.arange(len(frames)) // it.frame_group * it.frame_group * it.period_samples
    assert (np.abs(frames[:, 0] - on_grid) < it.period_samples * it.frame_group).all()


@given(overlapping(), st.integers(1, 900), st.integers(1, 60))
def test_a_short_last_chunk_is_what_is_left(it: EncoderSpec, n: int, least: int) -> None:
    least = min(max(it.min_samples, least), it.chunk_samples)
    it = replace(it, last_chunk="short", min_samples=least)
    n = max(n, least)
    plan = plan_chunks(n, it)
    frames = [c.position + i for c in plan for i in range(c.last - c.first)]
    assert frames == list(range(it.n_frames(n)))
    assert all(least <= c.stop - c.start <= it.chunk_samples for c in plan)
    assert all(0 <= c.first < c.last <= it.n_frames(c.stop - c.start) for c in plan)
    assert all(c.stop == c.start + it.chunk_samples for c in plan[:-1])
    step = it.frame_group * it.period_samples
    shifted = plan_chunks(n, replace(it, last_chunk="shifted"))
    assert plan[:-1] == [replace(c, last=p.last) for c, p in zip(shifted[:-1], plan, strict=False)]
    assert len(plan) == len(shifted)
    assert plan[-1].start > shifted[-1].start - step
    times = np.rint(frame_times_s(n, it) * it.sample_rate_hz).astype(int)
    if plan[-1].start % step == 0:  # not shifted: all frames lie on the grid
        np.testing.assert_array_equal(times, np.arange(len(times)) // it.frame_group * step)
    if len(plan) > 1 and it.overlap_frames == 0 and n - plan[-2].stop >= least + step:
        assert sum(c.stop - c.start for c in plan) <= n + (len(plan) - 1) * step


def test_short_last_chunks_by_hand() -> None:
    ten = replace(spec(chunk_frames=10, period=4), last_chunk="short", min_samples=6)
    assert plan_chunks(100, ten)[-1] == Chunk(80, 100, 0, 5, 20)
    # one sample is too little: the last chunk starts two frames earlier, one is taken from it
    assert plan_chunks(81, ten) == [
        Chunk(0, 40, 0, 10, 0), Chunk(40, 80, 0, 9, 10), Chunk(72, 81, 1, 3, 19),
    ]  # fmt: skip


def test_mert_frames_of_ten_seconds() -> None:
    mert = replace(
        spec(1, 320, 24_000), chunk_samples=240_000, min_samples=400, span_samples=400,
        overlap_frames=75,
    )  # fmt: skip
    assert mert.chunk_frames == 749
    plan = plan_chunks(480_000, mert)
    # 1499 frames; chunks hold 0..748, 674..1422 and 750..1498: cut at (674 + 749) // 2 and
    # (750 + 1423) // 2
    assert plan == [
        Chunk(0, 240_000, 0, 711, 0),
        Chunk(674 * 320, 674 * 320 + 240_000, 37, 412, 711),
        Chunk(240_000, 480_000, 336, 749, 1086),
    ]


def test_audio_of_another_length_than_announced_is_an_error() -> None:
    encoder = Ramp(10, 4)
    for n in (99, 101):
        stream = AudioStream(n, iter([np.zeros(60, np.float32), np.zeros(40, np.float32)]))
        with pytest.raises(PianoevalError, match="audio of 100 samples"):
            list(encode_clip(stream, encoder))


def test_the_last_chunk_waits_for_the_end_of_the_stream() -> None:
    """A store verifies a clip when it has been read: no consumer gets all chunks before."""

    def parts() -> Iterator[NDArray[np.float32]]:
        yield np.zeros(100, np.float32)
        raise RuntimeError("damaged")

    coming = encode_clip(AudioStream(100, parts()), Ramp(10, 4))
    assert [next(coming)[0], next(coming)[0]] == [0, 10]
    with pytest.raises(RuntimeError, match="damaged"):
        next(coming)


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
