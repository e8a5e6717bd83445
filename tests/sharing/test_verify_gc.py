"""``cache verify`` finds every damaged item; ``cache gc`` frees nothing that is named or used."""

from __future__ import annotations

import errno
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from levels import record, scale
from sharing_cases import (
    STEP,
    command,
    files,
    fill,
    items_there,
    key_of_number,
    make_store,
    remote_workspace,
)

from pianoeval.builder import ItemJob, build_store
from pianoeval.cache import ItemCache
from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.itemread import read_item
from pianoeval.params import RunParams
from pianoeval.sharing.check import verify
from pianoeval.sharing.collect import collect


def age(path: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


def aged(root: Path, count: int, days: float = 60) -> ItemCache:
    cache = fill(root, count)
    for number in range(count):
        age(cache.path(STEP, key_of_number(number)), days)
    return cache


def test_one_per_cent_of_flipped_bits_is_all_found_and_removed(tmp_path: Path) -> None:
    count = scale(100, 3000)
    cache = fill(tmp_path, count, rows=10)
    chance = random.Random(0)
    spoilt = chance.sample(range(count), count // 100)
    for number in spoilt:
        path = cache.path(STEP, key_of_number(number))
        data = bytearray(path.read_bytes())
        frames = len(data) - 12 - 2 * 16 * (10 + number % 2)  # level stands first, then frames
        position = chance.randrange(frames, len(data))
        data[position] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    names = {f"{STEP}/{key_of_number(number)}" for number in spoilt}
    found = verify(cache, jobs=2)
    assert set(found.damaged) == names
    assert (found.remaining, found.steps[STEP].items) == (len(spoilt), count - len(spoilt))
    assert set(verify(cache, jobs=1, remove=True).damaged) == names
    assert verify(cache, jobs=2).damaged == {}
    assert len(items_there(tmp_path)) == count - len(spoilt)
    record("damage", "one bit flipped in 1 % of the items", items=count, spoilt=len(spoilt),
           found=len(names & set(found.damaged)))  # fmt: skip


def test_what_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mate's closed file, or want of memory, is no reason to remove an item; a bad sector is."""
    cache = fill(tmp_path, 4)
    closed, sector = (cache.path(STEP, key_of_number(n)) for n in (1, 2))

    def read(path: Path, name: str) -> Any:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        if path == sector:
            raise OSError(errno.EIO, "Input/output error")
        return read_item(path, name)

    monkeypatch.setattr("pianoeval.sharing.check.read_item", read)
    found = verify(cache, jobs=1, remove=True)
    assert found.unread == {f"{STEP}/{key_of_number(1)}": "Permission denied"}
    assert set(found.damaged) == {f"{STEP}/{key_of_number(2)}"}
    assert closed.exists()
    assert not sector.exists()


def test_verify_says_what_lies_about_and_what_made_the_items(tmp_path: Path) -> None:
    cache = fill(tmp_path / "c" / "items", 2)
    old = tmp_path / "c" / "checkpoints" / ".new.abc"
    old.mkdir(parents=True)
    (tmp_path / "c" / "checkpoints" / ".new.now").mkdir()
    age(old, 2)
    half = cache.root / STEP / "unfinished" / ".half"
    half.write_bytes(b"x")
    run = cache.root / ".cluster" / "run"
    run.mkdir(parents=True)
    assert verify(cache, jobs=1).leftovers == [half, run, old]
    workspace = remote_workspace(tmp_path / "w", {"url": "x"})
    done = command(workspace, tmp_path / "c", "verify", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["steps"]
    assert row["made_by"][0]["versions"]["numpy"] == np.__version__
    data = bytearray(cache.path(STEP, key_of_number(0)).read_bytes())
    cache.path(STEP, key_of_number(0)).write_bytes(data[:-1])
    done = command(workspace, tmp_path / "c", "verify")
    assert done.returncode == 1
    assert key_of_number(0) in done.stdout
    assert "cache verify --remove" in done.stdout
    done = command(workspace, tmp_path / "c", "verify", "--remove")
    assert done.returncode == 0
    assert items_there(tmp_path / "c") == {key_of_number(1)}
    assert {half, run, old} <= set((tmp_path / "c").rglob("*"))  # nothing but damaged items


def test_verify_checks_weights_by_the_names_of_their_folders(tmp_path: Path) -> None:
    cache = fill(tmp_path / "items", 1)
    good = tmp_path / "assets" / "2cf24dba5fb0a30e" / "hello"  # SHA-256 of "hello"
    wrong = tmp_path / "assets" / "0000000000000000" / "hello"
    for path in (good, wrong):
        path.parent.mkdir(parents=True)
        path.write_text("hello")
    empty = tmp_path / "checkpoints" / "ab12"
    empty.mkdir(parents=True)
    found = verify(cache, jobs=1, assets=True, remove=True)
    assert set(found.damaged) == {str(wrong), str(empty)}
    assert (found.assets, found.remaining) == (3, 2)
    assert wrong.exists()
    assert verify(cache, jobs=1).damaged == {}


def test_gc_keeps_what_is_named_or_was_used_and_lists_by_default(tmp_path: Path) -> None:
    cache = aged(tmp_path / "items", 6)
    make_store(tmp_path / "w" / "data" / "c" / "embeddings" / "mel" / "grand.zarr", cache, 2)
    for number in range(6):
        age(cache.path(STEP, key_of_number(number)), 60)
    cache.get(STEP, key_of_number(2))  # a hit
    age(cache.path(STEP, key_of_number(3)), 29)
    left, writing = (cache.root / STEP / "unfinished" / name for name in ("left", "writing"))
    for path in (left, writing):
        path.write_bytes(b"x")
    age(left, 2)
    other = tmp_path / "checkpoints" / "x"
    other.mkdir(parents=True)
    age(other, 900)

    before = files(tmp_path)
    listed = collect(cache, [tmp_path / "w"], days=30)
    assert {item.key for item in listed.free} == {key_of_number(4), key_of_number(5)}
    assert (listed.named, listed.recent, listed.removed, listed.stores) == (2, 2, 0, 1)
    assert listed.unfinished == [left]
    assert files(tmp_path) == before

    done = collect(cache, [tmp_path / "w"], days=30, remove=True)
    assert (done.removed, done.failed) == (2, {})
    assert items_there(cache.root) == {key_of_number(n) for n in range(4)}
    gone = {name for name in before if name not in files(tmp_path)}
    assert len(gone) == 3  # two items and the unfinished file
    assert other.is_dir()
    assert {item.key for item in collect(cache, [], days=30).free} == {
        key_of_number(0), key_of_number(1)
    }  # fmt: skip


def test_gc_does_not_guess_what_a_store_needs(tmp_path: Path) -> None:
    cache = aged(tmp_path / "items", 2)
    store = tmp_path / "w" / "data" / "c" / "audio" / "grand.zarr"
    store.mkdir(parents=True)
    (store / "zarr.json").write_text("{")
    with pytest.raises(CorruptDataError, match="cannot be read"):
        collect(cache, [tmp_path / "w"], days=30, remove=True)
    assert len(items_there(tmp_path)) == 2


def test_gc_sees_stores_behind_links_and_stops_at_closed_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = aged(tmp_path / "items", 3)
    disk = tmp_path / "disk" / "c"
    make_store(disk / "audio" / "grand.zarr", cache, 2)
    for number in range(3):
        age(cache.path(STEP, key_of_number(number)), 60)
    data = tmp_path / "w" / "data"
    data.mkdir(parents=True)
    (data / "c").symlink_to(disk)
    listed = collect(cache, [tmp_path / "w"], days=30)
    assert (listed.stores, listed.named) == (1, 2)

    scandir = os.scandir

    def closed(path: Any) -> Any:
        if Path(path) == data / "c":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PianoevalError, match="cannot be listed"):
        collect(cache, [tmp_path / "w"], days=30, remove=True)
    assert len(items_there(tmp_path)) == 3


def test_gc_keeps_what_was_read_in_the_days(tmp_path: Path) -> None:
    """A read renews the time once a day: an item read two days ago may look three days old."""
    cache = fill(tmp_path, 3)
    for number, days in enumerate((2.9, 3.1, 0)):
        age(cache.path(STEP, key_of_number(number)), days)
    assert {item.key for item in collect(cache, [], days=2).free} == {key_of_number(1)}
    assert len(collect(cache, [], days=0).free) == 3


def test_gc_is_not_misled_by_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = aged(tmp_path / "items", 2, days=-400)  # somebody's clock was ahead
    assert collect(cache, [], days=30, remove=True).free == []
    path = cache.path(STEP, key_of_number(0))
    assert abs(path.stat().st_mtime - time.time()) < 60  # it ages from here on
    day = 24 * 3600
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 100 * day)
    with pytest.raises(PianoevalError, match="clock"):
        collect(cache, [], days=30, remove=True)
    assert len(items_there(tmp_path)) == 2


def test_gc_goes_on_where_others_removed_or_forbid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = aged(tmp_path / "items", 3)
    unlink = Path.unlink

    def some(path: Path, missing_ok: bool = False) -> None:
        if path.stem == key_of_number(0):
            raise PermissionError(1, "Operation not permitted")
        if path.stem == key_of_number(1):
            unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", some)
    done = collect(cache, [], days=30, remove=True)
    assert (done.removed, set(done.failed)) == (1, {f"{STEP}/{key_of_number(0)}"})


def test_the_command_names_workspaces(tmp_path: Path) -> None:
    cache = aged(tmp_path / "c" / "items", 3)
    here = remote_workspace(tmp_path / "w", {"url": "x"})
    mate = remote_workspace(tmp_path / "mate", {"url": "x"})
    make_store(mate / "data" / "c" / "audio" / "grand.zarr", cache, 2)
    for number in range(3):
        age(cache.path(STEP, key_of_number(number)), 60)
    done = command(here, tmp_path / "c", "gc", "--workspace", str(tmp_path))
    assert done.returncode == 1
    assert "not a workspace" in done.stderr
    done = command(tmp_path, tmp_path / "c", "gc", "--remove")  # nobody's workspace
    assert done.returncode == 1
    assert "--workspace DIR" in done.stderr
    assert len(items_there(tmp_path / "c")) == 3
    done = command(here, tmp_path / "c", "gc", "--workspace", str(mate), "--remove")
    assert done.returncode == 0, done.stderr
    assert "1 items removed" in done.stdout
    assert items_there(tmp_path / "c") == {key_of_number(0), key_of_number(1)}


def frames_of_number(number: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    frames = np.full((number + 1, 1, 2), number, np.float16)
    return {"frames": frames, "level": np.zeros(3, np.float32)}, {}


def test_a_run_whose_items_vanish_computes_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items are freed while a store is assembled from them."""
    cache = ItemCache(tmp_path / "items")
    jobs = [ItemJob(f"clip{n}", key_of_number(n, "test"), n, 1.0) for n in range(4)]
    options: dict[str, Any] = {
        "cache": cache, "attrs": {"step": "test"}, "run": RunParams(workers=1)
    }  # fmt: skip
    build_store("test", jobs, frames_of_number, out=tmp_path / "whole", **options)
    for job in jobs:
        age(cache.path("test", job.key), 60)
    get, seen = ItemCache.get, []

    def collected(self: ItemCache, step: str, key: str) -> Any:
        seen.append(key)
        if len(seen) == 3:
            assert collect(self, [], days=30, remove=True).removed == 2  # two were just read
        return get(self, step, key)

    monkeypatch.setattr(ItemCache, "get", collected)
    report = build_store("test", jobs, frames_of_number, out=tmp_path / "again", **options)
    assert (report.computed, report.reused, report.quarantined) == (2, 2, {})
    assert files(tmp_path / "again") == files(tmp_path / "whole")
    record("sharing", "items freed under a run that assembles a store", freed=2, recomputed=2)
