"""Pooled vectors: values, bytes, reading and damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pianoeval.cache import Item
from pianoeval.errors import ConfigError, CorruptDataError, PianoevalError
from pianoeval.features.pooling import STATS, PooledStore, pool_clip, pool_frames, pool_store
from pianoeval.store import RaggedStore, write_store

LAYERS = ["1", "2", "ctx"]


@pytest.fixture
def store(tmp_path: Path) -> RaggedStore:
    generator = np.random.default_rng(0)
    items = []
    for i, length in enumerate((5, 1, 300)):
        frames = generator.normal(20, 0.1, (length, 3, 4)).astype(np.float16)
        level = np.array([-20 - i, -21, -3], np.float32)
        items.append((f"clip{i}", f"key{i}", Item({"frames": frames, "level": level}, {}, "")))
    path = tmp_path / "embedding.zarr"
    attrs = {"layers": LAYERS, "encoder": "test", "step": "embedding-test"}
    write_store(path, items, attrs=attrs, quarantined={"bad": "why"})
    return RaggedStore(path)


def test_statistics_by_hand() -> None:
    frames = np.array([[[1.0, -2.0]], [[3.0, -2.0]], [[8.0, 4.0]]], np.float16)
    got = pool_frames(frames, ["mean", "std", "max", "min"])
    std = [np.sqrt((9 + 1 + 16) / 3), np.sqrt((4 + 4 + 16) / 3)]
    np.testing.assert_allclose(got, [[[4, 0], std, [8, 4], [1, -2]]], rtol=1e-6)


def test_one_frame_has_no_spread_and_large_offsets_keep_theirs() -> None:
    assert pool_frames(np.full((1, 2, 3), 7, np.float16), ["std"]).max() == 0
    frames = np.tile(np.array([1000, 1001], np.float16), 50_000)[:, None, None]
    np.testing.assert_allclose(pool_frames(frames, ["mean", "std"])[0, :, 0], [1000.5, 0.5])


def test_round_trip(store: RaggedStore, tmp_path: Path) -> None:
    pool_store(store, ["mean", "std"], tmp_path / "pooled.zarr")
    pooled = PooledStore(tmp_path / "pooled.zarr")
    assert pooled.clips == store.clips
    assert (pooled.layers, pooled.stats) == (LAYERS, ["mean", "std"])
    assert pooled.quarantined == {"bad": "why"}
    assert pooled.attrs["encoder"] == "test"
    np.testing.assert_allclose(
        np.stack([pooled.layer(name)[:, 0] for name in LAYERS], 1), store.pooled_mean
    )
    matrix = pooled.matrix("1,ctx", level=True)
    assert matrix.values.shape == (3, 2 * 2 * 4 + 3)
    assert matrix.values.dtype == np.float32
    assert list(matrix.blocks) == ["1/mean", "1/std", "ctx/mean", "ctx/std", "level"]
    want = store.frames("clip2")[:, 2].astype(np.float64).std(0)
    np.testing.assert_allclose(matrix.values[2, matrix.blocks["ctx/std"]], want, rtol=1e-5)
    np.testing.assert_array_equal(matrix.values[:, matrix.blocks["level"]], store.level)
    assert pooled.matrix(level=False).values.shape == (3, 3 * 2 * 4)


def test_same_input_same_bytes(store: RaggedStore, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert files
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    pool_store(store, ["mean", "std"], tmp_path / "a.zarr")
    pool_store(store, ["mean", "std"], tmp_path / "b.zarr")
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")
    pool_store(store, ["mean"], tmp_path / "a.zarr")  # replaced whole
    assert PooledStore(tmp_path / "a.zarr").stats == ["mean"]


@pytest.mark.parametrize("stats", [[], ["median"], ["mean", "mean"]])
def test_unusable_statistics(stats: list[str], store: RaggedStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="statistics"):
        pool_store(store, stats, tmp_path / "pooled.zarr")


def test_damage_is_seen(store: RaggedStore, tmp_path: Path) -> None:
    path = tmp_path / "pooled.zarr"
    pool_store(store, ["mean"], path)
    chunks = sorted((path / "values" / "c").rglob("*"))
    file = next(chunk for chunk in chunks if chunk.is_file())
    good = file.read_bytes()
    file.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(CorruptDataError, match="layer '1'"):
        PooledStore(path).matrix()
    file.unlink()
    with pytest.raises(CorruptDataError, match="layer '1'"):
        PooledStore(path).matrix()
    assert PooledStore(path).matrix("2..ctx").values.shape == (3, 2 * 4 + 3)
    with pytest.raises(PianoevalError, match="not a store"):
        PooledStore(tmp_path / "absent.zarr")


def test_a_store_of_another_kind_is_whole_and_nothing_to_remove(
    store: RaggedStore, tmp_path: Path
) -> None:
    path = tmp_path / "pooled.zarr"
    pool_store(store, ["mean"], path)
    for kind, there in ((RaggedStore, path), (PooledStore, store.path)):
        with pytest.raises(PianoevalError, match=r"not a store of .* but of") as caught:
            kind(there)
        assert "rm -r" not in str(caught.value)


def test_long_clips_are_pooled_in_blocks_to_the_same_values(
    store: RaggedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [pool_clip(store, clip, STATS) for clip in store.clips]
    for clip, values in zip(store.clips, whole, strict=True):
        np.testing.assert_array_equal(pool_frames(store.frames(clip), STATS), values)
    monkeypatch.setattr("pianoeval.features.framestats.WHOLE_FRAMES", 4)
    monkeypatch.setattr("pianoeval.features.framestats.BLOCK_FRAMES", 3)
    for clip, values in zip(store.clips, whole, strict=True):
        for found in (pool_clip(store, clip, STATS), pool_frames(store.frames(clip), STATS)):
            np.testing.assert_allclose(found, values, rtol=1e-6)
            np.testing.assert_array_equal(found[:, [0, 2, 3]], values[:, [0, 2, 3]])


def test_many_clips_are_written_in_groups_to_the_same_values(
    store: RaggedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_store(store, ["mean", "std"], tmp_path / "a.zarr")
    monkeypatch.setattr("pianoeval.features.pooling._ROWS_A_CHUNK", 2)
    pool_store(store, ["mean", "std"], tmp_path / "b.zarr")
    a, b = PooledStore(tmp_path / "a.zarr"), PooledStore(tmp_path / "b.zarr")
    for layer in LAYERS:
        np.testing.assert_array_equal(a.layer(layer), b.layer(layer))
