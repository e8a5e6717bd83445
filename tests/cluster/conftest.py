"""A cache of its own for every module, and a real cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pianoeval.cluster.connect import Connection, connect
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """PIANOEVAL_CACHE of this folder's tests; workers inherit it when they start."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PIANOEVAL_CACHE")
    os.environ["PIANOEVAL_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["PIANOEVAL_CACHE"]
    else:
        os.environ["PIANOEVAL_CACHE"] = before


@pytest.fixture(scope="module")
def three(cache_folder: Path) -> Iterator[Connection]:
    """A real cluster of three worker processes on this machine."""
    with connect("local", ClusterParams(), RunParams(workers=3)) as connection:
        yield connection
