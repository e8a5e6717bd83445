"""A finished repository that others clone, and what is counted when they do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import finished
from workspaces import ROOT, make_cache, make_workspace, small_params

STAGES = {"-".join(call).replace("-", "@", 1) for call in finished.STAGES}
PROBES = {"probe@studio-mel", "probe@studio-symbolic"}
RANKS = {"rank@studio", "evaluate_rank@studio"}
HEADS = {"contrast@studio", "evaluate_contrast@studio"}


@dataclass(frozen=True)
class Clone:
    """A working copy of one member of the lab, and the item cache they use."""

    folder: Path
    items: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PIANOEVAL_CACHE": str(self.items), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org",
        } | self.variables  # fmt: skip

    def run(self, *command: str, fails: bool = False) -> str:
        """Output of a command; it must succeed, or fail."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        text = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, text
        return text

    def shell(self, script: str) -> str:
        """Lines of a document, stopped by the first that fails."""
        return self.run("bash", "-euo", "pipefail", "-c", script)

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @property
    def lock(self) -> bytes:
        return (self.folder / "dvc.lock").read_bytes()

    def n_items(self) -> int:
        """Items computed or fetched into the cache of this member."""
        return sum(1 for _ in (self.items / "items").rglob("*.safetensors"))


@dataclass(frozen=True)
class Lab:
    """A finished workspace, the repository that others clone, and its remote folder."""

    origin: Clone
    repository: Path
    remote: Path


def stages_run(text: str) -> set[str]:
    return set(re.findall(r"Running stage '(.+)'", text))


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def commands(name: str, **places: object) -> str:
    """A block of docs/lab.md, with the places that it leaves open."""
    text = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    [found] = re.findall(rf"^```(?:sh|python) {name}$\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for place, value in places.items():
        assert place in found, f"{place} is not in block '{name}'"
        found = found.replace(place, str(value))
    return found


def lab_params() -> dict[str, Any]:
    """The small parameters without controls and learning curves: sharing is what is tested."""
    data = small_params()
    data["folds"]["schemes"] = ["segment", "player"]
    data["probe"]["controls"] |= {"labels": []}
    data["probe"]["learning_curve"] |= {"percents": []}
    data["evaluate"] |= {"n_bootstrap": 100}
    return data


def make_origin(home: Path) -> Clone:
    """A repository in which everything has run; ``home/repository.git`` has its commits."""
    made = Clone(make_workspace(home / "origin", lab_params()), make_cache(home / "items"))
    for name in ("pianoeval", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, made.folder / name, ignore=ignored)
    for name in (".dvcignore", ".gitignore"):
        shutil.copyfile(ROOT / name, made.folder / name)
    made.run("git", "init", "--quiet", "--initial-branch=main")
    made.run("dvc", "init", "--quiet")
    for name in (".dvc/config", "reports/.gitignore"):
        (made.folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, made.folder / name)
    made.shell("git add --all && git commit --quiet --message 'code and parameters'")
    # One process for all stages, and what 'dvc repro' would have recorded: this is not what is
    # tested here, and fifteen interpreters take longer to start than the stages to run.
    made.run(sys.executable, "-c", finished.RUN_ALL)
    made.run("dvc", "commit", "--quiet", "--force")
    made.shell("git add --all && git commit --quiet --message results")
    made.shell("git clone --quiet --bare . ../repository.git")
    return made


def publish(
    origin: Clone, home: Path, remote: str, variables: dict[str, str] | None = None
) -> Path:
    """Block ``publish`` of the document, in a clone; the repository that others then clone."""
    git(home.parent, "clone", "--quiet", "--bare", origin.folder.parent / "repository.git", home)
    first = home.parent / f"{home.name}-first"
    git(home.parent, "clone", "--quiet", home, first)
    member = Clone(first, origin.items, variables or {})
    member.run("dvc", "cache", "dir", "--local", str(origin.folder / ".dvc" / "cache"))
    member.shell(commands("publish", REMOTE=remote))
    return home


def git(where: Path, *arguments: object) -> None:
    subprocess.run(["git", *map(str, arguments)], cwd=where, check=True)


def member_of(folder: Path, variables: dict[str, str] | None = None) -> Clone:
    """Somebody with an empty folder and an empty item cache."""
    folder.mkdir(parents=True)
    return Clone(folder, make_cache(folder / "items"), variables or {})
