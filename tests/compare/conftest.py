"""Runs that several tests read, and the command itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pianoeval.cli import main
from tests.compare.run_cases import write_run

Outcome = tuple[int, str, str]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two workspaces: in the second ``mel`` predicts better, all else is the same."""
    home = tmp_path_factory.mktemp("runs")
    write_run(home / "before", noise=0.06)
    write_run(home / "after", noise=0.02)
    return str(home / "before"), str(home / "after")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """``pianoeval compare …`` in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pianoeval", "compare", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return call
