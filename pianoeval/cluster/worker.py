"""What runs on the workers: one shard after another, straight into the shared item cache."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from distributed import Worker, WorkerPlugin, get_worker

from pianoeval.builder import ItemFunction, ItemJob
from pianoeval.cache import ItemCache
from pianoeval.cluster.journal import Journal, Past
from pianoeval.cluster.preflight import ClusterError, Need, check_worker
from pianoeval.cluster.shards import Shard
from pianoeval.errors import BadInputError
from pianoeval.memory import Trimmer
from pianoeval.progress import listen

_TELL_EVERY_S = 1.0
_trimmer = Trimmer()


@dataclass(frozen=True)
class Work:
    """What all shards of one fill share."""

    run: str
    step: str
    function: ItemFunction
    root: Path
    folder: Path
    job_timeout_s: float
    max_deaths: int


@dataclass(frozen=True)
class Record:
    """What became of one clip; all that goes over the network."""

    key: str
    state: Literal["computed", "reused", "failed"]
    reason: str = ""


class Preflight(WorkerPlugin):
    """Checks every worker when it joins, the first ones and those that come later."""

    def __init__(self, need: Need) -> None:
        self.need = need
        self.error: ClusterError | None = None

    async def setup(self, worker: Worker) -> None:
        """Raise what is wrong; :func:`run_shard` raises it again if the driver did not hear."""
        threads = worker.state.nthreads
        try:
            await asyncio.to_thread(check_worker, self.need, worker.address, threads)
        except ClusterError as error:
            self.error = error
            raise


def plugin_name(run: str) -> str:
    """Name under which the checks of a run are known to the scheduler."""
    return f"pianoeval-{run}"


def journal_path(work: Work, shard: Shard) -> Path:
    """Where the workers of a shard write what they are at."""
    return work.folder / f"shard-{shard.number}"


def run_shard(work: Work, shard: Shard) -> list[Record]:
    """Compute what is missing of a shard.

    Every clip is looked up in the cache right before its turn, so a shard that comes back after
    its worker died is continued. Ends early, with fewer records, once nobody waits for it.

    Raises
    ------
    ClusterError
        The checks of this worker failed.
    PianoevalError
        Whatever else is not the fault of one clip.
    """
    _require_checked(work.run)
    cache = ItemCache(work.root)
    journal = Journal(journal_path(work, shard))
    past = journal.past()
    records: list[Record] = []
    teller = _Teller(topic(work.run))
    try:
        for job in shard.jobs:
            if _is_cancelled():
                break
            listen(partial(teller.part, job.audio_s))
            records.append(_record(work, job, cache, journal, past.get(job.key, Past())))
            teller.finish(job.audio_s)
            _trimmer.after_item()
    finally:
        listen(None)
    return records


def topic(run: str) -> str:
    """Events of a run: ``(key of the task, seconds of its audio that are done)``."""
    return f"pianoeval-{run}"


class _Teller:
    """Tells the driver now and then how far a shard is: one clip of it may take an hour."""

    def __init__(self, topic: str) -> None:
        self.topic, self.worker = topic, get_worker()
        self.key = self.worker.get_current_task()
        self.done_s, self.last = 0.0, -math.inf

    def part(self, audio_s: float, amount: float) -> None:
        """So much of a clip of ``audio_s``."""
        now = time.monotonic()
        if now - self.last >= _TELL_EVERY_S:
            self.last = now
            done_s = self.done_s + min(amount, audio_s)
            self.worker.log_event(self.topic, (self.key, done_s))

    def finish(self, audio_s: float) -> None:
        """A whole clip."""
        self.part(audio_s, audio_s)
        self.done_s += audio_s


def _record(work: Work, job: ItemJob, cache: ItemCache, journal: Journal, past: Past) -> Record:
    if cache.has(work.step, job.key):
        begun = past.done or past.deaths > 0  # by a worker of this run, whose records were lost
        return Record(job.key, "computed" if begun else "reused")
    limit_s = work.job_timeout_s + job.audio_s
    if past.late:
        reason = f"no result after {limit_s:g} s (run.job_timeout_s and its own length)"
        return Record(job.key, "failed", reason)
    if past.deaths >= work.max_deaths:
        times = "once" if past.deaths == 1 else f"{past.deaths} times"
        return Record(job.key, "failed", f"its worker died {times}, last {past.place}")
    try:
        with _named(job.clip), journal.attempt(job.key, limit_s):
            arrays, meta = work.function(job.payload)
            cache.put(work.step, job.key, arrays, meta)
    except BadInputError as error:
        return Record(job.key, "failed", str(error))
    return Record(job.key, "computed")


@contextmanager
def _named(clip: str) -> Iterator[None]:
    """Tell the driver at which clip a fault came up that is not this package's own."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"clip {clip}")
        raise


def _require_checked(run: str) -> None:
    worker = get_worker()
    plugin = worker.plugins.get(plugin_name(run))
    if not isinstance(plugin, Preflight):
        raise ClusterError("this worker was not checked", where=f"worker {worker.address}")
    if plugin.error is not None:
        raise plugin.error


def _is_cancelled() -> bool:
    """Whether the driver has gone, or given up: a running task is not stopped by Dask."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"
