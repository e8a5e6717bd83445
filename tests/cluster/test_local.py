"""A real cluster of worker processes: killed workers, a killed driver, clips that kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pianoeval.builder import BuildReport, ItemJob, build_store
from pianoeval.cache import ItemCache
from pianoeval.cluster.connect import Connection
from pianoeval.cluster.fill import ClusterFill
from pianoeval.cluster.preflight import Requirements
from pianoeval.errors import MissingAssetError, PianoevalError
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams
from pianoeval.progress import Meter
from pianoeval.store import RaggedStore
from tests.cluster.work import (
    STEP,
    encode,
    frozen,
    is_alive,
    ledger,
    make_jobs,
    perform,
    stored_jobs,
    wait_until,
    write_audio,
)
from tests.test_store import tree_hash

ROOT = Path(__file__).resolve().parents[2]
ATTRS = {"step": STEP}


def fill_for(connection: Connection, function: Any, **params: Any) -> ClusterFill:
    return ClusterFill(connection, function, ClusterParams(**params), Requirements())


def build(
    connection: Connection, jobs: list[ItemJob], cache: Path, out: Path, **run: Any
) -> BuildReport:
    return build_store(
        STEP, jobs, encode, cache=ItemCache(cache), out=out, attrs=ATTRS,
        run=RunParams(**run), fill=fill_for(connection, encode),
    )  # fmt: skip


def serial(jobs: list[ItemJob], folder: Path) -> str:
    """Digest of the store that one process makes of the same clips, with a cache of its own."""

    def fill(step: str, todo: Any, cache: ItemCache, run: Any, report: Any) -> dict[str, str]:
        for job in todo:
            cache.put(step, job.key, *encode(job.payload))
        return {}

    build_store(
        STEP, jobs, encode, cache=ItemCache(folder / "serial-items"),
        out=folder / "serial.zarr", attrs=ATTRS, run=RunParams(), fill=fill,
    )  # fmt: skip
    return tree_hash(folder / "serial.zarr")


def stamps(cache: Path) -> dict[str, tuple[int, int]]:
    """Of every item: its inode and when it was written; both change when it is written again."""
    files = cache.rglob("*.safetensors")
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def test_two_of_three_workers_killed_then_ten_more_clips(three: Connection, tmp_path: Path) -> None:
    items = tmp_path / "items"
    jobs = stored_jobs(write_audio(tmp_path / "audio.zarr", 24), tmp_path)
    wait_until(lambda: len(three.client.scheduler_info()["workers"]) == 3)
    (tmp_path / "freeze").touch()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(build, three, jobs, items, tmp_path / "out.zarr")
        wait_until(lambda: len(frozen(tmp_path)) == 3 or running.done())
        (tmp_path / "freeze").rename(tmp_path / "thawed")
        wait_until(lambda: len(ledger(tmp_path, "encoded")) >= 6 or running.done())
        (tmp_path / "freeze").touch()  # now in the middle
        at_first = len(ledger(tmp_path, "frozen"))
        wait_until(lambda: len(ledger(tmp_path, "frozen")) == at_first + 3 or running.done())
        stopped = ledger(tmp_path, "frozen")[at_first:]
        for _, process in stopped[:2]:
            os.kill(process, signal.SIGKILL)
        (tmp_path / "freeze").unlink()
        report = running.result(timeout=120)
    assert len({process for _, process in stopped}) == 3
    begun = [clip for clip, _ in ledger(tmp_path, "begun")]
    for clip, _ in stopped[:2]:
        assert begun.count(clip) == 2  # once in vain
    names = sorted(f"clip{n}" for n in range(24))
    encoded = [clip for clip, _ in ledger(tmp_path, "encoded")]
    assert sorted(encoded) == names  # none lost, none twice
    assert (report.computed, report.reused, report.quarantined) == (24, 0, {})
    assert len({process for _, process in ledger(tmp_path, "encoded")}) >= 3
    assert not list((items / ".cluster").iterdir())
    before = stamps(items)
    assert len(before) == 24

    more = stored_jobs(write_audio(tmp_path / "more.zarr", 34), tmp_path)
    report = build(three, more, items, tmp_path / "out.zarr")
    assert (report.computed, report.reused) == (10, 24)
    new = [clip for clip, _ in ledger(tmp_path, "encoded")][24:]
    assert sorted(new) == sorted(f"clip{n}" for n in range(24, 34))
    after = stamps(items)
    assert {name: after[name] for name in before} == before
    assert RaggedStore(tmp_path / "out.zarr").clips == [f"clip{n}" for n in range(34)]
    assert tree_hash(tmp_path / "out.zarr") == serial(more, tmp_path)


def test_a_killed_driver_takes_its_workers_along_and_is_resumed(
    three: Connection, tmp_path: Path
) -> None:
    jobs = stored_jobs(write_audio(tmp_path / "audio.zarr", 20), tmp_path)
    items = tmp_path / "items"
    (tmp_path / "freeze").touch()
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.drive", str(tmp_path), "2"], cwd=ROOT
    )
    wait_until(lambda: len(frozen(tmp_path)) == 2 or driver.poll() is not None)
    (tmp_path / "freeze").rename(tmp_path / "thawed")
    wait_until(lambda: len(ledger(tmp_path, "encoded")) >= 5)
    (tmp_path / "freeze").touch()
    at_first = len(ledger(tmp_path, "frozen"))
    wait_until(lambda: len(ledger(tmp_path, "frozen")) == at_first + 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    workers = {process for _, process in ledger(tmp_path, "begun")}
    assert len(workers) == 2
    wait_until(lambda: not any(is_alive(process) for process in workers))
    (tmp_path / "freeze").unlink()
    before = stamps(items)
    done = [clip for clip, _ in ledger(tmp_path, "encoded")]
    assert 5 <= len(done) == len(before) < 20

    report = build(three, jobs, items, tmp_path / "out.zarr")
    assert (report.computed, report.reused) == (20 - len(done), len(done))
    encoded = [clip for clip, _ in ledger(tmp_path, "encoded")]
    assert sorted(encoded) == sorted(f"clip{n}" for n in range(20))
    after = stamps(items)
    assert {name: after[name] for name in before} == before
    assert tree_hash(tmp_path / "out.zarr") == serial(jobs, tmp_path)


def test_clips_that_end_their_worker_are_found_and_nothing_else_is_lost(
    three: Connection, tmp_path: Path
) -> None:
    deeds = ["ok", "die", "ok", "fault", "ok", "hang", "ok", "bad", *["ok"] * 16]
    jobs, cache, report = make_jobs(tmp_path, deeds), ItemCache(tmp_path / "items"), BuildReport()
    fill = fill_for(three, perform, max_deaths=2)
    failed = fill(STEP, jobs, cache, RunParams(job_timeout_s=1.0), report)
    by_clip = {job.clip: failed[job.key] for job in jobs if job.key in failed}
    assert set(by_clip) == {"clip1", "clip3", "clip5", "clip7"}
    for clip in ("clip1", "clip3"):
        assert "its worker died 2 times" in by_clip[clip]
    assert "no result after 2 s" in by_clip["clip5"]
    assert "unusable" in by_clip["clip7"]
    good = [n for n, deed in enumerate(deeds) if deed == "ok"]
    assert sorted(int(clip) for clip, _ in ledger(tmp_path, "encoded")) == good
    assert all(cache.has(STEP, jobs[n].key) for n in good)
    assert (report.computed, report.reused) == (len(good), 0)
    begun = [clip for clip, _ in ledger(tmp_path, "begun")]
    assert (begun.count("1"), begun.count("3"), begun.count("5")) == (2, 2, 1)


@pytest.mark.parametrize(
    ("deed", "kind", "message"),
    [
        ("lost", MissingAssetError, r"no weights\n.*pianoeval fetch x"),
        ("foreign", PianoevalError, r"clip3: RuntimeError: of another library\n.*is kept"),
    ],
)
def test_a_fault_that_is_no_clips_stops_the_run(
    three: Connection, tmp_path: Path, deed: str, kind: type[Exception], message: str
) -> None:
    jobs = make_jobs(tmp_path, ["ok", "ok", "ok", deed, *["ok"] * 8])
    fill = fill_for(three, perform)
    with pytest.raises(kind, match=message):
        fill(STEP, jobs, ItemCache(tmp_path / "items"), RunParams(), BuildReport())
    assert not list((tmp_path / "items" / ".cluster").iterdir())


def test_what_another_run_computed_in_the_meantime_is_not_computed_again(
    three: Connection, tmp_path: Path
) -> None:
    jobs, cache, report = (
        make_jobs(tmp_path, ["ok"] * 6),
        ItemCache(tmp_path / "items"),
        BuildReport(),
    )
    cache.put(STEP, jobs[2].key, *perform(jobs[2].payload))
    fill_for(three, perform)(STEP, jobs, cache, RunParams(), report)
    assert (report.computed, report.reused) == (5, 1)
    assert sorted(clip for clip, _ in ledger(tmp_path, "encoded")) == list("012345")


def test_progress_shows_within_a_long_clip(
    three: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advances = list[tuple[float, int]]()

    class Noted(Meter):
        def advance(self, amount: float = 1.0, items: int = 1) -> None:
            advances.append((amount, items))
            super().advance(amount, items)

    monkeypatch.setattr("pianoeval.cluster.fill.Meter", Noted)
    jobs = make_jobs(tmp_path, ["long", "ok"], audio_s=100.0)
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(1) as pool:
        fill = fill_for(three, perform)
        running = pool.submit(
            fill, STEP, jobs, ItemCache(tmp_path / "items"), RunParams(), BuildReport()
        )
        wait_until(lambda: (40.0, 0) in advances or running.done())
        (tmp_path / "hold").unlink()
        assert running.result(timeout=60) == {}
    assert (40.0, 0) in advances
    assert sum(amount for amount, _ in advances) == pytest.approx(200.0)
    assert sum(items for _, items in advances) == 2
