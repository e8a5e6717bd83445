"""One clip of many changes: the shards that hold it move, not the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lab_cases import Clone, size_bytes
from levels import FULL, record

from pianoeval.cache import Item
from pianoeval.store import RaggedStore, write_store

N_CLIPS, FRAMES = 2000, 400


def write(path: Path, changed: int | None = None, n_clips: int = N_CLIPS) -> None:
    """A store of noise, 4 layers of 64 values; one clip may be other noise."""

    def items() -> object:
        for number in range(n_clips):
            rng = np.random.default_rng([number, number == changed])
            frames = rng.standard_normal((FRAMES, 4, 64)).astype(np.float16)
            level = np.array([-30, -31, -3], np.float32)
            yield (
                f"clip{number:05d}",
                f"key{number}.{number == changed}",
                Item({"frames": frames, "level": level}, {}, ""),
            )

    write_store(path, items(), attrs={}, quarantined={})  # type: ignore[arg-type]


@pytest.mark.skipif(not FULL, reason="make faults")
def test_a_changed_clip_moves_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pianoeval.shards._CHUNK_BYTES", 1 << 15)
    monkeypatch.setattr("pianoeval.shards._SHARD_BYTES", 1 << 20)  # 2 MB at 64 MB's share of 128 MB
    work = Clone(tmp_path / "work", tmp_path / "items")
    work.folder.mkdir()
    remote, store = tmp_path / "remote", work.folder / "grand.zarr"
    work.shell(f"git init --quiet && dvc init --quiet && dvc remote add --default lab {remote}")

    def push() -> int:
        before = size_bytes(remote) if remote.exists() else 0
        work.shell("dvc add --quiet grand.zarr && dvc push --quiet")
        return size_bytes(remote) - before

    write(store)
    whole = push()
    assert whole > 0.95 * size_bytes(store)
    for changed in (0, N_CLIPS // 2):
        work.shell("rm -r grand.zarr")
        write(store, changed)
        moved = push()
        assert RaggedStore(store).clips[changed] == f"clip{changed:05d}"
        tables = size_bytes(store) - sum(
            p.stat().st_size for p in (store / "frames").rglob("*") if p.is_file()
        )
        # The shard of the clip, that of the clip which was changed before, and tables.
        assert moved < 2 * (1 << 20) * 1.1 + 2 * tables, (moved, tables)
        record("sharing", "one clip of a store changes", clips=N_CLIPS, store_bytes=whole,
               moved_bytes=moved)  # fmt: skip
    work.shell("rm -r grand.zarr")
    write(store, n_clips=N_CLIPS + 10)
    moved = push()
    record(
        "sharing",
        "ten clips are added to a store",
        clips=N_CLIPS,
        store_bytes=whole,
        moved_bytes=moved,
    )
    assert moved < 0.4 * whole
