"""The job script, word for word; what may not stand in it; and jobs through a toy ``sbatch``."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml
from pydantic import ValidationError

from pianoeval.builder import BuildReport
from pianoeval.cache import ItemCache
from pianoeval.cluster.connect import connect
from pianoeval.cluster.fill import ClusterFill
from pianoeval.cluster.preflight import Requirements
from pianoeval.cluster.slurm import JobKeeper, job_script, make_log_folder
from pianoeval.errors import ConfigError
from pianoeval.params import RunParams
from pianoeval.params_cluster import ClusterParams, SlurmParams
from tests.cluster.work import STEP, frozen, is_alive, ledger, make_jobs, perform, wait_until

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = """\
#!/usr/bin/env bash

#SBATCH -J pianoeval
#SBATCH -p long
#SBATCH -A music
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=30G
#SBATCH -t 1-12:00:00
#SBATCH --gres=gpu:1
#SBATCH --constraint=a100|h100
#SBATCH -o /logs/pianoeval-%J.out
module load python
export HF_HOME='/data/of the lab'
export OMP_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
export MKL_NUM_THREADS=1
export NUMBA_NUM_THREADS=1
export DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False
export DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False
export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False
export PIANOEVAL_CACHE=/shared/cache
/opt/py/bin/python -m distributed.cli.dask_worker tls://<address of this machine> --name <worker> \
--nthreads 1 --memory-limit 3.73GiB --nworkers 8 --nanny --death-timeout 120 \
--local-directory '/scratch/my disk' --interface ib0 --protocol tls:// \
--tls-ca-file <ca_file of this run> --tls-cert <worker_cert of this run> \
--tls-key <worker_key of this run>
"""


@pytest.fixture(autouse=True)
def _no_site_configuration() -> Any:
    """Only what dask-jobqueue itself ships: a site's file would fill in what is empty here."""
    import dask_jobqueue

    shipped = Path(dask_jobqueue.__file__).with_name("jobqueue.yaml")
    defaults = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    with dask.config.set({"jobqueue": defaults["jobqueue"]}):
        yield


def test_the_script_word_for_word() -> None:
    params = SlurmParams(
        queue="long", account="music", cores=8, memory="32GB", walltime="1-12:00:00",
        interface="ib0", local_directory="/scratch/my disk", log_directory="/logs",
        python="/opt/py/bin/python",
        job_extra_directives=["--gres=gpu:1", "--constraint=a100|h100"],
        prologue=["module load python"], env={"HF_HOME": "/data/of the lab"},
    )  # fmt: skip
    assert job_script(params, Path("/shared/cache")) == GOLDEN


def test_by_default_the_interpreter_is_ours() -> None:
    lines = job_script(SlurmParams(), Path("/shared/cache")).splitlines()
    assert shlex.split(lines[-1])[:3] == [sys.executable, "-m", "distributed.cli.dask_worker"]
    assert not [line for line in lines if line.startswith(("#SBATCH -p", "#SBATCH -A"))]


NASTY = ("a b", "a;b", "a\nb", "$(x)", "`x`", "a'b", "a&b", "a\\b", "a\n")


@pytest.mark.parametrize("field", ["queue", "account", "interface", "walltime", "memory"])
@pytest.mark.parametrize("value", NASTY)
def test_words_are_words(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        SlurmParams.model_validate({field: value})


@pytest.mark.parametrize("value", ["gres=gpu", "--gres=gpu 1", "--x=a;b", "--x=`a`", "-a\n-b", "-"])
def test_directives_are_options(value: str) -> None:
    with pytest.raises(ValidationError):
        SlurmParams(job_extra_directives=[value])


@pytest.mark.parametrize(
    "values",
    [
        {"python": "a\nb"}, {"local_directory": "a\nb"}, {"prologue": ["a\nb"]},
        {"env": {"A": "a\nb"}}, {"env": {"A B": "c"}}, {"env": {"A;B": "c"}},
    ],
)  # fmt: skip
def test_one_line_is_one_line(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SlurmParams.model_validate(values)


def test_what_is_quoted_reaches_the_program_as_it_is(tmp_path: Path) -> None:
    """The shell itself is asked: nothing in a value is run."""
    marker = tmp_path / "ran"
    nasty = f"/x y; touch {marker} $(touch {marker}) `touch {marker}` ' \" &"
    params = SlurmParams(python=nasty, local_directory=nasty, env={"A": nasty})
    lines = job_script(params, tmp_path / f"c; touch {marker}").splitlines()
    checked = [line for line in lines if not line.startswith(("#", "export DASK"))]
    command = checked[-1].replace("<", "[").replace(">", "]")
    assert shlex.split(command)[0] == nasty
    assert shlex.split(command)[shlex.split(command).index("--local-directory") + 1] == nasty
    script = "\n".join(checked[:-1]) + '\nprintf "%s\\n" "$A" "$PIANOEVAL_CACHE"'
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [nasty, str(tmp_path / f"c; touch {marker}")]
    assert not marker.exists()


def test_paths_that_cannot_be_quoted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.slurm\.log_directory"):
        job_script(SlurmParams(log_directory="/a b"), tmp_path)
    with pytest.raises(ConfigError, match=r"PIANOEVAL_CACHE.*control character"):
        job_script(SlurmParams(), tmp_path / "a\nb")


def test_a_cache_that_cannot_hold_certificates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "a b"))
    with (
        pytest.raises(ConfigError, match=r"PIANOEVAL_CACHE.*cannot stand in a job script"),
        connect("slurm", ClusterParams(), RunParams()),
    ):
        pass


def write_tool(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_jobs_are_submitted_replaced_and_cancelled(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sbatch`` starts the script as a group of its own, ``scancel`` ends that group."""
    tools, jobs_log = tmp_path / "bin", tmp_path / "jobs"
    tools.mkdir()
    write_tool(
        tools / "sbatch",
        f'cp "$1" {tmp_path}/script; setsid bash {tmp_path}/script >{tmp_path}/job.log 2>&1 &\n'
        f'echo $! >>{jobs_log}; echo "Submitted batch job $!"',
    )
    write_tool(tools / "scancel", 'kill -- "-$1"')
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("pianoeval.cluster.slurm._ENDED_S", 3.0)
    (tmp_path / "freeze").touch()
    params = ClusterParams(wait_s=60, slurm=SlurmParams(cores=2, memory="4GB", max_jobs=1))
    report, jobs = BuildReport(), make_jobs(tmp_path, ["ok"] * 8)
    with connect("slurm", params, RunParams()) as connection, ThreadPoolExecutor(1) as pool:
        assert connection.slots == 2
        fill = ClusterFill(connection, perform, params, Requirements())
        running = pool.submit(fill, STEP, jobs, ItemCache(tmp_path / "items"), RunParams(), report)
        wait_until(lambda: len(frozen(tmp_path)) == 2 or running.done())
        keeper = connection.tend
        assert isinstance(keeper, JobKeeper)
        wait_until(lambda: bool(keeper.last_seen) or running.done())
        subprocess.run(["scancel", jobs_log.read_text().strip()], check=True)  # as at its walltime
        (tmp_path / "freeze").unlink()
        assert running.result(timeout=120) == {}
        assert list(cache_folder.glob(".certificates*/*.pem"))
    assert report.computed == 8
    first, second = (int(line) for line in jobs_log.read_text().split())
    wait_until(lambda: not is_alive(first) and not is_alive(second))
    assert sorted(clip for clip, _ in ledger(tmp_path, "encoded")) == [str(n) for n in range(8)]
    script = (tmp_path / "script").read_text()
    assert f"export PIANOEVAL_CACHE={cache_folder}\n" in script
    assert "tls://" in script
    assert not list(cache_folder.glob(".certificates*"))


def test_a_log_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"log_directory: .*cannot be made \(Not a directory\)"):
        make_log_folder(SlurmParams(log_directory=str(tmp_path / "file" / "logs")))
