"""Points of a grid as DVC experiments: names that say what they are, finding them, running them.

An experiment is named by its grid, its value, and a hash of the code, of the data that ``dvc.lock``
names and of all parameters that it runs with: the same point is found again, and another one is
never taken for it. ``dvc exp run
--temp`` runs it in a folder of its own, in this process group, without the background workers of
``--queue``; one that was interrupted has no name yet, so the next call runs it again, from cached
items.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path
from typing import IO, Any

from pianoeval.ablation.grids import Grid, Point
from pianoeval.ablation.overrides import apply
from pianoeval.builder import ENCODE
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_manifest
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.evaluate.protocol.splits import skipped_schemes
from pianoeval.joins import locked_stages
from pianoeval.params import FoldParams
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import config_hash, sha256_bytes

_log = logging.getLogger(__name__)
CODE = ("pianoeval", "stages", "dvc.yaml")
_COUNTED = ("audio", "contour", "embedding-")
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
_LINES = 25  # of a failed run's output


@dataclass(frozen=True)
class Experiment:
    """A point with the name of its experiment."""

    point: Point
    name: str
    targets: tuple[str, ...] = ()  # stages that are run with what they need; none = all

    def command(self, how: str = "--queue") -> list[str]:
        """What runs it."""
        sets = [part for override in self.point.overrides for part in ("-S", override)]
        return ["dvc", "exp", "run", how, "--name", self.name, *sets, *self.targets]

    @property
    def line(self) -> str:
        """The same as it is typed."""
        return shlex.join(self.command())


@dataclass(frozen=True)
class Encoded:
    """Items of the cache that rendering, pYIN and encoders made: path and file number of each.

    Not their times: a read renews them.
    """

    items: frozenset[tuple[str, int]]

    @classmethod
    def count(cls, cache: ItemCache | None = None) -> Encoded:
        """As it stands."""
        root = (cache or ItemCache()).root
        steps = [path for path in root.glob("*") if path.name.startswith(_COUNTED)]
        found = set()
        for entry in (one for step in steps for one in step.glob("[0-9a-f][0-9a-f]/*.safetensors")):
            with suppress(FileNotFoundError):  # freed just now
                found.add((str(entry), entry.stat().st_ino))
        return cls(frozenset(found))


def experiments(
    grid: Grid, data: Mapping[str, Any], root: Path, targets: Sequence[str] = ()
) -> list[Experiment]:
    """Every point validated and named; ``data`` is what ``params.yaml`` holds.

    ``targets`` are the stages that are run with what they need; none = all.

    Raises
    ------
    ConfigError
        A point that DVC or the parameters do not accept, a scheme that the corpus cannot fill, or
        two points that are the same experiment.
    """
    code, found, folds = [_code(root), _data(root, grid.target.corpus, targets)], [], {}
    for point in grid.points:
        params, chosen = apply(data, point.overrides)
        folds[point.scheme] = params.folds
        for block in ("run", "cluster"):  # they change no number
            chosen.pop(block, None)
        slug = re.sub(r"[^A-Za-z0-9]+", "-", f"{grid.name}-{point.label}").strip("-").lower()[:40]
        name = f"{slug.rstrip('-')}-{config_hash([chosen, code], 8)}"
        found.append(Experiment(point, name, tuple(targets)))
    digests = [one.name.rpartition("-")[2] for one in found]
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            one, other = found[digests.index(digest)].point.label, found[i].point.label
            raise ConfigError(
                f"'{one}' and '{other}' are the same experiment", where=grid.name,
                next_step="leave one of them out",
            )  # fmt: skip
    if grid.first.scheme:
        _refuse_schemes(grid, folds, root)
    return found


def _refuse_schemes(grid: Grid, folds: Mapping[str, FoldParams], root: Path) -> None:
    """Raise ConfigError for schemes that the corpus cannot fill: their experiments would fail."""
    paths = CorpusPaths(grid.target.corpus, root)
    if not paths.manifest.is_file():
        _log.warning("%s is not here, so nobody knows which schemes can be filled; "
                     "next: dvc pull data/%s/clips", paths.manifest, paths.corpus)  # fmt: skip
        return
    manifest = read_manifest(paths.manifest)
    refused: dict[str, str] = {}
    for params in folds.values():
        refused |= skipped_schemes(manifest, params)
    if refused:
        good = [name for name in folds if name not in refused]
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise ConfigError(
            f"'{grid.target.corpus}' cannot fill every scheme ({why})",
            where="pianoeval ablate scheme", allowed=", ".join(good) or "none of them",
            next_step=f"pianoeval ablate scheme {' '.join(good)}",
        )  # fmt: skip


def _data(root: Path, corpus: str, targets: Sequence[str]) -> list[tuple[str, str]]:
    """What the corpus and its embeddings are, as ``dvc.lock`` has it; parameters do not tell.

    With a stage ``transfer@NAME`` among ``targets``, also what that corpus is.
    """
    stages = locked_stages(root / "dvc.lock")
    applied = {name.replace("transfer@", "target@") for name in targets}
    wanted = re.compile(rf"(ingest|degrade|render|embed)@{re.escape(corpus)}(-.*)?")
    return sorted(
        (str(out["path"]), str(out.get("md5")))
        for name, stage in stages.items() if wanted.fullmatch(name) or name in applied
        for out in stage.get("outs", [])
    )  # fmt: skip


def _code(root: Path) -> str:
    """Hash of the code as it would run: the commit's and what differs from it."""
    trees = [_git(root, "rev-parse", f"HEAD:./{name}") for name in CODE]
    changed = _git(root, "diff", "HEAD", "--", *CODE)
    return sha256_bytes("\n".join([*trees, changed]).encode())


def existing(root: Path) -> set[str]:
    """Names of all finished experiments of the repository."""
    refs = _git(root, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    return {match.group(1) for ref in refs if (match := _EXPERIMENT.fullmatch(ref))}


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise PianoevalError("git is not there", next_step="install git") from error
    if done.returncode:
        raise ConfigError(
            f"git cannot tell what is here: {done.stderr.strip().splitlines()[-1:]}", where=root,
            allowed="a git repository with dvc.yaml, stages/ and pianoeval/ committed",
            next_step="git init && dvc init && git add --all && git commit",
        )  # fmt: skip
    return done.stdout.strip()


def run_missing(
    wanted: Sequence[Experiment], root: Path, *, allow_encoding: bool = False
) -> dict[str, str]:
    """Run the experiments that are not there yet, one after another.

    Stages that would render or encode a clip refuse to, unless ``allow_encoding``.

    Returns
    -------
    dict of str
        By name: the end of the output of those that failed.

    Raises
    ------
    PianoevalError
        The first one failed: the others would too.
    """
    there = existing(root)
    missing = [one for one in wanted if one.name not in there]
    failed: dict[str, str] = {}
    for number, one in enumerate(missing, 1):
        started = time.monotonic()
        _log.info("%d of %d: %s", number, len(missing), one.name)
        output = _run(one, root, allow_encoding)
        seconds = time.monotonic() - started
        if one.name in existing(root):
            _log.info("%d of %d: %s took %.0f s", number, len(missing), one.name, seconds)
            continue
        failed[one.name] = output
        _log.warning("%s failed", one.name)
        if number == len(failed) == 1:
            raise PianoevalError(
                f"the experiment failed; the end of its output:\n{output}", where=one.name,
                next_step=shlex.join(one.command("--temp")),
            )  # fmt: skip
    return failed


def _run(one: Experiment, root: Path, allow_encoding: bool) -> str:
    """One experiment in a folder of its own; the end of what it printed."""
    environment = dict(os.environ)
    # Stages run `python`: the one that runs this command, with its packages.
    folder = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([folder, environment.get("PATH", "")])
    if not allow_encoding:
        environment[ENCODE] = "never"
    command = [sys.executable, "-m", *one.command("--temp")]
    _sweep(root, one.name)  # what a killed run left
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        sweep = util.Finalize(None, _sweep, args=(root, one.name), exitpriority=1)
        try:
            with _started(command, root, environment, output) as process:
                process.wait()
        finally:
            sweep()
        output.seek(0)
        return "".join(output.readlines()[-_LINES:])


def _sweep(root: Path, name: str) -> None:
    """Remove the folders of an experiment that did not end by itself, as DVC noted them."""
    above = root.resolve() / ".dvc" / "tmp" / "exps"
    for note in [*above.glob("run/*/*.run"), *above.glob("standalone/run/*/*.run")]:
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # another process' note, just gone or being written
            continue
        folder = Path(str(found.get("root_dir") or ""))
        if found.get("name") == name and folder.is_absolute() and folder.is_relative_to(above):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(
    command: Sequence[str], root: Path, environment: dict[str, str], output: IO[str]
) -> Iterator[subprocess.Popen[Any]]:
    """A process that is told to end when this one is, and waited for."""
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # DVC tidies up after this one only
            process.wait()
