"""Statistics over the frames of a clip, for every layer: plain ones, and those that know order.

Sums run in float64; of more than 8192 frames in blocks, so that memory does not grow with the
length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import ConfigError
from pianoeval.features.temporal import TEMPORAL, Blocks, pool_temporal
from pianoeval.itemfile import row_blocks
from pianoeval.shards import BLOCK_FRAMES, WHOLE_FRAMES
from pianoeval.store import RaggedStore

STATS = ("mean", "std", "max", "min")
ALL_STATS = STATS + TEMPORAL
# Frames of one time of kinds of encoders that have several: bands of a spectrogram.
_FRAMES_OF_ONE_TIME = {"audiomae": 8}

Array = NDArray[Any]


class Timing(NamedTuple):
    """Frames a second, and how many of them stand for one time."""

    rate_hz: float
    group: int = 1

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Timing:
        """Of what a store of embeddings says about itself."""
        group = _FRAMES_OF_ONE_TIME.get(str(attrs.get("kind", "")), 1)
        return cls(float(attrs.get("frame_rate_hz", 0)), group)


def pool_frames(
    frames: Array, stats: Sequence[str], timing: Timing | None = None
) -> NDArray[np.float32]:
    """Statistics over frames.

    Parameters
    ----------
    frames : shape (frames, layers, dim)
    stats : sequence of str
        Of ``mean``, ``std`` (population: 0 for a single frame), ``max``, ``min``, and those of
        :mod:`~pianoeval.features.temporal`.
    timing : Timing, optional
        Needed for the latter.

    Returns
    -------
    float32, shape (layers, stats, dim)

    Raises
    ------
    ConfigError
        Temporal statistics of frames that are too few a second, or of unknown rate.
    """

    def blocks(size: int) -> Iterable[Array]:
        return row_blocks(frames, size)

    plain = [stat for stat in stats if stat in STATS]
    if len(frames) <= WHOLE_FRAMES:
        found = _pool_whole(frames, plain)
    else:
        found = _pool_blocks(lambda: blocks(BLOCK_FRAMES), len(frames), plain)
    return _with_temporal(found, blocks, len(frames), stats, timing)


def pool_clip(
    store: RaggedStore, clip: str, stats: Sequence[str], timing: Timing | None = None
) -> NDArray[np.float32]:
    """:func:`pool_frames` of a clip of a store, of which one block is in memory.

    Raises
    ------
    CorruptDataError
        The clip differs from what was written.
    """
    length = store.length(clip)
    if length <= WHOLE_FRAMES:
        return pool_frames(store.frames(clip), stats, timing)

    def blocks(size: int) -> Iterable[Array]:
        return store.blocks(clip, size)

    plain = [stat for stat in stats if stat in STATS]
    found = _pool_blocks(lambda: blocks(BLOCK_FRAMES), length, plain)
    return _with_temporal(found, blocks, length, stats, timing)


def _with_temporal(
    plain: NDArray[np.float32],
    blocks: Blocks,
    length: int,
    stats: Sequence[str],
    timing: Timing | None,
) -> NDArray[np.float32]:
    """Plain statistics (layers, plain, dim) and temporal ones, in the order of ``stats``."""
    temporal = [stat for stat in stats if stat not in STATS]
    if not temporal:
        return plain
    if timing is None or timing.rate_hz <= 0:
        raise ConfigError(
            f"{', '.join(temporal)} need the rate of the frames, which is unknown",
            where="pool.stats", allowed=", ".join(STATS), next_step="take these out of pool.stats",
        )  # fmt: skip
    found = pool_temporal(blocks, length, temporal, timing.rate_hz, timing.group)
    names = [*(stat for stat in stats if stat in STATS), *temporal]
    return np.concatenate([plain, found], axis=1)[:, [names.index(stat) for stat in stats]]


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
    out = np.empty((mean.shape[0], len(stats), mean.shape[1]), np.float32)
    for i, stat in enumerate(stats):
        out[:, i] = found[stat]
    return out


def _squares(block: Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of squared distances from the mean (layers, dim); one layer in float64 at a time."""
    out = np.empty_like(mean)
    for layer, centre in enumerate(mean):
        apart = block[:, layer].astype(np.float64)
        apart -= centre
        out[layer] = np.square(apart, out=apart).sum(axis=0)
    return out
