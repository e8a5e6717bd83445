"""JSON files that can tell whether they are what was written, and folders that list their files.

An object carries the SHA-256 of everything else in it; a folder carries ``files.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pianoeval.atomic import write_output
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.provenance import canonical_json, sha256_bytes, sha256_file

SEAL = "sha256"
LIST = "files.json"


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the SHA-256 of the rest of it at its end."""
    rest = {name: entry for name, entry in value.items() if name != SEAL}
    return {**rest, SEAL: sha256_bytes(canonical_json(rest).encode())}


def unsealed(value: object) -> dict[str, Any]:
    """Inverse of :func:`sealed`; raises ValueError if it is not what was sealed."""
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}, no object")
    if SEAL not in value:
        raise ValueError("without a checksum of its own")
    if sealed(value)[SEAL] != value[SEAL]:
        raise ValueError("its SHA-256 is not the one it names")
    return {name: entry for name, entry in value.items() if name != SEAL}


def write_sealed(path: Path, value: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write an object; raises PianoevalError where the disk is full or cannot be written."""
    spaces = (",", ": ") if indent else (",", ":")
    text = json.dumps(
        sealed(value), indent=indent, ensure_ascii=False, allow_nan=False, separators=spaces
    )
    write_output(path, text + "\n")


def read_sealed(path: Path, next_step: str) -> dict[str, Any]:
    """Read and verify.

    Raises
    ------
    MissingAssetError
        There is no such file.
    CorruptDataError
        It is not what :func:`write_sealed` wrote.
    """
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=next_step)
    try:
        return unsealed(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(
            f"not what was written ({error})", where=path, next_step=next_step
        ) from error


def check_files(folder: Path, files: Mapping[str, str], next_step: str) -> None:
    """Compare files of a folder with their SHA-256, by name; what was removed differs too.

    Raises
    ------
    CorruptDataError
        The first that is not what was written.
    """
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise CorruptDataError(
                "not the file that was written: its SHA-256 differs", where=path,
                next_step=next_step,
            )  # fmt: skip


def write_list(folder: Path) -> None:
    """Write ``files.json``: the SHA-256 of every other file below ``folder``."""
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    files = {name: sha256_file(paths[name]) for name in sorted(paths) if name != LIST}
    write_sealed(folder / LIST, {"files": files})


def check_listed(folder: Path, names: Mapping[str, str] | None, next_step: str) -> None:
    """Compare files with the list of their folder.

    Parameters
    ----------
    names : mapping, optional
        Files below ``folder``, and whose they are, for the message; those at its top unless told.

    Raises
    ------
    MissingAssetError
        A file, or the list, is not there.
    CorruptDataError
        A file, or the list, is not what was written.
    """
    listed: dict[str, str] = read_sealed(folder / LIST, next_step)["files"]
    if names is None:
        names = {name: "" for name in listed if "/" not in name}
    for name, whose in names.items():
        path = folder / name
        clip = f" of clip '{whose}'" if whose else ""
        if not path.is_file():
            raise MissingAssetError(f"the file{clip} is missing", where=path, next_step=next_step)
        if sha256_file(path) != listed.get(name):
            raise CorruptDataError(
                f"the file{clip} is not the one that was written: {LIST} has another SHA-256",
                where=path, next_step=next_step,
            )  # fmt: skip
