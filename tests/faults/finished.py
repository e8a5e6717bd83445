"""Every stage, and a workspace in which all of them have run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from workspaces import ROOT

STAGES = (
    ("fetch", "studio"), ("ingest", "studio"), ("degrade", "studio"), ("render", "studio", "grand"),
    ("contours", "studio"), ("embed", "studio", "mel", "grand"), ("pool", "studio", "mel", "grand"),
    ("symbolic", "studio"), ("notes", "studio"), ("folds", "studio"), ("audit", "studio"),
    ("probe", "studio", "symbolic"), ("probe", "studio", "mel"), ("fuse", "studio"),
    ("rank", "studio"), ("evaluate_rank", "studio"),
    ("contrast", "studio"), ("evaluate_contrast", "studio"),
    ("evaluate", "studio"), ("examples", "studio"), ("report",),
)  # fmt: skip
"""Module and arguments of every stage, in an order in which they can run."""

RUN_ALL = f"""
import importlib
for call in {STAGES!r}:
    importlib.import_module("stages." + call[0]).main(*call[1:])
"""


@dataclass(frozen=True)
class Finished:
    """A workspace in which every stage has run, and the cache it filled."""

    workspace: Path
    cache: Path

    def copy(self, folder: Path) -> Finished:
        """A copy to spoil, with a cache of its own (assets are linked)."""
        shutil.copytree(self.workspace, folder / "workspace", symlinks=True)
        shutil.copytree(self.cache, folder / "cache", symlinks=True)
        return Finished(folder / "workspace", folder / "cache")

    def environment(self) -> dict[str, str]:
        """Variables under which a process works in this workspace."""
        return os.environ | {
            "PIANOEVAL_CACHE": str(self.cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def stage(self, *call: str) -> subprocess.CompletedProcess[str]:
        """Run one stage in a process of its own: ``finished.stage("pool", "studio", ...)``."""
        return subprocess.run(
            [sys.executable, "-m", f"stages.{call[0]}", *call[1:]], cwd=self.workspace,
            env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
