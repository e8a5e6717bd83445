"""One device, many clips: the items of the pool of processes, whatever the batches."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import CASES, case_params, load
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import ItemCache
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.batched import fixed, staging
from pianoeval.encoders.batched.buckets import Buckets, Row, bucket_lengths
from pianoeval.encoders.batched.crew import Channel, Crew, Stopped
from pianoeval.encoders.batched.fill import BatchedFill
from pianoeval.encoders.batched.fixed import FixedForward
from pianoeval.encoders.batched.sinks import Clip, check_range
from pianoeval.encoders.chunking import Chunk, encode_clip, plan_chunks, to_float
from pianoeval.errors import BadInputError, PianoevalError
from pianoeval.params import RunParams

F4 = NDArray[np.float32]
CHUNK, PERIOD = 64, 8


class Toy(Encoder):
    """Two layers of (mean, largest) of each frame and of the row's mean: rows are independent."""

    spec = EncoderSpec("toy", "toy", 100, CHUNK, PERIOD, 3, ("a", "b"), 2, "float32", "", 1)

    def __init__(self, masked: bool = False, fail_at: int | None = None) -> None:
        self.masked = masked  # type: ignore[misc]
        self.device = torch.device("cpu")
        self.fail_at, self.shapes = fail_at, list[tuple[int, ...]]()

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        self.shapes.append(tuple(chunks.shape))
        if self.fail_at == len(self.shapes):
            raise RuntimeError("the device is broken")
        n = chunks.shape[1]
        frames = -(-n // PERIOD)
        steps = torch.nn.functional.pad(chunks, (0, frames * PERIOD - n)).view(-1, frames, PERIOD)
        ends = torch.tensor(list(n_samples)).view(-1, 1)
        mean = (chunks.sum(1, keepdim=True) / ends)[:, None].expand(-1, frames, 1)
        first = torch.cat([steps.mean(2, keepdim=True), steps.amax(2, keepdim=True)], 2)
        wrong = torch.arange(frames)[None] >= (ends + PERIOD - 1) // PERIOD
        first = first.masked_fill(wrong[..., None], torch.inf)  # what nobody may read
        return torch.stack([first, torch.cat([mean, mean], 2)], 2)


def open_array(payload: Any, spec: EncoderSpec) -> Clip:
    """A clip from memory; an exception is raised, within the audio where ``at`` says so."""
    audio, error, at = payload
    if error is not None and at is None:
        raise error
    plan = plan_chunks(len(audio), spec)

    def parts() -> Iterator[F4]:
        for number, chunk in enumerate(plan):
            if number == at:
                raise error
            yield to_float(audio[chunk.start : chunk.stop])

    return Clip(len(audio), plan, parts(), {"level": np.zeros(3, np.float32)}, {"rate": 1.5})


def make_jobs(clips: Sequence[Any]) -> list[ItemJob]:
    jobs = []
    for n, clip in enumerate(clips):
        payload = clip if isinstance(clip, tuple) else (clip, None, None)
        jobs.append(ItemJob(f"clip{n}", f"{n:064x}", payload, len(payload[0]) / 100))
    return jobs


def noise(*lengths: int, seed: int = 0) -> list[F4]:
    draw = np.random.default_rng(seed)
    return [draw.uniform(-1, 1, n).astype(np.float32) for n in lengths]


def run_fill(
    encoder: Encoder, jobs: Sequence[ItemJob], cache: ItemCache, **run: Any
) -> tuple[dict[str, str], BuildReport]:
    report = BuildReport()
    fill = BatchedFill(lambda: encoder, open_array)
    failed = fill("toy", jobs, cache, RunParams(**run), report)
    return failed, report


def serial(audio: F4, encoder: Encoder) -> NDArray[np.float16]:
    """As the pool of processes encodes a clip."""
    parts = [part for _, part in encode_clip(audio, encoder)]
    return np.concatenate(parts).astype(np.float16)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def no_threads_left() -> bool:
    return not [t for t in threading.enumerate() if t.name.startswith("pianoeval")]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(3, 300), min_size=1, max_size=9),
    size=st.integers(1, 5),
    readers=st.integers(1, 3),
    writers=st.integers(1, 3),
    masked=st.booleans(),
)
def test_items_do_not_depend_on_batches_or_threads(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    size: int,
    readers: int,
    writers: int,
    masked: bool,
) -> None:
    encoder, clips = Toy(masked), noise(*lengths)
    jobs, cache = make_jobs(clips), ItemCache(tmp_path_factory.mktemp("items"))
    run = {"batch_size": size, "readers": readers, "writers": writers}
    failed, report = run_fill(encoder, jobs, cache, **run)
    assert failed == {}
    assert report.computed == len(clips)
    assert report.audio_s == pytest.approx(sum(lengths) / 100)
    assert all(rows <= size for rows, _ in encoder.shapes)
    allowed = {*bucket_lengths(encoder.spec, masked)} | (
        {*lengths} if size == 1 or not masked else set()
    )
    assert {samples for _, samples in encoder.shapes} <= allowed
    for job, clip in zip(jobs, clips, strict=True):
        item = cache.get("toy", job.key)
        assert item is not None
        assert item.meta == {"rate": 1.5}
        np.testing.assert_allclose(item.arrays["frames"], serial(clip, Toy(masked)), atol=1e-3)
    assert no_threads_left()


@pytest.mark.parametrize("kind", list(CASES))
def test_one_row_a_batch_gives_the_items_of_the_pool_bit_by_bit(
    kind: str, loaded: Callable[[str], Encoder], tmp_path: Path
) -> None:
    small = case_params("transkun", weights="random", layers="1")
    encoder = load(small) if kind == "transkun" else loaded(kind)
    rate = encoder.spec.sample_rate_hz
    clips = [0.1 * clip for clip in noise(*(int(s * rate) for s in (2.4, 0.8, 0.6, 0.8)))]
    jobs = make_jobs(clips)
    one, three = ItemCache(tmp_path / "one"), ItemCache(tmp_path / "three")
    failed, _ = run_fill(encoder, jobs, one, batch_size=1, readers=2, writers=2)
    run_fill(encoder, jobs[::-1], three, batch_size=3, readers=1)
    assert failed == {}
    for job, clip in zip(jobs, clips, strict=True):
        a, b = one.get("toy", job.key), three.get("toy", job.key)
        assert a is not None
        assert b is not None
        want = serial(clip, encoder)
        np.testing.assert_array_equal(a.arrays["frames"], want)
        apart = np.abs(b.arrays["frames"].astype(np.float32) - want.astype(np.float32)).max()
        limit = 2**-10 + CASES[kind].tolerance  # float16 has 11 bits
        assert apart <= limit * np.abs(want.astype(np.float32)).max()


@pytest.mark.parametrize("kind", ["mert", "audiomae"])
def test_the_forward_pass_is_one_graph(kind: str, loaded: Callable[[str], Encoder]) -> None:
    encoder = loaded(kind)
    forward = FixedForward(encoder, 2, backend="eager")
    audio = torch.from_numpy(0.1 * np.stack(noise(*[encoder.spec.chunk_samples] * 2)))
    lengths = [audio.shape[1]] * 2
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.inference_mode():
        torch.testing.assert_close(forward(audio, lengths), encoder.forward(audio, lengths))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_order_and_timing_change_no_byte(tmp_path: Path) -> None:
    clips = noise(*(200, 64, 64, 130, 64, 20, 7, 300))
    jobs = make_jobs(clips)
    for name, order, run in (
        ("a", 1, {"readers": 1, "writers": 1}), ("b", -1, {"readers": 3, "writers": 2}),
    ):  # fmt: skip
        run_fill(Toy(), jobs[::order], ItemCache(tmp_path / name), batch_size=2, **run)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 8


def test_a_store_through_build_store(tmp_path: Path) -> None:
    work = [*noise(64, 100), np.zeros(2, np.float32)]
    jobs = make_jobs(work)
    fill = BatchedFill(Toy, open_array)

    def build(out: str) -> BuildReport:
        return build_store(
            "toy", jobs, pytest.fail, cache=ItemCache(tmp_path / "items"), out=tmp_path / out,
            attrs={}, run=RunParams(max_failed_fraction=0.5), fill=fill,
        )  # fmt: skip

    report = build("first")
    assert (report.computed, report.reused) == (2, 0)
    assert "too short" in report.quarantined["clip2"]
    assert report.device_s >= report.waited_s > 0
    assert "the device waited" in str(report)
    again = build("second")
    assert (again.computed, again.reused) == (0, 2)
    damaged = ItemCache(tmp_path / "items").path("toy", jobs[1].key)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    mended = build("third")
    assert mended.computed == 1
    assert files(tmp_path / "first") == files(tmp_path / "third")


@pytest.mark.parametrize("at", [None, 0, 2])
def test_a_clip_that_cannot_be_read_is_quarantined_and_leaves_nothing(
    tmp_path: Path, at: int | None
) -> None:
    good, bad = noise(200, 300)
    error = BadInputError("it stops in the middle", where="bad.wav")
    jobs = make_jobs([good, (bad, error, at), good])
    failed, report = run_fill(Toy(), jobs, ItemCache(tmp_path), batch_size=2, writers=1)
    assert list(failed) == [jobs[1].key]
    assert "bad.wav: it stops" in failed[jobs[1].key]
    assert report.computed == 2
    assert set(files(tmp_path)) == {f"{jobs[0].key}.safetensors", f"{jobs[2].key}.safetensors"}


def test_a_sample_that_is_not_finite_quarantines_its_clip(tmp_path: Path) -> None:
    good, bad = noise(200, 200)
    bad[150] = np.nan
    failed, report = run_fill(Toy(), make_jobs([good, bad]), ItemCache(tmp_path), batch_size=1)
    assert list(failed) == [f"{1:064x}"]
    assert "not finite" in failed[f"{1:064x}"]
    assert report.computed == 1


class Loud(Toy):
    """Beyond float16 where the audio is above 0.5."""

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        return super().forward(chunks, n_samples) * 2e5


@pytest.mark.parametrize("value", [0.6, -0.6])
def test_a_value_that_float16_cannot_hold_stops_the_run(tmp_path: Path, value: float) -> None:
    quiet = np.full(64, 0.01, np.float32)
    loud = np.full(64, value, np.float32)
    with pytest.raises(PianoevalError, match=r"clip1: toy gives a value of 120000, which float16"):
        run_fill(Loud(), make_jobs([quiet, loud, quiet]), ItemCache(tmp_path), batch_size=1)
    assert f"{1:064x}.safetensors" not in files(tmp_path)
    assert no_threads_left()


def test_the_limit_of_float16_itself() -> None:
    check_range(65504.0, Toy.spec, "x")
    for peak in (65505.0, float("nan"), float("inf")):
        with pytest.raises(PianoevalError, match="float16"):
            check_range(peak, Toy.spec, "x")


def test_frames_behind_a_row_are_neither_checked_nor_kept(tmp_path: Path) -> None:
    clips, cache = noise(30, 64), ItemCache(tmp_path)  # 30 is padded to 32: inf behind its end
    failed, _ = run_fill(Toy(masked=True), make_jobs(clips), cache, batch_size=4)
    assert failed == {}
    item = cache.get("toy", f"{0:064x}")
    assert item is not None
    assert item.arrays["frames"].shape == (4, 2, 2)
    assert np.isfinite(item.arrays["frames"]).all()


@contextmanager
def files_no_larger_than(n_bytes: int) -> Iterator[None]:
    """The system refuses to write more, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("where", ["reader", "device", "writer"])
def test_any_other_error_stops_everything(tmp_path: Path, where: str) -> None:
    clips: list[Any] = noise(*[300] * 11, 64 * 400)
    if where == "reader":
        clips[5] = (clips[5], OSError("the share is gone"), 2)
    encoder = Toy(fail_at=20 if where == "device" else None)
    cache = ItemCache(tmp_path)
    kinds = {"reader": OSError, "device": RuntimeError, "writer": PianoevalError}
    words = {"reader": "share is gone", "device": "broken", "writer": "cannot write"}
    limit = files_no_larger_than(10_000) if where == "writer" else nullcontext()
    with limit, pytest.raises(kinds[where], match=words[where]):
        run_fill(encoder, make_jobs(clips), cache, batch_size=2, readers=2, writers=2)
    assert no_threads_left()
    names = files(tmp_path)
    assert len(names) < 12
    assert all(cache.get("toy", name.partition(".")[0]) for name in names)


def test_ctrl_c_ends_all_threads_and_leaves_whole_items(tmp_path: Path) -> None:
    class Interrupted(Toy):
        def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
            if len(self.shapes) == 30:
                raise KeyboardInterrupt
            return super().forward(chunks, n_samples)

    cache = ItemCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_fill(Interrupted(), make_jobs(noise(*[300] * 12)), cache, batch_size=1, readers=2)
    assert no_threads_left()
    for name in files(tmp_path):
        assert cache.get("toy", name.partition(".")[0]) is not None
    failed, report = run_fill(Toy(), make_jobs(noise(*[300] * 12)), cache, batch_size=1)
    assert (failed, report.computed) == ({}, 12)


@given(
    lengths=st.lists(st.integers(3, CHUNK), max_size=60),
    size=st.integers(1, 6),
    masked=st.booleans(),
)
def test_buckets_lose_nothing_keep_order_and_are_bounded(
    lengths: list[int], size: int, masked: bool
) -> None:
    buckets, out, held = Buckets(Toy.spec, masked, size), [], 0
    for number, n in enumerate(lengths):
        row = Row(number, Chunk(0, n, 0, 1, 0), np.zeros(n, np.float32))
        done = list(buckets.add(row))
        out += done
        held += 1 - sum(len(batch.rows) for batch in done)
        assert held <= 2 * size
    out += list(buckets.flush())
    assert sorted(row.owner for batch in out for row in batch.rows) == list(range(len(lengths)))
    for samples in {batch.samples for batch in out}:
        owners = [row.owner for batch in out if batch.samples == samples for row in batch.rows]
        assert owners == sorted(owners)
    for batch in out:
        assert 1 <= len(batch.rows) <= size
        assert max(batch.lengths) <= batch.samples <= CHUNK
        if not masked or size == 1:
            assert set(batch.lengths) == {batch.samples}


def test_bucket_lengths_are_whole_frames_up_to_the_chunk() -> None:
    assert bucket_lengths(Toy.spec, True) == (16, 32, 48, 64)
    assert bucket_lengths(Toy.spec, False) == (64,)


def test_a_compiled_pass_takes_whole_batches_and_counts_the_others() -> None:
    encoder = Toy(masked=True)
    forward = FixedForward(encoder, 2, backend="eager")
    audio = torch.from_numpy(np.stack(noise(64, 64)))
    torch.testing.assert_close(forward(audio, [64, 64]), encoder.forward(audio, [64, 64]))
    forward(audio, [64, 30])
    forward(audio[:1], [64])
    assert (forward.compiled_batches, forward.plain_batches) == (1, 2)


def test_a_compiled_encoder_is_compiled_by_the_fill_and_it_says_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Toy()
    encoder.spec = replace(Toy.spec, compiled=True)  # type: ignore[misc]

    class Eager(FixedForward):
        def __init__(self, encoder: Encoder, rows: int) -> None:
            super().__init__(encoder, rows, backend="eager")

    monkeypatch.setattr(fixed, "FixedForward", Eager)
    with caplog.at_level("INFO", logger="pianoeval"):
        failed, _ = run_fill(encoder, make_jobs(noise(256, 30)), ItemCache(tmp_path), batch_size=2)
    assert failed == {}
    assert "2 batches ran compiled, 1 with rows of other lengths did not" in caplog.text


class LateCuda:
    """A GPU's streams on a CPU: copies to the host happen when their event is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = list[Any]()
        copy, empty, tensor = torch.Tensor.copy_, torch.empty, torch.tensor

        def late(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
            if non_blocking:
                self.entered[-1].pending.append((to, source.clone()))
                return to
            return copy(to, source)

        def without_pin(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
            return lambda *args, pin_memory=False, **options: make(*args, **options)

        cuda = self

        class Stream:
            def __init__(self, device: object = None) -> None:
                self.pending = list[tuple[Tensor, Tensor]]()

            def wait_stream(self, other: object) -> None: ...
            def wait_event(self, event: object) -> None: ...

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                self.pending = list[tuple[Tensor, Tensor]]()

            def record(self, stream: Any) -> None:
                self.pending, stream.pending = stream.pending, []

            def synchronize(self) -> None:
                for to, source in self.pending:
                    copy(to, source)
                self.pending = []

            def query(self) -> bool:
                return True

            def elapsed_time(self, other: object) -> float:
                return 1000.0

        @contextmanager
        def stream(chosen: Stream) -> Iterator[None]:
            cuda.entered.append(chosen)
            yield
            cuda.entered.pop()

        for name, fake in {
            "Stream": Stream, "Event": Event, "stream": stream, "synchronize": lambda _: None,
            "current_stream": lambda _: Stream(),
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch, "empty", without_pin(empty))
        monkeypatch.setattr(torch, "tensor", without_pin(tensor))
        monkeypatch.setattr(torch.Tensor, "copy_", late)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)


@pytest.mark.parametrize("masked", [False, True])
def test_memory_of_a_gpus_batch_is_used_again_only_when_it_has_been_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    clips = noise(*[300] * 12, 64, 30, 17, 64, 500)
    jobs, cache = make_jobs(clips), ItemCache(tmp_path)
    want = [serial(clip, Toy(masked)) for clip in clips]
    monkeypatch.setattr(
        staging, "make_lane", lambda encoder, forward, crew, rows: staging.CudaLane(
            encoder, forward, crew, rows
        )
    )  # fmt: skip
    with monkeypatch.context() as patch:
        LateCuda(patch)
        failed, report = run_fill(Toy(masked), jobs, cache, batch_size=3, readers=2, writers=2)
    assert failed == {}
    assert report.computed == len(clips)
    assert report.device_s > 0
    for job, frames in zip(jobs, want, strict=True):
        item = cache.get("toy", job.key)
        assert item is not None
        np.testing.assert_allclose(item.arrays["frames"], frames, atol=1e-3)


@pytest.mark.parametrize(("compiled", "rows"), [(False, 16), (True, 8)])
def test_rows_that_fit_a_gpu(monkeypatch: pytest.MonkeyPatch, compiled: bool, rows: int) -> None:
    """300 bytes a row and 100 for all; the first pass takes 900 more, and keeps them."""
    encoder, kept = Toy(), [900]
    encoder.device = torch.device("cuda")
    encoder.spec = replace(Toy.spec, compiled=compiled)  # type: ignore[misc]
    monkeypatch.setattr(
        fixed, "_peak_bytes", lambda _, n: 100 + 300 * n + (kept.pop() if kept else 0)
    )
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100 + 300 * 20 / 0.8, 0))
    assert fixed.fitting_rows(encoder) == rows


def test_a_stopped_channel_wakes_whoever_waits() -> None:
    crew = Crew(2)
    full, empty = crew.channel(1), crew.channel(1)

    def lead() -> None:
        with crew:
            full.put(1)
            crew.start(lambda: full.put(2))
            crew.start(lambda: [].index(0))
            empty.get()

    with pytest.raises(ValueError, match="not in list"):
        lead()
    assert no_threads_left()
    with pytest.raises(Stopped):
        full.put(3)


def test_values_of_a_channel_keep_their_order() -> None:
    got: list[int] = []
    with Crew(2) as crew:
        line: Channel[int] = crew.channel(3)
        crew.start(lambda: [line.put(n) for n in range(50)].clear())
        crew.start(lambda: got.extend(line.get() for _ in range(50)))
        crew.join()
    assert got == list(range(50))
