"""RaggedStore: one Zarr v3 layout for audio, contours and embeddings.

``frames [F, layers, dim]`` holds all items one after another, uncompressed and sharded;
``start``, ``length`` and ``digest`` say where each item lies and what its bytes must hash to;
``level`` [N, 3] is (RMS dBFS, LUFS, peak dBFS); ``pooled_mean`` [N, layers, dim] is kept for
floating-point frames. Items stand in manifest order; none crosses a shard unless it is longer
than one. The bytes depend on the items alone, not on the run history or the number of workers.

Zarr returns fill values for a missing chunk without a word: every read is checked, and so are all
names, attributes and tables when the store is opened. Items are read
and written in parts: of a long one, a part is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.atomic import output_folder
from pianoeval.cache import Item
from pianoeval.errors import CorruptDataError, PianoevalError, quoted
from pianoeval.shards import FramesDigest, ShardWriter, frames_mean, layout
from pianoeval.zarrgroup import explained, open_sealed, seal_group

LEVEL_NAMES = ("rms_dbfs", "lufs", "peak_dbfs")

Array = NDArray[Any]


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
    with output_folder(path) as folder:
        _write(folder, items, attrs, quarantined)


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
    writer: ShardWriter | None = None
    for clip, key, item in items:
        frames = item.arrays["frames"]
        if writer is None:
            writer = _create(group, frames)
        if len(frames) == 0 or frames.shape[1:] != writer.array.shape[1:]:
            raise PianoevalError(
                f"item has shape {frames.shape}", where=clip,
                allowed=f"(frames > 0, {writer.array.shape[1]}, {writer.array.shape[2]})",
            )  # fmt: skip
        start, digest = writer.place(frames)
        rows.append((clip, key, start, len(frames), digest))
        levels.append(item.arrays["level"].copy())  # a view would hold all of the item
        if frames.dtype.kind == "f":
            means.append(frames_mean(frames))
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
    about = {
        **dict(sorted(attrs.items())),
        "clips": [row[0] for row in rows],
        "keys": [row[1] for row in rows],
        "quarantined": dict(sorted(quarantined.items())),
    }
    seal_group(group, folder, about, small)


def _create(group: zarr.Group, frames: Array) -> ShardWriter:
    _, layers, dim = frames.shape
    chunk, shard = layout((layers, dim), frames.dtype)
    shards: Any = {"shape": (shard, layers, dim), "index_location": "start"}
    array = group.create_array(
        "frames", shape=(0, layers, dim), dtype=frames.dtype, chunks=(chunk, 1, dim),
        shards=shards, compressors=None, fill_value=0,
    )  # fmt: skip
    return ShardWriter(array, shard)


class RaggedStore:
    """Read a store; each item is verified against its digest.

    Raises
    ------
    PianoevalError
        ``path`` is not a store.
    CorruptDataError
        Its attributes or tables differ from what was written; on reading an item, its frames do.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._again = f"rm -r {quoted(self.path)} && dvc repro   (cached items are used again)"
        attrs, tables, large = open_sealed(self.path, ("frames",), "a store of frames", self._again)
        if not {"start", "length", "digest", "level"} <= tables.keys() or "keys" not in attrs:
            raise PianoevalError(
                "not a store of frames", where=self.path,
                next_step="name a folder below data/<corpus>/audio, contours or embeddings",
            )  # fmt: skip
        self._frames: Any = large["frames"]
        self._start, self._length = tables["start"], tables["length"]
        self._digest = tables["digest"]
        self.level: NDArray[np.float32] = tables["level"]
        self._pooled_mean = tables.get("pooled_mean")
        self.attrs: dict[str, Any] = attrs
        self.clips: list[str] = list(self.attrs.pop("clips"))
        self._keys: list[str] = list(self.attrs.pop("keys"))
        self.quarantined: dict[str, str] = dict(self.attrs.pop("quarantined"))
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
        [frames] = self._read(clip, max(self.length(clip), 1))
        return frames

    def blocks(self, clip: str, size: int) -> Iterator[Array]:
        """Frames of a clip in order, at most ``size`` at a time.

        They are verified as a whole: of a clip of several blocks, CorruptDataError comes after
        the last one. Whoever keeps what follows from them (a cached item, a store) must not
        finish it before.
        """
        if self.length(clip) <= size:
            yield self.frames(clip)
        else:
            yield from self._read(clip, size)

    def _read(self, clip: str, size: int) -> Iterator[Array]:
        row = self.row(clip)
        start, length = int(self._start[row]), int(self._length[row])
        total = FramesDigest(self._frames.dtype, (length, *self._frames.shape[1:]))
        for begin in range(start, start + length, size):
            with explained(self.path, f"clip '{clip}' cannot be read", self._again):
                part = np.asarray(self._frames[begin : min(begin + size, start + length)])
            total.update(part)
            yield part
        if length == 0 or total.digest() != bytes(self._digest[row]):
            raise CorruptDataError(
                f"clip '{clip}' differs from what was written", where=self.path,
                next_step=self._again,
            )  # fmt: skip
