"""A small workspace after every stage, made once and copied by the tests that spoil it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from disturbed import Disturbed
from finished import RUN_ALL, Finished
from workspaces import make_cache, make_workspace, small_params


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
