"""Items to pass on, and workspaces with a remote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from workspaces import ROOT

from pianoeval.cache import ItemCache, item_key
from pianoeval.store import write_store

STEP = "embedding-mel"
CLI = "from pianoeval.cli import main; main()"


def arrays_of(number: int, rows: int = 40) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    return {
        "frames": random.standard_normal((rows + number % 2, 2, 8)).astype(np.float16),
        "level": np.array([-20.0, -21.0, -3.0], np.float32),
    }


def key_of_number(number: int, step: str = STEP) -> str:
    return item_key(step, 1, {"clip": str(number)}, {})


def fill(root: Path, count: int, step: str = STEP, first: int = 0, rows: int = 40) -> ItemCache:
    """A cache of that many items, the same ones wherever they are made."""
    cache = ItemCache(root)
    for number in range(first, first + count):
        meta = {"frame_rate_hz": 25.0, "number": number}
        cache.put(step, key_of_number(number, step), arrays_of(number, rows), meta)
    return cache


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*")) if path.is_file()
    }  # fmt: skip


def items_there(root: Path) -> set[str]:
    return {path.stem for path in root.rglob("*.safetensors") if not path.name.startswith(".")}


def make_store(path: Path, cache: ItemCache, count: int, step: str = STEP) -> None:
    """A store of the first items of a cache, as a stage would assemble it."""

    def items() -> Any:
        for number in range(count):
            item = cache.get(step, key_of_number(number, step))
            assert item is not None
            yield f"clip/{number}", key_of_number(number, step), item

    attrs = {"step": step, "frame_rate_hz": 25.0, "layers": ["1", "2"], "encoder": "mel"}
    write_store(path, items(), attrs=attrs, quarantined={})


def remote_workspace(folder: Path, remote: dict[str, str], name: str = "lab") -> Path:
    """A workspace whose DVC has one remote, the default."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text("{}\n")
    lines = ["[core]", "no_scm = true", "analytics = false", f"remote = {name}"]
    lines += [f"['remote \"{name}\"']", *(f"{key} = {value}" for key, value in remote.items())]
    (folder / ".dvc" / "config").write_text("\n".join(lines) + "\n")
    return folder


def command(workspace: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``pianoeval cache …`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", CLI, "cache", *arguments], cwd=workspace,
        env=environment(cache), capture_output=True, text=True, check=False,
    )  # fmt: skip


def environment(cache: Path) -> dict[str, str]:
    return os.environ | {"PIANOEVAL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
