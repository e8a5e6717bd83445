"""SIGTERM, Ctrl-C and a lost terminal: nothing partial, no orphans, one line, gone within 2 s.

Times are recorded as they are, and asserted with room for a busy machine.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from disturbed import Disturbed
from finished import STAGES
from levels import FULL, record, scale
from workspaces import ROOT

LIMIT_S = 2.0
NOISE = 5.0
PIANOEVAL = [sys.executable, "-c", "from pianoeval.cli import main; main()"]
DVC = str(Path(sys.executable).with_name("dvc"))
SAYS = re.compile(r"^interrupted; what was computed is kept.*$", re.MULTILINE)
HOW = [(signal.SIGTERM, "process"), (signal.SIGINT, "group"), (signal.SIGHUP, "group")]
# One of each kind: with many items, with a pool, tables, a model, a page.
SOME = [call for call in STAGES if call[0] in ("ingest", "render", "pool", "evaluate", "report")]
SOME.append(("probe", "studio", "mel"))
# A worker process that was only being started when its parent left; Python's own process that
# frees semaphores, which a SIGHUP to the group ends and Python then starts again knowing of none.
HALF_STARTED = re.compile(
    r"Traceback (?:(?!Traceback).)*?(?:spawn_main.*?EOFError: |resource_tracker.*?KeyError: ).*?\n",
    re.DOTALL,
)


def send(process: int, number: signal.Signals, whom: str) -> None:
    """A terminal tells all of its processes, a scheduler or a user one."""
    (os.killpg if whom == "group" else os.kill)(process, number)


def check(disturbed: Disturbed, status: int, log: str, number: int) -> None:
    """It left as told: status, one line, no processes, no partial files."""
    assert status == 128 + number, log
    assert len(SAYS.findall(log)) == 1, log
    assert "Traceback" not in HALF_STARTED.sub("", log), log
    assert "Exception ignored" not in log, log
    left = [p for top in (disturbed.workspace, disturbed.cache) for p in partial_files(top)]
    assert left == []


def partial_files(top: Path) -> list[Path]:
    """Hidden files and folders, and what is below ``unfinished``; DVC's own are not meant."""
    return [
        path for path in top.rglob("*")
        if path.name.startswith(".") or path.parent.name == "unfinished"
    ]  # fmt: skip


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", STAGES if FULL else SOME, ids="-".join)
def test_a_stage_told_to_end(disturbed: Disturbed, call: tuple[str, ...]) -> None:
    rng = random.Random(" ".join(call))
    longest_s = 4.0 if call[0] in ("render", "contours", "embed") else 1.5
    slowest_s, orphan_s, early, told = 0.0, 0.0, 0, 0
    turns = scale(1, 20)
    first = rng.randrange(len(HOW))
    for turn in range(turns):
        number, whom = HOW[(first + turn) % len(HOW)]
        disturbed.remove_results(call)
        process = disturbed.start(call)
        if disturbed.ended(rng.uniform(0.0, longest_s)):
            status, log = disturbed.finish()
            assert status == 0, log
            early += 1
            continue
        begin = time.monotonic()
        send(process, number, whom)
        status, log = disturbed.finish()
        if status == 0:
            early += 1  # it was at its end
            continue
        slowest_s = max(slowest_s, time.monotonic() - begin)
        orphan_s = max(orphan_s, disturbed.wait_for_processes(LIMIT_S * NOISE))
        check(disturbed, status, log, number)
        assert disturbed.faults(call) == []
        told += 1
    assert slowest_s < LIMIT_S * NOISE
    again = disturbed.run(call)
    assert again.status == 0, again.log
    assert disturbed.tree() == disturbed.reference
    record(
        "signals", "SIGTERM, Ctrl-C, hang-up: " + " ".join(call), told=told, ended_before=early,
        slowest_exit_s=round(slowest_s, 2), slowest_orphan_s=round(orphan_s, 2),
    )  # fmt: skip


# What is hard to stop --------------------------------------------------------------------------

_FOREIGN = """
import hashlib, multiprocessing, re, sys, time
from pathlib import Path
from pianoeval import interrupt
from pianoeval.atomic import PartialFile

def stuck(ready):
    Path(ready).touch()
    re.match("(a*)*b", "a" * 40)  # holds the interpreter: no handler ever runs

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with interrupt.program("interrupted; what was computed is kept"):
        child = multiprocessing.get_context("spawn").Process(target=stuck, args=[folder / "child"])
        with interrupt.children_hear_no_ctrl_c():
            child.start()
        partial = PartialFile(folder / "file")
        partial.stream.write(b"half")
        while not (folder / "child").exists():
            time.sleep(0.01)
        (folder / "ready").touch()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # minutes, without the interpreter
"""


@pytest.mark.parametrize(("number", "whom"), HOW)
def test_long_calls_of_foreign_code_do_not_delay_the_end(
    tmp_path: Path, number: signal.Signals, whom: str
) -> None:
    """In the main thread, and in a child whose interpreter is held."""
    script = tmp_path / "script.py"
    script.write_text(_FOREIGN, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        while not (tmp_path / "ready").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        begin = time.monotonic()
        send(process.pid, number, whom)
        _, log = process.communicate(timeout=60)  # to the end of all that hold its stderr
        taken_s = time.monotonic() - begin
    except BaseException:  # else they would compute for an hour
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 128 + number, log
    assert [line for line in log.splitlines() if line] == ["interrupted; what was computed is kept"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["child", "ready", "script.py"]
    assert taken_s < LIMIT_S * NOISE
    record("signals", f"{number.name} in foreign code", slowest_exit_s=round(taken_s, 2))


_NOWHERE = """
import hashlib, sys, threading, time
from multiprocessing.util import Finalize
from pathlib import Path
from pianoeval import interrupt

with interrupt.program("interrupted; what was computed is kept"):
    Finalize(None, Path(sys.argv[1], "removed").touch, exitpriority=0)  # as partial files are
    exec(sys.argv[2])
    Path(sys.argv[1], "ready").touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""


@pytest.mark.parametrize(
    "stderr",
    [
        "sys.stderr = None",  # as after 2>&-
        "sys.stderr.close()",
        "threading.Thread(target=sys.stderr.write, args=['x' * 10**7]).start(); time.sleep(0.5)",
    ],
    ids=["none", "closed", "nobody reads"],
)
def test_a_message_that_nobody_takes_delays_nothing(tmp_path: Path, stderr: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _NOWHERE, str(tmp_path), stderr], stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    try:
        assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "removed").exists()


# Real processes --------------------------------------------------------------------------------


def start(
    disturbed: Disturbed, *command: str, **environment: str
) -> subprocess.Popen[str]:  # fmt: skip
    log = (disturbed.home / "log").open("w", encoding="utf-8")
    return subprocess.Popen(
        command, cwd=disturbed.workspace, stdout=log, stderr=log, text=True,
        env=disturbed.environment() | environment, start_new_session=True,
    )  # fmt: skip


def test_while_a_stage_is_imported(disturbed: Disturbed) -> None:
    rng = random.Random(0)
    slowest_s = 0.0
    for turn in range(scale(2, 20)):
        number, whom = HOW[turn % len(HOW)]
        process = start(disturbed, sys.executable, "-m", "stages.render", "studio", "grand")
        time.sleep(rng.uniform(0.15, 0.8))
        begin = time.monotonic()
        send(process.pid, number, whom)
        process.wait(60)
        slowest_s = max(slowest_s, time.monotonic() - begin)
        log = (disturbed.home / "log").read_text()
        # Before the first line of this package runs, the system or Python itself answers.
        if process.returncode not in (-number, 1, 130):
            check(disturbed, process.returncode, log, number)
    assert slowest_s < LIMIT_S * NOISE
    record("signals", "while a stage is imported", slowest_exit_s=round(slowest_s, 2))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cluster", ["none", "local"])
def test_embed_told_to_end(disturbed: Disturbed, cluster: str) -> None:
    rng = random.Random(cluster)
    call = ("embed", "studio", "mel", "grand")
    slowest_s, told = 0.0, 0
    for turn in range(scale(1, 20)):
        number, whom = HOW[(turn + 1) % len(HOW)]
        disturbed.remove_results(call, keep_outs=True)
        command = [*PIANOEVAL, "embed", "studio", "--cluster", cluster, "--workers", "2"]
        process = start(disturbed, *command)
        time.sleep(rng.uniform(0.5, 8.0))
        begin = time.monotonic()
        if process.poll() is None:
            send(process.pid, number, whom)
        process.wait(60)
        log = (disturbed.home / "log").read_text()
        if process.returncode == 0:
            continue
        slowest_s = max(slowest_s, time.monotonic() - begin)
        disturbed.wait_for_processes(LIMIT_S * NOISE)
        check(disturbed, process.returncode, log, number)
        told += 1
    assert slowest_s < LIMIT_S * NOISE
    again = disturbed.run(call)
    assert again.status == 0, again.log
    assert disturbed.tree() == disturbed.reference
    record(
        "signals", f"pianoeval embed --cluster {cluster}", told=told,
        slowest_exit_s=round(slowest_s, 2),
    )  # fmt: skip


@pytest.fixture
def with_dvc(disturbed: Disturbed) -> Iterator[Disturbed]:
    """The workspace under DVC, with the modules that its stages depend on."""
    added = ("pianoeval", "stages", ".git", ".dvc", ".dvcignore")
    for name in added[:2]:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, disturbed.workspace / name, ignore=ignored)
    for command in (["git", "init", "--quiet"], [DVC, "init", "--quiet"]):
        subprocess.run(command, cwd=disturbed.workspace, env=disturbed.environment(), check=True)
    yield disturbed
    for name in added:
        shutil.rmtree(disturbed.workspace / name, ignore_errors=True)
    for path in [*disturbed.workspace.rglob(".gitignore"), disturbed.workspace / ".dvcignore"]:
        path.unlink(missing_ok=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("number", "whom"),
    [(signal.SIGINT, "group"), (signal.SIGTERM, "process"), (signal.SIGKILL, "process")],
)
def test_dvc_told_to_end(with_dvc: Disturbed, number: signal.Signals, whom: str) -> None:
    """DVC waits for its stage at Ctrl-C; where it dies itself, the stage follows it."""
    rng = random.Random(number)
    slowest_s, told = 0.0, 0
    call = ("contours", "studio")
    for _ in range(scale(5, 20)):
        if told == scale(1, 10):
            break
        for item in (with_dvc.cache / "items" / "contour").glob("??/*"):
            item.unlink()
        process = start(
            with_dvc, DVC, "repro", "--force", "--single-item", "contours@studio",
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            DVC_NO_ANALYTICS="1", SHELL="/bin/sh",  # of Debian, it stays between DVC and the stage
        )  # fmt: skip
        while not any(b"stages.contours" in command_of(one) for one in with_dvc.processes()):
            assert process.poll() is None, (with_dvc.home / "log").read_text()
            time.sleep(0.02)
        time.sleep(rng.uniform(0.3, 1.5))
        if process.poll() is not None:  # a fast machine was done before
            continue
        told += 1
        begin = time.monotonic()
        send(process.pid, number, whom)
        with_dvc.wait_for_processes(LIMIT_S * NOISE)
        slowest_s = max(slowest_s, time.monotonic() - begin)
        process.wait(60)
        log = (with_dvc.home / "log").read_text()
        assert process.returncode != 0, log
        assert len(SAYS.findall(log)) == 1, log
        assert "Traceback" not in HALF_STARTED.sub("", log), log
        data = with_dvc.workspace / "data"
        assert [p for p in partial_files(data) if p.name != ".gitignore"] == []
        assert partial_files(with_dvc.cache / "items") == []
        assert [fault for fault in with_dvc.faults(call) if ".gitignore" not in fault] == []
    assert told
    record("signals", f"dvc repro, {number.name} to {whom}", told=told,
           slowest_exit_s=round(slowest_s, 2))  # fmt: skip


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
