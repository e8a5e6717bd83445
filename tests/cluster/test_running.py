"""``--cluster tcp://…`` and ``tls://…``: a scheduler and workers that somebody else has started."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from distributed.security import Security

from pianoeval.builder import BuildReport
from pianoeval.cache import ItemCache
from pianoeval.cluster.connect import connect
from pianoeval.cluster.fill import ClusterFill
from pianoeval.cluster.preflight import ClusterError, Requirements
from pianoeval.encoders.extract import embed_corpus, embed_item, embed_jobs
from pianoeval.errors import ConfigError
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams
from pianoeval.params_file import load_params
from tests.cluster.work import STEP, frozen, ledger, make_jobs, perform, wait_until, write_audio
from tests.test_store import tree_hash
from tests.workspaces import make_workspace

ROOT = Path(__file__).resolve().parents[2]
PIANOEVAL = [sys.executable, "-c", "from pianoeval.cli import main; main()"]
DASK = Path(sys.executable).with_name("dask")


@dataclass
class Daemons:
    """Processes of the ``dask`` command line."""

    log: Path
    address: str = ""
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        with self.log.open("ab") as log:
            self.started.append(
                subprocess.Popen(
                    [str(DASK), *arguments],
                    cwd=self.log.parent,
                    env=environ,
                    stdout=log,
                    stderr=log,
                )
            )

    def worker(self, *arguments: str, **environment: str) -> None:
        self.start(
            "worker", self.address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1",
            *arguments, **environment,
        )  # fmt: skip


@contextmanager
def scheduler(folder: Path, *arguments: str) -> Iterator[Daemons]:
    """A scheduler; all that a test has started ends with it."""
    found = Daemons(folder / "daemons.log")
    found.start(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
        "--dashboard-address", "127.0.0.1:0", "--no-show", *arguments,
    )  # fmt: skip

    def address() -> bool:
        match = re.search(r"Scheduler at:\s+(\w+://\S+)", found.log.read_text())
        found.address = match[1] if match else ""
        return bool(match)

    try:
        wait_until(address)
        yield found
    finally:
        for process in reversed(found.started):
            process.kill()  # workers end with the nanny that has started them
        for process in found.started:
            process.wait(30)


@pytest.fixture
def daemons(tmp_path: Path, cache_folder: Path) -> Iterator[Daemons]:
    with scheduler(tmp_path) as found:
        yield found


def run_jobs(address: str, folder: Path, n: int, **params: Any) -> dict[str, str]:
    """Fill a cache on the scheduler at ``address``."""
    chosen = ClusterParams.model_validate({"wait_s": 60.0, **params})
    with connect(address, chosen, RunParams()) as connection:
        fill = ClusterFill(connection, perform, chosen, Requirements())
        jobs = make_jobs(folder, ["ok"] * n)
        return fill(STEP, jobs, ItemCache(folder / "items"), RunParams(), BuildReport())


def test_the_command_on_a_running_cluster(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real encoder: its store is that of a serial run, byte for byte."""
    monkeypatch.chdir(make_workspace(tmp_path / "workspace"))
    audio = tmp_path / "workspace" / "data" / "studio" / "audio" / "grand.zarr"
    audio.parent.mkdir(parents=True)
    write_audio(audio, 6)
    daemons.worker()
    done = subprocess.run(
        [*PIANOEVAL, "embed", "studio", "--cluster", daemons.address, "--json"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    [row] = told["embeddings"]
    assert (row["computed"], row["reused"], row["quarantined"]) == (6, 0, {})
    assert told["next"] == "dvc repro"

    params, serial = load_params(), ItemCache(tmp_path / "serial")
    for job in embed_jobs(audio, "mel", params):
        serial.put("embedding-mel", job.key, *embed_item(job.payload))
    for name, cache in (("cluster", ItemCache()), ("serial", serial)):
        report = embed_corpus(audio, "mel", params, cache, tmp_path / name)
        assert (report.computed, report.reused) == (0, 6)
    assert tree_hash(tmp_path / "cluster") == tree_hash(tmp_path / "serial")


def test_a_worker_with_another_cache_or_version_is_refused(
    daemons: Daemons, tmp_path: Path
) -> None:
    preload = tmp_path / "other_version.py"
    preload.write_text("import pianoeval\npianoeval.__version__ = '0.0.0'\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    daemons.worker("--preload", str(preload), PIANOEVAL_CACHE=str(elsewhere))
    with pytest.raises(ClusterError, match=r"worker tcp://127\.0\.0\.1:\d+") as caught:
        run_jobs(daemons.address, tmp_path, 4)
    assert "pianoeval is 0.0.0 there, " in str(caught.value)
    assert f"PIANOEVAL_CACHE is {elsewhere} there, {os.environ['PIANOEVAL_CACHE']} here" in str(
        caught.value
    )
    assert not ledger(tmp_path, "begun")


def test_a_worker_that_joins_later_is_checked_too(daemons: Daemons, tmp_path: Path) -> None:
    daemons.worker()
    (tmp_path / "freeze").touch()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_jobs, daemons.address, tmp_path, 8)
        wait_until(lambda: bool(frozen(tmp_path)) or running.done())
        daemons.worker(PIANOEVAL_CACHE=str(tmp_path / "elsewhere"))
        with pytest.raises(ClusterError, match=r"PIANOEVAL_CACHE is .*elsewhere there"):
            running.result(timeout=90)
        (tmp_path / "freeze").unlink()
    [first] = frozen(tmp_path)
    assert {process for _, process in ledger(tmp_path, "begun")} == {first}
    wait_until(lambda: len(ledger(tmp_path, "encoded")) == 1)  # it stops after that clip


def test_no_worker_and_no_scheduler(daemons: Daemons, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no worker for 0\.5 s \(cluster\.wait_s\)"):
        run_jobs(daemons.address, tmp_path, 2, wait_s=0.5)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pianoeval.cluster.connect._CONNECT_S", 0.5)
    with (
        pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9: no scheduler answers"),
        connect("tcp://127.0.0.1:9", ClusterParams(), RunParams()),
    ):
        pass


@pytest.mark.parametrize("target", ["lokal", "tcp://host", "tcp://host:1 ; rm", "http://h:80", ""])
def test_what_is_no_cluster(target: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"no such cluster.*none, local, slurm, tcp://host:port"),
        connect(target, ClusterParams(), RunParams()),
    ):
        pass


def test_an_encrypted_scheduler_wants_certificates(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"cluster\.tls_ca_file: a tls:// scheduler"),
        connect("tls://127.0.0.1:9", ClusterParams(), RunParams()),
    ):
        pass
    half = ClusterParams(tls_ca_file=str(tmp_path / "none.pem"))
    with (
        pytest.raises(ConfigError, match=r"cluster\.tls_ca_file: no such file"),
        connect("tls://127.0.0.1:9", half, RunParams()),
    ):
        pass


def test_an_encrypted_scheduler(tmp_path: Path, cache_folder: Path) -> None:
    made = Security.temporary()
    paths = {}
    for name, text in (
        ("ca_file", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key),
    ):  # fmt: skip
        paths[f"tls_{name}"] = str(tmp_path / f"{name}.pem")
        Path(paths[f"tls_{name}"]).write_text(text, encoding="utf-8")
    options = [f"--{name.replace('_', '-')}={path}" for name, path in paths.items()]
    with scheduler(tmp_path, "--protocol", "tls", *options) as found:
        assert found.address.startswith("tls://")
        found.worker(*options)
        assert run_jobs(found.address, tmp_path, 4, **paths) == {}
        with (
            pytest.raises(ConfigError, match="wants certificates"),
            connect(found.address, ClusterParams(), RunParams()),
        ):
            pass
    assert len(ledger(tmp_path, "encoded")) == 4
