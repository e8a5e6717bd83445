"""SLURM jobs that hold workers: options for dask-jobqueue, and the script it will submit.

Values from ``params.yaml`` and paths end up in a shell script. Names and numbers are restricted
when the parameters are read; paths and values of variables are quoted; what cannot be is refused.
The lines of ``prologue`` are commands, and run as they are.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client
from distributed.security import Security

from pianoeval.errors import ConfigError
from pianoeval.params_cluster import SlurmParams

log = logging.getLogger(__name__)
JOB_NAME = "pianoeval"
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
# Items do not stay in a worker's memory; mapped files count as memory, and must not pause it.
_MEMORY = ("TARGET", "SPILL", "PAUSE")
_PLAIN_PATH = re.compile(r"[\w./@%+=:,-]+", re.ASCII)
_DEATH_TIMEOUT_S = 120
_ENDED_S = 60.0  # a process that has crashed is back sooner


def slurm_options(params: SlurmParams, cache: Path) -> dict[str, Any]:
    """Keyword arguments of ``SLURMCluster`` and ``SLURMJob``.

    What is left empty in ``params.yaml`` comes from the site's Dask configuration.

    Parameters
    ----------
    cache : Path
        ``PIANOEVAL_CACHE`` of the workers.

    Raises
    ------
    ConfigError
        A path that cannot stand in a job script.
    """
    log_folder = _plain(params.log_directory, "cluster.slurm.log_directory")
    directives = list(params.job_extra_directives)
    if log_folder:
        directives.append(f"-o {log_folder}/{JOB_NAME}-%J.out")
    return {
        "job_name": JOB_NAME,
        "queue": params.queue or None,
        "account": params.account or None,
        "cores": params.cores,
        "processes": params.cores,  # one thread each
        "memory": params.memory,
        "walltime": params.walltime,
        "interface": params.interface or None,
        "local_directory": shlex.quote(params.local_directory) if params.local_directory else None,
        "python": shlex.quote(params.python or sys.executable),
        "nanny": True,
        "death_timeout": _DEATH_TIMEOUT_S,
        "job_extra_directives": directives,
        "job_script_prologue": _prologue(params, cache),
    }


def _prologue(params: SlurmParams, cache: Path) -> list[str]:
    """The site's own commands first, so that they cannot undo what is needed."""
    variables = {
        **params.env,
        **dict.fromkeys(_THREADS, "1"),
        **{f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": "False" for name in _MEMORY},
        "PIANOEVAL_CACHE": _one_line(str(cache.resolve()), "PIANOEVAL_CACHE"),
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [*params.prologue, *exports]


def job_script(params: SlurmParams, cache: Path) -> str:
    """The script of one job as it would be submitted; addresses and certificates are left open."""
    names = ("ca_file", "worker_cert", "worker_key")
    security = Security(
        require_encryption=True, **{f"tls_{name}": f"<{name} of this run>" for name in names}
    )
    job = SLURMJob(
        scheduler="tls://<address of this machine>", name="<worker>", protocol="tls://",
        security=security, **slurm_options(params, cache),
    )  # fmt: skip
    script: str = job.job_script()
    return script


def certificate_folder(cache: Path) -> Path:
    """Where the certificates of a run lie while it lasts; dask-jobqueue does not quote that."""
    return Path(_plain(str(cache.resolve()), "PIANOEVAL_CACHE"))


def make_log_folder(params: SlurmParams) -> None:
    """SLURM drops the output of jobs whose folder is missing; raises ConfigError."""
    if not params.log_directory:
        return
    try:
        os.makedirs(params.log_directory, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"'{params.log_directory}' cannot be made ({error.strerror})",
            where="cluster.slurm.log_directory", next_step="choose another folder in params.yaml",
        ) from error  # fmt: skip


class JobKeeper:
    """Replaces jobs that have ended, at their walltime for instance; call it now and then.

    Dask's own adaptive scaling is not used: it takes single processes away, and with them the
    whole job, whatever its other processes are at.
    """

    def __init__(self, cluster: SLURMCluster, client: Client, params: SlurmParams) -> None:
        self.cluster, self.client, self.params = cluster, client, params
        self.last_seen: dict[str, float] = {}

    def __call__(self) -> None:
        now = time.monotonic()
        for worker in self.client.scheduler_info(n_workers=-1)["workers"].values():
            self.last_seen[self._job(str(worker["name"]))] = now
        ended = [
            name for name in self.cluster.worker_spec
            if now - self.last_seen.get(str(name), now) > _ENDED_S  # those that wait are unseen
        ]  # fmt: skip
        for name in ended:
            log.info("job %s has ended; another is submitted", name)
            del self.last_seen[str(name)]  # the next one may have its name
        if ended:
            self.cluster.sync(self.cluster.scale_down, ended)
            self.cluster.scale(jobs=self.params.max_jobs)

    def _job(self, worker: str) -> str:
        """Where a job has several processes, Dask numbers them."""
        return worker.rpartition("-")[0] if self.params.cores > 1 else worker


def _plain(path: str, where: str) -> str:
    if path and not _PLAIN_PATH.fullmatch(path):
        raise ConfigError(
            f"{path!r} cannot stand in a job script", where=where,
            allowed="letters, digits and ./@%+=:,_-", next_step="choose another folder",
        )  # fmt: skip
    return path


def _one_line(text: str, where: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ConfigError(f"{text!r} holds a control character", where=where)
    return text
