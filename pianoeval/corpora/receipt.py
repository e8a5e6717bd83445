"""What a corpus on this machine consists of: files, checksums, licence, in ``receipt.json``."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pianoeval.atomic import write_output
from pianoeval.errors import BadInputError, CorruptDataError, MissingAssetError, is_printable
from pianoeval.provenance import sha256_bytes, sha256_file
from pianoeval.sealed import SEAL, sealed, unsealed

log = logging.getLogger(__name__)

RECEIPT = "receipt.json"


@dataclass(frozen=True)
class Receipt:
    """A corpus as fetched. Nothing in it depends on where or when, so its bytes are repeatable."""

    name: str
    loader: str
    version: str
    licence: str
    licence_note: str
    source: str
    digest: str
    files: dict[str, str]


def tree_digest(files: Mapping[str, str]) -> str:
    """SHA-256 of the sorted ``<sha256>  <relative path>`` lines, as ``sha256sum`` prints them."""
    return sha256_bytes("".join(f"{files[name]}  {name}\n" for name in sorted(files)).encode())


def read_checksums(path: Path) -> dict[str, str]:
    """Read a ``sha256sum`` list: relative path to hash. A path may begin with a blank."""
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return {checked_name(line[66:]): line[:64] for line in lines}


def write_receipt(receipt: Receipt, folder: Path) -> None:
    """Write ``receipt.json`` with sorted keys."""
    text = json.dumps(sealed(asdict(receipt)), indent=1, sort_keys=True, ensure_ascii=False)
    write_output(folder / RECEIPT, text + "\n")


def read_receipt(folder: Path, next_step: str) -> Receipt:
    """Read ``receipt.json`` of a folder.

    Raises
    ------
    MissingAssetError
        No receipt: the corpus has not been fetched.
    CorruptDataError
        Not a receipt, or one whose digest does not fit its list of files.
    """
    path = folder / RECEIPT
    if not path.is_file():
        raise MissingAssetError(
            "the corpus has not been fetched", where=folder, next_step=next_step
        )
    try:
        found = json.loads(path.read_bytes())
        # Those of older versions have no checksum of their own.
        receipt = Receipt(**(unsealed(found) if SEAL in found else found))
        files = {checked_name(name): str(digest) for name, digest in receipt.files.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptDataError(
            f"not a receipt ({error})", where=path, next_step=next_step
        ) from error
    if files and tree_digest(files) != receipt.digest:
        raise CorruptDataError("the digest does not fit the files", where=path, next_step=next_step)
    return receipt


def checked_name(name: str) -> str:
    """A relative path that stays below its folder; raises BadInputError otherwise."""
    parts = PurePosixPath(name).parts
    absolute = name.startswith("/") or (parts and ":" in parts[0])
    if not parts or absolute or ".." in parts or "\\" in name or "\0" in name:
        raise BadInputError(f"'{name}' is not a path below the corpus", allowed="a/relative/path")
    if not is_printable(name):  # a line end would make two lines of a list of checksums
        raise BadInputError(
            f"the name {name!r} holds characters that cannot be shown",
            allowed="letters, digits, blanks and signs, in UTF-8", next_step="rename the file",
        )  # fmt: skip
    return name


def resolved_file(folder: Path, name: str) -> Path | None:
    """The file ``name`` below ``folder``, None when absent; a link that leads out is refused."""
    path = folder / checked_name(name)
    if not path.is_file():
        return None
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise BadInputError(
            f"'{name}' is a symbolic link that leads out of the folder", where=folder,
            next_step="replace the link by the file it points to",
        )  # fmt: skip
    return real


def check_files(folder: Path, expected: Mapping[str, str], next_step: str) -> None:
    """Compare files with their checksums; missing and corrupted ones are reported apart.

    Raises
    ------
    MissingAssetError
        Files are absent, and those present are right.
    CorruptDataError
        Files differ from their checksum (absent ones are named as well).
    """
    missing: list[str] = []
    corrupted: list[str] = []
    for name in sorted(expected):
        path = resolved_file(folder, name)
        if path is None:
            missing.append(name)
        elif sha256_file(path) != expected[name]:
            corrupted.append(name)
    faults = [
        f"{len(names)} of {len(expected)} files {what} ({_some(names)})"
        for what, names in (("are missing", missing), ("differ from their checksum", corrupted))
        if names
    ]
    if faults:
        kind = CorruptDataError if corrupted else MissingAssetError
        raise kind("; ".join(faults), where=folder, next_step=next_step)


def check_raw(folder: Path, next_step: str) -> None:
    """Compare ``raw/`` with its receipt: what a disk damaged since then must not be ingested.

    Raises what :func:`read_receipt` and :func:`check_files` raise.
    """
    check_files(folder, read_receipt(folder, next_step).files, next_step)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def copy_files(source: Path, target: Path, names: list[str], *, link: bool) -> None:
    """Copy files from one folder to another; with ``link``, hard links where the system allows.

    A link across file systems, or to another user's file, is not allowed on many systems: the
    content is then copied.
    """
    for name in names:
        path = resolved_file(source, name)
        if path is None:
            raise MissingAssetError(f"'{name}' is not there", where=source)
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if link:
            try:
                os.link(path, copy)
                continue
            except OSError as error:
                log.debug("%s is copied, not linked: %s", name, error)
        shutil.copyfile(path, copy)
