"""Pooled vectors: statistics over the frames of a whole clip, for every layer.

A clip becomes ``[layers, stats, dim]`` float32; a view then picks layers and appends the level
features. Sums run in float64; of more than 8192 frames in blocks, so that memory does not grow
with the length. Each frame counts once: chunk overlaps are resolved when a clip is embedded.

Statistics that know the order of frames are in :mod:`~pianoeval.features.temporal`; frames
themselves, at a low rate, may be kept beside them (:mod:`~pianoeval.features.pooled_sequences`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.atomic import output_folder
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError, quoted
from pianoeval.features import pooled_sequences
from pianoeval.features.framestats import ALL_STATS, Timing
from pianoeval.features.framestats import STATS as STATS
from pianoeval.features.framestats import pool_clip as pool_clip
from pianoeval.features.framestats import pool_frames as pool_frames
from pianoeval.features.layers import parse_layers
from pianoeval.features.pooled_sequences import Rate, SequenceWriter
from pianoeval.features.sequences import Sequences
from pianoeval.params import Layers
from pianoeval.provenance import sha256_bytes
from pianoeval.store import LEVEL_NAMES, RaggedStore
from pianoeval.zarrgroup import explained, open_sealed, seal_group

_ROWS_A_CHUNK = 1024

Array = NDArray[Any]


class PooledMatrix(NamedTuple):
    """Features of clips: ``values`` float32 (clips, features).

    ``blocks`` names the columns in order: ``"<layer>/<stat>"`` and ``"level"``.
    """

    values: NDArray[np.float32]
    clips: list[str]
    blocks: dict[str, slice]


def pool_store(
    store: RaggedStore, stats: Sequence[str], out: Path, sequence_hz: float = 0.0
) -> None:
    """Pool every clip of an embedding store and write the pooled store ``out``, atomically.

    Equal input gives equal bytes. In memory are the vectors of 1024 clips, and at most 8192 frames
    (of sequences, a clip's and one shard).

    Parameters
    ----------
    sequence_hz : float
        Rate at which frames are kept; 0 = none are.

    Raises
    ------
    ConfigError
        No statistic, or an unknown or repeated one, or one that the encoder's rate is too low for.
    CorruptDataError
        A clip differs from what was written.
    """
    if not stats or len(set(stats)) < len(stats) or not set(stats) <= set(ALL_STATS):
        raise ConfigError(
            f"pooling statistics {list(stats)}",
            allowed=f"each at most once: {', '.join(ALL_STATS)}",
            next_step="edit 'pool' in params.yaml",
        )  # fmt: skip
    timing = Timing.of(store.attrs)
    if sequence_hz > 0 and timing.rate_hz <= 0:
        raise ConfigError(
            "the rate of the frames is unknown", where=store.path, allowed="pool.sequence_hz: 0",
            next_step="edit 'pool' in params.yaml",
        )  # fmt: skip
    attrs = {
        **store.attrs,
        "step": "pooled",
        "stats": list(stats),
        "clips": store.clips,
        "quarantined": dict(sorted(store.quarantined.items())),
    }
    rate = Rate.of(*timing, sequence_hz) if sequence_hz > 0 else None
    with output_folder(out) as folder:
        _write(folder, store, stats, attrs, timing, rate)


def _write(
    folder: Path,
    store: RaggedStore,
    stats: Sequence[str],
    attrs: dict[str, Any],
    timing: Timing,
    rate: Rate | None,
) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    rows = min(len(store), _ROWS_A_CHUNK)
    pooled: Any = None
    hashes: list[Any] = []
    for begin in range(0, len(store), rows):
        clips = store.clips[begin : begin + rows]
        part = np.stack([pool_clip(store, clip, stats, timing) for clip in clips])
        if pooled is None:
            hashes = [hashlib.sha256() for _ in range(part.shape[1])]
            pooled = group.create_array(
                "values", shape=(len(store), *part.shape[1:]), dtype="float32",
                chunks=(rows, 1, *part.shape[2:]), compressors=None, fill_value=np.nan,
            )  # fmt: skip
        pooled[begin : begin + rows] = part
        for layer, total in enumerate(hashes):
            total.update(np.ascontiguousarray(part[:, layer]).data)
    small: dict[str, Array] = {"level": store.level}
    stored = group.create_array("level", shape=store.level.shape, dtype="float32", compressors=None)
    stored[:] = store.level
    attrs["digests"] = [total.hexdigest() for total in hashes]
    if rate is not None:
        writer = SequenceWriter(group, (pooled.shape[1], pooled.shape[3]), rate)
        for clip in store.clips:
            writer.add(store.blocks(clip, rate.block))
        more, tables = writer.finish()
        attrs, small = attrs | more, small | tables
    seal_group(group, folder, dict(sorted(attrs.items())), small)


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
        self._tables = tables
        self.level: NDArray[np.float32] = tables["level"]
        self.attrs: dict[str, Any] = attrs
        self.clips: list[str] = list(self.attrs.pop("clips"))
        self.layers: list[str] = list(self.attrs["layers"])
        self.stats: list[str] = list(self.attrs["stats"])
        self.quarantined: dict[str, str] = dict(self.attrs.pop("quarantined"))
        self._digests: list[str] = list(self.attrs.pop("digests"))
        # Not among attrs: what frames are kept beside vectors is no origin of the vectors.
        self.sequence_rate_hz = float(self.attrs.pop(pooled_sequences.RATE, 0))
        self._sequence_digests = list(self.attrs.pop(pooled_sequences.DIGESTS, []))

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

    def sequences(self, layers: Layers = "all") -> Sequences:
        """Frames of every clip, the chosen layers side by side: float32 (rows, layers · dim).

        Raises
        ------
        ConfigError
            The store holds no sequences, or an unknown layer.
        CorruptDataError
            They differ from what was written.
        """
        if not self._sequence_digests:
            raise ConfigError(
                "these vectors have no sequences beside them", where=self.path,
                allowed="pool.sequence_hz above 0",
                next_step="dvc repro after: pool.sequence_hz in params.yaml, as 2",
            )  # fmt: skip
        start = self._tables[pooled_sequences.START]
        length = self._tables[pooled_sequences.LENGTH]
        parts = []
        for index in parse_layers(layers, self.layers):
            name = self.layers[index]
            with explained(self.path, f"sequences of layer '{name}' cannot be read", self._again):
                array: Any = zarr.open_array(
                    self.path / pooled_sequences.ARRAY, mode="r", zarr_format=3
                )
                values, found = pooled_sequences.read_layer(array, index, start, length)
            if found != self._sequence_digests[index]:
                raise CorruptDataError(
                    f"sequences of layer '{name}' differ from what was written", where=self.path,
                    next_step=self._again,
                )  # fmt: skip
            parts.append(values.astype(np.float32))
        first = np.cumsum(length) - length
        return Sequences(np.concatenate(parts, axis=1), first, length)
