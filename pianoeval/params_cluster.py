"""Parameters of ``pianoeval embed --cluster``; what ends up in job scripts is restricted here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pianoeval.params_block import Block

_Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]  # one line, quoted in job scripts
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:@-]*$")]
_Directive = Annotated[
    str, Field(pattern=r"^--?[A-Za-z][A-Za-z0-9-]*([= ][A-Za-z0-9_.,:/@%+=\[\]|&*()!-]+)?$")
]
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class SlurmParams(Block):
    """Jobs of ``pianoeval embed --cluster slurm``; what is empty, the site decides."""

    queue: _Word = Field("", description="partition")
    account: _Word = ""
    cores: int = Field(4, ge=1, description="worker processes a job, of one thread each")
    memory: str = Field("16GB", pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$", description="of a job")
    walltime: str = Field("04:00:00", pattern=r"^(\d+-)?\d{1,3}(:\d{2}){1,2}$")
    max_jobs: int = Field(4, ge=1, description="at a time; one that ends too early is replaced")
    interface: _Word = Field("", description="network of the workers, as 'ib0'")
    local_directory: _Text = Field("", description="fast disk of a node, for Dask itself")
    log_directory: _Text = Field("", description="what jobs print")
    python: _Text = Field("", description="interpreter of the workers; '' = the one that asks")
    job_extra_directives: list[_Directive] = Field([], description="as '--gres=gpu:1'")
    prologue: list[_Text] = Field([], description="shell commands before the workers start")
    env: dict[_Variable, _Text] = Field({}, description="variables of the workers")


class ClusterParams(Block):
    """How ``pianoeval embed --cluster`` spreads work; never part of a key."""

    shard_minutes: float = Field(10.0, gt=0, description="audio a task")
    max_deaths: int = Field(3, ge=1, description="workers a clip may cost before it is given up")
    wait_s: float = Field(3600.0, gt=0, description="for a worker, while there is none")
    tls_ca_file: _Text = Field("", description="PEM; for tls:// and slurm")
    tls_cert: _Text = ""
    tls_key: _Text = ""
    slurm: SlurmParams = SlurmParams()
