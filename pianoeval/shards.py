"""Frames of a store: their place in shards, their digests and means, in parts of bounded size."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pianoeval.itemfile import as_bytes, row_blocks

_CHUNK_BYTES = 512 << 10  # 256 frames of 1024 float16 values
_SHARD_BYTES = 64 << 20
WHOLE_FRAMES = 8192  # up to here statistics are one sum, exact in float64 of float16 values
BLOCK_FRAMES = 1024  # of longer items at a time

Array = NDArray[Any]


class FramesDigest:
    """SHA-256 of dtype, shape and bytes, which may come in parts."""

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._hash = hashlib.sha256(f"{dtype.str}|{shape}|".encode())

    def update(self, part: Array) -> None:
        self._hash.update(as_bytes(part))

    def digest(self) -> bytes:
        return self._hash.digest()


def frames_digest(frames: Array) -> bytes:
    """SHA-256 of dtype, shape and bytes."""
    total = FramesDigest(frames.dtype, frames.shape)
    for part in row_blocks(frames):
        total.update(part)
    return total.digest()


def frames_mean(frames: Array) -> NDArray[np.float32]:
    """Mean over frames, float32 (layers, dim), summed in float64; of long items in blocks."""
    if len(frames) <= WHOLE_FRAMES:
        return np.asarray(frames.mean(axis=0, dtype=np.float64), np.float32)
    total = np.zeros(frames.shape[1:])
    for part in row_blocks(frames, BLOCK_FRAMES):
        total += part.sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(frames), np.float32)


def layout(shape: tuple[int, int], dtype: np.dtype[Any]) -> tuple[int, int]:
    """Frames a chunk and frames a shard for ``(layers, dim)``: powers of two below the targets."""
    layers, dim = shape
    chunk = 1 << max((_CHUNK_BYTES // (dim * dtype.itemsize)).bit_length() - 1, 0)
    shard = 1 << max((_SHARD_BYTES // (layers * dim * dtype.itemsize)).bit_length() - 1, 0)
    return chunk, max(chunk, shard)


class ShardWriter:
    """Buffers one shard, so that each is written once and whole."""

    def __init__(self, array: zarr.Array[Any], shard: int) -> None:
        self.array, self.shard = array, shard
        self.position = 0  # next free frame of the array
        self.buffer = np.zeros((shard, *array.shape[1:]), array.dtype)
        self.first = 0  # frame at which the buffered shard begins

    def place(self, frames: Array) -> tuple[int, bytes]:
        """Write one item; returns its start and digest."""
        room = self.first + self.shard - self.position
        if len(frames) > room and self.position > self.first:
            self.flush()
        start, total = self.position, FramesDigest(frames.dtype, frames.shape)
        for part in row_blocks(frames):
            total.update(part)
            self._append(part)
        return start, total.digest()

    def _append(self, frames: Array) -> None:
        while len(frames):
            offset = self.position - self.first
            part = frames[: self.shard - offset]
            self.buffer[offset : offset + len(part)] = part
            self.position += len(part)
            frames = frames[len(part) :]
            if self.position == self.first + self.shard:
                self.flush()

    def flush(self) -> None:
        """Write the shard and move to the next."""
        if self.position == self.first:
            return
        end = self.first + self.shard
        self.array.resize((end, *self.array.shape[1:]))
        self.array[self.first : end] = self.buffer
        self.buffer[:] = 0
        self.first = self.position = end
