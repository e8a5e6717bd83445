"""Frames kept beside pooled vectors: values, bytes, damage, and what views make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from pianoeval.cache import Item
from pianoeval.errors import ConfigError, CorruptDataError
from pianoeval.features.pooling import PooledStore, pool_store
from pianoeval.features.viewsequences import read_sequences
from pianoeval.params import ViewParams
from pianoeval.store import RaggedStore, write_store

LENGTHS = {"a": 11, "b": 1, "c": 40}
RATE = 10.0


def embeddings(path: Path, seed: int = 0, longer: int = 0, **attrs: object) -> RaggedStore:
    rng = np.random.default_rng(seed)
    items = []
    for clip, length in LENGTHS.items():
        frames = rng.normal(size=(length + longer, 2, 3)).astype(np.float16)
        item = Item({"frames": frames, "level": np.full(3, -20, np.float32)}, {}, "")
        items.append((clip, f"key-{clip}", item))
    about = {"layers": ["1", "2"], "frame_rate_hz": RATE, "step": "embedding-test"} | attrs
    write_store(path, items, attrs=about, quarantined={})
    return RaggedStore(path)


@pytest.fixture
def store(tmp_path: Path) -> RaggedStore:
    return embeddings(tmp_path / "embedding.zarr")


def averaged(frames: np.ndarray, count: int) -> np.ndarray:
    """Step by step; the last one of what is left."""
    return np.stack([
        frames[i : i + count].astype(np.float64).mean(axis=0)
        for i in range(0, len(frames), count)
    ])  # fmt: skip


@pytest.mark.parametrize(("wanted", "count"), [(2.0, 5), (10.0, 1), (50.0, 1), (3.0, 3)])
def test_round_trip(store: RaggedStore, tmp_path: Path, wanted: float, count: int) -> None:
    pool_store(store, ["mean"], tmp_path / "pooled.zarr", wanted)
    pooled = PooledStore(tmp_path / "pooled.zarr")
    assert pooled.sequence_rate_hz == RATE / count
    assert not {"sequence_rate_hz", "sequence_digests"} & pooled.attrs.keys()
    for layers, rows in (("all", [0, 1]), ("2", [1]), (["1"], [0])):
        found = pooled.sequences(layers)
        assert found.values.dtype == np.float32
        assert len(found) == 3
        for clip, values in zip(store.clips, found, strict=True):
            expected = averaged(store.frames(clip)[:, rows], count)
            expected = expected.astype(np.float16).reshape(len(expected), -1)
            np.testing.assert_array_equal(values, expected)


def test_vectors_do_not_change_and_none_means_none(store: RaggedStore, tmp_path: Path) -> None:
    pool_store(store, ["mean"], tmp_path / "without.zarr")
    pool_store(store, ["mean"], tmp_path / "with.zarr", 2.0)
    without, with_them = PooledStore(tmp_path / "without.zarr"), PooledStore(tmp_path / "with.zarr")
    np.testing.assert_array_equal(without.layer("2"), with_them.layer("2"))
    assert without.attrs == with_them.attrs
    assert not (tmp_path / "without.zarr" / "sequences").exists()
    with pytest.raises(ConfigError, match="no sequences"):
        without.sequences()


def test_same_input_same_bytes(store: RaggedStore, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    for name in ("one.zarr", "two.zarr"):
        pool_store(store, ["mean"], tmp_path / name, 2.0)
    first = content(tmp_path / "one.zarr")
    assert any(name.startswith("sequences/c") for name in first)
    assert first == content(tmp_path / "two.zarr")


def test_items_that_cross_no_shard_leave_no_hole(
    store: RaggedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of 16 rows: the third clip is longer than one, and begins a new one."""
    monkeypatch.setattr("pianoeval.features.pooled_sequences.layout", lambda shape, dtype: (8, 16))
    pool_store(store, ["mean"], tmp_path / "pooled.zarr", 10.0)
    found = PooledStore(tmp_path / "pooled.zarr").sequences("1")
    assert found.length.tolist() == list(LENGTHS.values())
    for clip, values in zip(store.clips, found, strict=True):
        np.testing.assert_array_equal(values, store.frames(clip)[:, 0])


@pytest.mark.parametrize("name", ["sequences", "sequence_start"])
def test_damage_is_seen(store: RaggedStore, tmp_path: Path, name: str) -> None:
    path = tmp_path / "pooled.zarr"
    pool_store(store, ["mean"], path, 2.0)
    file = next(p for p in sorted((path / name / "c").rglob("*")) if p.is_file())
    raw = bytearray(file.read_bytes())
    if name == "sequences":  # the first row of the first layer, wherever the index says it is
        group = zarr.open_array(path / name, mode="r+", zarr_format=3)
        group[0, 0, 0] = float(np.asarray(group[0, 0, 0])) + 1
    else:
        raw[0] ^= 1
        file.write_bytes(bytes(raw))
    with pytest.raises(CorruptDataError):
        PooledStore(path).sequences("1")


def test_a_missing_shard_is_no_silence(store: RaggedStore, tmp_path: Path) -> None:
    path = tmp_path / "pooled.zarr"
    pool_store(store, ["mean"], path, 2.0)
    next(p for p in (path / "sequences" / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(CorruptDataError, match="layer '1'"):
        PooledStore(path).sequences()


# In views ----------------------------------------------------------------------------------------


def test_a_view_reads_them_only_for_models_that_do(store: RaggedStore, tmp_path: Path) -> None:
    pool_store(store, ["mean"], tmp_path / "pooled.zarr", 2.0)
    pooled = [PooledStore(tmp_path / "pooled.zarr")]
    view = ViewParams(layers="2", models=["ridge"])
    assert read_sequences("v", view, pooled, ["a"]) is None
    view = ViewParams(layers="2", models=["ridge", "attention"])
    found = read_sequences("v", view, pooled, ["c", "a"])
    assert found is not None
    for clip, values in zip(("c", "a"), found, strict=True):
        expected = averaged(store.frames(clip)[:, 1], 5).astype(np.float16)
        np.testing.assert_array_equal(values, expected)


def test_instruments_are_averaged_moment_by_moment(tmp_path: Path) -> None:
    """The second rings four frames longer; what the first does not reach is left out."""
    stores = []
    for number, longer in enumerate((0, 4)):
        one = embeddings(tmp_path / f"{number}.zarr", seed=number, longer=longer)
        pool_store(one, ["mean"], tmp_path / f"pooled{number}.zarr", 10.0)
        stores.append(one)
    pooled = [PooledStore(tmp_path / f"pooled{number}.zarr") for number in range(2)]
    view = ViewParams(layers="1", models=["lstm"])
    found = read_sequences("v", view, pooled, ["b", "c"])
    assert found is not None
    for clip, values in zip(("b", "c"), found, strict=True):
        first, second = (one.frames(clip)[:, 0].astype(np.float32) for one in stores)
        np.testing.assert_allclose(values, (first + second[: len(first)]) / 2, rtol=1e-6)


def test_refusals(store: RaggedStore, tmp_path: Path) -> None:
    for number, hz in enumerate((2.0, 5.0)):
        pool_store(store, ["mean"], tmp_path / f"{number}.zarr", hz)
    pooled = [PooledStore(tmp_path / f"{number}.zarr") for number in range(2)]
    view = ViewParams(models=["attention"])
    with pytest.raises(ConfigError, match="different rates"):
        read_sequences("v", view, pooled, ["a"])
    for changed in ({"renders": "each"}, {"blocks": ["own", "difference"]}):
        with pytest.raises(ConfigError, match="each render"):
            read_sequences("v", view.model_copy(update=changed), pooled[:1], ["a"])
    rateless = embeddings(tmp_path / "rateless.zarr", frame_rate_hz=0.0)
    with pytest.raises(ConfigError, match="unknown"):
        pool_store(rateless, ["mean"], tmp_path / "none.zarr", 2.0)
