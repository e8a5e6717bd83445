"""Tables come back as they were, or are refused: no bit of the file may change a value."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.atomic import output_folder, write_output
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.tablefile import read_table, table_digest, write_table

pa = pytest.importorskip("pyarrow")


def make_table(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    table = pd.DataFrame(
        {
            "clip": [f"clip {i} é" for i in range(rows)],
            "name": [None if i % 3 else f"n{i}" for i in range(rows)],
            "value": rng.normal(size=rows),
            "small": rng.normal(size=rows).astype(np.float32),
            "n": pd.array([None if i % 4 == 0 else i for i in range(rows)], dtype="Int64"),
            "yes": pd.array([None if i % 5 == 0 else i % 2 == 0 for i in range(rows)], "boolean"),
            "flag": rng.random(rows) > 0.5,
            "nothing": [None] * rows,
        }
    )
    table.loc[::7, "value"] = np.nan
    table.attrs["quarantined"] = {"b": "too short"}
    return table


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_a_table_comes_back_with_types_and_attrs(tmp_path: Path, rows: int) -> None:
    table = make_table(rows)
    write_table(table, tmp_path / "a" / "t.parquet")
    found = read_table(tmp_path / "a" / "t.parquet")
    pd.testing.assert_frame_equal(found, table, check_dtype=rows > 0)
    assert found.attrs == table.attrs
    write_table(table, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "a/t.parquet").read_bytes()


def test_every_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """Over all of a small file: padding and statistics may change, what is read may not."""
    table = make_table(5)
    path = tmp_path / "t.parquet"
    write_table(table, path)
    data = bytearray(path.read_bytes())
    refused = unchanged = 0
    for place in range(0, len(data), 7):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        data[place] ^= 1 << place % 8
        try:
            found = read_table(path)
        except CorruptDataError as error:
            refused += str(path) in str(error) and bool(error.next_step)
        else:
            pd.testing.assert_frame_equal(found, table)
            assert found.attrs == table.attrs
            unchanged += 1
    assert refused + unchanged == len(range(0, len(data), 7))
    assert refused > 0.3 * len(data) / 7


@given(st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "truncated.parquet"
    write_table(make_table(), path)
    data = path.read_bytes()
    path.write_bytes(data[: seed % len(data)])
    with pytest.raises(CorruptDataError, match="not the table that was written"):
        read_table(path, "dvc repro folds@x")


def test_a_table_of_another_writer_is_refused(tmp_path: Path) -> None:
    make_table().to_parquet(tmp_path / "t.parquet", index=False)
    with pytest.raises(CorruptDataError, match="no SHA-256"):
        read_table(tmp_path / "t.parquet")


def test_an_absent_table_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"no such table\n.*dvc repro folds@x"):
        read_table(tmp_path / "t.parquet", "dvc repro folds@x")


def test_the_digest_does_not_depend_on_chunks_or_on_what_lies_under_a_null() -> None:
    whole = pa.Table.from_pandas(make_table(), preserve_index=False)
    parts = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 1), whole.slice(8)])
    assert parts.column("clip").num_chunks == 3
    assert table_digest(parts) == table_digest(whole)
    under = pa.array(np.array([1.0, 9.0]), mask=np.array([False, True]))
    other = pa.array(np.array([1.0, 5.0]), mask=np.array([False, True]))
    first, second = (pa.table({"x": column}) for column in (under, other))
    assert table_digest(first) == table_digest(second)
    assert table_digest(pa.table({"x": [1.0, 0.0]})) != table_digest(first)
    assert table_digest(pa.table({"x": ["ab", "c"]})) != table_digest(pa.table({"x": ["a", "bc"]}))


def test_a_column_that_cannot_be_checked_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="'x' of type"):
        write_table(pd.DataFrame({"x": [[1, 2], [3]]}), tmp_path / "t.parquet")


def test_a_hard_link_into_a_shared_cache_is_not_written_through(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.write_bytes(b"as it was")
    for name, write in (
        ("a.txt", lambda path: write_output(path, "new")),
        ("b.parquet", lambda path: write_table(make_table(), path)),
    ):
        os.link(shared, tmp_path / name)
        write(tmp_path / name)
        assert (tmp_path / name).read_bytes() != b"as it was"
        assert shared.read_bytes() == b"as it was"


def test_an_output_has_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_output(tmp_path / "new" / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "a.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "clips"
    with output_folder(target) as folder:
        assert folder.name == "clips"
        (folder / "old").write_text("1", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), output_folder(target) as folder:
        (folder / str(1 // 0)).write_text("2", encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["old"]
    with output_folder(target) as folder:
        (folder / "new").write_text("2", encoding="utf-8")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


_RENAMES = """
import os, signal, sys
from pathlib import Path
from pianoeval import interrupt
from pianoeval.atomic import output_folder

rename, number, nth, done = os.replace, int(sys.argv[2]), int(sys.argv[3]), []

def replace(source, target):
    rename(source, target)
    done.append(target)
    if len(done) == nth:
        os.kill(os.getpid(), number)
        (lambda: None)()  # here Python's handlers run

os.replace = replace
with interrupt.program("told to end"), output_folder(Path(sys.argv[1])) as folder:
    (folder / "new").write_text("2", encoding="utf-8")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_former_folder_survives_an_end_between_the_renames(
    tmp_path: Path, number: int, nth: int
) -> None:
    target = tmp_path / "clips"
    with output_folder(target) as folder:
        (folder / "old").write_text("1", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _RENAMES, str(target), str(int(number)), str(nth)], check=False
    )
    assert done.returncode in (-number, 128 + number)
    if number == signal.SIGKILL and nth == 1:  # it is not lost: the next run brings it back
        assert not target.exists()
        with pytest.raises(ZeroDivisionError), output_folder(target) as folder:
            (folder / str(1 // 0)).write_text("3", encoding="utf-8")
    assert [path.name for path in target.iterdir()] == (["old"] if nth == 1 else ["new"])
    if number != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == ["clips"]
