"""Two writers at once: of one stage, of two workspaces with one cache, of two commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disturbed import Disturbed, Tree
from finished import Finished
from levels import FULL, record, scale

PIANOEVAL = [sys.executable, "-c", "from pianoeval.cli import main; main()"]
EMBED = ("embed", "studio", "mel", "grand")
ROUNDS = scale(1, 10)


def together(runs: list[tuple[list[str], Disturbed]]) -> None:
    """All at once; each must succeed without a word of trouble."""
    started = [
        subprocess.Popen(
            command, cwd=where.workspace, env=where.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for command, where in runs
    ]  # fmt: skip
    for process in started:
        log, _ = process.communicate(timeout=240)
        assert process.returncode == 0, log
        for word in ("Traceback", "ERROR", "damaged", "WARNING quarantined"):
            assert word not in log, log


def stage(*call: str) -> list[str]:
    return [sys.executable, "-m", f"stages.{call[0]}", *call[1:]]


def items(where: Disturbed) -> Tree:
    return {path: digest for path, digest in where.tree().items() if path.startswith("cache/")}


@pytest.fixture
def first(finished: Finished, tmp_path: Path) -> Disturbed:
    copy = finished.copy(tmp_path)
    return Disturbed(copy.workspace, copy.cache, tmp_path)


@pytest.mark.timeout(3600)
def test_one_stage_twice_in_one_workspace(first: Disturbed) -> None:
    calls = [EMBED, ("probe", "studio", "mel")] if FULL else [EMBED]
    for call in calls:
        for _ in range(ROUNDS):
            first.remove_results(call)
            together([(stage(*call), first), (stage(*call), first)])
            assert first.faults(call) == []
            assert first.tree() == first.reference
    record("two writers", "one stage twice in one workspace", rounds=len(calls) * ROUNDS)


@pytest.mark.timeout(3600)
def test_two_workspaces_with_one_cache(first: Disturbed) -> None:
    shutil.copytree(first.workspace, first.home / "second" / "workspace")
    second = Disturbed(first.home / "second" / "workspace", first.cache, first.home)
    calls = [EMBED, ("render", "studio", "grand")] if FULL else [EMBED]
    for call in calls:
        for _ in range(ROUNDS):
            first.remove_results(call)
            for out in second.outs(call):
                shutil.rmtree(out)
            together([(stage(*call), first), (stage(*call), second)])
            assert first.faults(call) == []
            assert first.tree() == first.reference
            assert second.tree() == second.reference
    record("two writers", "two workspaces with one cache", rounds=len(calls) * ROUNDS)


@pytest.mark.timeout(3600)
def test_two_commands_that_embed(first: Disturbed) -> None:
    command = [*PIANOEVAL, "embed", "studio", "--workers", "1"]
    for _ in range(ROUNDS):
        first.remove_results(EMBED, keep_outs=True)
        together([(command, first), (command, first)])
        assert items(first) == {
            path: digest for path, digest in first.reference.items() if path.startswith("cache/")
        }
        assert not list((first.cache / "items").glob("*/unfinished/*"))
    record("two writers", "two pianoeval embed at once", rounds=ROUNDS)
