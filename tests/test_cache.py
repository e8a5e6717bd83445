from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load_file, save

from pianoeval.atomic import write_atomic
from pianoeval.cache import Blocks, ItemCache, item_digest, item_key
from pianoeval.errors import PianoevalError

KEY = "ab" * 32


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = ItemCache(tmp_path)
    frames = np.arange(12, dtype=np.float16).reshape(2, 3, 2)
    cache.put("embed", KEY, {"frames": frames, "level": np.zeros(3, np.float32)}, {"rate": 25.0})
    item = cache.get("embed", KEY)
    assert item is not None
    np.testing.assert_array_equal(item.arrays["frames"], frames)
    assert item.arrays["frames"].dtype == np.float16
    assert item.meta == {"rate": 25.0}
    assert cache.get("embed", "cd" * 32) is None


@given(arrays(np.float32, array_shapes(max_dims=3), elements=st.floats(-9, 9, width=32)))
def test_the_digest_sees_values_shape_and_name(array: np.ndarray) -> None:
    digest = item_digest({"a": array}, {})
    assert digest == item_digest({"a": array.copy()}, {})
    assert digest != item_digest({"b": array}, {})
    assert digest != item_digest({"a": array}, {"n": 1})
    assert digest != item_digest({"a": array + 1}, {})
    assert digest != item_digest({"a": array[None]}, {})


@pytest.mark.parametrize("change", ["step", "code", "inputs", "config"])
def test_the_key_depends_on_everything(change: str) -> None:
    base = {"step": "s", "code_version": 1, "inputs": {"midi": "1"}, "config": {"hop": 1}}
    other = dict(base) | {
        "step": {"step": "t"}, "code": {"code_version": 2},
        "inputs": {"inputs": {"midi": "2"}}, "config": {"config": {"hop": 2}},
    }[change]  # fmt: skip
    assert item_key(**base) != item_key(**other)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [3, 100, -1])
def test_a_flipped_bit_is_found_and_the_item_dropped(tmp_path: Path, position: int) -> None:
    cache = ItemCache(tmp_path)
    cache.put("embed", KEY, {"frames": np.ones((9, 1, 4), np.float16)}, {})
    path = cache.path("embed", KEY)
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)
    assert cache.get("embed", KEY) is None
    assert not cache.has("embed", KEY)


@pytest.mark.parametrize("length", [0, 7, 60, 200])
def test_a_truncated_item_is_dropped(tmp_path: Path, length: int) -> None:
    cache = ItemCache(tmp_path)
    cache.put("embed", KEY, {"frames": np.ones((99, 1, 4), np.float16)}, {})
    path = cache.path("embed", KEY)
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get("embed", KEY) is None


def test_lab_mates_can_read_and_write(tmp_path: Path) -> None:
    cache = ItemCache(tmp_path / "shared")
    cache.put("embed", KEY, {"a": np.ones(1)}, {})
    path = cache.path("embed", KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert path.parent.stat().st_mode & stat.S_ISGID


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PianoevalError, match=r"No space left.*\n.*free space"):
        write_atomic(tmp_path / "x" / "item", b"data")
    assert list((tmp_path / "x").iterdir()) == []


def frames_of(rows: int = 100) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 2, 8)).astype(np.float16)


def parts_of(frames: np.ndarray, size: int) -> Blocks:
    parts = (frames[i : i + size] for i in range(0, len(frames), size))
    return Blocks(frames.shape, frames.dtype, parts)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture(params=["read", "mapped"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small files are read, large ones mapped: both ways for the same items."""
    if request.param == "mapped":
        monkeypatch.setattr("pianoeval.itemread._MAPPED_BYTES", 0)
        monkeypatch.setattr("pianoeval.itemfile._HASHED_BYTES", 64)
    return str(request.param)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_item_in_parts_has_the_bytes_of_a_whole_one(tmp_path: Path, how: str, size: int) -> None:
    whole, parts = ItemCache(tmp_path / "a"), ItemCache(tmp_path / "b")
    frames, level = frames_of(), np.array([-20, -21, -3], np.float32)
    whole.put("embed", KEY, {"frames": frames, "level": level}, {"rate": 25.0})
    parts.put("embed", KEY, {"frames": parts_of(frames, size), "level": level}, {"rate": 25.0})
    assert whole.path("embed", KEY).read_bytes() == parts.path("embed", KEY).read_bytes()
    item = parts.get("embed", KEY)
    assert item is not None
    assert isinstance(item.arrays["frames"], np.memmap) == (how == "mapped")
    np.testing.assert_array_equal(item.arrays["frames"], frames)
    assert item.digest == item_digest({"frames": frames, "level": level}, {"rate": 25.0})
    assert files(tmp_path / "b") == [parts.path("embed", KEY)]


def test_the_file_is_what_the_safetensors_library_reads_and_writes(tmp_path: Path) -> None:
    cache = ItemCache(tmp_path)
    arrays = {
        "b": np.array([True, False, True]), "z": np.arange(3), "frames": frames_of(5),
        "none": np.zeros((0, 4), np.float32),
    }  # fmt: skip
    cache.put("x", KEY, arrays, {"name": "ö"})
    read = load_file(cache.path("x", KEY))
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    # A file of the library itself, as older versions of this package wrote them.
    text = {"meta": '{"name":"ö"}', "digest": item_digest(arrays, {"name": "ö"})}
    cache.path("x", KEY).write_bytes(save(arrays, metadata=text))
    item = cache.get("x", KEY)
    assert item is not None
    assert set(item.arrays) == set(arrays)
    assert item.meta == {"name": "ö"}


def test_any_flipped_byte_or_missing_end_is_found(tmp_path: Path, how: str) -> None:
    cache = ItemCache(tmp_path)
    cache.put("embed", KEY, {"frames": parts_of(frames_of(6), 4)}, {"rate": 25.0})
    path = cache.path("embed", KEY)
    clean = path.read_bytes()
    # Spaces at the end of the header, and the digest's own name, carry nothing but themselves.
    for position in range(len(clean)):
        path.write_bytes(clean[:position] + bytes([clean[position] ^ 1]) + clean[position + 1 :])
        item = cache.get("embed", KEY)
        if item is not None:  # a space of the padding became another blank, or nothing changed
            np.testing.assert_array_equal(item.arrays["frames"], frames_of(6))
    for length in range(0, len(clean), 9):
        path.write_bytes(clean[:length])
        assert cache.get("embed", KEY) is None
        assert not path.exists()
    path.write_bytes(clean + b"\0")
    assert cache.get("embed", KEY) is None


def test_a_digest_that_was_never_written_is_found(tmp_path: Path, how: str) -> None:
    cache = ItemCache(tmp_path)
    frames = frames_of()
    writer = cache.writer("embed", KEY, {"frames": (frames.shape, frames.dtype)}, {})
    writer.append("frames", frames)
    writer._partial.commit()  # as if killed before the digest, with a name nonetheless
    assert cache.has("embed", KEY)
    assert cache.get("embed", KEY) is None
    assert not cache.has("embed", KEY)


@pytest.mark.parametrize(
    ("rows", "dtype", "message"),
    [(99, np.float16, "'frames' have shape"), (101, np.float16, "100 of 101 rows"),
     (100, np.float32, "float32")],
)  # fmt: skip
def test_a_wrong_announcement_leaves_nothing(
    tmp_path: Path, rows: int, dtype: type, message: str
) -> None:
    cache = ItemCache(tmp_path)
    wrong = Blocks((rows, 2, 8), dtype, iter([frames_of(50), frames_of(50)]))
    with pytest.raises(PianoevalError, match=message):
        cache.put("embed", KEY, {"frames": wrong}, {})
    assert files(tmp_path) == []


def test_an_error_while_parts_are_computed_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[np.ndarray]:
        yield frames_of(50)
        raise KeyError("worker")

    cache = ItemCache(tmp_path)
    with pytest.raises(KeyError, match="worker"):
        cache.put("embed", KEY, {"frames": Blocks((100, 2, 8), np.float16, parts())}, {})
    assert files(tmp_path) == []


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    for array in (np.array(["text"]), np.zeros(3, ">f4")):
        with pytest.raises(PianoevalError, match="cannot be stored"):
            ItemCache(tmp_path).put("x", KEY, {"a": array}, {})
    assert files(tmp_path) == []


def test_parts_of_arrays_may_come_in_turns(tmp_path: Path) -> None:
    cache = ItemCache(tmp_path)
    a, b = np.arange(6, dtype=np.int16), np.arange(4, dtype=np.float32)
    with cache.writer("x", KEY, {"a": ((6,), "i2"), "b": ((4,), "f4")}, {}) as writer:
        for part in range(2):
            writer.append("a", a[3 * part : 3 * part + 3])
            writer.append("b", b[2 * part : 2 * part + 2])
        writer.commit()
    item = cache.get("x", KEY)
    assert item is not None
    np.testing.assert_array_equal(item.arrays["a"], a)
    np.testing.assert_array_equal(item.arrays["b"], b)


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        import numpy as np
        from pianoeval.cache import ItemCache
        writer = ItemCache(Path(sys.argv[1])).writer("x", "ab" * 32, {"a": ((9,), "u1")}, {})
        writer.append("a", np.zeros(5, np.uint8))
        print("writing", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    cache = ItemCache(tmp_path)
    [left] = files(tmp_path)
    assert not cache.has("x", "ab" * 32)
    cache.put("x", "cd" * 32, {"a": np.zeros(3)}, {})
    assert left.exists()  # it may be somebody's who is still at it
    old = time.time() - 25 * 3600
    os.utime(left, (old, old))
    cache.put("x", "ef" * 32, {"a": np.zeros(3)}, {})
    assert not left.exists()
    assert len(files(tmp_path)) == 2


def test_containers_of_one_host_name_and_process_number_do_not_share_a_partial_file(
    tmp_path: Path,
) -> None:
    script = """
        import os, sys
        from pathlib import Path
        os.getpid = lambda: 7
        from pianoeval.atomic import PartialFile
        print(PartialFile(Path(sys.argv[1]) / "item").path.name, flush=True)
        os._exit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    names = {subprocess.check_output(command, text=True) for _ in range(2)}
    assert len(names) == 2


def test_a_host_whose_clock_is_wrong_leaves_files_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, layout = ItemCache(tmp_path), {"a": ((3,), "u1")}
    ours = cache.writer("x", KEY, layout, {})
    days = 3 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + days)
    cache.put("x", "cd" * 32, {"a": np.zeros(3)}, {})
    ours.append("a", np.zeros(3, np.uint8))
    ours.commit()
    assert cache.has("x", KEY)


def test_a_damaged_item_of_a_folder_that_cannot_be_written_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ItemCache(tmp_path)
    cache.put("x", KEY, {"a": np.zeros(3)}, {})
    path = cache.path("x", KEY)
    path.write_bytes(path.read_bytes()[:-1])

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PianoevalError, match=r"damaged.*Read-only.*\n.*another folder"):
        cache.get("x", KEY)
