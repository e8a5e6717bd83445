"""Fetching: atomic, checked, and clear about what is missing."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianoeval.corpora import fetch, upstream
from pianoeval.corpora.fetch import PERCEPIANO, get_corpus, list_folder, materialise
from pianoeval.corpora.receipt import (
    RECEIPT,
    check_files,
    checked_name,
    read_checksums,
    read_receipt,
    tree_digest,
)
from pianoeval.corpora.upstream import Upstream
from pianoeval.errors import (
    BadInputError,
    ConfigError,
    CorruptDataError,
    MissingAssetError,
    PianoevalError,
)
from pianoeval.params import CorpusParams
from pianoeval.provenance import sha256_bytes, sha256_file
from pianoeval.sealed import sealed

PERCEPIANO_PARAMS = CorpusParams(loader="percepiano")
FOLDER = CorpusParams(loader="folder")
FILES = {
    "LICENSE": b"free\n",
    "labels/ratings.csv": b"a,b\r\n1,2\r\n",
    "midi/ a name with a blank.mid": b"MThd one",
    "midi/b.mid": b"MThd two",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora"


def write_tree(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "copy")


@pytest.fixture
def small_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """A real git repository in the place of PercePiano's, with a file that is not wanted."""
    work = write_tree(tmp_path / "repository")
    (work / "large.bin").write_bytes(b"x" * 1000)
    git = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@t"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (work / "LICENSE").write_bytes(b"a later commit\n")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "two"], check=True)
    files = {name: sha256_bytes(content) for name, content in FILES.items()}
    checksums = tmp_path / "small.sha256"
    checksums.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(files.items())))
    small = dataclasses.replace(
        PERCEPIANO, url=work.as_uri(), commit=commit, checksums=checksums,
        digest=tree_digest(files),
    )  # fmt: skip
    monkeypatch.setattr(fetch, "PERCEPIANO", small)
    return small


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECEIPT]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_nothing_half_done(folder: Path) -> None:
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


# The list of checksums -------------------------------------------------------------------------


def test_the_shipped_list_is_the_pinned_one() -> None:
    files = PERCEPIANO.files()
    assert len(files) == 1202 + 99 + 3
    assert sha256_file(PERCEPIANO.checksums) == PERCEPIANO.digest == tree_digest(files)
    assert "virtuoso/data/all_2rounds/ Schubert_D935_no.3_4bars_2_1.mid" in files


def test_an_edited_list_is_refused(tmp_path: Path) -> None:
    edited = tmp_path / "edited.sha256"
    edited.write_text(PERCEPIANO.checksums.read_text().replace("LICENSE", "LICENCE"))
    with pytest.raises(CorruptDataError, match="was changed"):
        dataclasses.replace(PERCEPIANO, checksums=edited).files()


def test_real_corpus_from_a_local_copy(percepiano_dir: Path, tmp_path: Path, cache: Path) -> None:
    target = get_corpus("percepiano", PERCEPIANO_PARAMS, percepiano_dir)
    assert target == cache / "percepiano"
    materialise("percepiano", PERCEPIANO_PARAMS, tmp_path / "data/percepiano/raw")
    receipt = read_receipt(tmp_path / "data/percepiano/raw", "")
    assert (receipt.version, receipt.licence) == ("e672299", "MIT")
    assert len(contents(tmp_path / "data/percepiano/raw")) == 1304
    assert str(percepiano_dir) not in (target / RECEIPT).read_text()


# Cloning and copying ---------------------------------------------------------------------------


def test_clone_and_copy_give_the_same_bytes(
    small_upstream: Upstream, copy: Path, cache: Path
) -> None:
    cloned = get_corpus("percepiano", PERCEPIANO_PARAMS)
    assert contents(cloned) == FILES  # the pinned commit, without what is not wanted
    receipt = (cloned / RECEIPT).read_bytes()
    copied = get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    assert contents(copied) == FILES
    assert (copied / RECEIPT).read_bytes() == receipt
    assert_nothing_half_done(cache)


def test_no_network_names_the_next_command(
    small_upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    gone = dataclasses.replace(small_upstream, url=(tmp_path / "nowhere").as_uri())
    monkeypatch.setattr(fetch, "PERCEPIANO", gone)
    with pytest.raises(MissingAssetError, match="cannot clone") as caught:
        get_corpus("percepiano", PERCEPIANO_PARAMS)
    assert "pianoeval corpus get percepiano --from DIR" in str(caught.value)
    assert_nothing_half_done(cache)
    assert not (cache / "percepiano").exists()


def test_unknown_commit(small_upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(small_upstream, commit="0" * 40)
    monkeypatch.setattr(fetch, "PERCEPIANO", other)
    with pytest.raises(MissingAssetError, match="cannot clone"):
        get_corpus("percepiano", PERCEPIANO_PARAMS)


def test_git_that_hangs_or_is_absent(
    small_upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    monkeypatch.setattr(upstream, "GIT_TIMEOUT_S", 0.2)
    with pytest.raises(MissingAssetError, match="no answer"):
        get_corpus("percepiano", PERCEPIANO_PARAMS)
    slow.unlink()
    with pytest.raises(MissingAssetError, match="git is not installed"):
        get_corpus("percepiano", PERCEPIANO_PARAMS)


def test_missing_and_corrupted_files_are_reported_apart(
    small_upstream: Upstream, copy: Path, cache: Path
) -> None:
    (copy / "midi/b.mid").unlink()
    with pytest.raises(MissingAssetError, match=r"1 of 4 files are missing \(midi/b.mid\)"):
        get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    (copy / "LICENSE").write_bytes(b"changed")
    with pytest.raises(
        CorruptDataError, match=r"missing \(midi/b.mid\); 1 .* checksum \(LICENSE\)"
    ):
        get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    assert_nothing_half_done(cache)


def test_a_failed_get_keeps_the_earlier_copy(
    small_upstream: Upstream, copy: Path, cache: Path
) -> None:
    get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    (copy / "LICENSE").unlink()
    with pytest.raises(MissingAssetError):
        get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    assert contents(cache / "percepiano") == FILES


def test_links_that_lead_out_are_refused(
    small_upstream: Upstream, copy: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(FILES["LICENSE"])
    (copy / "LICENSE").unlink()
    (copy / "LICENSE").symlink_to(outside)
    with pytest.raises(BadInputError, match="leads out"):
        get_corpus("percepiano", PERCEPIANO_PARAMS, copy)


def test_full_disk_is_one_clear_error(
    small_upstream: Upstream, copy: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(PianoevalError, match="No space left") as caught:
        get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    assert "free disk space" in str(caught.value)
    assert_nothing_half_done(cache)


# Paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up", "a/../../b", "", "a\\b", "C:/x", "nul\0", "..", "."]
)
def test_paths_that_leave_the_corpus(name: str) -> None:
    with pytest.raises(BadInputError):
        checked_name(name)


@given(st.text())
def test_a_checked_name_stays_below(name: str) -> None:
    try:
        checked = checked_name(name)
    except BadInputError:
        return
    root = Path("/corpus")
    assert Path(os.path.normpath(root / checked)).is_relative_to(root)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b"])
def test_names_of_corpora(name: str, copy: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a corpus"):
        get_corpus(name, FOLDER, copy)


def test_receipt_that_points_outside_is_refused(
    small_upstream: Upstream, copy: Path, cache: Path, tmp_path: Path
) -> None:
    get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    path = cache / "percepiano" / RECEIPT
    receipt = json.loads(path.read_text())
    receipt["files"]["../../secret"] = "0" * 64
    path.write_text(json.dumps(sealed(receipt)))
    with pytest.raises(BadInputError, match="not a path below"):
        materialise("percepiano", PERCEPIANO_PARAMS, tmp_path / "raw")


# Into the workspace ----------------------------------------------------------------------------


def test_materialise_before_get_names_the_command(tmp_path: Path) -> None:
    for name, params, command in (
        ("percepiano", PERCEPIANO_PARAMS, "pianoeval corpus get percepiano"),
        ("mine", FOLDER, "pianoeval corpus get mine --from DIR"),
    ):
        with pytest.raises(MissingAssetError, match="has not been fetched") as caught:
            materialise(name, params, tmp_path / "data" / name / "raw")
        assert caught.value.next_step == command
        assert not (tmp_path / "data" / name / "raw").exists()


def test_materialise_checks_every_file(
    small_upstream: Upstream, copy: Path, cache: Path, tmp_path: Path
) -> None:
    get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    raw = tmp_path / "data/percepiano/raw"
    materialise("percepiano", PERCEPIANO_PARAMS, raw)
    assert contents(raw) == FILES
    (cache / "percepiano/midi/b.mid").unlink()
    (cache / "percepiano/midi/b.mid").write_bytes(b"MThd tampered")
    with pytest.raises(CorruptDataError, match="checksum"):
        materialise("percepiano", PERCEPIANO_PARAMS, raw)
    assert contents(raw) == FILES  # the earlier one stands
    assert_nothing_half_done(raw.parent)


def test_materialise_replaces_what_was_there(
    small_upstream: Upstream, copy: Path, tmp_path: Path
) -> None:
    get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "left over").write_text("old")
    materialise("percepiano", PERCEPIANO_PARAMS, raw)
    assert contents(raw) == FILES


def test_studio_needs_no_fetch(tmp_path: Path) -> None:
    studio = CorpusParams(loader="studio")
    materialise("studio", studio, tmp_path / "raw")
    receipt = read_receipt(tmp_path / "raw", "")
    assert receipt.version.startswith("music21 ")
    assert receipt.files == {}
    with pytest.raises(ConfigError, match="needs no fetching") as caught:
        get_corpus("studio", studio)
    assert caught.value.next_step == "dvc exp run -S 'axes.corpus=[studio]'"


def test_another_loader_is_refused(small_upstream: Upstream, copy: Path, tmp_path: Path) -> None:
    get_corpus("percepiano", PERCEPIANO_PARAMS, copy)
    with pytest.raises(CorruptDataError, match="fetched as a 'percepiano' corpus"):
        materialise("percepiano", FOLDER, tmp_path / "raw")


# Folders ---------------------------------------------------------------------------------------


def test_folder_takes_recordings_and_tables(tmp_path: Path, cache: Path) -> None:
    files = {
        "a/one.mid": b"1", "two.WAV": b"2", "labels.csv": b"3", "a/labels.csv": b"not at the top",
        ".hidden.mid": b"h", ".git/x.wav": b"g", "notes.txt": b"n", "metadata.csv": b"4",
        RECEIPT: b"someone else's",
    }  # fmt: skip
    source = write_tree(tmp_path / "mine", files)
    target = get_corpus("mine", FOLDER, source)
    assert set(contents(target)) == {"a/one.mid", "two.WAV", "labels.csv", "metadata.csv"}
    receipt = read_receipt(target, "")
    check_files(target, receipt.files, "")
    assert receipt.version == receipt.digest[:12]
    # Later edits of the originals do not reach the cache.
    (source / "a/one.mid").write_bytes(b"edited")
    assert (target / "a/one.mid").read_bytes() == b"1"


def test_folder_digest_can_be_pinned(tmp_path: Path, cache: Path) -> None:
    source = write_tree(tmp_path / "mine", {"one.mid": b"1"})
    get_corpus("mine", FOLDER, source)
    digest = read_receipt(cache / "mine", "").digest
    materialise("mine", CorpusParams(loader="folder", digest=digest[:12]), tmp_path / "raw")
    with pytest.raises(CorruptDataError, match="pinned is 000000000000"):
        materialise("mine", CorpusParams(loader="folder", digest="0" * 12), tmp_path / "raw")


@pytest.mark.parametrize("source", [None, "missing", "empty"])
def test_folder_without_recordings(tmp_path: Path, source: str | None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PianoevalError) as caught:
        get_corpus("mine", FOLDER, tmp_path / source if source else None)
    assert "pianoeval corpus get mine --from DIR" in str(caught.value)


def test_linked_directory_is_refused(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "mine", {"one.mid": b"1"})
    (source / "again").symlink_to(tmp_path)
    with pytest.raises(BadInputError, match="link to a directory"):
        list_folder(source)


def test_checksum_list_keeps_a_leading_blank(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(f"{'0' * 64}   a.mid\n")
    assert read_checksums(path) == {" a.mid": "0" * 64}
