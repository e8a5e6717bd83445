"""``pianoeval embed``: fill the item cache outside DVC, here or on many machines.

DVC locks the workspace and runs one stage after another; embeddings are items of a cache, and
who computes them does not matter. This command computes them; ``dvc repro`` assembles.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pianoeval.commands.options import JsonOption
from pianoeval.errors import ConfigError, MissingAssetError

if TYPE_CHECKING:
    from pianoeval.builder import BuildReport, Fill, ItemJob
    from pianoeval.params import EncoderParams, Params
    from pianoeval.paths import CorpusPaths

log = logging.getLogger(__name__)


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


def embed(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml that is rendered.")],
    encoder: Annotated[list[str] | None, typer.Option(help="Default: axes.encoder.")] = None,
    instrument: Annotated[list[str] | None, typer.Option(help="Default: axes.instrument.")] = None,
    cluster: Annotated[
        str, typer.Option(help="none, local, slurm, tcp://host:port or tls://host:port.")
    ] = "none",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, with none or local.")
    ] = None,
    show_script: Annotated[
        bool, typer.Option("--show-script", help="Print the SLURM job script; submit nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute embeddings into the item cache, here or on a cluster; 'dvc repro' then assembles."""
    from pianoeval.params_file import load_params

    params = load_params()
    if show_script:
        typer.echo(_script(cluster, params), nl=False)
        return
    if workers:
        if cluster not in ("none", "local"):
            raise ConfigError(
                f"--workers has no meaning with --cluster {cluster}",
                next_step="edit cluster.slurm in params.yaml, or start as many workers as you want",
            )
        run = params.run.model_copy(update={"workers": workers})
        params = params.model_copy(update={"run": run})
    todo = _embeddings(corpus, encoder, instrument, params)
    reports = _fill_all(todo, cluster, params)
    following = _next(corpus, params)
    if as_json:
        rows = [_as_json(one, report) for one, report in zip(todo, reports, strict=True)]
        typer.echo(json.dumps({"embeddings": rows, "next": following}, indent=1))
        return
    for one, report in zip(todo, reports, strict=True):
        typer.echo(f"{one.encoder}, {one.instrument}: {report}")
    typer.echo(f"next: {following}   (computes none of these again; it assembles their stores)")


def _script(cluster: str, params: Params) -> str:
    if cluster != "slurm":
        raise ConfigError(
            f"--cluster {cluster} submits no jobs", where="--show-script", allowed="slurm",
            next_step="pianoeval embed CORPUS --cluster slurm --show-script",
        )  # fmt: skip
    _require_dask()
    from pianoeval.cluster.slurm import job_script
    from pianoeval.paths import cache_root

    return job_script(params.cluster.slurm, cache_root())


def _require_dask() -> None:
    missing = [
        name for name in ("dask", "distributed", "dask_jobqueue", "cryptography")
        if importlib.util.find_spec(name) is None
    ]  # fmt: skip
    if missing:
        raise MissingAssetError(
            f"--cluster needs packages that are not installed: {', '.join(missing)}",
            next_step="pip install -c constraints.txt -e '.[cluster]'",
        )


def _embeddings(
    corpus: str, encoders: list[str] | None, instruments: list[str] | None, params: Params
) -> list[Embedding]:
    """What is to be had, and of it what is missing."""
    from pianoeval.paths import CorpusPaths

    encoders, instruments = encoders or params.axes.encoder, instruments or params.axes.instrument
    for what, names, known in (
        ("corpora", [corpus], params.corpora),
        ("encoders", encoders, params.encoders),
        ("instruments", instruments, params.instruments),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"'{name}' is not in params.yaml", where=what,
                    allowed=", ".join(sorted(known)), next_step="pianoeval embed --help",
                )  # fmt: skip
    paths = CorpusPaths(corpus)
    for name in dict.fromkeys(instruments):
        _check_audio(paths, name, params)
    return [
        _embedding(paths.audio(instrument), encoder, instrument, params)
        for encoder in dict.fromkeys(encoders)
        for instrument in dict.fromkeys(instruments)
    ]


def _embedding(audio: Path, encoder: str, instrument: str, params: Params) -> Embedding:
    from pianoeval.builder import missing_jobs
    from pianoeval.cache import ItemCache
    from pianoeval.encoders.extract import embed_jobs, embedding_step
    from pianoeval.encoders.registry import encoder_spec
    from pianoeval.encoders.speed import rate_name

    spec = encoder_spec(params.encoders[encoder], encoder)
    step = embedding_step(spec)
    jobs = embed_jobs(audio.resolve(), encoder, params)
    todo = missing_jobs(step, jobs, ItemCache())
    return Embedding(encoder, instrument, audio.resolve(), step, rate_name(spec), jobs, todo)


def _check_audio(paths: CorpusPaths, instrument: str, params: Params) -> None:
    """The audio is there, and is what render would give now."""
    from pianoeval.audio.render import render_jobs
    from pianoeval.corpora.manifest import read_manifest
    from pianoeval.store import RaggedStore

    path = paths.audio(instrument)
    axes = params.axes
    next_step = f"dvc repro render@{paths.corpus}-{instrument}"
    if paths.corpus not in axes.corpus or instrument not in axes.instrument:
        next_step = f"name {paths.corpus} and {instrument} in axes of params.yaml, then {next_step}"
    if not path.is_dir():
        raise MissingAssetError("not rendered yet", where=path, next_step=next_step)
    if not paths.manifest.is_file():
        return  # only the audio was brought to this machine
    store = RaggedStore(path)
    jobs = render_jobs(read_manifest(paths.manifest), paths.root, instrument, params)
    if not {store.item_key(clip) for clip in store.clips} <= {job.key for job in jobs}:
        raise MissingAssetError(
            "clips or parameters have changed since this was rendered", where=path,
            next_step=next_step,
        )  # fmt: skip


def _fill_all(todo: list[Embedding], cluster: str, params: Params) -> list[BuildReport]:
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
    _require_dask()
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


def _next(corpus: str, params: Params) -> str:
    if corpus in params.axes.corpus:
        return "dvc repro"
    return f"dvc exp run -S 'axes.corpus=[{corpus}]'"


def _as_json(one: Embedding, report: BuildReport) -> dict[str, object]:
    return {
        "encoder": one.encoder, "instrument": one.instrument, "clips": len(one.jobs),
        "computed": report.computed, "reused": report.reused,
        "quarantined": report.quarantined, "audio_s": report.audio_s, "seconds": report.seconds,
    }  # fmt: skip
