"""Compute the items that are missing, then assemble the store.

Who computes them is a ``Fill``. The default is a pool of processes of one thread each: a worker
handles one clip at a time; a crash or a hang costs that clip and the worker is replaced. Items go
to the cache from the worker, so a killed run loses only what was in flight.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as JobTimeout
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pebble import ProcessExpired

from pianoeval.cache import Array, Blocks, Item, ItemCache
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, PianoevalError
from pianoeval.interrupt import children_hear_no_ctrl_c, listen_as_worker
from pianoeval.memory import Trimmer
from pianoeval.params import RunParams
from pianoeval.progress import Follower, Meter, listen
from pianoeval.quarantine import check_quarantine
from pianoeval.rates import record_rate
from pianoeval.steady import ProcessPool
from pianoeval.store import write_store

log = logging.getLogger(__name__)
ENCODE = "PIANOEVAL_ENCODE"  # variable; "never" = no item is computed, as ablations want it
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip

ItemFunction = Callable[[Any], tuple[Mapping[str, Array | Blocks], Mapping[str, Any]]]


@dataclass(frozen=True)
class ItemJob:
    """One item to have: ``function(payload)`` gives its arrays and metadata."""

    clip: str
    key: str
    payload: Any
    audio_s: float


@dataclass
class BuildReport:
    """What a build did; ``computed`` counts real calls, the rest came from the cache."""

    computed: int = 0
    reused: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    quarantined: dict[str, str] = field(default_factory=dict)
    device_s: float = 0.0  # first batch to last, where one device does the work
    waited_s: float = 0.0  # of it, without a batch to work on

    def __str__(self) -> str:
        text = (
            f"{self.computed} computed ({self.audio_s / 60:.1f} min of audio in "
            f"{self.seconds:.0f} s), {self.reused} from the cache, "
            f"{len(self.quarantined)} quarantined"
        )
        if self.device_s > 0:
            text += f"; the device waited for input {self.waited_s / self.device_s:.0%} of its time"
        return text


Fill = Callable[[str, Sequence[ItemJob], ItemCache, RunParams, BuildReport], dict[str, str]]
"""``fill(step, todo, cache, run, report)`` puts the items of ``todo`` into the cache.

It counts them in ``report`` and returns ``{key: reason}`` of those that failed through the fault
of their clip; anything else it raises.
"""


def n_workers(run: RunParams) -> int:
    """Processes to start: ``run.workers``, or one a core."""
    return run.workers or n_cores()


def n_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing_jobs(step: str, jobs: Sequence[ItemJob], cache: ItemCache) -> list[ItemJob]:
    """One job for each key that is not in the cache, longest first."""
    unique = {job.key: job for job in jobs if not cache.has(step, job.key)}
    return sorted(unique.values(), key=lambda job: (-job.audio_s, job.clip))


def build_store(
    step: str,
    jobs: Sequence[ItemJob],
    function: ItemFunction,
    *,
    cache: ItemCache,
    out: Path,
    attrs: Mapping[str, Any],
    run: RunParams,
    already_quarantined: Mapping[str, str] | None = None,
    fill: Fill | None = None,
    work: str = "",
) -> BuildReport:
    """Fill the cache for ``jobs`` and write the store ``out``.

    Parameters
    ----------
    function : callable
        What a worker process calls with a payload; not used where ``fill`` is given.
    fill : callable, optional
        Computes what is missing; a pool of processes unless told.
    work : str
        Name under which the speed is kept; ``step`` unless told.

    Raises
    ------
    BadInputError
        More clips failed than ``run.max_failed_fraction`` allows; what succeeded stays cached.
    PianoevalError
        Anything that is not the fault of one clip (disk full, missing weights).
    """
    quarantined = dict(already_quarantined or {})
    todo = missing_jobs(step, jobs, cache)
    report = BuildReport(reused=len({job.key for job in jobs}) - len(todo))
    started = time.monotonic()
    compute = _permitted(fill or pool_fill(function))
    failed = compute(step, todo, cache, run, report) if todo else {}
    report.seconds = time.monotonic() - started
    record_rate(cache.root.parent, work or step, report.audio_s, report.seconds, n_workers(run))
    quarantined |= {job.clip: failed[job.key] for job in jobs if job.key in failed}
    report.quarantined = quarantined
    total = len(jobs) + len(already_quarantined or {})
    check_quarantine(quarantined, total, run.max_failed_fraction, step=step)

    def items() -> Iterator[tuple[str, str, Item]]:
        for job in jobs:
            if job.key not in failed:
                yield job.clip, job.key, _item(step, job, compute, cache, run, report)

    write_store(out, items(), attrs=attrs, quarantined=quarantined)
    log.info("%s: %s", step, report)
    return report


def _permitted(fill: Fill) -> Fill:
    """``fill``, or what refuses to compute anything where the environment says ``never``."""

    def refuse(step: str, todo: Sequence[ItemJob], *_: object) -> dict[str, str]:
        raise ConfigError(
            f"{len(todo)} clips are not in the cache, and {ENCODE}=never forbids to compute them",
            where=step, next_step=f"dvc pull, or: unset {ENCODE} && dvc repro",
        )  # fmt: skip

    return refuse if os.environ.get(ENCODE) == "never" else fill


def _item(
    step: str, job: ItemJob, fill: Fill, cache: ItemCache, run: RunParams, report: BuildReport
) -> Item:  # fmt: skip
    """The item from the cache; one found damaged is computed again."""
    item = cache.get(step, job.key)
    if item is None:
        report.reused -= 1
        failed = fill(step, [job], cache, run, report)
        item = cache.get(step, job.key)
        if failed or item is None:
            raise CorruptDataError(
                f"item of clip '{job.clip}' cannot be restored: {failed or 'write lost'}",
                where=cache.path(step, job.key), next_step="check the disk, then: dvc repro",
            )  # fmt: skip
    return item


def pool_fill(function: ItemFunction) -> Fill:
    """``function`` over the payloads, in ``run.workers`` processes; longest first as they stand."""
    return partial(_run, function)


def _run(
    function: ItemFunction, step: str, todo: Sequence[ItemJob], cache: ItemCache, run: RunParams,
    report: BuildReport,
) -> dict[str, str]:  # fmt: skip
    """Compute ``todo``; returns ``{key: reason}`` of what failed."""
    failed: dict[str, str] = {}
    audio_s = sum(job.audio_s for job in todo)
    workers = min(n_workers(run), len(todo))
    parts = get_context("spawn").RawArray("d", len(todo))
    with (
        _single_threaded(),
        Meter(step, len(todo), amount=audio_s, unit="s of audio") as meter,
        Follower(meter, [job.audio_s for job in todo], parts) as follower,
    ):
        pool: Any = ProcessPool(
            max_workers=workers, context=get_context("spawn"),
            initializer=_start_worker, initargs=[os.getpid(), _log_level(), parts],
        )  # fmt: skip
        try:
            with children_hear_no_ctrl_c():
                futures: dict[Any, int] = {
                    pool.schedule(
                        _compute, args=[function, step, job, cache.root, number],
                        timeout=_limit_s(job, run),
                    ): number
                    for number, job in enumerate(todo)
                }  # fmt: skip
            for future in as_completed(futures):
                job = todo[futures[future]]
                reason = _reason(future, job, run)
                if reason is None:
                    report.computed += 1
                    report.audio_s += job.audio_s
                else:
                    failed[job.key] = reason
                follower.finish(futures[future])
            pool.close()
        except BrokenProcessPool as error:
            raise PianoevalError(
                f"worker processes cannot start: {error}", where=step,
                next_step="see what they printed above; what was computed is kept: dvc repro",
            ) from error  # fmt: skip
        finally:
            pool.stop()  # a no-op after close; on an error or Ctrl-C it ends the workers at once
            pool.join()
    return failed


def _limit_s(job: ItemJob, run: RunParams) -> float:
    """A long recording may take as much longer as it is long."""
    return run.job_timeout_s + job.audio_s


def _reason(future: Any, job: ItemJob, run: RunParams) -> str | None:
    """Why a job failed through the fault of its clip, or None; other errors are raised."""
    try:
        future.result()
    except BadInputError as error:
        return str(error)
    except JobTimeout:
        return f"no result after {_limit_s(job, run):g} s (run.job_timeout_s and its own length)"
    except ProcessExpired as error:
        return f"the worker died (exit code {error.exitcode})"
    return None


def _compute(function: ItemFunction, step: str, job: ItemJob, root: Path, number: int) -> None:
    listen(partial(_tell, number))
    arrays, meta = function(job.payload)
    ItemCache(root).put(step, job.key, arrays, meta)
    del arrays
    _trimmer.after_item()


_trimmer = Trimmer()  # of a worker
_parts: Any = None  # of a worker: shared with its parent


def _tell(number: int, amount: float) -> None:
    """So much of item ``number`` is done."""
    _parts[number] = amount


def _start_worker(parent: int, level: int, parts: Any) -> None:
    """End with the parent, however it ends: an orphan would hold memory and cores."""
    global _parts
    _parts = parts
    logging.basicConfig(level=level, format="%(levelname)s %(message)s")
    listen_as_worker(parent)


def _log_level() -> int:
    return logging.getLogger().getEffectiveLevel()


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Workers inherit one thread a library: there is one process a core already."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
