"""Nothing is called that only Linux has, unless there is another way; names mean one file each."""

from __future__ import annotations

import ast
import fcntl
import mmap
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from workspaces import ROOT, small_params

from pianoeval import atomic, builder, memory, paths, provenance
from pianoeval.cache import ItemCache
from pianoeval.corpora import folder
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.errors import ConfigError
from pianoeval.itemfile import row_blocks
from pianoeval.params import CorpusParams, MidiLimits
from pianoeval.params_file import SHIPPED, load_settings, parse_params

# Calls and paths that macOS, or Linux without glibc, does not have.
LINUX_ONLY = {
    "sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fadvise", "posix_fallocate",
    "eventfd", "pidfd_open", "splice", "copy_file_range", "getrandom", "fork", "forkpty",
    "epoll", "inotify_init", "O_TMPFILE", "O_DIRECT", "O_PATH", "MADV_DONTNEED", "MADV_HUGEPAGE",
    "MADV_SEQUENTIAL", "MADV_WILLNEED", "SO_PEERCRED", "SIGRTMIN", "SIGRTMAX", "ru_maxrss",
    "prlimit", "malloc_trim", "prctl", "setns", "unshare", "getxattr", "setxattr",
    "sync_file_range", "fdatasync",
}  # fmt: skip
#: Where they are used all the same, because there is another way; the tests below go it.
GUARDED = {
    ("builder.py", "sched_getaffinity"), ("itemfile.py", "MADV_DONTNEED"),
    ("memory.py", "malloc_trim"), ("memory.py", "/proc/self/statm"),
    ("provenance.py", "/proc/cpuinfo"), ("interrupt.py", "/proc/"),
}  # fmt: skip


def linux_only(path: Path) -> set[str]:
    """Names and absolute system paths in a module's code, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in LINUX_ONLY:
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if text in LINUX_ONLY or text.startswith(("/proc", "/sys/", "/dev/shm", "/run/")):
                found.add(text)
    return found


def test_linux_alone_is_asked_for_nothing_that_has_no_other_way() -> None:
    used = {
        (path.relative_to(ROOT / "pianoeval").as_posix(), name)
        for path in (ROOT / "pianoeval").rglob("*.py")
        for name in linux_only(path)
    }
    assert used == GUARDED
    assert not any(linux_only(path) for path in (ROOT / "stages").glob("*.py"))


def test_processes_are_spawned() -> None:
    """macOS's default; a fork of a process that has threads may hang anywhere."""
    for path in (ROOT / "pianoeval").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("get_context", "set_start_method"):
                [method] = node.args
                assert isinstance(method, ast.Constant), path
                assert method.value == "spawn", path
            if name in ("ProcessPoolExecutor", "ProcessPool"):
                assert {"mp_context", "context"} & {word.arg for word in node.keywords}, path


def test_cores_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert builder.n_cores() == 7


def test_memory_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", Path("/nowhere/statm"))
    trimmer = memory.Trimmer()
    trimmer.after_item()
    monkeypatch.setattr(Path, "read_text", _no_such_file)
    assert "machine" in provenance.made_by()


def _no_such_file(*arguments: object, **options: object) -> str:
    raise FileNotFoundError("/proc/cpuinfo")


def test_a_mapped_item_where_pages_cannot_be_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    values = np.arange(40 << 18, dtype=np.float32)  # 40 MB: mapped when it is read
    cache = ItemCache(tmp_path)
    cache.put("step", "ab" * 32, {"frames": values}, {})
    item = cache.get("step", "ab" * 32)
    assert item is not None
    assert isinstance(item.arrays["frames"], np.memmap)
    assert np.array_equal(np.concatenate(list(row_blocks(item.arrays["frames"]))), values)


@pytest.mark.parametrize("known", [True, False])
def test_files_reach_the_disk_on_macos(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool
) -> None:
    """fsync does not do that there; a network file system may know F_FULLFSYNC no more."""
    full, calls = 51, []
    real_fcntl, real_fsync = fcntl.fcntl, os.fsync

    def fake(descriptor: int, command: int, *arguments: object) -> object:
        if command != full:
            return real_fcntl(descriptor, command, *arguments)  # type: ignore[arg-type]
        calls.append("F_FULLFSYNC")
        if not known:
            raise OSError(45, "Operation not supported")
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", full, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", fake)
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append("fsync"), real_fsync(d))[1])
    atomic.write_atomic(tmp_path / "file", b"bytes")
    assert (tmp_path / "file").read_bytes() == b"bytes"
    assert calls == (["F_FULLFSYNC"] if known else ["F_FULLFSYNC", "fsync"])


def caches_on(platform: str, home: Path) -> str:
    """The cache of a process that believes to run on ``platform``, outside of any workspace."""
    code = (
        f"import sys; sys.platform = {platform!r}; import platformdirs; "
        "from pianoeval.paths import cache_root; print(cache_root())"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIANOEVAL", "XDG", "DVC"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True,
        env=kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.stdout.strip()


def test_cache_outside_of_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caches_on("linux", tmp_path) == str(tmp_path / ".cache" / "pianoeval")
    assert caches_on("darwin", tmp_path) == str(tmp_path / "Library" / "Caches" / "pianoeval")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIANOEVAL_CACHE", "~/mine")
    assert paths.cache_root() == Path.home() / "mine"
    monkeypatch.delenv("PIANOEVAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_root() == tmp_path / "xdg" / "pianoeval"
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert paths.cache_root() == tmp_path / "cache"  # a workspace has its own, as before


def test_shipped_parameters_are_those_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SHIPPED.read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert SHIPPED.is_symlink()  # in the repository there is one file
    monkeypatch.chdir(tmp_path)
    params, path = load_settings()
    assert path == SHIPPED
    (tmp_path / "params.yaml").write_bytes(
        SHIPPED.read_bytes().replace(b"n_mels: 128", b"n_mels: 64")
    )
    edited, path = load_settings()
    assert path == tmp_path / "params.yaml"
    assert edited.encoders["mel"] != params.encoders["mel"]


def test_names_that_macos_cannot_tell_apart() -> None:
    data = small_params()
    data["encoders"]["MEL"] = data["encoders"]["mel"]
    with pytest.raises(ConfigError, match="'mel' and 'MEL' are one folder on macOS"):
        parse_params(data)


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_labels_find_files_whose_accents_are_written_otherwise(
    tmp_path: Path, on_disk: str, in_table: str
) -> None:
    """A name copied from macOS, and a table saved by a spreadsheet."""
    raw = tmp_path / "raw"
    raw.mkdir()
    file = unicodedata.normalize(on_disk, "Übung é.wav")
    soundfile.write(raw / file, np.zeros(4000), 8000)
    other = unicodedata.normalize(in_table, "Übung é.wav")
    assert file != other
    (raw / "labels.csv").write_text(f"file,tone\n{other},0.5\n", encoding="utf-8")
    folder.ingest(CorpusParams(loader="folder"), "mine", raw, tmp_path / "out", MidiLimits())
    [clip] = read_manifest(tmp_path / "out" / "manifest.parquet")["clip"]
    assert read_labels(tmp_path / "out" / "labels.parquet")["clip"].tolist() == [clip]
