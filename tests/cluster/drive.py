"""A driver to be killed: ``python -m tests.cluster.drive FOLDER WORKERS``."""

from __future__ import annotations

import sys
from pathlib import Path

from pianoeval.builder import BuildReport
from pianoeval.cache import ItemCache
from pianoeval.cluster.connect import connect
from pianoeval.cluster.fill import ClusterFill
from pianoeval.cluster.preflight import Requirements
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams
from tests.cluster.work import STEP, encode, stored_jobs


def main(folder: Path, workers: int) -> None:
    jobs = stored_jobs(folder / "audio.zarr", folder)
    run = RunParams(workers=workers)
    with connect("local", ClusterParams(), run) as connection:
        fill = ClusterFill(connection, encode, ClusterParams(), Requirements())
        fill(STEP, jobs, ItemCache(folder / "items"), run, BuildReport())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
