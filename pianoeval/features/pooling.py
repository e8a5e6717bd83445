"""Pooled vectors: statistics over the frames of a whole clip, for every layer.

A clip becomes ``[layers, stats, dim]`` float32; a view then picks layers and appends the level
features. Sums run in float64; of more than 8192 frames in blocks, so that memory does not grow
with the length. Each frame counts once: chunk overlaps are resolved when a clip is embedded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.atomic import output_folder
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError, quoted
from pianoeval.features.layers import parse_layers
from pianoeval.itemfile import row_blocks
from pianoeval.params import Layers
from pianoeval.provenance import sha256_bytes
from pianoeval.shards import BLOCK_FRAMES, WHOLE_FRAMES
from pianoeval.store import LEVEL_NAMES, RaggedStore
from pianoeval.zarrgroup import explained, open_sealed, seal_group

STATS = ("mean", "std", "max", "min")
_ROWS_A_CHUNK = 1024

Array = NDArray[Any]


class PooledMatrix(NamedTuple):
    """Features of clips: ``values`` float32 (clips, features).

    ``blocks`` names the columns in order: ``"<layer>/<stat>"`` and ``"level"``.
    """

    values: NDArray[np.float32]
    clips: list[str]
    blocks: dict[str, slice]


def pool_frames(frames: Array, stats: Sequence[str]) -> NDArray[np.float32]:
    """Statistics over frames.

    Parameters
    ----------
    frames : shape (frames, layers, dim)
    stats : sequence of str
        Of ``mean``, ``std`` (population: 0 for a single frame), ``max``, ``min``.

    Returns
    -------
    float32, shape (layers, stats, dim)
    """
    if len(frames) <= WHOLE_FRAMES:
        return _pool_whole(frames, stats)
    return _pool_blocks(lambda: row_blocks(frames, BLOCK_FRAMES), len(frames), stats)


def pool_clip(store: RaggedStore, clip: str, stats: Sequence[str]) -> NDArray[np.float32]:
    """:func:`pool_frames` of a clip of a store, of which one block is in memory.

    Raises
    ------
    CorruptDataError
        The clip differs from what was written.
    """
    length = store.length(clip)
    if length <= WHOLE_FRAMES:
        return _pool_whole(store.frames(clip), stats)
    return _pool_blocks(lambda: store.blocks(clip, BLOCK_FRAMES), length, stats)


def _pool_whole(frames: Array, stats: Sequence[str]) -> NDArray[np.float32]:
    out = np.empty((frames.shape[1], len(stats), frames.shape[2]), np.float32)
    for layer in range(frames.shape[1]):
        x = frames[:, layer].astype(np.float64)
        for i, stat in enumerate(stats):
            out[layer, i] = getattr(x, stat)(axis=0)
    return out


def _pool_blocks(
    read: Callable[[], Iterable[Array]], length: int, stats: Sequence[str]
) -> NDArray[np.float32]:
    """The same from ``read()``, block by block; the spread about the mean in a second pass."""
    total, high, low = np.zeros(()), np.asarray(-np.inf), np.asarray(np.inf)
    for block in read():
        total = total + block.sum(axis=0, dtype=np.float64)
        high, low = np.maximum(high, block.max(axis=0)), np.minimum(low, block.min(axis=0))
    mean = total / length
    squares = np.zeros_like(mean)
    if "std" in stats:
        for block in read():
            squares += _squares(block, mean)
    found = {"mean": mean, "std": np.sqrt(squares / length), "max": high, "min": low}
    return np.stack([found[stat] for stat in stats], axis=1).astype(np.float32)


def _squares(block: Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of squared distances from the mean (layers, dim); one layer in float64 at a time."""
    out = np.empty_like(mean)
    for layer, centre in enumerate(mean):
        apart = block[:, layer].astype(np.float64)
        apart -= centre
        out[layer] = np.square(apart, out=apart).sum(axis=0)
    return out


def pool_store(store: RaggedStore, stats: Sequence[str], out: Path) -> None:
    """Pool every clip of an embedding store and write the pooled store ``out``, atomically.

    Equal input gives equal bytes. In memory are the vectors of 1024 clips, and at most 8192 frames.

    Raises
    ------
    ConfigError
        No statistic, or an unknown or repeated one.
    CorruptDataError
        A clip differs from what was written.
    """
    if not stats or len(set(stats)) < len(stats) or not set(stats) <= set(STATS):
        raise ConfigError(
            f"pooling statistics {list(stats)}", allowed=f"each at most once: {', '.join(STATS)}",
            next_step="edit 'pool' in params.yaml",
        )  # fmt: skip
    attrs = {
        **store.attrs,
        "step": "pooled",
        "stats": list(stats),
        "clips": store.clips,
        "quarantined": dict(sorted(store.quarantined.items())),
    }
    with output_folder(out) as folder:
        _write(folder, store, stats, attrs)


def _write(folder: Path, store: RaggedStore, stats: Sequence[str], attrs: dict[str, Any]) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    rows = min(len(store), _ROWS_A_CHUNK)
    pooled: Any = None
    hashes: list[Any] = []
    for begin in range(0, len(store), rows):
        part = np.stack([pool_clip(store, c, stats) for c in store.clips[begin : begin + rows]])
        if pooled is None:
            hashes = [hashlib.sha256() for _ in range(part.shape[1])]
            pooled = group.create_array(
                "values", shape=(len(store), *part.shape[1:]), dtype="float32",
                chunks=(rows, 1, *part.shape[2:]), compressors=None, fill_value=np.nan,
            )  # fmt: skip
        pooled[begin : begin + rows] = part
        for layer, total in enumerate(hashes):
            total.update(np.ascontiguousarray(part[:, layer]).data)
    level = store.level
    stored = group.create_array("level", shape=level.shape, dtype="float32", compressors=None)
    stored[:] = level
    attrs["digests"] = [total.hexdigest() for total in hashes]
    seal_group(group, folder, dict(sorted(attrs.items())), {"level": level})


def _digest(layer: Array) -> str:
    return sha256_bytes(np.ascontiguousarray(layer, np.float32).tobytes())


class PooledStore:
    """Read a pooled store; a layer is verified when it is read, all else at once.

    Raises
    ------
    PianoevalError
        ``path`` is not a pooled store.
    CorruptDataError
        Its attributes or levels differ from what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._again = f"rm -r {quoted(self.path)} && dvc repro"
        attrs, tables, large = open_sealed(
            self.path, ("values",), "a store of pooled vectors", self._again
        )
        if "level" not in tables or "digests" not in attrs:
            raise PianoevalError(
                "not a store of pooled vectors", where=self.path, next_step="dvc repro"
            )
        self._values: Any = large["values"]
        self.level: NDArray[np.float32] = tables["level"]
        self.attrs: dict[str, Any] = attrs
        self.clips: list[str] = list(self.attrs.pop("clips"))
        self.layers: list[str] = list(self.attrs["layers"])
        self.stats: list[str] = list(self.attrs["stats"])
        self.quarantined: dict[str, str] = dict(self.attrs.pop("quarantined"))
        self._digests: list[str] = list(self.attrs.pop("digests"))

    def layer(self, name: str) -> NDArray[np.float32]:
        """All clips of one layer, float32 (clips, stats, dim); raises CorruptDataError."""
        index = parse_layers([name], self.layers)[0]
        with explained(self.path, f"layer '{name}' cannot be read", self._again):
            values = np.asarray(self._values[:, index])
        if _digest(values) != self._digests[index]:
            raise CorruptDataError(
                f"layer '{name}' differs from what was written", where=self.path,
                next_step=self._again,
            )  # fmt: skip
        return values

    def matrix(
        self, layers: Layers = "all", level: bool = True, stats: Sequence[str] = ()
    ) -> PooledMatrix:
        """Features of every clip: the chosen layers side by side, then the level features.

        Parameters
        ----------
        layers : str, int or list
            As :func:`~pianoeval.features.layers.parse_layers`.
        level : bool
            Append (RMS dBFS, LUFS, peak dBFS).
        stats : sequence of str
            Which statistics, in this order; empty = all that were pooled.

        Raises
        ------
        ConfigError
            An unknown layer, or a statistic that was not pooled.
        CorruptDataError
            Values differ from what was written.
        """
        chosen = list(stats) or self.stats
        if absent := [stat for stat in chosen if stat not in self.stats]:
            raise ConfigError(
                f"not pooled: {', '.join(absent)}", where=self.path,
                allowed=", ".join(self.stats), next_step="add it to pool.stats in params.yaml",
            )  # fmt: skip
        parts: list[NDArray[np.float32]] = []
        blocks: dict[str, slice] = {}
        column = 0
        for name in (self.layers[i] for i in parse_layers(layers, self.layers)):
            values = self.layer(name)
            for stat in chosen:
                blocks[f"{name}/{stat}"] = slice(column, column + values.shape[2])
                column += values.shape[2]
                parts.append(values[:, self.stats.index(stat)])
        if level:
            blocks["level"] = slice(column, column + len(LEVEL_NAMES))
            parts.append(self.level)
        return PooledMatrix(np.concatenate(parts, axis=1), self.clips, blocks)
