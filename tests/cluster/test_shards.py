from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pianoeval.builder import ItemJob
from pianoeval.cluster.shards import make_shards


def jobs(lengths: list[float]) -> list[ItemJob]:
    return [ItemJob(f"clip{n}", f"{n:064x}", None, s) for n, s in enumerate(lengths)]


@given(
    st.lists(st.floats(0.1, 4000), max_size=60), st.integers(0, 9), st.floats(1, 600)
)  # fmt: skip
def test_every_clip_is_in_one_shard(lengths: list[float], workers: int, shard_s: float) -> None:
    work = jobs(lengths)
    shards = make_shards(work, workers, shard_s)
    dealt = [job.clip for shard in shards for job in shard.jobs]
    assert sorted(dealt) == sorted(job.clip for job in work)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    flat = [job.audio_s for shard in shards for job in shard.jobs]
    assert flat == sorted(flat, reverse=True)
    for shard in shards:  # without its last clip it would not have been full
        assert shard.audio_s - shard.jobs[-1].audio_s < shard_s


def test_a_shard_is_some_minutes_and_every_worker_gets_some() -> None:
    many = make_shards(jobs([10.0] * 1000), 2, 600.0)
    assert [len(shard.jobs) for shard in many] == [60] * 16 + [40]
    few = make_shards(jobs([10.0] * 32), 4, 600.0)
    assert [len(shard.jobs) for shard in few] == [2] * 16


def test_a_long_clip_stands_alone_and_comes_first(tmp_path: Path) -> None:
    shards = make_shards(jobs([5.0, 3600.0, 5.0]), 1, 60.0)
    assert [job.clip for job in shards[0].jobs] == ["clip1"]
