"""An hour through cache, store, encoder and pooling; prints how far memory rose, as JSON.

Run by test_hour.py in a process of its own: the high-water mark of memory never falls.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pianoeval.cache import Blocks, ItemCache
from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.extract import embed_stream
from pianoeval.encoders.stream import open_audio
from pianoeval.features.pooling import PooledStore, pool_store
from pianoeval.store import RaggedStore, write_store

RATE_HZ, HOUR_S, LOUD_S, DIM = 44_100, 3600, 900, 1536
LEVEL = np.array([-20, -20, -3], np.float32)


class Mean(Encoder):
    """Each value of a frame is the mean of its samples; 10 s chunks with 1 s shared."""

    device = torch.device("cpu")
    spec = EncoderSpec(
        "mean", "mean", 24_000, 240_000, 800, 800, ("1",), DIM, "float32", "", 1, overlap_frames=30
    )

    def forward(self, chunks: Tensor, n_samples: Sequence[int]) -> Tensor:
        whole = chunks.shape[1] // 800 * 800
        means = chunks[:, :whole].reshape(len(chunks), -1, 800).mean(-1)
        if whole < chunks.shape[1]:
            means = torch.cat([means, chunks[:, whole:].mean(1, keepdim=True)], 1)
        return means[:, :, None, None].expand(-1, -1, 1, DIM)


def peak_mb() -> float:
    """High-water mark of this process's memory (MB); of this program, not of who started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def audio() -> Iterator[np.ndarray]:
    """A quarter of an hour at 0.5, the rest at 0.1."""
    for second in range(HOUR_S):
        yield np.full((RATE_HZ, 1, 1), 16_384 if second < LOUD_S else 3277, np.int16)


def store(cache: ItemCache, step: str, frames: Blocks, out: Path, **attrs: object) -> RaggedStore:
    """One item, and a store of it."""
    cache.put(step, "ab" * 32, {"frames": frames, "level": LEVEL}, {})
    item = cache.get(step, "ab" * 32)
    assert item is not None
    write_store(out, [("hour", "ab" * 32, item)], attrs=attrs, quarantined={})
    return RaggedStore(out)


def main(folder: Path) -> None:
    """Run, and print what came out."""
    cache, encoder = ItemCache(folder / "items"), Mean()
    encoder.encode(np.zeros((1, 240_000), np.float32))  # what torch itself needs
    before = peak_mb()
    frames = Blocks((RATE_HZ * HOUR_S, 1, 1), np.int16, audio())
    sound = store(cache, "audio", frames, folder / "audio.zarr", sample_rate_hz=RATE_HZ)
    stream = open_audio(sound, "hour", encoder.spec.sample_rate_hz)
    embedded = embed_stream(stream, encoder, where="hour")
    embedding = store(cache, "embed", embedded, folder / "embed.zarr", layers=["1"])
    pool_store(embedding, ["mean", "std"], folder / "pooled.zarr")
    pooled = PooledStore(folder / "pooled.zarr").layer("1")[0, :, 0]
    found = {
        "rise_mb": peak_mb() - before,
        "audio_mb": RATE_HZ * HOUR_S * 2 / 2**20,
        "embedding_mb": embedded.shape[0] * DIM * 2 / 2**20,
        "frames": embedding.length("hour"),
        "mean": float(pooled[0]), "std": float(pooled[1]),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
