"""RaggedStore: one Zarr v3 layout for audio, contours and embeddings.

``frames [F, layers, dim]`` holds all items one after another, uncompressed and sharded;
``start``, ``length`` and ``digest`` say where each item lies and what its bytes must hash to;
``level`` [N, 3] is (RMS dBFS, LUFS, peak dBFS); ``pooled_mean`` [N, layers, dim] is kept for
floating-point frames. Items stand in manifest order; none crosses a shard unless it is longer
than one. The bytes depend on the items alone, not on the run history or the number of workers.

Zarr returns fill values for a missing chunk without a word: every read is checked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.cache import Item
from pianoeval.errors import CorruptDataError, PianoevalError

LEVEL_NAMES = ("rms_dbfs", "lufs", "peak_dbfs")
_TABLES = ("start", "length", "digest", "level", "pooled_mean")
_CHUNK_BYTES = 512 << 10  # 256 frames of 1024 float16 values
_SHARD_BYTES = 64 << 20

Array = NDArray[Any]


def frames_digest(frames: Array) -> bytes:
    """SHA-256 of dtype, shape and bytes."""
    frames = np.ascontiguousarray(frames)
    header = f"{frames.dtype.str}|{frames.shape}|".encode()
    return hashlib.sha256(header + frames.tobytes()).digest()


def layout(shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[int, int]:
    """Frames a chunk and frames a shard for ``(layers, dim)``: powers of two below the targets."""
    layers, dim = shape
    chunk = 1 << max((_CHUNK_BYTES // (dim * dtype.itemsize)).bit_length() - 1, 0)
    shard = 1 << max((_SHARD_BYTES // (layers * dim * dtype.itemsize)).bit_length() - 1, 0)
    return chunk, max(chunk, shard)


class _ShardWriter:
    """Buffers one shard, so that each is written once and whole."""

    def __init__(self, array: zarr.Array[Any], shard: int) -> None:
        self.array, self.shard = array, shard
        self.position = 0  # next free frame of the array
        self.buffer = np.zeros((shard, *array.shape[1:]), array.dtype)
        self.first = 0  # frame at which the buffered shard begins

    def place(self, frames: Array) -> int:
        """Write one item and return its start."""
        room = self.first + self.shard - self.position
        if len(frames) > room and self.position > self.first:
            self.flush()
        start = self.position
        while len(frames):
            offset = self.position - self.first
            part = frames[: self.shard - offset]
            self.buffer[offset : offset + len(part)] = part
            self.position += len(part)
            frames = frames[len(part) :]
            if self.position == self.first + self.shard:
                self.flush()
        return start

    def flush(self) -> None:
        """Write the shard and move to the next."""
        if self.position == self.first:
            return
        end = self.first + self.shard
        self.array.resize((end, *self.array.shape[1:]))
        self.array[self.first : end] = self.buffer
        self.buffer[:] = 0
        self.first = self.position = end


def write_store(
    path: Path,
    items: Iterable[tuple[str, str, Item]],
    *,
    attrs: Mapping[str, Any],
    quarantined: Mapping[str, str],
) -> None:
    """Assemble a store from ``(clip, key, item)`` in manifest order, atomically.

    Parameters
    ----------
    items : iterable
        Each item has ``frames`` [F, layers, dim] and ``level`` [3].
    attrs : mapping
        Configuration kept in the store.
    quarantined : mapping
        ``{clip: reason}`` of the clips that are not in it.

    Raises
    ------
    PianoevalError
        No items, an empty item, or items of different shapes.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write(partial, items, attrs, quarantined)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    except OSError as error:
        raise PianoevalError(
            f"cannot write the store ({error.strerror}); the items in the cache are kept",
            where=path, next_step="free space, then: dvc repro",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(
    folder: Path,
    items: Iterable[tuple[str, str, Item]],
    attrs: Mapping[str, Any],
    quarantined: Mapping[str, str],
) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    rows: list[tuple[str, str, int, int, bytes]] = []
    levels: list[Array] = []
    means: list[Array] = []
    writer: _ShardWriter | None = None
    for clip, key, item in items:
        frames = item.arrays["frames"]
        if writer is None:
            writer = _create(group, frames)
        if len(frames) == 0 or frames.shape[1:] != writer.array.shape[1:]:
            raise PianoevalError(
                f"item has shape {frames.shape}", where=clip,
                allowed=f"(frames > 0, {writer.array.shape[1]}, {writer.array.shape[2]})",
            )  # fmt: skip
        start = writer.place(frames)
        rows.append((clip, key, start, len(frames), frames_digest(frames)))
        levels.append(item.arrays["level"])
        if frames.dtype.kind == "f":
            means.append(frames.mean(axis=0, dtype=np.float64).astype(np.float32))
    if writer is None:
        raise PianoevalError("no clip is left to store", next_step="see the warnings above")
    writer.flush()
    small: dict[str, Array] = {
        "start": np.array([row[2] for row in rows], np.int64),
        "length": np.array([row[3] for row in rows], np.int32),
        "digest": np.frombuffer(b"".join(row[4] for row in rows), np.uint8).reshape(-1, 32),
        "level": np.stack(levels).astype(np.float32),
    }
    if means:
        small["pooled_mean"] = np.stack(means)
    for name, values in small.items():
        fill = np.nan if values.dtype.kind == "f" else 0
        group.create_array(name, data=values, compressors=None, fill_value=fill)
    group.attrs.put(
        {
            **dict(sorted(attrs.items())),
            "clips": [row[0] for row in rows],
            "keys": [row[1] for row in rows],
            "quarantined": dict(sorted(quarantined.items())),
            "tables_digest": _tables_digest(small),
        }
    )


def _tables_digest(tables: Mapping[str, Array]) -> str:
    """SHA-256 of everything but the frames: a lost chunk of it would be read as fill values."""
    parts = [name.encode() + frames_digest(tables[name]) for name in sorted(tables)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _create(group: zarr.Group, frames: Array) -> _ShardWriter:
    _, layers, dim = frames.shape
    chunk, shard = layout((layers, dim), frames.dtype)
    shards: Any = {"shape": (shard, layers, dim), "index_location": "start"}
    array = group.create_array(
        "frames", shape=(0, layers, dim), dtype=frames.dtype, chunks=(chunk, 1, dim),
        shards=shards, compressors=None, fill_value=0,
    )  # fmt: skip
    return _ShardWriter(array, shard)


class RaggedStore:
    """Read a store; each item is verified against its digest.

    Raises
    ------
    PianoevalError
        ``path`` is not a store.
    CorruptDataError
        On reading an item whose length is 0 or whose bytes differ from what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            group = zarr.open_group(self.path, mode="r", zarr_format=3)
            self._frames: Any = group["frames"]
            tables = {name: np.asarray(group[name]) for name in _TABLES if name in group}
            self._start, self._length = tables["start"], tables["length"]
            self._digest = tables["digest"]
            self.level: NDArray[np.float32] = tables["level"]
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise PianoevalError(
                f"not a store ({error})", where=self.path, next_step="dvc repro"
            ) from error
        self._pooled_mean = tables.get("pooled_mean")
        self.attrs: dict[str, Any] = dict(group.attrs)
        self.clips: list[str] = list(self.attrs.pop("clips"))
        self._keys: list[str] = list(self.attrs.pop("keys"))
        self.quarantined: dict[str, str] = dict(self.attrs.pop("quarantined"))
        if self.attrs.pop("tables_digest") != _tables_digest(tables):
            raise CorruptDataError(
                "its tables differ from what was written", where=self.path,
                next_step=f"rm -r '{self.path}' && dvc repro   (cached items are used again)",
            )  # fmt: skip
        self._index = {clip: row for row, clip in enumerate(self.clips)}

    def __len__(self) -> int:
        return len(self.clips)

    def row(self, clip: str) -> int:
        """Row of a clip in ``level`` and ``pooled_mean``."""
        if clip not in self._index:
            raise PianoevalError(f"clip '{clip}' is not in the store", where=self.path)
        return self._index[clip]

    def length(self, clip: str) -> int:
        """Frames of a clip."""
        return int(self._length[self.row(clip)])

    def digest(self, clip: str) -> str:
        """SHA-256 (hex) of a clip's frames; the input hash of whatever is computed from them."""
        return bytes(self._digest[self.row(clip)]).hex()

    def item_key(self, clip: str) -> str:
        return self._keys[self.row(clip)]

    @property
    def pooled_mean(self) -> NDArray[np.float32]:
        """Mean over frames, float32 [N, layers, dim]; not there for audio."""
        if self._pooled_mean is None:
            raise PianoevalError("a store of integers has no pooled mean", where=self.path)
        return self._pooled_mean

    def frames(self, clip: str) -> Array:
        """All frames of a clip, [F, layers, dim], verified."""
        row = self.row(clip)
        start, length = int(self._start[row]), int(self._length[row])
        frames = np.asarray(self._frames[start : start + length])
        if length == 0 or frames_digest(frames) != bytes(self._digest[row]):
            raise CorruptDataError(
                f"clip '{clip}' differs from what was written", where=self.path,
                next_step=f"rm -r '{self.path}' && dvc repro   (cached items are used again)",
            )  # fmt: skip
        return frames
