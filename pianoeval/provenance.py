"""Hashes and commits: every number says which bytes and which code it came from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import pianoeval
from pianoeval.paths import workspace_root

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "librosa", "soxr")


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, NaN refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False,
        default=_plain,
    )  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def sha256_bytes(data: bytes | memoryview) -> str:
    """SHA-256 as hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def made_by() -> dict[str, str]:
    """What computes here: versions of what is installed, and the processor.

    The same in every process of an environment, whatever it has imported.
    """
    found = {"pianoeval": pianoeval.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"machine": f"{platform.system()} {platform.machine()}, {_processor()}"}


def _processor() -> str:
    """Model of the processor: last digits of floating-point sums may depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def config_hash(value: Any, length: int = 12) -> str:
    """Short name of a configuration: the first digits of the SHA-256 of its canonical JSON."""
    return sha256_bytes(canonical_json(value).encode())[:length]


def git_commit() -> str:
    """Short commit of the workspace, ``-dirty`` when code or parameters differ from it.

    Reports and lock files are left out of that comparison: a run writes them itself.
    """
    root = workspace_root()
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "unversioned"
    changed = _git(
        root, "status", "--porcelain", "--untracked-files=no", "--",
        "pianoeval", "stages", "params.yaml", "dvc.yaml", "pyproject.toml",
    )  # fmt: skip
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
