"""Items go through an HDF5 file that h5py alone can read, and nothing hostile comes back."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from levels import record, scale
from sharing_cases import (
    STEP,
    arrays_of,
    command,
    files,
    fill,
    items_there,
    key_of_number,
    make_store,
    remote_workspace,
)

from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError, PianoevalError
from pianoeval.sharing.hdf5 import export_stores
from pianoeval.sharing.hdf5_read import import_items
from pianoeval.store import RaggedStore, write_store

STORE = "c/embeddings/mel/grand"


def exported(tmp_path: Path, count: int = 3) -> Path:
    cache = fill(tmp_path / "a" / "items", count)
    path = tmp_path / "w" / "data" / f"{STORE}.zarr"
    make_store(path, cache, count)
    out = tmp_path / "out.h5"
    export_stores(out, [path], cache, tmp_path / "w" / "data")
    return out


def test_frames_of_a_clip_in_two_lines(tmp_path: Path) -> None:
    out = exported(tmp_path)
    with h5py.File(out) as file:
        frames = file["c/embeddings/mel/grand/clip%2F1/frames"][:]

        clip = file[STORE]["clip%2F1"]
        np.testing.assert_array_equal(frames, arrays_of(1)["frames"])
        np.testing.assert_array_equal(clip["level"][:], arrays_of(1)["level"])
        mean = arrays_of(1)["frames"].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(clip["pooled_mean"][:], mean, rtol=1e-6)
        assert clip.attrs["clip"] == "clip/1"
        assert (clip.attrs["step"], clip.attrs["key"]) == (STEP, key_of_number(1))
        assert file[STORE].attrs["frame_rate_hz"] == 25.0
        assert json.loads(file[STORE].attrs["layers"]) == ["1", "2"]
        assert list(file[STORE]) == ["clip%2F0", "clip%2F1", "clip%2F2"]


def test_what_is_exported_is_imported_byte_for_byte(tmp_path: Path) -> None:
    out = exported(tmp_path)
    back = ItemCache(tmp_path / "b" / "items")
    report = import_items(out, back)
    assert (report.imported, report.there, report.refused) == (3, 0, {})
    assert files(tmp_path / "a") == files(tmp_path / "b")  # made_by, too
    again = import_items(out, back)
    assert (again.imported, again.there) == (0, 3)


values = st.sampled_from(["<f2", "<f4", "<i2", "|u1", "<i8", "|b1"])


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_any_item_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    home = tmp_path_factory.mktemp("round")
    cache = ItemCache(home / "a")
    kind = data.draw(st.sampled_from(["<f2", "<f4", "<i2"]))
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5)))
    clips = data.draw(st.lists(st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=9,
    ), min_size=1, max_size=3, unique=True))  # fmt: skip
    for number, _ in enumerate(clips):
        rows = data.draw(st.integers(1, 9))
        found = {
            "frames": data.draw(arrays(kind, (rows, *shape))),
            "level": data.draw(arrays("<f4", 3)),
            "more": data.draw(values.flatmap(lambda k: arrays(k, array_shapes(max_dims=3)))),
        }
        finite = st.floats(allow_nan=False, allow_infinity=False)
        meta = data.draw(st.dictionaries(st.text(max_size=5), st.integers() | finite))
        cache.put(STEP, key_of_number(number), found, meta)

    def items() -> Any:
        for number, clip in enumerate(clips):
            yield clip, key_of_number(number), cache.get(STEP, key_of_number(number))

    write_store(home / "s.zarr", items(), attrs={"step": STEP}, quarantined={})
    report = export_stores(home / "out.h5", [home / "s.zarr"], cache, home / "data")
    assert (report.clips, report.incomplete) == (len(clips), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pianoeval.sharing.hdf5_read._look_first", lambda path: None)  # it is slow
        assert import_items(home / "out.h5", ItemCache(home / "b")).refused == {}
    assert files(home / "a") == files(home / "b")


def test_a_clip_without_its_item_can_be_read_but_not_imported(tmp_path: Path) -> None:
    out = exported(tmp_path)
    cache = ItemCache(tmp_path / "a" / "items")
    cache.path(STEP, key_of_number(0)).unlink()
    other = {name: array + 1 for name, array in arrays_of(1).items()}
    cache.path(STEP, key_of_number(1)).unlink()
    cache.put(STEP, key_of_number(1), other, {})  # as other versions of a library would
    store = tmp_path / "w" / "data" / f"{STORE}.zarr"
    report = export_stores(out, [store], cache, tmp_path / "w" / "data")
    assert report.incomplete == {
        f"{STORE}/clip/0": "its item is not in the cache",
        f"{STORE}/clip/1": "the item in the cache has other frames",
    }
    with h5py.File(out) as file:
        for number in range(3):
            frames = file[f"{STORE}/clip%2F{number}/frames"][:]
            np.testing.assert_array_equal(frames, arrays_of(number)["frames"])
    found = import_items(out, ItemCache(tmp_path / "b"))
    assert (found.imported, found.without_item) == (1, 2)


def test_a_damaged_item_is_refused_and_the_others_come(tmp_path: Path) -> None:
    out = exported(tmp_path)
    with h5py.File(out, "r+") as file:
        file[f"{STORE}/clip%2F1/frames"][3, 0, 0] += 1
    report = import_items(out, ItemCache(tmp_path / "b"))
    assert set(report.refused) == {f"{STEP}/{key_of_number(1)}"}
    assert report.imported == 2
    assert items_there(tmp_path / "b") == {key_of_number(0), key_of_number(2)}
    assert len(files(tmp_path / "b")) == 2


def clip_of(file: h5py.File) -> h5py.Group:
    return file[f"{STORE}/clip%2F1"]


def redeclare(group: h5py.Group, **options: Any) -> None:
    del group["frames"]
    group.create_dataset("frames", **options)


def external_link(file: h5py.File) -> None:
    file[STORE]["x"] = h5py.ExternalLink("/etc/hostname", "/")


def soft_link(file: h5py.File) -> None:
    file[STORE]["x"] = h5py.SoftLink("/")


def hard_loop(file: h5py.File) -> None:
    file[STORE]["x"] = file["c"]


def linked_frames(file: h5py.File) -> None:
    del clip_of(file)["frames"]
    clip_of(file)["frames"] = h5py.ExternalLink("other.h5", "/frames")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((9, 2, 8), "<f2")
    layout[:] = h5py.VirtualSource("other.h5", "frames", (9, 2, 8))
    del clip_of(file)["frames"]
    clip_of(file).create_virtual_dataset("frames", layout)


def external_data(file: h5py.File) -> None:
    redeclare(clip_of(file), shape=(9, 2, 8), dtype="<f2", external="/etc/passwd")


def bomb(file: h5py.File) -> None:
    redeclare(clip_of(file), shape=(1 << 40, 2, 8), dtype="<f2", chunks=(1 << 10, 2, 8),
              compression="gzip")  # fmt: skip


def bomb_without_filter(file: h5py.File) -> None:
    redeclare(clip_of(file), shape=(1 << 40, 2, 8), dtype="<f2", chunks=(1 << 10, 2, 8))


def wide_row(file: h5py.File) -> None:
    redeclare(clip_of(file), shape=(1, 1 << 45), dtype="<f2", chunks=(1, 1 << 10))


def shared_data(file: h5py.File) -> None:
    """Each a hard link to the same bytes: little declares much."""
    big = file.create_dataset("big", data=np.zeros((1 << 16, 2, 8), "<f2"))
    for number in range(3):
        group = file[f"{STORE}/clip%2F{number}"]
        del group["frames"]
        group["frames"] = big


def objects(file: h5py.File) -> None:
    redeclare(clip_of(file), data=[b"text"], dtype=h5py.string_dtype())


def compound(file: h5py.File) -> None:
    redeclare(clip_of(file), data=np.zeros(3, [("a", "<f4"), ("b", "<i4")]))


def references(file: h5py.File) -> None:
    redeclare(clip_of(file), data=np.array([file["c"].ref], h5py.ref_dtype))


def step_outside(file: h5py.File) -> None:
    clip_of(file).attrs["step"] = "../../etc"


def key_outside(file: h5py.File) -> None:
    clip_of(file).attrs["key"] = "../" + "a" * 61


def array_outside(file: h5py.File) -> None:
    clip_of(file).attrs["arrays"] = '["../clip%2F0/frames"]'


def hidden_array(file: h5py.File) -> None:
    clip_of(file).attrs["arrays"] = '["frames", "nothing"]'


def meta_of_nan(file: h5py.File) -> None:
    clip_of(file).attrs["meta"] = '{"x": NaN}'


def deep_meta(file: h5py.File) -> None:
    clip_of(file).attrs["meta"] = "[" * 50_000


def number_for_text(file: h5py.File) -> None:
    clip_of(file).attrs["digest"] = np.arange(4)


def no_digest(file: h5py.File) -> None:
    clip_of(file).attrs["digest"] = ""
    clip_of(file)["frames"][0] = 7


def many_texts(file: h5py.File) -> None:
    clip_of(file).attrs["key"] = ["a" * 64] * 3


def other_version(file: h5py.File) -> None:
    file.attrs["version"] = 99


def no_format(file: h5py.File) -> None:
    del file.attrs["format"]


HOSTILE: list[Callable[[h5py.File], None]] = [
    external_link, soft_link, hard_loop, linked_frames, virtual, external_data, bomb,
    bomb_without_filter, wide_row, shared_data, objects, compound, references, step_outside,
    key_outside, array_outside, hidden_array, meta_of_nan, deep_meta, number_for_text, no_digest,
    many_texts, other_version, no_format,
]  # fmt: skip


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_a_hostile_file_is_refused_before_anything_is_imported(
    tmp_path: Path, spoil: Callable[[h5py.File], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = exported(tmp_path)
    with h5py.File(out, "r+") as file:
        spoil(file)
    monkeypatch.setattr("pianoeval.sharing.hdf5_read._look_first", lambda path: None)  # it is slow
    with pytest.raises(BadInputError):
        import_items(out, ItemCache(tmp_path / "b"))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("data", [b"", b"not HDF5", None, b"cut"])
def test_what_is_no_export_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "x.h5"
    if data == b"cut":
        path.write_bytes(exported(tmp_path).read_bytes()[:-100])
    elif data is not None:
        path.write_bytes(data)
    with pytest.raises(BadInputError, match=r"HDF5|no such file"):
        import_items(path, ItemCache(tmp_path / "b"))


def test_flipped_bits_change_no_item(tmp_path: Path) -> None:
    out = exported(tmp_path)
    clean, whole = out.read_bytes(), files(tmp_path / "a" / "items")
    count, chance, refused = scale(5, 200), random.Random(1), 0
    for number in range(count):
        data = bytearray(clean)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        out.write_bytes(data)
        try:
            refused += bool(import_items(out, ItemCache(tmp_path / str(number))).refused)
        except PianoevalError:
            refused += 1
        for name, found in files(tmp_path / str(number)).items():
            if name in whole:  # what the digest does not cover (made_by) may have changed
                assert found[-1000:] == whole[name][-1000:]
    assert refused > 0
    record("bad input", "HDF5 exports with flipped bits", files=count, refused=refused)


def test_a_file_in_which_the_library_goes_round_in_circles_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pianoeval.sharing.hdf5_read._LOOK_S", 4.0)
    out = exported(tmp_path)
    data = bytearray(out.read_bytes())
    # The size of a text among all texts of the file: 64 bytes become 1088.
    data[data.index(key_of_number(1).encode()) - 7] = 4
    out.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(BadInputError, match=r"no end after 4 s|cannot be read"):
        import_items(out, ItemCache(tmp_path / "b"))
    record("bad input", "HDF5 that hangs its library", seconds=round(time.monotonic() - began, 1))


def dies(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_file_that_crashes_the_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pianoeval.sharing.hdf5_read._look_alone", dies)
    with pytest.raises(BadInputError, match="the library crashes"):
        import_items(exported(tmp_path), ItemCache(tmp_path / "b"))


def test_wrong_stores_and_places_are_told(tmp_path: Path) -> None:
    out = exported(tmp_path)
    cache, store = ItemCache(tmp_path / "a" / "items"), tmp_path / "w" / "data" / f"{STORE}.zarr"
    with pytest.raises(PianoevalError, match="two stores are called"):
        export_stores(out, [store, store], cache, tmp_path / "w" / "data")
    with pytest.raises(PianoevalError, match="not a store"):
        export_stores(out, [tmp_path], cache, tmp_path)
    before = out.read_bytes()
    frames = next(path for path in (store / "frames" / "c").rglob("*") if path.is_file())
    data = bytearray(frames.read_bytes())
    data[data.index(arrays_of(1)["frames"][:, 0].tobytes()) + 5] ^= 1
    frames.write_bytes(data)
    for number in range(3):
        cache.path(STEP, key_of_number(number)).unlink()
    with pytest.raises(PianoevalError, match=r"differs from what was written|cannot be read"):
        export_stores(out, [store], cache, tmp_path / "w" / "data")
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_commands_and_a_store_made_of_what_was_imported(tmp_path: Path) -> None:
    exported(tmp_path)
    workspace = remote_workspace(tmp_path / "w2", {"url": "x"})
    store = tmp_path / "w" / "data" / f"{STORE}.zarr"
    done = command(workspace, tmp_path / "a", "export", str(tmp_path / "o.h5"), str(store))
    assert done.returncode == 0, done.stderr
    assert "3 clips" in done.stdout
    done = command(workspace, tmp_path / "b", "import", str(tmp_path / "o.h5"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["imported"] == 3
    make_store(tmp_path / "again.zarr", ItemCache(tmp_path / "b" / "items"), 3)
    assert files(tmp_path / "again.zarr") == files(store)
    assert RaggedStore(tmp_path / "again.zarr").clips == ["clip/0", "clip/1", "clip/2"]
