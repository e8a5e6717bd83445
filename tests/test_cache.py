from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pianoeval.cache import ItemCache, item_digest, item_key, write_atomic
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
