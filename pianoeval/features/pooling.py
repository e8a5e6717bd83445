"""Pooled vectors: statistics over the frames of a whole clip, for every layer.

A clip becomes ``[layers, stats, dim]`` float32; a view then picks layers and appends the level
features. Sums run in float64. Each frame counts once, because chunk overlaps are resolved when
a clip is embedded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError
from pianoeval.features.layers import parse_layers
from pianoeval.params import Layers
from pianoeval.provenance import sha256_bytes
from pianoeval.store import LEVEL_NAMES, RaggedStore

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
    out = np.empty((frames.shape[1], len(stats), frames.shape[2]), np.float32)
    for layer in range(frames.shape[1]):
        x = frames[:, layer].astype(np.float64)
        for i, stat in enumerate(stats):
            out[layer, i] = getattr(x, stat)(axis=0)
    return out


def pool_store(store: RaggedStore, stats: Sequence[str], out: Path) -> None:
    """Pool every clip of an embedding store and write the pooled store ``out``, atomically.

    Equal input gives equal bytes. Memory: the pooled vectors and one clip.

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
    values = np.stack([pool_frames(store.frames(clip), stats) for clip in store.clips])
    attrs = {
        **store.attrs,
        "step": "pooled",
        "stats": list(stats),
        "clips": store.clips,
        "quarantined": dict(sorted(store.quarantined.items())),
        "digests": [_digest(values[:, layer]) for layer in range(values.shape[1])],
    }
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        _write(partial, values, store.level, attrs)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(partial, out)
    except OSError as error:
        raise PianoevalError(
            f"cannot write the pooled vectors ({error.strerror})", where=out,
            next_step="free space, then: dvc repro",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, values: Array, level: Array, attrs: dict[str, Any]) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    rows = min(len(values), _ROWS_A_CHUNK)
    pooled = group.create_array(
        "values", shape=values.shape, dtype="float32", chunks=(rows, 1, *values.shape[2:]),
        compressors=None, fill_value=np.nan,
    )  # fmt: skip
    pooled[:] = values
    stored = group.create_array("level", shape=level.shape, dtype="float32", compressors=None)
    stored[:] = level
    group.attrs.put(dict(sorted(attrs.items())))


def _digest(layer: Array) -> str:
    return sha256_bytes(np.ascontiguousarray(layer, np.float32).tobytes())


class PooledStore:
    """Read a pooled store; a layer is verified when it is read.

    Raises
    ------
    PianoevalError
        ``path`` is not a pooled store.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            group = zarr.open_group(self.path, mode="r", zarr_format=3)
            self._values: Any = group["values"]
            self.level: NDArray[np.float32] = np.asarray(group["level"])
            self.attrs: dict[str, Any] = dict(group.attrs)
            self.clips: list[str] = list(self.attrs.pop("clips"))
            self.layers: list[str] = list(self.attrs["layers"])
            self.stats: list[str] = list(self.attrs["stats"])
            self.quarantined: dict[str, str] = dict(self.attrs.pop("quarantined"))
            self._digests: list[str] = list(self.attrs.pop("digests"))
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise PianoevalError(
                f"not a store of pooled vectors ({error})", where=self.path, next_step="dvc repro"
            ) from error

    def layer(self, name: str) -> NDArray[np.float32]:
        """All clips of one layer, float32 (clips, stats, dim); raises CorruptDataError."""
        index = parse_layers([name], self.layers)[0]
        values = np.asarray(self._values[:, index])
        if _digest(values) != self._digests[index]:
            raise CorruptDataError(
                f"layer '{name}' differs from what was written", where=self.path,
                next_step=f"rm -r '{self.path}' && dvc repro",
            )  # fmt: skip
        return values

    def matrix(self, layers: Layers = "all", level: bool = True) -> PooledMatrix:
        """Features of every clip: the chosen layers side by side, then the level features.

        Parameters
        ----------
        layers : str, int or list
            As :func:`~pianoeval.features.layers.parse_layers`.
        level : bool
            Append (RMS dBFS, LUFS, peak dBFS).

        Raises
        ------
        ConfigError
            An unknown layer.
        CorruptDataError
            Values differ from what was written.
        """
        parts: list[NDArray[np.float32]] = []
        blocks: dict[str, slice] = {}
        column = 0
        for name in (self.layers[i] for i in parse_layers(layers, self.layers)):
            values = self.layer(name)
            for i, stat in enumerate(self.stats):
                blocks[f"{name}/{stat}"] = slice(column, column + values.shape[2])
                column += values.shape[2]
                parts.append(values[:, i])
        if level:
            blocks["level"] = slice(column, column + len(LEVEL_NAMES))
            parts.append(self.level)
        return PooledMatrix(np.concatenate(parts, axis=1), self.clips, blocks)
