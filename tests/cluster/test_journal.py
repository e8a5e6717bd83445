"""What a shard's journal tells after its worker has ended in one way or another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from pianoeval.cluster.journal import Journal, Past
from pianoeval.errors import BadInputError


def live(path: Path, end: str) -> None:
    journal = Journal(path)
    with journal.attempt("first", 60.0):
        pass
    with journal.attempt("second", 0.3 if end == "hang" else 60.0):
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30.0)


def run(path: Path, end: str) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=live, args=(path, end))
    process.start()
    process.join(20.0)
    return process.exitcode


def test_nothing_was_begun(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal").past() == {}


def test_a_killed_worker_leaves_one_clip_begun(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for deaths in (1, 2):
        assert run(path, "killed") == -signal.SIGKILL
        past = Journal(path).past()
        assert past["first"].done
        assert past["first"].deaths == 0
        assert past["second"].deaths == deaths
        assert not past["second"].late
        assert past["second"].place.rpartition(":")[2].isdigit()


def test_a_hang_ends_the_worker_and_is_written_down(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert run(path, "hang") == 1
    past = Journal(path).past()["second"]
    assert past.late
    assert not past.done
    assert "in live" in path.read_text(encoding="utf-8")  # where it hung


def test_a_fault_of_the_clip_is_no_death(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(BadInputError), journal.attempt("key", 60.0):
        raise BadInputError("unusable")
    assert journal.past()["key"].deaths == 0
    assert not journal.past()["key"].done


def test_a_line_that_was_cut_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("start key vm:1\ndone ke", encoding="utf-8")
    assert Journal(path).past() == {"key": Past(deaths=1, place="vm:1")}
