"""Item cache: one file a computed item, named by what it was computed from.

The key is the SHA-256 of the input bytes' hashes, the configuration that changes the numbers,
and the version of the step's code; so a hit is what this code would compute, in any workspace, on
any machine that shares the folder. Library versions are part of the key for audio and contours
only: who shares a cache should share constraints.txt.

Files are safetensors (no pickle), written to a temporary name, flushed and renamed: an item is
whole or absent, whenever the process is killed.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pianoeval.errors import PianoevalError
from pianoeval.paths import cache_root
from pianoeval.provenance import canonical_json, sha256_bytes

log = logging.getLogger(__name__)
_SUFFIX = ".safetensors"

Array = NDArray[Any]


@dataclass(frozen=True)
class Item:
    """Arrays and metadata of one computed item; ``digest`` is the SHA-256 of both."""

    arrays: dict[str, Array]
    meta: dict[str, Any]
    digest: str


def item_key(
    step: str, code_version: int, inputs: Mapping[str, str], config: Mapping[str, Any]
) -> str:
    """SHA-256 (hex) of everything an item depends on."""
    identity = {"step": step, "code": code_version, "inputs": dict(inputs), "config": dict(config)}
    return sha256_bytes(canonical_json(identity).encode())


def item_digest(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> str:
    """SHA-256 of names, dtypes, shapes, bytes and metadata."""
    parts = [canonical_json(dict(meta)).encode()]
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        parts.append(f"{name}|{array.dtype.str}|{array.shape}".encode())
        parts.append(sha256_bytes(array.reshape(-1).view(np.uint8).data).encode())
    return sha256_bytes(b"\n".join(parts))


class ItemCache:
    """A folder of items, shared by processes, workspaces and lab mates.

    Parameters
    ----------
    root : Path, optional
        ``<cache_root>/items`` unless told.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root() / "items"

    def path(self, step: str, key: str) -> Path:
        return self.root / step / key[:2] / (key + _SUFFIX)

    def has(self, step: str, key: str) -> bool:
        """Whether the item is there (its checksum is checked when it is read)."""
        return self.path(step, key).is_file()

    def get(self, step: str, key: str) -> Item | None:
        """Read and verify; a damaged item is reported, removed and counts as absent."""
        path = self.path(step, key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _decode(data)
        except (SafetensorError, ValueError, KeyError) as error:
            log.warning("cache item %s is damaged (%s); it is computed again", path, error)
            path.unlink(missing_ok=True)
            return None

    def put(
        self, step: str, key: str, arrays: Mapping[str, Array], meta: Mapping[str, Any]
    ) -> None:
        """Write atomically; the same item written twice is harmless.

        Raises
        ------
        PianoevalError
            The disk is full or the folder cannot be written; nothing partial stays.
        """
        packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        text = {"meta": canonical_json(dict(meta)), "digest": item_digest(packed, meta)}
        target = self.path(step, key)
        write_atomic(target, save(packed, metadata=text))


def write_atomic(target: Path, data: bytes) -> None:
    """Write ``.name.host.pid``, flush to disk, rename; group-readable, no leftovers."""
    partial = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}")
    # A worker that is told to end runs multiprocessing's finalizers, but no 'finally'.
    clean = Finalize(None, partial.unlink, kwargs={"missing_ok": True}, exitpriority=0)
    try:
        _make_shared(target.parent)
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.chmod(0o664)
        os.replace(partial, target)
    except OSError as error:
        raise PianoevalError(
            f"cannot write ({error.strerror}); what was computed before is kept",
            where=target.parent,
            next_step="free space or permissions, or set PIANOEVAL_CACHE to another folder; "
            "then: dvc repro",
        ) from error
    finally:
        clean()


def _make_shared(folder: Path) -> None:
    """Create folders that pass their group on (setgid), so that lab mates can write too."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        try:
            made.chmod(0o2775)
        except PermissionError:  # another process of another user made it first: its mode stands
            log.debug("mode of %s left as it is", made)


def _decode(data: bytes) -> Item:
    arrays = load(data)
    length = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + length])["__metadata__"]
    meta = json.loads(text["meta"])
    if item_digest(arrays, meta) != text["digest"]:
        raise ValueError("checksum differs")
    return Item(dict(arrays), meta, text["digest"])
