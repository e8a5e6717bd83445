"""An ablation as users run it: real DVC experiments, ended halfway, gone on with, run once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from finished import Finished
from levels import FULL, record
from workspaces import ROOT, write_params

pytestmark = [
    pytest.mark.timeout(900),
    # 'make test' has tests/ablation, and that PIANOEVAL_ENCODE=never stops a stage.
    pytest.mark.skipif(not FULL, reason="make faults: a minute and more"),
]
CALL = [sys.executable, "-c", "from pianoeval.cli import main; main()", "ablate"]
GRID = ["folds.n_folds", "2", "3", "--features", "mel", "--json"]
PYTHON = Path(sys.executable)


def environment(cache: Path) -> dict[str, str]:
    return os.environ | {
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}", "PIANOEVAL_CACHE": str(cache),
        "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }  # fmt: skip


def sh(project: Finished, *command: str, good: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=project.workspace, env=environment(project.cache), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == good, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def project(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished workspace as a repository: its outputs committed without a stage run again."""
    made = finished.copy(tmp_path_factory.mktemp("ablation"))
    data = yaml.safe_load((made.workspace / "params.yaml").read_text(encoding="utf-8"))
    data["folds"]["schemes"] = ["segment", "player"]
    data["evaluate"]["n_bootstrap"] = 100
    write_params(made.workspace, data)
    for name in ("pianoeval", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, made.workspace / name, ignore=ignored)
    shutil.copyfile(ROOT / ".dvcignore", made.workspace / ".dvcignore")
    sh(made, "git", "init", "--quiet")
    sh(made, "dvc", "init", "--quiet")
    sh(made, "dvc", "commit", "--force", "--quiet")
    sh(made, "git", "add", "--all")
    sh(made, "git", "commit", "--quiet", "--message", "finished")
    return made


def kept(project: Finished) -> dict[str, int]:
    """Times of all items that rendering, pYIN and encoders made."""
    items = project.cache / "items"
    return {
        str(path): path.stat().st_mtime_ns
        for step in ("audio", "contour", "embedding-mel")
        for path in (items / step).rglob("*.safetensors")
    }


def left(project: Finished) -> list[str]:
    """Folders of experiments that DVC has not removed, and processes that still work in one."""
    folder = project.workspace / ".dvc" / "tmp" / "exps"
    found = [str(path) for path in folder.glob("**/dvc.yaml")]
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if process.readlink().is_relative_to(folder):
                found.append(str(process))
        except OSError:  # it ended, or is another user's
            continue
    return found


def end_halfway(project: Finished, name: str) -> None:
    """SIGTERM within the first experiment; nothing of it stays."""
    process = subprocess.Popen(
        [*CALL, *GRID, "--run"], cwd=project.workspace, env=environment(project.cache),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not left(project):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while left(project):
        assert time.monotonic() < deadline, left(project)
        time.sleep(0.2)
    assert name not in sh(project, "git", "for-each-ref").stdout


def test_a_grid_is_run_once_whatever_happens_on_the_way(project: Finished) -> None:
    """Printed; refused; ended by SIGTERM; run; found again. No clip is encoded at any time."""
    before = kept(project)
    assert before
    printed = sh(project, *CALL, *GRID[:-1]).stdout
    names = re.findall(r"--name (\S+)", printed)
    assert len(names) == 2
    assert "refs/exps" not in sh(project, "git", "for-each-ref").stdout

    refused = sh(project, *CALL, "render.lead_s", "0.1", "0.2", "--run", good=False)
    assert "would render or encode clips again" in refused.stderr
    end_halfway(project, names[0])

    started = time.monotonic()
    found = json.loads(sh(project, *CALL, *GRID, "--run").stdout)
    seconds = time.monotonic() - started
    assert [point["experiment"] for point in found["points"]] == names
    assert all(point["run"] for point in found["points"])
    assert found["encoded"]["clips"] == 0
    assert {row["scheme"] for row in found["rows"]} == {"segment", "player"}
    assert all(isinstance(row["value"], float) for row in found["rows"])
    record("ablations", "a grid of two points", experiments=2, seconds=round(seconds, 1),
           clips_encoded=found["encoded"]["clips"])  # fmt: skip

    refs = sh(project, "git", "for-each-ref").stdout
    again = json.loads(sh(project, *CALL, *GRID, "--run").stdout)
    assert again["rows"] == found["rows"]
    assert sh(project, "git", "for-each-ref").stdout == refs  # not a commit more
    assert left(project) == []
    assert sh(project, "git", "status", "--porcelain").stdout == ""
    assert kept(project) == before


def test_a_clip_that_is_not_in_the_cache_is_never_encoded(
    project: Finished, tmp_path: Path
) -> None:
    """Without its items and outputs, the experiment stops at the first clip it would compute."""
    bare = project.copy(tmp_path)
    shutil.rmtree(bare.cache / "items" / "embedding-mel")
    shutil.rmtree(bare.workspace / ".dvc" / "cache")
    failed = sh(bare, *CALL, "folds.seed", "1", "2", "--features", "mel", "--run", good=False)
    assert "forbids to compute them" in failed.stderr
    assert not (bare.cache / "items" / "embedding-mel").exists()
