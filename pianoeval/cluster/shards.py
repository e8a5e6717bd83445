"""What a task is given: a shard, a few minutes of audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pianoeval.builder import ItemJob

_TASKS_A_WORKER = 4  # so that all workers end at about the same time


@dataclass(frozen=True)
class Shard:
    """Clips that one task computes, one after another."""

    number: int
    jobs: tuple[ItemJob, ...]

    @property
    def audio_s(self) -> float:
        return sum(job.audio_s for job in self.jobs)


def make_shards(todo: Sequence[ItemJob], workers: int, shard_s: float) -> list[Shard]:
    """Cut ``todo`` into shards, longest clips first.

    Parameters
    ----------
    workers : int
        Workers there will be; each gets at least a few shards where there are clips enough.
    shard_s : float
        A shard is closed when it holds so many seconds of audio.
    """
    total_s = sum(job.audio_s for job in todo)
    target_s = min(shard_s, total_s / (max(workers, 1) * _TASKS_A_WORKER))
    shards: list[Shard] = []
    held: list[ItemJob] = []
    for job in sorted(todo, key=lambda job: (-job.audio_s, job.clip)):
        held.append(job)
        if sum(other.audio_s for other in held) >= target_s:
            shards.append(Shard(len(shards), tuple(held)))
            held = []
    if held:
        shards.append(Shard(len(shards), tuple(held)))
    return shards
