from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.cache import Item, ItemCache
from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.shards import frames_mean, layout
from pianoeval.store import RaggedStore, write_store


def make_items(lengths: list[int], dim: int = 4) -> Iterator[tuple[str, str, Item]]:
    for number, length in enumerate(lengths):
        rng = np.random.default_rng(number)
        frames = rng.standard_normal((length, 2, dim)).astype(np.float16)
        level = np.array([-30 - number, -31, -3], np.float32)
        yield f"clip{number}", f"key{number}", Item({"frames": frames, "level": level}, {}, "")


def tree_hash(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


def small_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pianoeval.shards._CHUNK_BYTES", 64)  # 8 frames of 4 float16
    monkeypatch.setattr("pianoeval.shards._SHARD_BYTES", 512)  # 32 frames of 2 x 4


def test_layout_follows_the_design() -> None:
    assert layout((13, 1024), np.dtype(np.float16)) == (256, 2048)
    assert layout((1, 1), np.dtype(np.int16)) == (1 << 18, 1 << 25)


@pytest.mark.parametrize("lengths", [[1], [32], [33, 1], [5, 40, 100, 3], [31, 1, 1, 64, 2]])
def test_items_come_back_and_none_crosses_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: list[int]
) -> None:
    small_layout(monkeypatch)
    attrs, quarantined = {"encoder": "x"}, {"q": "bad"}
    write_store(tmp_path / "s", make_items(lengths), attrs=attrs, quarantined=quarantined)
    store = RaggedStore(tmp_path / "s")
    for clip, key, item in make_items(lengths):
        frames = item.arrays["frames"]
        np.testing.assert_array_equal(store.frames(clip), frames)
        row = store.row(clip)
        start = int(store._start[row])
        if len(frames) <= 32:
            assert start // 32 == (start + len(frames) - 1) // 32
        else:
            assert start % 32 == 0
        np.testing.assert_allclose(
            store.pooled_mean[row], frames.astype(np.float64).mean(0), rtol=1e-6
        )
        np.testing.assert_array_equal(store.level[row], item.arrays["level"])
        assert store.item_key(clip) == key
    assert store.quarantined == {"q": "bad"}
    assert store.attrs == {"encoder": "x"}


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=8))
def test_bytes_depend_on_the_items_alone(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        small_layout(patch)
        for name in ("a", "b", "b"):  # the second b replaces the first
            write_store(folder / name, make_items(lengths), attrs={}, quarantined={})
    assert tree_hash(folder / "a") == tree_hash(folder / "b")
    assert not list(folder.glob(".*"))


def test_every_flipped_byte_of_the_frames_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_layout(monkeypatch)
    lengths = [8] * 12
    write_store(tmp_path / "s", make_items(lengths), attrs={}, quarantined={})
    shards = sorted(p for p in (tmp_path / "s" / "frames" / "c").rglob("*") if p.is_file())
    for shard in shards:
        clean = shard.read_bytes()
        damaged = bytearray(clean)
        damaged[-1] ^= 1
        shard.write_bytes(damaged)
        store = RaggedStore(tmp_path / "s")
        bad = 0
        for clip in store.clips:
            try:
                store.frames(clip)
            except CorruptDataError:
                bad += 1
        assert bad == 1
        shard.write_bytes(clean)


def test_a_missing_shard_is_not_read_as_zeros(tmp_path: Path) -> None:
    write_store(tmp_path / "s", make_items([5, 6]), attrs={}, quarantined={})
    for path in (tmp_path / "s" / "frames" / "c").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(CorruptDataError, match=r"clip 'clip0' differs.*\n.*dvc repro"):
        RaggedStore(tmp_path / "s").frames("clip0")


def test_silence_is_stored_as_silence(tmp_path: Path) -> None:
    item = Item({"frames": np.zeros((9, 1, 1), np.int16), "level": np.zeros(3, np.float32)}, {}, "")
    write_store(tmp_path / "s", [("quiet", "k", item)], attrs={}, quarantined={})
    assert not RaggedStore(tmp_path / "s").frames("quiet").any()


def test_an_empty_item_is_refused_and_the_old_store_kept(tmp_path: Path) -> None:
    write_store(tmp_path / "s", make_items([5]), attrs={}, quarantined={})
    before = tree_hash(tmp_path / "s")
    with pytest.raises(PianoevalError, match="shape"):
        write_store(tmp_path / "s", make_items([5, 0]), attrs={}, quarantined={})
    assert tree_hash(tmp_path / "s") == before


@pytest.mark.parametrize("content", [None, "text"])
def test_what_is_no_store_says_so(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    if content:
        (folder / "zarr.json").write_text(content, encoding="utf-8")
    with pytest.raises(PianoevalError, match=r"not a store.*\n.*dvc repro"):
        RaggedStore(folder)


def damage_last_byte(path: Path) -> None:
    shard = max(p for p in (path / "frames" / "c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)


@pytest.mark.parametrize("size", [1, 7, 32, 100, 1000])
def test_blocks_are_the_frames_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    small_layout(monkeypatch)
    write_store(tmp_path / "s", make_items([5, 100]), attrs={}, quarantined={})
    store = RaggedStore(tmp_path / "s")
    for clip in store.clips:
        blocks = list(store.blocks(clip, size))
        assert {len(block) for block in blocks[:-1]} <= {size}
        np.testing.assert_array_equal(np.concatenate(blocks), store.frames(clip))


def test_damage_is_known_after_the_last_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_layout(monkeypatch)
    write_store(tmp_path / "s", make_items([64]), attrs={}, quarantined={})
    damage_last_byte(tmp_path / "s")
    store = RaggedStore(tmp_path / "s")
    blocks = store.blocks("clip0", 32)
    assert len(next(blocks)) == len(next(blocks)) == 32
    with pytest.raises(CorruptDataError, match="clip0"):
        next(blocks)
    with pytest.raises(CorruptDataError, match="clip0"):
        next(store.blocks("clip0", 64))  # a whole clip is never handed out unverified


def test_mapped_and_plain_items_make_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_layout(monkeypatch)
    cache = ItemCache(tmp_path / "items")
    for _, key, item in make_items([40, 3, 90]):
        cache.put("x", key, item.arrays, {})
    monkeypatch.setattr("pianoeval.itemread._MAPPED_BYTES", 0)
    monkeypatch.setattr("pianoeval.itemfile._HASHED_BYTES", 100)

    def mapped() -> Iterator[tuple[str, str, Item]]:
        for clip, key, _ in make_items([40, 3, 90]):
            item = cache.get("x", key)
            assert item is not None
            assert isinstance(item.arrays["frames"], np.memmap)
            yield clip, key, item

    write_store(tmp_path / "a", mapped(), attrs={}, quarantined={})
    write_store(tmp_path / "b", make_items([40, 3, 90]), attrs={}, quarantined={})
    assert tree_hash(tmp_path / "a") == tree_hash(tmp_path / "b")


def test_means_in_blocks_are_means(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).normal(5, 1, (500, 2, 3)).astype(np.float16)
    whole = frames_mean(frames)
    np.testing.assert_array_equal(whole, frames.mean(0, dtype=np.float64).astype(np.float32))
    monkeypatch.setattr("pianoeval.shards.WHOLE_FRAMES", 10)
    monkeypatch.setattr("pianoeval.shards.BLOCK_FRAMES", 7)
    np.testing.assert_array_equal(frames_mean(frames), whole)  # float16 sums are exact


def test_items_are_let_go_when_they_are_written(tmp_path: Path) -> None:
    """Arrays of an item that was read from one file are views of one buffer."""
    alive: list[weakref.ref[Any]] = []
    most = 0

    def items() -> Iterator[tuple[str, str, Item]]:
        nonlocal most
        for number in range(20):
            buffer = np.ones(1000 + 3, np.float32)
            alive.append(weakref.ref(buffer))
            most = max(most, sum(ref() is not None for ref in alive))
            arrays = {"frames": buffer[3:].reshape(-1, 1, 10), "level": buffer[:3]}
            del buffer
            yield f"c{number}", f"k{number}", Item(arrays, {}, "")

    write_store(tmp_path / "x.zarr", items(), attrs={}, quarantined={})
    assert most <= 3
