"""Items as files: which are in a folder, which of them the stores of a workspace name."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, TypeVar

from pianoeval.cache import SUFFIX
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError

_STEP = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9_]+)*")
_KEY = re.compile(r"[0-9a-f]{64}")
_STEP_LENGTH = 64
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class ItemFile:
    """One item of a folder; ``used`` is when it was last used, by the folder's own clock."""

    step: str
    key: str
    path: Path
    size: int
    used: float

    @property
    def name(self) -> str:
        return f"{self.step}/{self.key}"


def is_step(name: str) -> bool:
    """Whether a step may have this name: it is the name of a folder, and comes from elsewhere."""
    return len(name) <= _STEP_LENGTH and _STEP.fullmatch(name) is not None


def is_key(name: str) -> bool:
    """Whether an item may have this key."""
    return _KEY.fullmatch(name) is not None


def key_of(file_name: str) -> str | None:
    """The key in the name of an item's file; None if it is no item's."""
    key = file_name.removesuffix(SUFFIX)
    return key if key != file_name and is_key(key) else None


def check_steps(wanted: Sequence[str] | None, there: Iterable[str], where: str | Path) -> list[str]:
    """The steps that are wanted, or all that are there.

    Raises
    ------
    ConfigError
        One that is wanted is not there.
    """
    known = sorted(there)
    for name in wanted or ():
        if name not in known:
            raise ConfigError(
                f"there are no items of step '{name}'", where=where,
                allowed=", ".join(known) or "none is there", next_step="pianoeval cache list",
            )  # fmt: skip
    return list(dict.fromkeys(wanted)) if wanted else known


def steps_of(root: Path) -> list[str]:
    """Steps that have a folder in a folder of items."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and is_step(path.name))


def items_of(root: Path, step: str) -> Iterator[ItemFile]:
    """Items of a step, by key; nothing is read of them."""
    folder = root / step
    for start in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        with os.scandir(start) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            key = key_of(entry.name)
            if key is None or key[:2] != start.name:
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:  # removed just now
                continue
            yield ItemFile(step, key, Path(entry.path), status.st_size, status.st_mtime)


def named_keys(workspaces: Iterable[Path]) -> tuple[set[str], int]:
    """Keys that stores below ``data/`` of the workspaces name, and the number of these stores.

    Raises
    ------
    CorruptDataError
        A store says nothing that can be read: what it needs is unknown.
    PianoevalError
        So is what lies in a folder that cannot be listed.
    """
    keys: set[str] = set()
    stores = 0
    for workspace in workspaces:
        for store in _stores_of(workspace):
            found = _keys_of(store)
            keys.update(found)
            stores += bool(found)
    return keys, stores


def _stores_of(workspace: Path) -> Iterator[Path]:
    """Stores below ``data/``, through links too; a folder that cannot be listed is an error."""

    def refuse(error: OSError) -> None:
        if error.errno == errno.ENOENT:  # no data/ yet, or removed just now
            return
        raise PianoevalError(
            f"it cannot be listed ({error.strerror}), so what its stores need is unknown",
            where=error.filename, next_step="ask its owner for permission to read",
        ) from error  # fmt: skip

    for folder, inside, _ in os.walk(workspace / "data", onerror=refuse, followlinks=True):
        yield from (Path(folder) / name for name in sorted(inside) if name.endswith(".zarr"))
        inside[:] = [name for name in inside if not name.endswith(".zarr")]


def _keys_of(store: Path) -> list[str]:
    """Keys of a store; pooled vectors have none."""
    about = store / "zarr.json"
    try:
        attrs: dict[str, Any] = json.loads(about.read_bytes())["attributes"]
        return [str(key) for key in attrs.get("keys", [])]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptDataError(
            f"what this store is made of cannot be read ({error!r})", where=about,
            next_step=f"rm -r '{store}' && dvc checkout   (or dvc repro)",
        ) from error  # fmt: skip


def workspace_of(folder: Path) -> Path:
    """``folder`` itself, which must be a workspace."""
    if not (folder / "dvc.yaml").is_file():
        raise PianoevalError(
            "not a workspace", where=folder, allowed="a folder with dvc.yaml in it",
            next_step="name the folders whose stores are to be kept: --workspace DIR",
        )  # fmt: skip
    return folder


def in_threads(work: Callable[[A], B], values: Sequence[A], jobs: int) -> Iterator[B]:
    """``work(value)`` for all, as they finish.

    The threads do not keep the program from ending: a transfer may hang in a socket.
    """
    with ThreadPool(max(min(jobs, len(values)), 1)) as pool:
        yield from pool.imap_unordered(work, values)


def megabytes(size: float) -> str:
    """A size for people."""
    for limit, unit, digits in ((1e9, "GB", 2), (1e6, "MB", 1), (1e3, "kB", 1)):
        if size >= limit:
            return f"{size / limit:.{digits}f} {unit}"
    return f"{size:.0f} bytes"
