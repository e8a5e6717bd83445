"""Feed hostile inputs to the product in child processes; say how each ended, how long, how much.

A child takes a batch, so that thousands of inputs take minutes. It has a memory limit, and each
input a time limit; a child that dies or hangs costs that input and is replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from levels import record

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMIT_S = 60.0  # of an input, on a busy machine; the longest is recorded
MEMORY_MB = 1024  # an input may cost so much beyond what it started with
_START_S = 240.0


@dataclass(frozen=True)
class Case:
    """An input: ``kind`` names the reader in ``hostile_child``, ``path`` the file or folder."""

    kind: str
    path: Path
    label: str


@dataclass(frozen=True)
class Outcome:
    """``verdict`` is ``ok``, ``refused``, or what must never be."""

    case: Case
    verdict: str
    text: str
    seconds: float
    grown_mb: float

    @property
    def good(self) -> bool:
        return self.verdict in ("ok", "refused")


class _Child:
    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._errors = (scratch / "errors.txt").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "hostile_child.py"), str(scratch), str(MEMORY_MB)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE.parent}",
                              "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": ""},
            cwd=scratch,
        )  # fmt: skip
        assert self.answer(_START_S), (scratch / "errors.txt").read_text()[-2000:]

    def ask(self, case: Case) -> None:
        assert self._process.stdin
        line = json.dumps([case.kind, str(case.path)]) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    def answer(self, limit_s: float) -> str:
        """A line, or nothing when the child has died or the time is over."""
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        return self._process.stdout.readline().decode() if ready else ""

    def end(self) -> str:
        dead = self._process.poll() is not None or self._closed()
        if not dead:
            self._process.kill()
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return f"died ({code})" if dead else "hung"

    def _closed(self) -> bool:
        """A child that closed its output is dying; give it the moment that takes."""
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return False
        return True


_kept: list[_Child] = []  # one child for all modules: it takes seconds to start


def run_cases(cases: Iterable[Case], limit_s: float = LIMIT_S) -> list[Outcome]:
    """Outcomes in the order of the cases."""
    found: list[Outcome] = []
    for case in cases:
        if not _kept:
            _kept.append(_Child(Path(tempfile.mkdtemp(prefix="pianoeval-hostile-"))))
        [child] = _kept
        started = time.monotonic()
        child.ask(case)
        line = child.answer(limit_s)
        seconds = time.monotonic() - started
        if line:
            verdict, text, grown = json.loads(line)
            found.append(Outcome(case, verdict, text, seconds, grown))
        else:
            found.append(Outcome(case, child.end(), "", seconds, 0.0))
            _kept.clear()
    return found


@atexit.register
def _end() -> None:
    for child in _kept:
        child.end()


def check(what: str, outcomes: Sequence[Outcome]) -> None:
    """Every input must be read or refused; what was measured is recorded."""
    assert outcomes
    counts = Counter(outcome.verdict for outcome in outcomes)
    slowest = max(outcomes, key=lambda o: o.seconds)
    largest = max(outcomes, key=lambda o: o.grown_mb)
    record(
        "bad input", what, inputs=len(outcomes), read=counts["ok"], refused=counts["refused"],
        failed=sum(not outcome.good for outcome in outcomes),
        slowest_s=round(slowest.seconds, 2), slowest=slowest.case.label,
        most_memory_mb=round(largest.grown_mb, 1), largest=largest.case.label,
    )  # fmt: skip
    bad = [o for o in outcomes if not o.good]
    told = "\n\n".join(f"{o.case.kind} {o.case.label}: {o.verdict}\n{o.text}" for o in bad[:8])
    kinds = Counter((o.verdict, (o.text.strip().splitlines() or [""])[-1][:150]) for o in bad)
    listed = "\n".join(f"{n} x {what}" for what, n in kinds.most_common(40))
    assert not bad, f"{len(bad)} of {len(outcomes)}:\n{listed}\n\n{told}"


def write_cases(
    kind: str, inputs: Iterable[tuple[str, bytes]], folder: Path, suffix: str
) -> list[Case]:
    """Inputs as files; the label says which mutation it is."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for number, (label, data) in enumerate(inputs):
        path = folder / f"{number:05}{suffix if suffix else Path(label).suffix}"
        path.write_bytes(data)
        cases.append(Case(kind, path, f"{number}:{label}"))
    return cases
