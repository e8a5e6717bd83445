"""Item cache: one file a computed item, named by what it was computed from.

The key is the SHA-256 of the input bytes' hashes, the configuration that changes the numbers,
and the version of the step's code; so a hit is what this code would compute, in any workspace, on
any machine that shares the folder. Library versions are part of the key for audio and contours
only: who shares a cache should share requirements/.

Files are safetensors (no pickle), written to a temporary name, flushed and renamed: an item is
whole or absent, whenever the process is killed. Large ones are written in parts and mapped when
read, so that memory does not grow with them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.atomic import disk_errors
from pianoeval.itemfile import Array, Blocks, Item, ItemWriter, Layout, item_digest
from pianoeval.itemread import read_item
from pianoeval.paths import cache_root
from pianoeval.provenance import canonical_json, sha256_bytes

__all__ = ["Array", "Blocks", "Item", "ItemCache", "ItemWriter", "item_digest", "item_key"]

log = logging.getLogger(__name__)
SUFFIX = ".safetensors"
UNFINISHED = "unfinished"
_USED_S = 24 * 3600.0  # how exactly an item's time tells when it was last used


def item_key(
    step: str, code_version: int, inputs: Mapping[str, str], config: Mapping[str, Any]
) -> str:
    """SHA-256 (hex) of everything an item depends on."""
    identity = {"step": step, "code": code_version, "inputs": dict(inputs), "config": dict(config)}
    return sha256_bytes(canonical_json(identity).encode())


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
        return self.root / step / key[:2] / (key + SUFFIX)

    def has(self, step: str, key: str) -> bool:
        """Whether the item is there (its checksum is checked when it is read)."""
        return self.path(step, key).is_file()

    def get(self, step: str, key: str) -> Item | None:
        """Read and verify; a damaged item is reported, removed and counts as absent.

        An item under the name of another counts as damaged. A hit renews the file's time, once a
        day: ``pianoeval cache gc`` keeps what is used.

        Arrays of large items are mapped files, read only: their memory is the system's.

        Raises
        ------
        PianoevalError
            It is damaged and cannot be removed.
        """
        path = self.path(step, key)
        try:
            item = read_item(path, f"{step}/{key}")
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("cache item %s is damaged (%s); it is computed again", path, error)
            with disk_errors(path, "an item is damaged and cannot be removed"):
                path.unlink(missing_ok=True)
            return None
        mark_used(path)
        return item

    def put(
        self, step: str, key: str, arrays: Mapping[str, Array | Blocks], meta: Mapping[str, Any]
    ) -> None:
        """Write atomically, ``Blocks`` as they come; the same item written twice is harmless.

        Raises
        ------
        PianoevalError
            The disk is full or the folder cannot be written, blocks do not add up to the shape
            that was announced, or whatever computing a block raises. Nothing partial stays.
        """
        whole = {
            name: array if isinstance(array, Blocks) else np.ascontiguousarray(array)
            for name, array in arrays.items()
        }
        layout = {name: (array.shape, array.dtype) for name, array in whole.items()}
        with self.writer(step, key, layout, meta) as writer:
            for name, array in whole.items():
                parts: Iterable[Array] = array.parts if isinstance(array, Blocks) else [array]
                for part in parts:
                    writer.append(name, part)
            writer.commit()

    def writer(
        self, step: str, key: str, layout: Layout, meta: Mapping[str, Any],
        origin: Mapping[str, str] | None = None,
    ) -> ItemWriter:  # fmt: skip
        """Begin an item whose arrays, of shapes and types in ``layout``, come in parts.

        ``origin`` is what made it, this process unless told.
        """
        path, folder = self.path(step, key), self.root / step / UNFINISHED
        return ItemWriter(path, folder, layout, meta, f"{step}/{key}", origin)


def mark_used(path: Path) -> None:
    """Renew a file's time, by the clock of its file system, unless it is of today."""
    try:
        if abs(time.time() - path.stat().st_mtime) > _USED_S:
            os.utime(path)
    except OSError as error:  # removed just now, or a cache that others fill and we only read
        log.debug("time of %s left as it is: %s", path, error)
