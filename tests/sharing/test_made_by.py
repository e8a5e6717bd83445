"""Which item a file is, and what made it: beside the digest, not in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save
from sharing_cases import STEP, arrays_of, fill, key_of_number

from pianoeval.cache import ItemCache, item_digest
from pianoeval.itemread import read_item, read_origin
from pianoeval.provenance import made_by

META = {"frame_rate_hz": 25.0, "number": 0}


def test_the_header_names_the_item_and_its_makers(tmp_path: Path) -> None:
    path = fill(tmp_path, 1).path(STEP, key_of_number(0))
    with safe_open(path, "numpy") as file:  # the library's own reader
        text = file.metadata()
    assert text["key"] == f"{STEP}/{key_of_number(0)}"
    assert text["digest"] == item_digest(arrays_of(0), META)  # no part of it
    assert json.loads(text["made_by"])["numpy"] == np.__version__
    assert read_origin(path) == made_by() == read_item(path).made_by


def test_what_made_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the process has imported: bytes do not depend on who computes."""
    script = (
        "import sys; from pathlib import Path; from sharing_cases import fill; "
        "print('torch' in sys.modules); fill(Path(sys.argv[1]), 1)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
    import torch

    assert torch.__name__ in sys.modules
    fill(tmp_path / "b", 1)
    a, b = (ItemCache(tmp_path / n).path(STEP, key_of_number(0)) for n in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_an_older_file_without_them_is_read(tmp_path: Path) -> None:
    cache = ItemCache(tmp_path)
    path = cache.path(STEP, key_of_number(0))
    path.parent.mkdir(parents=True)
    digest = item_digest(arrays_of(0), META)
    path.write_bytes(save(arrays_of(0), {"meta": json.dumps(META), "digest": digest}))
    item = cache.get(STEP, key_of_number(0))
    assert item is not None
    assert (item.digest, item.made_by, read_origin(path)) == (digest, {}, {})


@pytest.mark.parametrize("step", [STEP, "embedding-other"])
def test_an_item_under_the_name_of_another_is_dropped(tmp_path: Path, step: str) -> None:
    cache = fill(tmp_path, 1)
    key = key_of_number(int(step == STEP))
    stolen = cache.path(step, key)
    stolen.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cache.path(STEP, key_of_number(0)), stolen)
    assert cache.get(step, key) is None
    assert not stolen.exists()
    assert cache.get(STEP, key_of_number(0)) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None)
@given(
    header=st.dictionaries(
        st.sampled_from(["__metadata__", "frames", "level"]),
        json_values | st.fixed_dictionaries(
            {}, optional={
                "meta": json_values | st.sampled_from(["{}", "5", "[", "NaN", "[" * 5000]),
                "digest": json_values, "key": json_values, "made_by": json_values,
                "dtype": st.sampled_from(["F16", "U8", "?"]) | json_values,
                "shape": st.lists(st.integers(-3, 2**66), max_size=4) | json_values,
                "data_offsets": st.lists(st.integers(-9, 2**66), max_size=3) | json_values,
            },
        ),
    ),
    data=st.binary(max_size=40),
)  # fmt: skip
def test_no_header_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, object], data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    with pytest.raises(ValueError, match=r"."):
        read_item(path, "x/y")


@pytest.mark.parametrize("text", [b"[" * 200_000, b"1" * 9000, b'{"__metadata__": {}}', b"\xff"])
def test_no_text_crashes_the_reader(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    for read in (read_item, read_origin):
        try:
            read(path)
        except ValueError:
            continue
        assert (read, text) == (read_origin, b'{"__metadata__": {}}')


def age(path: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


@pytest.mark.parametrize(("days", "renewed"), [(0.5, False), (2.0, True), (-3.0, True)])
def test_a_hit_renews_the_time_once_a_day(tmp_path: Path, days: float, renewed: bool) -> None:
    cache = fill(tmp_path, 1)
    path = cache.path(STEP, key_of_number(0))
    age(path, days)
    before = path.stat().st_mtime
    assert cache.get(STEP, key_of_number(0)) is not None
    assert (path.stat().st_mtime != before) == renewed
    if renewed:
        assert abs(path.stat().st_mtime - time.time()) < 60


def test_a_cache_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = fill(tmp_path, 1)
    age(cache.path(STEP, key_of_number(0)), 3)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.get(STEP, key_of_number(0)) is not None
