"""Spread missing items over a Dask cluster, and hear what became of each.

Arrays never travel: workers write to the item cache that all machines share, and return a line
a clip. The driver believes a line only when it sees the item itself.
"""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from distributed import as_completed
from distributed.scheduler import KilledWorker

from pianoeval.atomic import disk_errors, make_shared, remove_abandoned_folders
from pianoeval.builder import BuildReport, ItemFunction, ItemJob
from pianoeval.cache import ItemCache
from pianoeval.cluster.connect import Connection
from pianoeval.cluster.joining import (
    AGAIN,
    addresses,
    lost,
    no_worker,
    register,
    unregister,
)
from pianoeval.cluster.journal import Journal
from pianoeval.cluster.preflight import (
    ClusterError,
    Requirements,
    make_need,
    wait_for,
)  # fmt: skip
from pianoeval.cluster.shards import Shard, make_shards
from pianoeval.cluster.worker import (
    Record,
    Work,
    journal_path,
    plugin_name,
    run_shard,
    topic,
)
from pianoeval.errors import PianoevalError
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams
from pianoeval.progress import Meter

log = logging.getLogger(__name__)
_FOLDER = ".cluster"
_ABANDONED_S = 7 * 24 * 3600.0
_POLL_S = 0.05
_LOOK_S = 2.0  # between two looks at the workers
_RESULT_S = 5.0
_FUTILE = 3  # times a shard may come back with nothing done


@dataclass(frozen=True)
class ClusterFill:
    """A :data:`~pianoeval.builder.Fill` on a connected cluster.

    Parameters
    ----------
    connection : Connection
        Not closed here.
    function : callable
        What a worker calls with a payload; found by its name on the worker.
    requirements : Requirements
        What every worker must see before it is given work.
    """

    connection: Connection
    function: ItemFunction
    params: ClusterParams
    requirements: Requirements

    def __call__(
        self, step: str, todo: Sequence[ItemJob], cache: ItemCache, run: RunParams,
        report: BuildReport,
    ) -> dict[str, str]:  # fmt: skip
        """Compute ``todo``; returns ``{key: reason}`` of what failed through its clip's fault.

        Raises
        ------
        ClusterError
            A worker that fails its checks, no worker, or a lost scheduler.
        PianoevalError
            Whatever a worker meets that is not the fault of one clip.
        """
        cache = ItemCache(cache.root.resolve())
        audio_s = sum(job.audio_s for job in todo)
        name = uuid.uuid4().hex[:12]
        with (
            _run_folder(cache.root, name) as folder,
            Meter(step, len(todo), amount=audio_s, unit="s of audio") as meter,
            self._checked(name, folder),
        ):
            work = Work(
                name, step, self.function, cache.root, folder, run.job_timeout_s,
                self.params.max_deaths,
            )  # fmt: skip
            shards = make_shards(todo, self.connection.slots, self.params.shard_minutes * 60)
            driver = _Driver(self.connection, work, cache, self.params.wait_s, meter, report)
            return driver.run(shards)

    @contextmanager
    def _checked(self, name: str, folder: Path) -> Iterator[None]:
        """Check every worker now, and each that joins until the end."""
        need = make_need(name, folder, self.requirements)
        try:
            register(self.connection.client, need)
            yield
        finally:
            unregister(self.connection.client, plugin_name(name))


class _Driver:
    """Hands shards out and collects their records."""

    def __init__(
        self, connection: Connection, work: Work, cache: ItemCache, wait_s: float, meter: Meter,
        report: BuildReport,
    ) -> None:  # fmt: skip
        self.client, self.tend = connection.client, connection.tend
        self.work, self.cache = work, cache
        self.wait_s, self.meter, self.report = wait_s, meter, report
        self.waiting: dict[Any, Shard] = {}
        self.completed = as_completed([], raise_errors=False)
        self.futile: dict[int, tuple[int, int]] = {}  # by shard: progress, times without
        self.submitted = 0
        self.failed: dict[str, str] = {}
        self.told: dict[str, float] = {}  # by task: seconds of audio that its worker has done
        self.shown: dict[str, float] = {}  # of them, on the meter
        self.last_look = self.last_worker = time.monotonic()
        self.said = False

    def run(self, shards: Sequence[Shard]) -> dict[str, str]:
        self.client.subscribe_topic(topic(self.work.run), self._hear)
        try:
            for shard in shards:
                self._submit(shard)
            while self.waiting:
                for future in self.completed.next_batch(block=False):
                    self._take(future)
                self._look()
                time.sleep(_POLL_S)
        finally:
            if self.client.status == "running":
                self.client.unsubscribe_topic(topic(self.work.run))
                if self.waiting:
                    self.client.cancel(list(self.waiting))
        return self.failed

    def _hear(self, event: tuple[float, tuple[str, float]]) -> None:
        """In the client's thread."""
        _, (task, done_s) = event
        self.told[task] = done_s

    def _show(self) -> None:
        for future in self.waiting:
            done_s = self.told.get(future.key, 0.0)
            more = done_s - self.shown.get(future.key, 0.0)
            if more > 0:
                self.shown[future.key] = done_s
                self.meter.advance(more, items=0)

    def _submit(self, shard: Shard) -> None:
        self.submitted += 1
        future = self.client.submit(
            run_shard, self.work, shard, key=f"pianoeval-{self.work.run}-{self.submitted}",
            pure=False,
        )  # fmt: skip
        self._wait_for(future, shard)

    def _wait_for(self, future: Any, shard: Shard) -> None:
        self.waiting[future] = shard
        self.completed.add(future)

    def _take(self, future: Any) -> None:
        shard = self.waiting.pop(future)
        if future.status == "error":
            self._fault(shard, future.exception())
            return
        if future.status == "cancelled":
            raise lost()
        try:
            records = future.result(timeout=_RESULT_S)
        except TimeoutError:  # the worker that held it has died: Dask has it computed again
            self._wait_for(future, shard)
        except KilledWorker as error:  # and that came to nothing
            self._fault(shard, error)
        else:
            self._finish(shard, records, self.shown.pop(future.key, 0.0))

    def _fault(self, shard: Shard, error: BaseException) -> None:
        if isinstance(error, PianoevalError):
            raise error
        if not isinstance(error, KilledWorker):
            notes = ", ".join(getattr(error, "__notes__", [])) or self.work.step
            raise PianoevalError(
                f"{type(error).__name__}: {error}", where=notes, next_step=AGAIN
            ) from error
        log.warning("%s; what is left of its %d clips is handed out again", error, len(shard.jobs))
        self._again(shard)

    def _finish(self, shard: Shard, records: Sequence[Record], shown_s: float) -> None:
        jobs = {job.key: job for job in shard.jobs}
        for record in records:
            job = jobs.pop(record.key)
            if record.state == "failed":
                self.failed[record.key] = record.reason
            elif not wait_for(self.cache.path(self.work.step, record.key)):
                raise ClusterError(
                    f"clip '{job.clip}' was computed, and its item is not seen here",
                    where=self.cache.path(self.work.step, record.key),
                    next_step="put PIANOEVAL_CACHE on a file system that all machines share",
                )
            elif record.state == "computed":
                self.report.computed += 1
                self.report.audio_s += job.audio_s
            else:
                self.report.reused += 1
            self.meter.advance(max(job.audio_s - shown_s, 0.0))
            shown_s = max(shown_s - job.audio_s, 0.0)
        self.meter.advance(-shown_s, items=0)  # of a clip that was not finished
        if jobs:
            self._again(Shard(shard.number, tuple(jobs.values())))

    def _again(self, rest: Shard) -> None:
        """Hand out what is left; workers that die outside of any clip must not go on for ever."""
        past = Journal(journal_path(self.work, rest)).past().values()
        progress = sum(self.cache.has(self.work.step, job.key) for job in rest.jobs)
        progress += sum(clip.deaths for clip in past)  # these are counted, and lead to an end
        before_this, futile = self.futile.get(rest.number, (-1, 0))
        futile = futile + 1 if progress <= before_this else 0
        self.futile[rest.number] = (max(progress, before_this), futile)
        if futile >= _FUTILE:
            raise ClusterError(
                f"workers keep dying before they finish a clip of shard {rest.number} "
                f"({rest.jobs[0].clip}, …)", next_step="read the workers' logs: memory, walltime",
            )  # fmt: skip
        self._submit(rest)

    def _look(self) -> None:
        """Once in a while: is there a scheduler, are there workers?"""
        now = time.monotonic()
        if now - self.last_look < _LOOK_S:
            return
        self.last_look = now
        if self.client.status != "running":
            raise lost()
        self._show()
        self.tend()
        if addresses(self.client):
            self.last_worker = now
            self.said = False
        elif now - self.last_worker > self.wait_s:
            raise no_worker(self.wait_s)
        elif not self.said:
            log.info("waiting for a worker, at most %g s (cluster.wait_s)", self.wait_s)
            self.said = True


@contextmanager
def _run_folder(root: Path, name: str) -> Iterator[Path]:
    """A folder beside the items for this run's notes; removed at its end."""
    with disk_errors(root / _FOLDER):
        make_shared(root / _FOLDER)
    folder = root / _FOLDER / name
    with disk_errors(folder):
        make_shared(folder)
        remove_abandoned_folders(folder, "*", _ABANDONED_S)
    clean = Finalize(None, shutil.rmtree, [folder, True], exitpriority=0)
    try:
        yield folder
    finally:
        clean()
