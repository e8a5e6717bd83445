"""A workspace whose stages are killed again and again, and compared with an undisturbed run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from moments import COUNTS, MOMENT, ROOTS
from workspaces import ROOT

from pianoeval.cache import ItemCache

HERE = Path(__file__).resolve().parent
STEPS = {
    "render": "audio", "contours": "contour", "embed": "embedding-mel", "probe": "probe",
    "rank": "rank", "contrast": "contrast",
}  # fmt: skip
_ITEMS = 3  # to compute again
MARK = "PIANOEVAL_TEST_DISTURBED"
_IMPORTS = (
    "pandas", "torch", "pyarrow.parquet", "zarr", "librosa", "music21", "sklearn.linear_model",
    "scipy.stats", "stages.probe", "stages.report", "stages.examples", "stages.symbolic",
    "stages.contours", "stages.render", "stages.embed", "stages.evaluate", "stages.audit",
    "stages.rank", "stages.evaluate_rank", "stages.contrast", "stages.evaluate_contrast",
)  # fmt: skip
Tree = dict[str, str]


@dataclass
class Run:
    """How a stage ended."""

    status: int
    seconds: float
    log: str


@dataclass
class Disturbed:
    """A copy of a finished workspace; ``reference`` is what every run must end with."""

    workspace: Path
    cache: Path
    home: Path
    reference: Tree = field(default_factory=dict)
    _server: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        # An importable name under which every Python of a run loads the moments.
        places = self.home / "site"
        places.mkdir(exist_ok=True)
        shutil.copyfile(HERE / "moments.py", places / "sitecustomize.py")
        self.reference = self.tree()

    def tree(self) -> Tree:
        """SHA-256 of all files, and the folders, of the workspace and of the items."""
        found: Tree = {}
        for top in (self.workspace / "data", self.workspace / "reports", self.cache / "items"):
            for path in sorted(top.rglob("*")):
                if "unfinished" in path.parts:  # documented: goes after a day
                    continue
                if path.is_dir() and path.is_relative_to(self.cache):
                    continue
                is_file = path.is_file()
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else "folder"
                found[str(path.relative_to(self.home))] = digest
        return found

    def mend(self, workspace: Path, items: Path) -> None:
        """Copy all results anew, where a test that failed has left others."""
        if self.tree() == self.reference:
            return
        for name in ("data", "reports"):
            shutil.rmtree(self.workspace / name, ignore_errors=True)
            shutil.copytree(workspace / name, self.workspace / name, symlinks=True)
        shutil.rmtree(self.cache / "items", ignore_errors=True)
        shutil.copytree(items, self.cache / "items")

    def environment(self, moment: str = "", counts: Path | None = None) -> dict[str, str]:
        """Of a run that ends at ``moment``."""
        return os.environ | {
            "PIANOEVAL_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", MARK: str(self.home),
            "PYTHONPATH": os.pathsep.join([str(self.home / "site"), str(ROOT)]),
            ROOTS: f"{self.workspace}:{self.cache / 'items'}", MOMENT: moment,
            COUNTS: str(counts or ""),
        }  # fmt: skip

    def start(self, call: tuple[str, ...], moment: str = "", counts: Path | None = None) -> int:
        """Begin a stage in a session of its own; its process number."""
        self._serve()
        assert self._server is not None
        order = {
            "call": call, "cwd": str(self.workspace), "log": str(self.home / "log"),
            "env": self.environment(moment, counts),
        }  # fmt: skip
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._read())

    def _serve(self) -> None:
        if self._server is None:
            plain = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]), "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            self._server = subprocess.Popen(
                [sys.executable, str(HERE / "fork_server.py"), *_IMPORTS], text=True, env=plain,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert self._read() == "ready"

    def ended(self, timeout_s: float) -> bool:
        """Whether the stage ends within this time; :meth:`finish` reads its status."""
        assert self._server is not None
        return bool(select.select([self._server.stdout], [], [], timeout_s)[0])

    def finish(self) -> tuple[int, str]:
        """Exit status and what was printed."""
        status = int(self._read())
        return status, (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def run(self, call: tuple[str, ...], moment: str = "", counts: Path | None = None) -> Run:
        """A stage from its start to its end."""
        self._serve()
        begin = time.monotonic()
        self.start(call, moment, counts)
        status, log = self.finish()
        return Run(status, time.monotonic() - begin, log)

    def _read(self) -> str:
        assert self._server is not None
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()

    def close(self) -> None:
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            self._server.wait(30)

    # What there is and what may be there -------------------------------------------------------

    def outs(self, call: tuple[str, ...]) -> list[Path]:
        """Files and folders that a stage writes, from dvc.yaml."""
        stages = yaml.safe_load((self.workspace / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        params = yaml.safe_load((self.workspace / "params.yaml").read_text(encoding="utf-8"))
        stage = stages[call[0]]
        item = dict(zip(stage.get("matrix", {}), call[1:], strict=True))

        def value(match: re.Match[str]) -> str:
            found: Any = {"item": item} | params
            for word in match[1].split("."):
                found = found[word]
            return str(found)

        entries = [*stage["outs"], *stage.get("metrics", [])]
        names = [next(iter(e)) if isinstance(e, dict) else e for e in entries]
        return [self.workspace / re.sub(r"\$\{([^}]+)\}", value, name) for name in names]

    def remove_results(self, call: tuple[str, ...], keep_outs: bool = False) -> None:
        """As DVC does before it runs a stage; its items go too, so that it has work."""
        for out in [] if keep_outs else self.outs(call):
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        if call[0] in STEPS:
            items = sorted((self.cache / "items" / STEPS[call[0]]).glob("??/*.safetensors"))
            for item in [path for path in items if self._is_of(call, path)][:_ITEMS]:
                item.unlink()

    def _is_of(self, call: tuple[str, ...], path: Path) -> bool:
        """Whether the stage writes this item; each probe writes those of its own views."""
        if call[0] != "probe":
            return True
        item = ItemCache(self.cache / "items").get("probe", path.stem)
        return item is not None and str(item.meta["view"]).startswith(call[-1])

    def faults(self, call: tuple[str, ...]) -> list[str]:
        """What is half there after a kill: outs, items, strange files; none is expected."""
        faults = []
        outs = [str(out.relative_to(self.home)) for out in self.outs(call)]
        found = {
            path: digest for path, digest in self.tree().items() if not is_leftover(path)
        }  # fmt: skip
        for out in outs:
            there = _below(found, out)
            if there and there != _below(self.reference, out):
                faults.append(f"{out} is half there")
        faults += [
            f"{path} is not of the undisturbed run"
            for path, digest in found.items() if self.reference.get(path) != digest
        ]  # fmt: skip
        items = self.cache / "items"
        for path in items.glob("*/??/*.safetensors"):
            if ItemCache(items).get(path.parent.parent.name, path.stem) is None:
                faults.append(f"{path} is damaged")
        return faults

    def processes(self) -> set[int]:
        """Processes of runs, workers included (Linux)."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{MARK}={self.home}".encode() in path.read_bytes().split(b"\0"):
                    found.add(int(path.parent.name))
            except OSError:  # it ended, or is another user's
                continue
        return found

    def wait_for_processes(self, timeout_s: float) -> float:
        """Seconds until none of them is left; the rest is ended after ``timeout_s``."""
        begin = time.monotonic()
        while left := self.processes():
            if time.monotonic() - begin > timeout_s:
                for process in left:
                    os.kill(process, signal.SIGKILL)
                raise AssertionError(f"{len(left)} processes outlive their parent by {timeout_s} s")
            time.sleep(0.02)
        return time.monotonic() - begin


def is_leftover(path: str) -> bool:
    """What a killed process may leave: ``.x.partial``, and what is in it."""
    return any(part.startswith(".") and part.endswith(".partial") for part in Path(path).parts)


def _below(tree: Tree, out: str) -> Tree:
    return {p: d for p, d in tree.items() if p == out or p.startswith(out + "/")}
