"""The threads of one process, seen from outside: memory, SIGKILL, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from test_batched import Toy, files, make_jobs, noise, run_fill

from pianoeval.cache import ItemCache

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from test_batched import Toy, make_jobs, noise, open_array, run_fill
from pianoeval.cache import ItemCache
from pianoeval.encoders.batched.fill import BatchedFill

class Slow(Toy):
    def forward(self, chunks, n_samples):
        time.sleep(0.01)
        return super().forward(chunks, n_samples)

class Wide(Toy):
    def forward(self, chunks, n_samples):
        return super().forward(chunks, n_samples).repeat(1, 1, 1, 20_000)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

cache = ItemCache(Path(sys.argv[2]))
if sys.argv[1] == "slow":
    print("begun", flush=True)
    run_fill(Slow(), make_jobs(noise(*[640] * 60)), cache, batch_size=2, readers=2, writers=2)
else:
    import dataclasses
    Wide.spec = dataclasses.replace(Toy.spec, dim=40_000)
    run_fill(Wide(), make_jobs(noise(64 * 4)), cache, batch_size=4)
    before = resident()
    n_clips, chunks = (1, 160) if sys.argv[1] == "long" else (40, 4)
    run_fill(Wide(), make_jobs(noise(*[64 * chunks] * n_clips, seed=1)), cache, batch_size=4)
    print(resident() - before)
"""


def start(what: str, cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'encoders'}"}
    command = [sys.executable, "-c", SCRIPT, what, str(cache)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], cache: Path, how: int) -> None:
    """Send a signal in the middle of the work."""
    while len(list(cache.rglob("*.safetensors"))) < 5:
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(how)
    process.wait(100)


def whole(cache: Path) -> int:
    """Items that have their name; each must be good."""
    names = [name for name in files(cache) if not name.startswith(".")]
    assert all(ItemCache(cache).get("toy", name.partition(".")[0]) for name in names)
    return len(names)


def test_sigkill_leaves_whole_items_and_they_are_not_computed_again(tmp_path: Path) -> None:
    process = start("slow", tmp_path)
    end(process, tmp_path, signal.SIGKILL)
    done = whole(tmp_path)
    assert 5 <= done < 60
    jobs = make_jobs(noise(*[640] * 60))
    todo = [job for job in jobs if not ItemCache(tmp_path).has("toy", job.key)]
    assert len(todo) == 60 - done
    failed, report = run_fill(Toy(), todo, ItemCache(tmp_path))
    assert (failed, report.computed) == ({}, 60 - done)
    assert whole(tmp_path) == 60


def test_ctrl_c_ends_the_process_at_once_and_leaves_no_partial_file(tmp_path: Path) -> None:
    process = start("slow", tmp_path)
    end(process, tmp_path, signal.SIGINT)
    assert process.returncode != 0
    assert 5 <= whole(tmp_path) < 60
    assert not [name for name in files(tmp_path) if name.startswith(".")]


def test_memory_grows_neither_with_the_corpus_nor_with_a_clip(tmp_path: Path) -> None:
    for what in ("long", "many"):  # 205 MB of items each
        out, _ = start(what, tmp_path / what).communicate(timeout=200)
        assert float(out) < 100, what  # the allocator's share varies with the load
        written = sum(len(data) for data in files(tmp_path / what).values())
        assert written > 200e6
