"""Revisions of a repository: what DVC finds, and what it says where it finds nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pianoeval.compare.findings import compare_runs
from pianoeval.compare.paired import Comparison
from pianoeval.compare.places import open_place, split_run
from pianoeval.errors import ConfigError, MissingAssetError
from pianoeval.tablefile import write_table
from tests.compare import run_cases as cases

PYTHON = Path(sys.executable)
OUTS = ["clips", "folds.parquet", "predictions/mel.parquet", "predictions/symbolic.parquet"]


def run(folder: Path, *command: str) -> str:
    """Output of a command that must succeed."""
    environment = os.environ | {
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    """What the pipeline would leave: outputs in DVC's cache, their hashes in git."""
    run(folder, "dvc", "add", "--quiet", *(f"data/{cases.CORPUS}/{out}" for out in OUTS))
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)
    return run(folder, "git", "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two revisions, the second with better predictions and another parameter; their commits.

    The first has a tag, a branch and a name among the experiments; ``first/`` beside the repository
    holds it as a folder.
    """
    home = tmp_path_factory.mktemp("revisions")
    folder = home / "project"
    cases.write_run(folder, noise=0.06)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "dvc", "init", "--quiet")
    commits = [commit(folder, "first")]
    ignored = shutil.ignore_patterns(".git", ".dvc")
    shutil.copytree(folder, home / "first", ignore=ignored)
    run(folder, "git", "tag", "v1")
    run(folder, "git", "branch", "feature/one")
    run(folder, "git", "update-ref", f"refs/exps/ab/{'c' * 38}/lucky-cat", commits[0])
    cases.write_run(folder, noise=0.02, params=cases.raw_params(run={"workers": 3}))
    commits.append(commit(folder, "second"))
    return folder, commits


@pytest.fixture
def here(repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository[0])
    return repository[0]


@pytest.fixture(scope="module")
def as_folders(repository: tuple[Path, list[str]]) -> list[dict[str, object]]:
    folder = repository[0]
    return numbers(compare_runs(str(folder.parent / "first"), str(folder)).rows)


def numbers(found: list[Comparison]) -> list[dict[str, object]]:
    """Rows that can be compared: NaN equals NaN, to the last digit of everything else."""
    return [
        {k: "nan" if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(row).items()}
        for row in found
    ]


@pytest.mark.parametrize("name", ["v1", "feature/one", "lucky-cat", "HEAD~1"])
def test_a_revision_is_the_folder_it_was(
    here: Path,
    repository: tuple[Path, list[str]],
    as_folders: list[dict[str, object]],
    name: str,
) -> None:
    found = compare_runs(name, ".")
    assert numbers(found.rows) == as_folders
    changed = [row for row in found.rows if not row.same]
    assert {row.a for row in changed} == {"mel/ridge"}
    assert all(row.ci_low > 0 for row in changed)
    assert found.changed == [("run.workers", "0", "3")]
    assert found.a == f"{name} ({repository[1][0][:12]})"
    assert found.b == "."


def test_two_revisions_and_a_row(here: Path) -> None:
    found = compare_runs("main:mel-1/ridge", "v1:mel/ridge", schemes=["segment"])
    (row,) = found.rows
    assert (row.a, row.b) == ("mel-1/ridge", "mel/ridge")
    assert row.difference < 0  # noise .04 against .06
    assert found.b.endswith(": mel/ridge")


def test_the_workspace_may_differ_from_its_commit(here: Path) -> None:
    assert all(row.same for row in compare_runs("HEAD", ".").rows)
    path = here / "data" / cases.CORPUS / "predictions" / "mel.parquet"
    kept = path.read_bytes()
    table = pd.read_parquet(path)
    table["prediction"] += np.float32(0.1)
    path.unlink()  # it may be a link into the cache
    write_table(table, path)
    try:
        rows = compare_runs("HEAD:mel/ridge", ".").rows
    finally:
        path.unlink()
        path.write_bytes(kept)
    assert all(row.difference < 0 for row in rows)


def test_nothing_is_left_behind(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compare_runs("v1:mel/ridge", "main", schemes=["segment"])
    assert list(tmp_path.iterdir()) == []
    assert run(here, "git", "status", "--porcelain") == ""


@pytest.fixture
def clone(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same repository without a cache."""
    folder = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", str(here), str(folder))
    run(folder, "git", "tag", "--force", "v1", "origin/feature/one")
    monkeypatch.chdir(folder)
    return folder


def test_an_output_that_is_nowhere_gives_the_next_command(clone: Path) -> None:
    with pytest.raises(MissingAssetError, match="neither the cache nor the remote") as error:
        compare_runs("v1", "main")
    assert error.value.where == "data/toy/clips/manifest.parquet at 'v1'"
    command = str(error.value.next_step).split("   ")[0]
    assert command == "dvc fetch --all-commits data/toy/clips/manifest.parquet"
    with pytest.raises(MissingAssetError, match="no such file") as error:
        compare_runs(".", "main")
    assert "dvc pull degrade@toy" in str(error.value.next_step)


def test_outputs_come_from_the_remote(here: Path, clone: Path) -> None:
    """The remote of today, which the old revision's own configuration does not know."""
    cache = here / ".dvc" / "cache"
    run(clone, "dvc", "remote", "add", "--quiet", "--default", "origin", str(cache))
    found = compare_runs("v1:mel/ridge", "main", schemes=["segment"])
    assert found.rows[0].difference > 0
    # A part that is not there is found out when it is read.
    name = next(cache.rglob("*.dir"))
    empty = clone.parent / "lacking"
    shutil.copytree(cache, empty)
    for path in empty.rglob("*"):
        if path.is_file() and path.name != name.name:
            path.unlink()
    run(clone, "dvc", "remote", "modify", "--quiet", "origin", "url", str(empty))
    shutil.rmtree(clone / ".dvc" / "cache", ignore_errors=True)
    with pytest.raises(MissingAssetError, match="neither the cache nor the remote"):
        compare_runs("v1:mel/ridge", "main", schemes=["segment"])


def test_a_revision_without_such_an_output(here: Path) -> None:
    with pytest.raises(MissingAssetError, match="has no such output") as error:
        compare_runs("v1", ".", corpus="other")
    assert error.value.where == "data/other/clips/manifest.parquet at 'v1'"
    assert "git switch --detach v1, dvc repro degrade@other" in str(error.value.next_step)


def test_a_workspace_below_the_top_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "top" / "below"
    cases.write_run(folder, noise=0.06)
    run(folder.parent, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet", "--subdir")
    commit(folder, "first")
    monkeypatch.chdir(folder / "data")
    assert all(row.same for row in compare_runs("HEAD", str(folder)).rows)


def test_what_is_neither_folder_nor_revision(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"'v9' is no folder .* no revision \(unknown Git"):
        compare_runs("v9", ".")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"no params\.yaml"):
        compare_runs(str(empty), ".")
    monkeypatch.chdir(empty)
    with pytest.raises(ConfigError, match=r"no params\.yaml"), open_place("."):
        pass
    with pytest.raises(ConfigError, match="no revision"), open_place("main"):
        pass


@pytest.mark.parametrize(
    ("text", "place", "row"),
    [
        (".", ".", None),
        ("main:transkun-4/ridge", "main", "transkun-4/ridge"),
        ("feature/one:none/training_mean", "feature/one", "none/training_mean"),
        ("../other:x/ridge (seed 1)", "../other", "x/ridge (seed 1)"),
        (".:x:train_25/ridge", ".", "x:train_25/ridge"),
        ("C:\\runs\\a:x/ridge", "C:\\runs\\a", "x/ridge"),
        ("C:/runs", "C:/runs", None),
    ],
)
def test_runs_as_they_are_written(text: str, place: str, row: str | None) -> None:
    assert split_run(text) == (place, row)


@pytest.mark.parametrize("text", ["", ":x/ridge", "main:ridge", "main:", "main:/ridge"])
def test_runs_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="does not name a run"):
        split_run(text)
