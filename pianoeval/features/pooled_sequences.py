"""Frames of a pooled store: all clips at a low rate, one after another, for heads that read time.

Frames are averaged to the wanted rate or the nearest that whole frames give
(``temporal.frames_a_step``) and kept as float16, as embeddings are. Each layer has a digest over
all clips, since views read layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.features.temporal import averaged, frames_a_step
from pianoeval.shards import ShardWriter, layout

ARRAY, START, LENGTH = "sequences", "sequence_start", "sequence_length"
RATE, DIGESTS = "sequence_rate_hz", "sequence_digests"
_BLOCK_STEPS = 512

Array = NDArray[Any]


class Rate(NamedTuple):
    """What sequences are made of: frames a second, and how many are averaged together."""

    frames_hz: float
    together: int

    @classmethod
    def of(cls, frames_hz: float, group: int, wanted_hz: float) -> Rate:
        """The rate nearest to ``wanted_hz`` that whole frames give, and never above theirs."""
        return cls(frames_hz, frames_a_step(frames_hz, group, wanted_hz))

    @property
    def hz(self) -> float:
        """Steps a second."""
        return self.frames_hz / self.together

    @property
    def block(self) -> int:
        """Frames to read at a time."""
        return _BLOCK_STEPS * self.together


class SequenceWriter:
    """Puts the frames of one clip after another into a group that is being written."""

    def __init__(self, group: zarr.Group, shape: tuple[int, int], rate: Rate) -> None:
        chunk, shard = layout(shape, np.dtype(np.float16))
        shards: Any = {"shape": (shard, *shape), "index_location": "start"}
        array = group.create_array(
            ARRAY, shape=(0, *shape), dtype="float16", chunks=(chunk, 1, shape[1]),
            shards=shards, compressors=None, fill_value=0,
        )  # fmt: skip
        self.group, self.rate = group, rate
        self._writer = ShardWriter(array, shard)
        self._hashes = [hashlib.sha256() for _ in range(shape[0])]
        self._places: list[tuple[int, int]] = []

    def add(self, frames: Iterable[Array]) -> None:
        """The next clip, in blocks of ``rate.block`` frames: (frames, layers, dim)."""
        steps = np.concatenate(
            [part.astype(np.float16) for part in averaged(frames, self.rate.together)]
        )
        start, _ = self._writer.place(steps)
        self._places.append((start, len(steps)))
        for layer, total in enumerate(self._hashes):
            total.update(np.ascontiguousarray(steps[:, layer]).data)

    def finish(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Write the rest; attributes and small arrays that belong to them."""
        self._writer.flush()
        places = np.array(self._places, np.int64).reshape(-1, 2)
        small: dict[str, Array] = {START: places[:, 0].copy(), LENGTH: places[:, 1].copy()}
        for name, values in small.items():
            self.group.create_array(name, data=values, compressors=None, fill_value=0)
        digests = [total.hexdigest() for total in self._hashes]
        return {RATE: self.rate.hz, DIGESTS: digests}, small


def read_layer(
    array: Any, index: int, start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.float16], str]:
    """Rows of one layer, clip after clip without what lies between, and their digest."""
    whole = np.asarray(array[:, index])
    ends = np.cumsum(length)
    rows = np.arange(int(ends[-1])) + np.repeat(start - (ends - length), length)
    values = np.ascontiguousarray(whole[rows], np.float16)
    return values, hashlib.sha256(values.data).hexdigest()
