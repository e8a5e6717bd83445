"""What it costs to push, pull and verify items, beside plain copies of the same bytes.

``python benchmarks/sharing.py [--items 400] [--kb 2000] [--items-of FOLDER]`` works in a folder
that it removes. Items are random, or those of a cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pianoeval.cache import ItemCache, item_key
from pianoeval.provenance import made_by
from pianoeval.sharing.check import verify
from pianoeval.sharing.place import FolderPlace
from pianoeval.sharing.transfer import pull, push


def fill(cache: ItemCache, count: int, kilobytes: int) -> None:
    """Random items of about that size."""
    random = np.random.default_rng(0)
    for number in range(count):
        frames = random.standard_normal((max(kilobytes // 4, 1), 2, 1024)).astype(np.float16)
        arrays = {"frames": frames, "level": np.zeros(3, np.float32)}
        cache.put("embedding-mel", item_key("x", 1, {"n": str(number)}, {}), arrays, {})


def seconds(work: Callable[[], object]) -> float:
    """Wall time; what others had to write is on disk before."""
    os.sync()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def dvc_push(items: Path, home: Path) -> float:
    """``dvc push`` of the same files to a folder, after ``dvc add``."""
    workspace = home / "dvc"
    shutil.copytree(items, workspace / "items")

    def dvc(*arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=workspace, check=True, stdout=subprocess.DEVNULL)

    dvc("init", "--no-scm", "-q")
    dvc("remote", "add", "-d", "there", str(home / "dvc-remote"))
    dvc("add", "-q", "items")
    return seconds(lambda: dvc("push", "-q"))


def main() -> None:
    """Print one line a way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--kb", type=int, default=2000, help="size of an item")
    parser.add_argument("--items-of", type=Path, help="a folder <cache>/items to take them from")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        here = ItemCache(home / "items")
        if given.items_of:
            shutil.copytree(given.items_of, here.root)
        else:
            fill(here, given.items, given.kb)
        files = list(here.root.rglob("*.safetensors"))
        size = sum(path.stat().st_size for path in files) / 1e6
        there, back = FolderPlace(home / "there", "there"), ItemCache(home / "back")
        copy = ["cp", "-r", str(here.root), str(home / "copy")]
        found = {
            "cp -r": seconds(lambda: subprocess.run(copy, check=True)),
            "cp -r and sync": 0.0,
            "push to a folder": seconds(lambda: push(here, there)),
            "push again": seconds(lambda: push(here, there)),
            "pull from a folder": seconds(lambda: pull(back, there)),
            "verify, 1 thread": seconds(lambda: verify(here, jobs=1)),
            "verify, all cores": seconds(lambda: verify(here, jobs=os.cpu_count() or 1)),
            "dvc push": dvc_push(here.root, home),
        }
        shutil.rmtree(home / "copy")
        synced = f"cp -r '{here.root}' '{home / 'copy'}' && sync"
        found["cp -r and sync"] = seconds(lambda: subprocess.run(synced, shell=True, check=True))
    rows = {what: {"s": round(s, 2), "MB/s": round(size / s)} for what, s in found.items()}
    print(json.dumps({"items": len(files), "MB": round(size), "on": made_by()["machine"]}))
    for what, row in rows.items():
        print(f"{what:20s} {row['s']:8.2f} s {row['MB/s']:8d} MB/s")


if __name__ == "__main__":
    main()
