"""Checkpoints in the cache: ``checkpoints/<digest[:16]>/`` holds the files and a receipt.

The digest is the SHA-256 over names and hashes of the files, so that one checkpoint is stored
once, whoever brought it from wherever, and another one can never be taken for it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pianoeval.atomic import make_shared, remove_abandoned_folders, write_atomic
from pianoeval.errors import (
    ConfigError,
    CorruptDataError,
    MissingAssetError,
    PianoevalError,
    quoted,
)
from pianoeval.params import CheckpointParams
from pianoeval.paths import cache_root
from pianoeval.provenance import canonical_json, sha256_bytes, sha256_file
from pianoeval.sealed import SEAL, sealed, unsealed

log = logging.getLogger(__name__)
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"  # what is done to the waveform
FOLDER = "folder"  # the source of what did not come from a hub
_RECEIPT = "checkpoint.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Receipt(BaseModel):
    """What lies in a folder of the cache: SHA-256 by file, whence, and under which licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, str]
    source: str
    licence: str = ""

    @classmethod
    def read(cls, path: Path) -> Receipt:
        """A receipt of the cache; raises OSError or ValueError.

        Those of older versions have no checksum of their own; their files have one all the same.
        """
        found = json.loads(path.read_bytes())
        return cls.model_validate(unsealed(found) if SEAL in found else found)

    @property
    def digest(self) -> str:
        return sha256_bytes(canonical_json(self.files).encode())

    @property
    def weights(self) -> str:
        """Name of the weights file."""
        [name] = [name for name in self.files if name not in (CONFIG, PREPROCESSOR)]
        return name


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the cache.

    Attributes
    ----------
    config : dict
        ``config.json``; empty where the model has none.
    weights : Path
        The weights file.
    digest : str
        SHA-256 (hex) over names and hashes of the files.
    source : str
        ``owner/name@commit`` of the hub, or ``folder``.
    licence : str
        As the model's page on the hub stated it when the weights came; may be empty.
    """

    config: dict[str, Any]
    weights: Path
    digest: str
    source: str
    licence: str = ""

    @property
    def revision(self) -> str:
        """Commit of the hub repository; empty for a folder."""
        return self.source.rpartition("@")[2] if "@" in self.source else ""


def open_checkpoint(params: CheckpointParams, name: str) -> Checkpoint:
    """The fetched checkpoint of encoder ``name``; its weights are hashed once a process.

    Raises
    ------
    MissingAssetError
        Never fetched, or not into this cache; the next command is in the message.
    CorruptDataError
        A file of the cache is not what was fetched.
    """
    folder, receipt = _shelved(params, name)
    config, weights = _config(folder, receipt, name), folder / receipt.weights
    if weights not in _CHECKED:
        check_file(weights, receipt.files[receipt.weights], get_command(params, name))
        _CHECKED.add(weights)
    return Checkpoint(config, weights, receipt.digest, receipt.source, receipt.licence)


_CHECKED: set[Path] = set()


def find_checkpoint(params: CheckpointParams, name: str) -> Checkpoint:
    """As :func:`open_checkpoint`, but the weights are not read: to tell what is there."""
    folder, receipt = _shelved(params, name)
    weights = folder / receipt.weights
    if not weights.is_file():
        raise _absent(params, name, folder)
    config = _config(folder, receipt, name)
    return Checkpoint(config, weights, receipt.digest, receipt.source, receipt.licence)


def read_config(params: CheckpointParams, name: str) -> dict[str, Any]:
    """``config.json`` alone (empty where the model has none); raises as open_checkpoint."""
    return _config(*_shelved(params, name), name)


def read_preprocessor(params: CheckpointParams, name: str) -> dict[str, Any]:
    """``preprocessor_config.json``, as :func:`read_config`."""
    return _config(*_shelved(params, name), name, PREPROCESSOR)


def get_command(params: CheckpointParams, name: str) -> str:
    """The command that fetches the checkpoint."""
    return f"pianoeval encoder get {name}" + ("" if params.model else " --from DIR_OR_FILE")


def shelf() -> Path:
    """Folder of all checkpoints."""
    return cache_root() / "checkpoints"


def pinned_digest(params: CheckpointParams, name: str) -> str:
    """The digest of ``params.yaml``, checked for its form; it may be empty."""
    if params.digest and not _DIGEST.fullmatch(params.digest):
        raise ConfigError(
            f"digest is '{params.digest}'", where=f"encoders.{name}", allowed="64 hex digits",
            next_step=f"empty it, then: {get_command(params, name)}",
        )  # fmt: skip
    return params.digest


def _shelved(params: CheckpointParams, name: str) -> tuple[Path, Receipt]:
    digest = pinned_digest(params, name)
    again = get_command(params, name)
    if not digest:
        raise MissingAssetError(
            "its weights have not been fetched, so none are pinned", where=f"encoders.{name}",
            next_step=again,
        )  # fmt: skip
    folder = shelf() / digest[:16]
    path = folder / _RECEIPT
    try:
        receipt = Receipt.read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _absent(params, name, folder) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CorruptDataError(
            f"cannot be read ({error})", where=path, next_step=_replace(folder, again)
        ) from error
    if receipt.digest != digest:
        raise CorruptDataError(
            f"holds the checkpoint {receipt.digest[:16]}…, pinned is {digest[:16]}…", where=folder,
            next_step=_replace(folder, again),
        )  # fmt: skip
    return folder, receipt


def _absent(params: CheckpointParams, name: str, folder: Path) -> MissingAssetError:
    return MissingAssetError(
        f"the weights of encoder '{name}' are not in the cache", where=folder,
        next_step=get_command(params, name),
    )  # fmt: skip


def _replace(folder: Path, again: str) -> str:
    return f"rm -r {quoted(folder)} && {again}"


def _config(folder: Path, receipt: Receipt, name: str, file: str = CONFIG) -> dict[str, Any]:
    if file not in receipt.files:
        return {}
    path = folder / file
    check_file(path, receipt.files[file], f"pianoeval encoder get {name}")
    return parse_config(path)


def parse_config(path: Path, where: str = "") -> dict[str, Any]:
    """A JSON object; raises CorruptDataError, which names ``where`` if told, for anything else."""
    where = where or str(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(
            f"not valid JSON: {error}", where=where, next_step="take another copy of the model"
        ) from error
    if not isinstance(config, dict):
        raise CorruptDataError(
            f"holds a {type(config).__name__}", where=where, allowed="a JSON object",
            next_step="take another copy of the model",
        )  # fmt: skip
    return config


def check_file(path: Path, sha256: str, again: str) -> None:
    """Compare a file of the cache with its hash; raises CorruptDataError."""
    found = sha256_file(path) if path.is_file() else "no file"
    if found != sha256:
        raise CorruptDataError(
            f"has SHA-256 {found[:16]}…, expected {sha256[:16]}…", where=path,
            next_step=_replace(path.parent, again),
        )  # fmt: skip


def is_intact(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether a folder of the cache holds these very files."""
    return all(
        (folder / name).is_file() and sha256_file(folder / name) == sha256
        for name, sha256 in files.items()
    )


def put_on_shelf(staged: Path, receipt: Receipt) -> Path:
    """Move ``staged`` (a folder of the shelf with the files) to its place, at one stroke.

    An intact copy that is there already stays; a copy whose source was a folder learns the hub
    repository that holds the same files.
    """
    target = shelf() / receipt.digest[:16]
    if target.is_dir() and is_intact(target, receipt.files):
        kept = _receipt_of(target)
        damaged = kept is None or kept.files != receipt.files
        if damaged or (kept and kept.source == FOLDER and receipt.source != FOLDER):
            _write_receipt(target, receipt)
        return target
    _write_receipt(staged, receipt)
    for name in receipt.files:
        (staged / name).chmod(0o664)
    staged.chmod(0o2775)  # setgid: what lab mates replace stays the group's
    if target.exists():
        shutil.rmtree(target)
    try:
        os.replace(staged, target)
    except OSError:  # another process put the same files there in between
        if not is_intact(target, receipt.files):
            raise
    return target


def _receipt_of(folder: Path) -> Receipt | None:
    try:
        return Receipt.read(folder / _RECEIPT)
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _write_receipt(folder: Path, receipt: Receipt) -> None:
    text = json.dumps(sealed(receipt.model_dump()), indent=1, ensure_ascii=False)
    write_atomic(folder / _RECEIPT, text.encode() + b"\n")


@contextmanager
def staging() -> Iterator[Path]:
    """A new folder on the shelf, gone afterwards unless it was moved."""
    root = shelf()
    try:
        make_shared(root)
        folder = Path(tempfile.mkdtemp(prefix=".new.", dir=root))
        try:
            remove_abandoned_folders(folder, ".new.*")
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PianoevalError(
            f"cannot read or write ({error.strerror or error})", where=error.filename or root,
            next_step="free disk space or mend the permissions, then run the same command",
        ) from error  # fmt: skip
