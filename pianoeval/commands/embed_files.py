"""``pianoeval embed FILE... --out``: embeddings of files that belong to no corpus."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pianoeval.errors import ConfigError, PianoevalError

if TYPE_CHECKING:
    from pianoeval.params import Params

log = logging.getLogger(__name__)
SUFFIXES = (".zarr",)
_USAGE = "pianoeval embed FILE... --encoder NAME --out embeddings.zarr"


def embed_files(
    files: Sequence[str],
    encoders: Sequence[str],
    instruments: Sequence[str],
    layers: str,
    out: Path,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write one store of embeddings of all files; those that cannot be read cost only themselves.

    Raises
    ------
    ConfigError
        Not one encoder and instrument that params.yaml knows, or a place that holds other things.
    BadInputError
        No file can be embedded.
    """
    from pianoeval.cache import ItemCache
    from pianoeval.judging.embedding import embedded, write_embeddings
    from pianoeval.judging.files import find_recordings
    from pianoeval.params_file import load_settings

    params, where = load_settings()
    encoder = _one("--encoder", encoders, list(params.encoders), where)
    instrument = _one("--instrument", instruments, list(params.instruments), where)
    _check_out(out)
    _check_layers(layers, encoder, params)
    if workers:
        run = params.run.model_copy(update={"workers": workers})
        params = params.model_copy(update={"run": run})
    recordings, failed = find_recordings(files, params.midi)
    with embedded(recordings, encoder, instrument, params, ItemCache()) as found:
        failed |= found.failed
        names = write_embeddings(found, layers, out)
    if as_json:
        told = {
            "out": str(out), "encoder": encoder, "files": [job.clip for job in found.jobs],
            "layers": names, "dim": found.spec.dim, "frame_rate_hz": found.spec.frame_rate_hz,
            "computed": found.report.computed, "reused": found.report.reused, "failed": failed,
        }  # fmt: skip
        typer.echo(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        typer.echo(f"{encoder}: {found.report}")
        typer.echo(
            f"{out}: {len(found.jobs)} files, layers {','.join(names)} of {found.spec.dim} values,"
            f" {found.spec.frame_rate_hz:.2f} frames a second"
        )
        typer.echo(f"read it with: pianoeval.store.RaggedStore('{out}').frames(FILE)")
    if failed:
        for name, reason in failed.items():
            log.error("not embedded: %s: %s", name, reason)
        raise typer.Exit(1)


def _one(option: str, given: Sequence[str], known: Sequence[str], where: Path) -> str:
    """The one name that an option gives."""
    if len(given) == 1 and given[0] in known:
        return given[0]
    what = f"'{given[0]}' is not known" if len(given) == 1 else f"{len(given)} names"
    raise ConfigError(
        what, where=f"{option} ({where.name})", allowed=f"one of {', '.join(sorted(known))}",
        next_step=_USAGE,
    )  # fmt: skip


def _check_layers(layers: str, encoder: str, params: Params) -> None:
    """Before hours of encoding, not after them."""
    from pianoeval.encoders.layers import parse_layers
    from pianoeval.encoders.registry import encoder_spec

    try:
        parse_layers(layers, encoder_spec(params.encoders[encoder], encoder).layer_names)
    except ConfigError as error:
        raise ConfigError(
            error.what, where=f"--layers {layers}", allowed=error.allowed, next_step=_USAGE
        ) from error


def _check_out(out: Path) -> None:
    """Only a store is replaced: whatever else lies there stays."""
    from pianoeval.store import RaggedStore

    if out.suffix not in SUFFIXES:
        raise ConfigError(
            "the suffix names no format", where=f"--out {out}", allowed=" ".join(SUFFIXES),
            next_step=_USAGE,
        )  # fmt: skip
    if out.exists() or out.is_symlink():
        try:
            RaggedStore(out)
        except PianoevalError as error:
            raise ConfigError(
                "something else lies there", where=out, allowed="a new name, or a former store",
                next_step="choose another --out, or remove it",
            ) from error  # fmt: skip
