# ruff: noqa: E501 - payloads read best on a line of their own
"""Hostile labels, ratings, names of files and receipts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import hostile_midi
import hostile_text
import pytest
from hostile_run import Case, check, run_cases, write_cases
from levels import FULL, scale

from pianoeval.corpora.folder import ingest
from pianoeval.corpora.folder_tables import MAX_COLUMNS, read_labels_csv
from pianoeval.corpora.percepiano_ratings import read_means
from pianoeval.corpora.receipt import checked_name
from pianoeval.errors import BadInputError
from pianoeval.params import CorpusParams, MidiLimits

RECEIPT = {
    "name": "a", "loader": "folder", "version": "1", "licence": "x", "licence_note": "",
    "source": "folder", "digest": "", "files": {"a.mid": "0" * 64},
}  # fmt: skip
MEANS = {"a": [0.5] * 20, "b": [0.25] * 20}
_QUICK = 20_000


def folders(inputs: Iterable[tuple[str, bytes]], home: Path) -> Iterator[Case]:
    """Two good recordings beside each table."""
    good = hostile_midi.seeds()
    for number, (label, data) in enumerate(inputs):
        folder = home / f"{number:05}"
        folder.mkdir(parents=True)
        (folder / "a.mid").write_bytes(good[0])
        (folder / "b.mid").write_bytes(good[3])
        (folder / "labels.csv").write_bytes(data)
        yield Case("corpus", folder, f"{number}:{label}")


def test_tables_beside_recordings(tmp_path: Path) -> None:
    tricks = [one for one in hostile_text.label_tricks() if FULL or len(one[1]) < _QUICK]
    random = hostile_text.label_random(scale(15, 250), seed=0)
    few = tricks if FULL else tricks[::7]
    check("label tables", run_cases(folders(itertools.chain(few, random), tmp_path)))


@pytest.mark.parametrize("kind", ["receipt", "means", "config"])
def test_json_files(kind: str, tmp_path: Path) -> None:
    good = {"receipt": RECEIPT, "means": MEANS, "config": {"a": [1]}}[kind]
    random = hostile_text.json_random(good, scale(10, 60), seed=0)
    inputs = itertools.chain(hostile_text.json_tricks(), random)
    check(f"JSON, {kind}", run_cases(write_cases(kind, inputs, tmp_path, ".json")))


def test_raw_ratings(tmp_path: Path) -> None:
    head = b"user,filename," + b",".join(b"Question_%d" % i for i in range(20)) + b"\n"
    rows = b"".join(b"R%d,a,%s\n" % (i, b",".join([b"3"] * 20)) for i in range(5))
    tricks = ((name, data) for name, data in hostile_text.label_tricks() if len(data) < _QUICK)
    few = itertools.islice(tricks, None, None, 1 if FULL else 12)
    damaged = hostile_text.damaged_copies(head + rows, scale(10, 60), seed=0)
    cases = write_cases("ratings", itertools.chain(few, damaged), tmp_path, ".csv")
    check("raw ratings", run_cases(cases))


@pytest.mark.parametrize(
    "name",
    ["../a.mid", "/a.mid", "a/../../b.mid", "a\\b.mid", "C:/a.mid", "a\nb.mid", "a\x1b[31m.mid",
     "a\0.mid", "a\u2028.mid", "a\u202edim.mid", "a\udcff.mid", "a\tb.mid", "", "a\rb.mid"],
)  # fmt: skip
def test_names_that_lead_out_or_cannot_be_shown(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        checked_name(name)
    assert str(caught.value).isprintable() or "\n  next:" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def in_folder(tmp_path: Path, *names: str) -> dict[str, str]:
    raw = tmp_path / "raw"
    for name in names:
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hostile_midi.seeds()[0])
    return ingest(CorpusParams(loader="folder"), "mine", raw, tmp_path / "source", MidiLimits())


@pytest.mark.parametrize(
    ("one", "other"), [("Anna.mid", "anna.mid"), ("\u00e9.mid", "e\u0301.mid"), ("A/b.mid", "a/b.mid")]
)  # fmt: skip
def test_names_that_macos_takes_for_one(tmp_path: Path, one: str, other: str) -> None:
    with pytest.raises(BadInputError, match="differ only in capitals or accents"):
        in_folder(tmp_path, one, other)


@pytest.mark.parametrize("name", ["a\nb.mid", "a\x1b.mid", " .mid", "x/ .mid", "\u202ea.mid"])
def test_files_with_such_names_stop_the_ingest(tmp_path: Path, name: str) -> None:
    if name.strip() == ".mid":
        with pytest.raises(BadInputError, match="0 bytes"):
            in_folder(tmp_path, name)
    elif name == "x/ .mid":
        in_folder(tmp_path, name)
    else:
        with pytest.raises(BadInputError, match="cannot be shown"):
            in_folder(tmp_path, name)


def test_a_name_that_is_not_utf8_stops_the_ingest(tmp_path: Path) -> None:
    try:
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / b"a\xff.mid".decode("utf-8", "surrogateescape")).write_bytes(b"")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes no such name")
    with pytest.raises(BadInputError, match="cannot be shown"):
        in_folder(tmp_path, "good.mid")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("file," + ",".join(f"d{i}" for i in range(MAX_COLUMNS)), "columns"),
        ('file,"a\nb"\na.mid,1', "cannot be shown"),
        ("file,tone\x1b[2J\na.mid,1", "cannot be shown"),
        ("file,tone\na.mid,1e308", "not numbers"),
        ("file,tone\na.mid,inf", "not numbers"),
        ("file,tone\na.mid,nan", "not numbers"),
        ("file,value\na.mid,1", "'value' alone"),
        ("file,dimension\na.mid,1", "'dimension' alone"),
        ("file,tone\n../../a.mid,1", "not in the folder"),
        ("file,tone\n/etc/passwd,1", "not in the folder"),
    ],
)
def test_tables_are_refused_for_the_right_reason(tmp_path: Path, table: str, reason: str) -> None:
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    with pytest.raises(BadInputError, match=reason):
        read_labels_csv(tmp_path, {"a.mid": "a"})


def test_nested_json_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "means.json"
    path.write_text(json.dumps({"a": 1}).replace("1", "[" * 100_000))
    with pytest.raises(BadInputError, match="not readable as JSON"):
        read_means(path)
