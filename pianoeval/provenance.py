"""Hashes and commits: every number says which bytes and which code it came from."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pianoeval.paths import workspace_root


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
