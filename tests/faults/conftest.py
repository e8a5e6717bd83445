"""A small workspace after every stage, made once and copied by the tests that spoil it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from disturbed import Disturbed
from finished import RUN_ALL, Finished
from workspaces import make_cache, make_workspace, small_params


@pytest.fixture(scope="session", autouse=True)
def _children_hear_all_signals() -> Iterator[None]:
    """In the background, or under nohup, they would inherit that some are ignored."""
    ignored = [n for n in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)  # not inherited, unlike SIG_IGN
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, instrument_assets: None) -> Finished:
    """Every stage over three excerpts, in one process; read it, or spoil a ``copy``."""
    home = tmp_path_factory.mktemp("finished")
    made = Finished(make_workspace(home / "workspace", small_params()), make_cache(home / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], cwd=made.workspace,
        env=made.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="session")
def _disturbed(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    home = tmp_path_factory.mktemp("disturbed")
    copy = finished.copy(home)
    found = Disturbed(copy.workspace, copy.cache, home)
    yield found
    found.close()


@pytest.fixture
def disturbed(_disturbed: Disturbed, finished: Finished) -> Disturbed:
    """The finished workspace, to run and kill its stages in; mended before each test."""
    _disturbed.mend(finished.workspace, finished.cache / "items")
    return _disturbed
