from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError, MissingAssetError
from pianoeval.params import RunParams
from pianoeval.store import RaggedStore
from tests.test_store import tree_hash


def compute(payload: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The work of a test: what it does depends on the payload."""
    number, deed, log = payload
    if deed == "bad":
        raise BadInputError("unusable", where=f"clip{number}")
    if deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed in ("hang", "slow"):
        time.sleep({"hang": 60.0, "slow": 0.2}[deed])
    if deed == "stuck":  # while the item is being written
        os.fsync = lambda descriptor: time.sleep(60.0)
    if deed == "lost":
        raise MissingAssetError("no weights", next_step="pianoeval fetch x")
    with Path(log).open("a", encoding="utf-8") as stream:
        stream.write(f"{number}\n")
    frames = np.full((number + 1, 1, 2), number, np.float16)
    return {"frames": frames, "level": np.zeros(3, np.float32)}, {}


def jobs(tmp_path: Path, deeds: list[str]) -> list[ItemJob]:
    log = str(tmp_path / "log")
    return [
        ItemJob(f"clip{n}", f"{n:064x}", (n, deed, log), 1.0 + n) for n, deed in enumerate(deeds)
    ]


def build(tmp_path: Path, work: list[ItemJob], name: str = "out", **run: Any) -> BuildReport:
    options = {"workers": 2, "job_timeout_s": 20.0, "max_failed_fraction": 0.9} | run
    return build_store(
        "test", work, compute, cache=ItemCache(tmp_path / "items"), out=tmp_path / name,
        attrs={}, run=RunParams(**options),
    )  # fmt: skip


def test_a_crash_a_hang_and_a_bad_clip_cost_one_clip_each(tmp_path: Path) -> None:
    work = jobs(tmp_path, ["ok", "bad", "die", "hang", "ok", "ok"])
    report = build(tmp_path, work, job_timeout_s=2.0)
    assert (report.computed, report.reused) == (3, 0)
    store = RaggedStore(tmp_path / "out")
    assert store.clips == ["clip0", "clip4", "clip5"]
    assert set(store.quarantined) == {"clip1", "clip2", "clip3"}
    assert "unusable" in store.quarantined["clip1"]
    assert "died" in store.quarantined["clip2"]
    assert "no result after 6 s" in store.quarantined["clip3"]


def test_too_many_failures_stop_but_keep_what_was_computed(tmp_path: Path) -> None:
    work = jobs(tmp_path, ["ok", "bad", "ok"])
    with pytest.raises(BadInputError, match=r"1 of 3 clips failed.*\n.*max_failed_fraction"):
        build(tmp_path, work, max_failed_fraction=0.0)
    assert sum(ItemCache(tmp_path / "items").has("test", job.key) for job in work) == 2


def test_a_fault_that_is_no_clips_stops_the_run_with_its_own_message(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"no weights\n.*pianoeval fetch x"):
        build(tmp_path, jobs(tmp_path, ["ok", "lost"]))


def test_equal_keys_are_computed_once_and_the_number_of_workers_changes_no_byte(
    tmp_path: Path,
) -> None:
    work = jobs(tmp_path, ["ok"] * 4)
    twin = ItemJob("twin", work[2].key, work[2].payload, 1.0)
    report = build(tmp_path, [*work, twin], workers=2)
    assert report.computed == 4
    for item in (tmp_path / "items").rglob("*.safetensors"):
        item.unlink()
    build(tmp_path, [*work, twin], "serial", workers=1)
    assert tree_hash(tmp_path / "out") == tree_hash(tmp_path / "serial")
    np.testing.assert_array_equal(RaggedStore(tmp_path / "out").frames("twin"), 2.0)


def test_a_damaged_item_is_computed_again(tmp_path: Path) -> None:
    work = jobs(tmp_path, ["ok"] * 3)
    build(tmp_path, work)
    before = tree_hash(tmp_path / "out")
    path = ItemCache(tmp_path / "items").path("test", work[1].key)
    path.write_bytes(path.read_bytes()[:-1])
    report = build(tmp_path, work)
    assert (report.computed, report.reused) == (1, 2)
    assert tree_hash(tmp_path / "out") == before


def test_a_worker_ended_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    report = build(tmp_path, jobs(tmp_path, ["ok", "stuck"]), job_timeout_s=2.0)
    assert set(report.quarantined) == {"clip1"}
    assert len([p for p in (tmp_path / "items").rglob("*") if p.is_file()]) == 1


SCRIPT = """
import sys
from pathlib import Path
from tests.test_builder import build, jobs
if __name__ == "__main__":
    build(Path(sys.argv[1]), jobs(Path(sys.argv[1]), ["slow"] * 12))
"""


def test_sigkill_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    log = tmp_path / "log"
    while not log.exists() or len(log.read_text().split()) < 4:
        time.sleep(0.02)
        assert process.poll() is None, "finished before it could be killed"
    process.kill()
    process.wait()
    time.sleep(1.6)  # orphaned workers notice within a second
    done = {p.name for p in (tmp_path / "items").rglob("*.safetensors")}
    assert 3 <= len(done) < 12
    before = log.read_text().split()
    build(tmp_path, jobs(tmp_path, ["slow"] * 12))
    again = log.read_text().split()[len(before) :]
    assert {f"{int(n):064x}.safetensors" for n in again}.isdisjoint(done)
    assert len(done) + len(again) == 12
    build(tmp_path / "fresh", jobs(tmp_path, ["slow"] * 12))
    assert tree_hash(tmp_path / "out") == tree_hash(tmp_path / "fresh" / "out")
