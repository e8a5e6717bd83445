"""Zarr groups that can tell whether they are what was written, before Zarr believes any of it.

Zarr checks neither its metadata nor unsharded chunks: a flipped bit in a name, a rate, a shape or a
fill value is taken as it stands, and a missing chunk is read as fill values. The attributes of a
group therefore hold the SHA-256 of its small arrays (``tables_sha256``), and of all its metadata
(``sha256``). Large arrays are verified by whoever reads a part of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.provenance import canonical_json, sha256_bytes, sha256_file
from pianoeval.shards import frames_digest

_ABOUT = "zarr.json"
_SEAL, _TABLES = "sha256", "tables_sha256"
# What Zarr raises at files that are cut short, gone, or not its own, depends on where it stumbles.
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError,
    MemoryError,
)  # fmt: skip

Array = NDArray[Any]


def seal_group(
    group: zarr.Group, folder: Path, attrs: Mapping[str, Any], small: Mapping[str, Array]
) -> None:
    """Write the attributes of a finished group with its checksums."""
    tables = {name: frames_digest(small[name]).hex() for name in sorted(small)}
    group.attrs.put({**attrs, _TABLES: tables})
    seal = _seal(json.loads((folder / _ABOUT).read_bytes()), folder)
    group.attrs.put({**attrs, _TABLES: tables, _SEAL: seal})


def open_sealed(
    folder: Path, large: Collection[str], what: str, again: str
) -> tuple[dict[str, Any], dict[str, Array], dict[str, Any]]:
    """Attributes; small arrays, in memory; ``large`` ones, to be read in parts and verified.

    Parameters
    ----------
    what : str
        What the folder should be, for the message.
    again : str
        The command that makes it anew.

    Raises
    ------
    PianoevalError
        It is not there, or something else.
    CorruptDataError
        It is not what was written.
    """
    with explained(folder, f"not {what}", "dvc repro", PianoevalError):
        document = json.loads((folder / _ABOUT).read_bytes())
        attrs: dict[str, Any] = document["attributes"]
        seal = attrs.pop(_SEAL, None)
        intact = seal is not None and seal == _seal(document, folder)
    if not intact:
        known = "its metadata differ from what was written"
        unknown = "it has no checksum: it is damaged, or an older version wrote it"
        raise CorruptDataError(unknown if seal is None else known, where=folder, next_step=again)
    if not all((folder / name / _ABOUT).is_file() for name in large):  # whole, but another kind
        raise PianoevalError(
            f"not {what} but of '{attrs.get('step', 'unknown')}'", where=folder,
            next_step="name another folder: docs/architecture.md says what each of them holds",
        )  # fmt: skip
    with explained(folder, "its tables cannot be read", again):
        group = zarr.open_group(folder, mode="r", zarr_format=3)
        wanted: dict[str, str] = attrs.pop(_TABLES)
        small = {name: np.asarray(group[name]) for name in wanted}
        found: dict[str, Any] = {name: group[name] for name in large}
    if any(frames_digest(small[name]).hex() != wanted[name] for name in wanted):
        raise CorruptDataError(
            "its tables differ from what was written", where=folder, next_step=again
        )
    return attrs, small, found


def _seal(document: Mapping[str, Any], folder: Path) -> str:
    """SHA-256 of the group's own file and those of its arrays, whatever their number."""
    arrays = {path.parent.name: sha256_file(path) for path in sorted(folder.glob(f"*/{_ABOUT}"))}
    return sha256_bytes(canonical_json({"group": document, "arrays": arrays}).encode())


@contextmanager
def explained(
    where: Path, what: str, again: str, kind: type[PianoevalError] = CorruptDataError
) -> Iterator[None]:
    """Whatever Zarr raises at damaged files, as one message with the next command."""
    try:
        yield
    except PermissionError as error:
        raise PianoevalError(
            f"cannot be read ({error.strerror})", where=error.filename or where,
            next_step="mend the permissions, then: dvc repro",
        ) from error  # fmt: skip
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise kind(f"{what} ({reason})", where=where, next_step=again) from error
