"""Fetch a checkpoint: from the hub, a folder or a file, through one path into the cache."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pianoeval.checkpoints.choose import choose_files, is_weights
from pianoeval.checkpoints.hub import Repository, check_model, download, look_up
from pianoeval.checkpoints.shelf import (
    CONFIG,
    FOLDER,
    PREPROCESSOR,
    Checkpoint,
    Receipt,
    get_command,
    open_checkpoint,
    parse_config,
    pinned_digest,
    put_on_shelf,
    shelf,
    staging,
)
from pianoeval.checkpoints.tensors import read_tensors
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, PianoevalError
from pianoeval.params import CheckpointParams
from pianoeval.provenance import config_hash, sha256_file

log = logging.getLogger(__name__)


def get_checkpoint(name: str, params: CheckpointParams, source: Path | None = None) -> Checkpoint:
    """Bring one weights file and its configurations into the cache, checked and whole.

    Parameters
    ----------
    name : str
        The encoder, as in ``params.yaml``.
    source : Path, optional
        A local folder or weights file; without it ``params.model`` at ``params.revision`` is
        downloaded, or nothing if what ``params.digest`` names is there already.

    Raises
    ------
    ConfigError
        Random weights, no hub id, or a file that cannot be meant.
    MissingAssetError
        No network, no such model, or no access to it.
    BadInputError
        The folder or repository does not hold exactly one weights file.
    CorruptDataError
        Not what ``params.digest`` or the hub says, or not plain tensors. Nothing is kept.
    """
    if params.weights == "random":
        raise ConfigError(
            "its weights are drawn at random: there is nothing to fetch", where=f"encoders.{name}",
            next_step="dvc repro",
        )  # fmt: skip
    digest = pinned_digest(params, name)
    if source is None and digest and _is_here(params, name):
        return open_checkpoint(params, name)
    with staging() as folder:
        if source is None:
            receipt = _from_hub(name, params, folder)
        else:
            receipt = _from_disk(name, params, source, folder)
        _check(name, params, receipt, folder, str(source or receipt.source))
        put_on_shelf(folder, receipt)
    log.info("%s: %s, digest %s", name, receipt.source, receipt.digest[:12])
    return open_checkpoint(params.model_copy(update={"digest": receipt.digest}), name)


def _is_here(params: CheckpointParams, name: str) -> bool:
    try:
        open_checkpoint(params, name)
    except PianoevalError:
        return False
    return True


def _check(name: str, params: CheckpointParams, receipt: Receipt, folder: Path, shown: str) -> None:
    """What came must be what was pinned, and readable without running anything."""
    if params.digest and receipt.digest != params.digest:
        raise CorruptDataError(
            f"has the digest {receipt.digest[:16]}…, pinned is {params.digest[:16]}…",
            where=receipt.source if receipt.source != FOLDER else f"encoders.{name}",
            next_step=f"get what was pinned, or empty encoders.{name}.digest in params.yaml: with "
            "other weights all embeddings are computed again",
        )  # fmt: skip
    for file in (CONFIG, PREPROCESSOR):
        if file in receipt.files:
            parse_config(folder / file, f"{shown}: {file}")
    read_tensors(folder / receipt.weights, f"{shown}: {receipt.weights}")


def _from_disk(name: str, params: CheckpointParams, source: Path, folder: Path) -> Receipt:
    """Copy from a folder, or a weights file with the configurations beside it."""
    if source.is_dir():
        names = sorted(p.relative_to(source).as_posix() for p in _files(source))
        chosen = choose_files(names, params.file, str(source), name)
        found = {Path(file).name: source / file for file in chosen}
    elif source.is_file() and is_weights(source.name):
        found = {source.name: source}
        for file in (CONFIG, PREPROCESSOR):
            if (beside := source.with_name(file)).is_file():
                found[file] = beside
    else:
        raise BadInputError(
            "no such folder or weights file", where=source,
            next_step=f"pianoeval encoder get {name} --from DIR_OR_FILE",
        )  # fmt: skip
    for file, path in found.items():
        shutil.copyfile(path, folder / file)  # follows links: a hub cache is made of them
    return Receipt(files={f: sha256_file(folder / f) for f in sorted(found)}, source=FOLDER)


def _files(source: Path) -> Iterator[Path]:
    """Files of a folder and its sub-folders, hidden ones left out; links to folders too."""
    for here, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here) / name for name in files if not name.startswith("."))


def _from_hub(name: str, params: CheckpointParams, folder: Path) -> Receipt:
    check_model(params.model, name)
    repository = look_up(params.model, params.revision, name)
    chosen = choose_files(sorted(repository.files), params.file, repository.source, name)
    again = get_command(params, name)
    files: dict[str, str] = {}
    with _downloads(repository) as partial:
        paths = [download(repository, file, partial, name) for file in chosen]
        for file, path in zip(chosen, paths, strict=True):
            files[path.name] = _checked(repository, file, path, again)
        for path in paths:
            os.replace(path, folder / path.name)
    return Receipt(
        files=dict(sorted(files.items())), source=repository.source, licence=repository.licence
    )


def _checked(repository: Repository, file: str, path: Path, again: str) -> str:
    """SHA-256 of a downloaded file, compared with what the hub says of large files."""
    found, expected = sha256_file(path), repository.files[file]
    if expected and found != expected:
        path.unlink()
        raise CorruptDataError(
            f"'{file}' has SHA-256 {found[:16]}…, the hub says {expected[:16]}…",
            where=repository.source, next_step=again,
        )  # fmt: skip
    return found


@contextmanager
def _downloads(repository: Repository) -> Iterator[Path]:
    """Where a repository is downloaded to, one process at a time.

    The folder outlives an error, so that a large download can go on.
    """
    partial = shelf() / f".partial.{os.getuid()}.{config_hash(repository.source)}"
    with partial.with_name(f"{partial.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        partial.mkdir(exist_ok=True)
        yield partial
        shutil.rmtree(partial, ignore_errors=True)
