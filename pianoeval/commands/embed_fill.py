"""Fill the item cache with embeddings of a corpus, here or on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pianoeval.builder import BuildReport, Fill, ItemJob
    from pianoeval.params import EncoderParams, Params


@dataclass(frozen=True)
class Embedding:
    """One encoder on the audio of one instrument."""

    encoder: str
    instrument: str
    audio: Path
    step: str
    rate_name: str
    jobs: list[ItemJob]
    todo: list[ItemJob]


def fill_all(todo: list[Embedding], cluster: str, params: Params) -> list[BuildReport]:
    """Compute what is missing; raises BadInputError where too many clips failed."""
    from pianoeval.builder import BuildReport, missing_jobs, n_workers
    from pianoeval.cache import ItemCache
    from pianoeval.quarantine import check_quarantine
    from pianoeval.rates import record_rate

    cache, reports = ItemCache(), []
    with _fills(cluster, params, any(one.todo for one in todo)) as fill_of:
        for one in todo:
            missing = missing_jobs(one.step, one.todo, cache)  # another may have shared some
            report = BuildReport(reused=len({job.key for job in one.jobs}) - len(missing))
            started = time.monotonic()
            failed: dict[str, str] = {}
            if missing:
                failed = fill_of(one)(one.step, missing, cache, params.run, report)
            report.seconds = time.monotonic() - started
            if cluster == "none":
                record_rate(
                    cache.root.parent, one.rate_name, report.audio_s, report.seconds,
                    n_workers(params.run),
                )  # fmt: skip
            report.quarantined = {
                job.clip: failed[job.key] for job in one.jobs if job.key in failed
            }
            check_quarantine(
                report.quarantined, len(one.jobs), params.run.max_failed_fraction, step=one.step
            )
            reports.append(report)
    return reports


@contextmanager
def _fills(cluster: str, params: Params, wanted: bool) -> Iterator[Callable[[Embedding], Fill]]:
    """What computes: processes or the GPU of this machine, or a cluster while it is needed."""
    if cluster == "none" or not wanted:
        # Instruments share an encoder that is loaded, and compiled.
        of_encoder = lru_cache(maxsize=1)(lambda name: _own_fill(name, params.encoders[name]))
        yield lambda one: of_encoder(one.encoder)
        return
    from pianoeval.cluster.connect import connect
    from pianoeval.cluster.fill import ClusterFill
    from pianoeval.cluster.preflight import Requirements
    from pianoeval.encoders.extract import embed_item

    with connect(cluster, params.cluster, params.run) as connection:

        def fill_of(one: Embedding) -> Fill:
            encoders = ((one.encoder, params.encoders[one.encoder]),)
            requirements = Requirements((one.audio,), encoders)
            return ClusterFill(connection, embed_item, params.cluster, requirements)

        yield fill_of


def _own_fill(name: str, block: EncoderParams) -> Fill:
    from pianoeval.builder import pool_fill
    from pianoeval.cluster.preflight import check_weights
    from pianoeval.encoders.batched.fill import device_fill
    from pianoeval.encoders.extract import embed_item

    check_weights(name, block)
    return device_fill(block, name) if block.device == "cuda" else pool_fill(embed_item)
