"""From ``--cluster local|slurm|tcp://…`` to a connected client."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMCluster
from distributed import Client, LocalCluster
from distributed.security import Security

from pianoeval.builder import n_workers
from pianoeval.cluster.preflight import ClusterError
from pianoeval.cluster.slurm import (
    JobKeeper,
    certificate_folder,
    make_log_folder,
    slurm_options,
)
from pianoeval.errors import ConfigError
from pianoeval.interrupt import children_hear_no_ctrl_c
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams
from pianoeval.paths import cache_root

_ADDRESS = re.compile(r"(tcp|tls)://\[?[\w.:-]+\]?:\d{1,5}", re.ASCII)
_CONNECT_S = 20.0
_STATUS_PAGE = "127.0.0.1:0"  # the scheduler's web server: this machine only, any free port
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Connection:
    """A client, how many worker processes there are or will be, and what keeps them coming."""

    client: Client
    slots: int
    tend: Callable[[], None] = lambda: None


@contextmanager
def connect(target: str, params: ClusterParams, run: RunParams) -> Iterator[Connection]:
    """Start or reach a cluster; ends what it has started.

    Parameters
    ----------
    target : str
        ``local``, ``slurm``, or the address of a scheduler.

    Raises
    ------
    ConfigError
        Not one of these, or certificates are missing.
    ClusterError
        No scheduler answers, or jobs cannot be submitted.
    """
    if target == "local":
        opened = _local(run)
    elif target == "slurm":
        opened = _slurm(params)
    elif _ADDRESS.fullmatch(target):
        opened = _running(target, params)
    else:
        raise ConfigError(
            f"no such cluster: '{target}'", where="--cluster",
            allowed="none, local, slurm, tcp://host:port, tls://host:port",
            next_step="pianoeval embed --help",
        )  # fmt: skip
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with opened as connection:
            yield connection
    finally:
        logger.setLevel(before)


@contextmanager
def _local(run: RunParams) -> Iterator[Connection]:
    """Processes of this machine; encrypted, because others may be logged in."""
    environment = dict.fromkeys(_THREADS, "1") | {"PIANOEVAL_CACHE": str(cache_root().resolve())}
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        with children_hear_no_ctrl_c():
            started = LocalCluster(
                n_workers=n_workers(run), threads_per_worker=1, processes=True, memory_limit=0,
                dashboard_address=_STATUS_PAGE, scheduler_kwargs={"dashboard": False},
                security=Security.temporary(), silence_logs=logging.ERROR,
            )  # fmt: skip
        with started as cluster, Client(cluster) as client:
            yield Connection(client, n_workers(run))


@contextmanager
def _slurm(params: ClusterParams) -> Iterator[Connection]:
    jobs = params.slurm
    options = slurm_options(jobs, cache_root())
    make_log_folder(jobs)
    with (
        _own_certificates(certificate_folder(cache_root())) as own,
        SLURMCluster(
            **options, security=_certificates(params) or own, protocol="tls://",
            scheduler_options={"dashboard_address": _STATUS_PAGE},
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        cluster.scale(jobs=jobs.max_jobs)
        tend = JobKeeper(cluster, client, jobs)
        yield Connection(client, jobs.max_jobs * jobs.cores, tend)


@contextmanager
def _own_certificates(parent: Path) -> Iterator[Security]:
    """Made for this run; what workers need lies in a folder that only this user can read."""
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".certificates-", dir=parent) as folder:
        Finalize(None, shutil.rmtree, [folder, True], exitpriority=0)
        security = Security.temporary()
        for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
            path = Path(folder, f"{name}.pem")
            path.write_text(getattr(security, name), encoding="utf-8")
            setattr(security, name, str(path))
        yield security


@contextmanager
def _running(address: str, params: ClusterParams) -> Iterator[Connection]:
    security = _certificates(params)
    if address.startswith("tls:") and security is None:
        raise ConfigError(
            "a tls:// scheduler wants certificates", where="cluster.tls_ca_file",
            allowed="PEM files in cluster.tls_ca_file, tls_cert and tls_key",
            next_step="edit params.yaml",
        )  # fmt: skip
    try:
        client = Client(
            address, security=security if address.startswith("tls:") else None, timeout=_CONNECT_S
        )
    except OSError as error:
        raise ClusterError(
            f"no scheduler answers: {error}", where=address,
            next_step="start one: dask scheduler --host …; then: dask worker ADDRESS --nthreads 1",
        ) from error  # fmt: skip
    with client:
        yield Connection(client, len(client.scheduler_info(n_workers=-1)["workers"]) or 1)


def _certificates(params: ClusterParams) -> Security | None:
    """Those of ``params.yaml``; None where it names none."""
    paths = {
        name: getattr(params, f"tls_{name}") for name in ("ca_file", "cert", "key")
    }  # fmt: skip
    if not any(paths.values()):
        return None
    for name, path in paths.items():
        if not path or not Path(path).expanduser().is_file():
            raise ConfigError(
                f"no such file: '{path}'", where=f"cluster.tls_{name}", next_step="edit params.yaml"
            )
    cert, key = (str(Path(paths[name]).expanduser()) for name in ("cert", "key"))
    roles: dict[str, Any] = {}
    for role in ("client", "scheduler", "worker"):
        roles |= {f"tls_{role}_cert": cert, f"tls_{role}_key": key}
    ca_file = str(Path(paths["ca_file"]).expanduser())
    return Security(require_encryption=True, tls_ca_file=ca_file, **roles)
