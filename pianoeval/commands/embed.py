"""``pianoeval embed CORPUS``: fill the item cache outside DVC, here or on many machines.

With ``--out`` the arguments are files instead, see :mod:`pianoeval.commands.embed_files`.

DVC locks the workspace and runs one stage after another; embeddings are items of a cache, and
who computes them does not matter. This command computes them; ``dvc repro`` assembles.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pianoeval.commands.options import JsonOption
from pianoeval.errors import ConfigError, MissingAssetError

if TYPE_CHECKING:
    from pianoeval.builder import BuildReport
    from pianoeval.commands.embed_fill import Embedding
    from pianoeval.params import Params
    from pianoeval.paths import CorpusPaths


def embed(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS | FILE... --out STORE",
            help="A corpus of params.yaml that is rendered; with --out, recordings.",
        ),
    ],
    encoder: Annotated[list[str] | None, typer.Option(help="Default: axes.encoder.")] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option(help="Default: axes.instrument; with --out, grand (it plays MIDI files)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New .zarr store: the arguments are files then.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="With --out: all, 4, 9..12 or 1..6,ctx.")
    ] = None,
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
    """Compute embeddings: of a corpus into the item cache, or of files into a store of their own.

    Without --out the argument is a corpus, and 'dvc repro' assembles its stores. With --out the
    arguments are files, in a workspace or anywhere else.
    """
    if out is None:
        _embed_corpus(
            _corpus(names, layers), encoder, instrument, cluster, workers, show_script, as_json
        )
        return
    if cluster != "none" or show_script:
        raise ConfigError(
            "files are embedded on this machine", where="--out", allowed="--cluster none",
            next_step="leave --cluster and --show-script out",
        )  # fmt: skip
    from pianoeval.commands.embed_files import embed_files

    embed_files(
        names, encoder or [], instrument or ["grand"], layers or "all", out, workers, as_json
    )


def _corpus(names: list[str], layers: str | None) -> str:
    """The one corpus that is named; files are told from it by --out alone."""
    if len(names) == 1 and layers is None and not (Path(names[0]).is_file() and "." in names[0]):
        return names[0]
    what = "--layers" if layers is not None else "files"
    raise ConfigError(
        f"{what} without --out", allowed="one corpus; or files, --encoder NAME and --out STORE",
        next_step="pianoeval embed FILE... --encoder NAME --out embeddings.zarr",
    )  # fmt: skip


def _embed_corpus(
    corpus: str,
    encoder: list[str] | None,
    instrument: list[str] | None,
    cluster: str,
    workers: int | None,
    show_script: bool,
    as_json: bool,
) -> None:
    from pianoeval.commands.embed_fill import fill_all
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
    if cluster != "none" and any(one.todo for one in todo):
        _require_dask()
    reports = fill_all(todo, cluster, params)
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
            next_step="make setup   (or: pip install 'pianoeval[cluster]')",
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
    from pianoeval.commands.embed_fill import Embedding
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
