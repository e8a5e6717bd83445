"""What one stage reads of many: nothing of it missing, nothing left over from other axes.

DVC's lists of inputs are fixed and axes are not, so ``probe``, ``evaluate`` and ``report`` depend
on folders into which several stages write. Of a part of such a folder DVC knows nothing:
``--allow-missing`` and ``--pull`` leave out what these stages read of it, and the output of a name
that has left an axis stays, in one workspace and not in another, and changes the folder's hash.
So each of them first makes the folder what the axes say.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pianoeval.errors import MissingAssetError
from pianoeval.fusions import predicted_sources
from pianoeval.params import Params
from pianoeval.params_fusion import FUSION
from pianoeval.paths import CorpusPaths

_log = logging.getLogger(__name__)
SOURCE = "source"  # in the attrs of a table of predictions or ranks: whose they are


def join_features(paths: CorpusPaths, params: Params, features: str) -> None:
    """Before ``probe``: the stores of one encoder on every instrument; see :func:`join`."""
    if features in params.encoders:
        stores = [paths.pooled(features, name) for name in params.axes.instrument]
        join(paths.workspace, paths.features(features), stores)


def join_views(paths: CorpusPaths, params: Params) -> None:
    """Before ``fuse``: all features on the axes."""
    axes = params.axes
    stores = [paths.pooled(e, name) for e in axes.encoder for name in axes.instrument]
    others = [paths.features("symbolic")]
    if _run_by_dvc() or paths.notes.name in axes.features:  # DVC has them whatever the axes are
        others.append(paths.notes)
    join(paths.workspace, paths.root / "features", [*others, *stores])


def join_predictions(paths: CorpusPaths, params: Params) -> None:
    """Before ``evaluate``: all predictions, and all features they were made from."""
    join_views(paths, params)
    join(paths.workspace, paths.root / "predictions", _predictions(paths, params))


def join_ranked(paths: CorpusPaths, params: Params) -> None:
    """Before ``evaluate_rank``: all predictions."""
    join(paths.workspace, paths.root / "predictions", _predictions(paths, params))


def join_evaluated(paths: CorpusPaths) -> None:
    """Before ``examples``: the receipt of what lies beside the results."""
    bring(paths.workspace, [paths.evaluated])


def join_corpora(corpora: Sequence[CorpusPaths], params: Params) -> None:
    """Before ``report``: receipts and examples of every corpus, and what they speak of."""
    for paths in corpora:
        beside = [paths.clips, paths.audit]
        bring(paths.workspace, [*beside, *_predictions(paths, params)])
    if corpora:
        written = [
            file for paths in corpora
            for file in (paths.evaluated, paths.ranked, paths.contrasted, paths.examples)
        ]  # fmt: skip
        join(corpora[0].workspace, corpora[0].evaluated.parent, written)


def _predictions(paths: CorpusPaths, params: Params) -> list[Path]:
    """Files of predictions; DVC has that of fusions even where there are none."""
    names = predicted_sources(params)
    if _run_by_dvc() and FUSION not in names:
        names.append(FUSION)
    return [paths.predictions(name) for name in names]


def join(workspace: Path, folder: Path, parts: Sequence[Path]) -> None:
    """Make ``folder`` hold all of ``parts``, and no output of DVC besides.

    Run by DVC, what is absent is checked out or pulled, and other outputs that ``dvc.lock`` names
    are removed (``dvc repro`` brings them back when their axis does). Run by hand, what is absent
    is an error, and nothing is removed.

    Raises
    ------
    MissingAssetError
        A part is absent, and DVC could not bring it.
    """
    bring(workspace, parts)
    if not _run_by_dvc() or not _strays(folder, parts):
        return
    for path in _outputs(workspace / "dvc.lock"):
        if folder in path.parents and path not in parts and path.exists():
            _log.info("%s: removed, its name is on no axis", path.relative_to(workspace))
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in _strays(folder, parts):
        _log.warning("%s: no stage wrote it; DVC takes it for an input here", path)


def bring(workspace: Path, parts: Sequence[Path]) -> None:
    """Check out or pull the parts that are absent; raises MissingAssetError as :func:`join`."""
    said = ""
    if _run_by_dvc():
        for command in (("pull",), ("checkout", "--allow-missing")):  # without a remote, too
            if absent := _absent(workspace, parts):
                _log.info("dvc %s %s", command[0], " ".join(absent))
                done = subprocess.run(
                    [sys.executable, "-m", "dvc", *command, *absent], cwd=workspace,
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                said = said or _errors(done.stderr)
    if absent := _absent(workspace, parts):
        raise MissingAssetError(
            f"{len(absent)} of {len(parts)} inputs are not here" + (f" ({said})" if said else ""),
            where=workspace / absent[0],
            next_step=f"dvc pull {' '.join(absent)}   (or, to make them again: dvc repro)",
        )


def _errors(text: str) -> str:
    lines = (line.removeprefix("ERROR: ") for line in text.splitlines() if "ERROR" in line)
    return "; ".join(lines)


def _run_by_dvc() -> bool:
    return "DVC_STAGE" in os.environ


def _absent(workspace: Path, parts: Sequence[Path]) -> list[str]:
    """Parts that are not there; of a folder DVC may leave an empty one."""
    return [
        path.relative_to(workspace).as_posix() for path in parts
        if not path.exists() or (path.is_dir() and not any(path.iterdir()))
    ]  # fmt: skip


def _outputs(lock: Path) -> list[Path]:
    """Every output that ``dvc.lock`` names, of stages that are no more as well."""
    stages = locked_stages(lock).values()
    return [lock.parent / out["path"] for stage in stages for out in stage.get("outs", [])]


def locked_stages(lock: Path) -> dict[str, Any]:
    """What ``dvc.lock`` says of each stage; nothing before the first run.

    DVC wrote it, and it may be larger than what :mod:`pianoeval.yamlfile` reads of a person.
    """
    if not lock.is_file():
        return {}
    stages: dict[str, Any] = yaml.safe_load(lock.read_bytes()).get("stages", {})
    return stages


def _strays(folder: Path, parts: Sequence[Path]) -> list[Path]:
    """Files below ``folder`` that belong to no part."""
    wanted = set(parts)
    return [
        path for path in folder.rglob("*")
        if path.is_file() and path not in wanted and not wanted & set(path.parents)
    ]  # fmt: skip
