"""What is installed, what can run, and where things are."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pianoeval.assets import ASSETS, asset_path
from pianoeval.audio import pianoteq_program
from pianoeval.corpora.fetch import SIMULATED
from pianoeval.corpora.pin import fetched_receipt
from pianoeval.encoders.inventory import EncoderFacts, encoder_facts
from pianoeval.errors import PianoevalError
from pianoeval.groupfolders import Trouble, dvc_cache_troubles, folder_troubles, is_shared
from pianoeval.params import CorpusParams, Params
from pianoeval.params_file import SHIPPED, load_settings
from pianoeval.paths import cache_root, workspace_root

_PACKAGES = (
    "dvc", "torch", "transformers", "huggingface_hub", "nnAudio", "zarr", "h5py", "numpy",
    "librosa", "pretty_midi", "scikit-learn", "music21", "tinysoundfont",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fix`` is the command that mends it."""

    area: str
    name: str
    good: bool
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """All findings, worst news included."""
    findings = [*_machine(), *_packages(), *_cache(), *_sharing()]
    try:
        params, path = load_settings()
    except PianoevalError as error:
        fix = error.next_step or ""
        return [*findings, Finding("workspace", "params.yaml", False, error.what, fix)]
    detail = "none here: the parameters that ship with pianoeval" if path == SHIPPED else str(path)
    findings.append(Finding("workspace", "params.yaml", True, detail))
    found = [*_instruments(params), *_encoders(params), *_corpora(params)]
    if path != SHIPPED:
        return [*findings, *found]
    # Nobody has chosen these: what is missing of them is no bad news.
    return [*findings, *(replace(one, good=True, detail=_absent(one)) for one in found)]


def _absent(finding: Finding) -> str:
    return finding.detail if finding.good else f"not here: {finding.fix}"


def _machine() -> Iterator[Finding]:
    system = f"{platform.python_version()} on {platform.platform()}"
    yield Finding("machine", "python", True, system)
    yield Finding("machine", "cores", True, str(os.cpu_count()))
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none (not needed)"
    yield Finding("machine", "GPU", True, gpu)
    git = shutil.which("git")
    yield Finding("machine", "git", git is not None, git or "not found", "install git")


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        try:
            yield Finding("package", name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            option = "--no-deps " if name == "tinysoundfont" else ""
            yield Finding("package", name, False, "not installed", f"pip install {option}{name}")
    absent = "not here, needed by pianoeval embed --cluster only"
    there = all(importlib.util.find_spec(name) for name in ("distributed", "dask_jobqueue"))
    yield Finding("package", "dask", True, importlib.metadata.version("dask") if there else absent)


def _cache() -> Iterator[Finding]:
    root = cache_root()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    yield Finding("cache", "folder", os.access(existing, os.W_OK), f"{root}, {free:.0f} GB free",
                  "set PIANOEVAL_CACHE to a folder you may write")  # fmt: skip
    for step in sorted(p for p in (root / "items").glob("*") if p.is_dir()):
        sizes = [p.stat().st_size for p in step.rglob("*.safetensors")]
        yield Finding("cache", step.name, True, f"{len(sizes)} items, {sum(sizes) / 1e9:.2f} GB")


def _sharing() -> Iterator[Finding]:
    """Of caches that are meant for a group; what is one's own needs none of it."""
    items = cache_root() / "items"
    if items.is_dir() and (is_shared(cache_root()) or is_shared(items)):
        yield from _troubled("shared items", items, list(folder_troubles(items)))
    workspace = workspace_root()
    if not (workspace / ".dvc").is_dir() or importlib.util.find_spec("dvc") is None:
        return
    from dvc.config import Config  # not needed by who only scores recordings

    cache = Config(dvc_dir=str(workspace / ".dvc"))["cache"]
    folder = Path(cache.get("dir") or workspace / ".dvc" / "cache")
    if folder.is_dir() and workspace not in folder.parents:
        shared, types = cache.get("shared") or "", cache.get("type") or ["reflink", "copy"]
        troubles = dvc_cache_troubles(workspace, folder, shared, list(types))
        yield from _troubled("shared outputs", folder, troubles)


def _troubled(name: str, folder: Path, troubles: list[Trouble]) -> Iterator[Finding]:
    for trouble in troubles:
        yield Finding("cache", name, False, trouble.what, trouble.fix)
    if not troubles:
        yield Finding("cache", name, True, str(folder))


def _can(check: Callable[[], object]) -> tuple[bool, str, str]:
    """Whether a check passes; if not, its reason and the next command."""
    try:
        check()
    except PianoevalError as error:
        return False, error.what, error.next_step or ""
    return True, "", ""


def _finding(area: str, name: str, check: Callable[[], object], used: bool, detail: str) -> Finding:
    """What is missing is bad news only if an axis of params.yaml names it."""
    there, reason, fix = _can(check)
    if there:
        return Finding(area, name, True, detail)
    return Finding(area, name, not used, reason if used else f"not here, not used: {fix}", fix)


def _instruments(params: Params) -> Iterator[Finding]:
    for name, instrument in params.instruments.items():
        font = instrument.font
        licence = ASSETS[font].licence if font in ASSETS else "unknown"
        used = name in params.axes.instrument
        if instrument.engine == "pianoteq":
            detail = f"your Pianoteq, preset '{instrument.preset}'"
            yield _finding("instrument", name, pianoteq_program.program, used, detail)
            continue
        yield _finding("instrument", name, partial(asset_path, font), used, f"{font} ({licence})")


def _encoders(params: Params) -> Iterator[Finding]:
    for name, encoder in params.encoders.items():
        facts = encoder_facts(name, encoder)
        used = name in params.axes.encoder
        if facts.ready:
            yield Finding("encoder", name, True, _ready(facts))
        else:
            detail = facts.problem if used else f"not ready, not used: {facts.next_step}"
            yield Finding("encoder", name, not used, detail, facts.next_step)


def _ready(facts: EncoderFacts) -> str:
    text = f"ready ({facts.kind}"
    text += f", {facts.licence}" if facts.licence else ""
    return text + (": not for commercial use)" if facts.non_commercial else ")")


def _corpora(params: Params) -> Iterator[Finding]:
    for name, corpus in params.corpora.items():
        if corpus.loader in SIMULATED:
            yield Finding(
                "corpus", name, True, "comes with music21" + _on_pianos(corpus, name, params)
            )
        else:
            used = name in params.axes.corpus
            yield _finding("corpus", name, partial(fetched_receipt, name, corpus), used, "fetched")


def _on_pianos(corpus: CorpusParams, name: str, params: Params) -> str:
    """What a piano leaves out of wind players, if nothing else plays them."""
    engines = {params.instruments[one].engine for one in params.axes.instrument}
    if corpus.loader != "auditions" or name not in params.axes.corpus or "winds" in engines:
        return ""
    return "; axes.instrument has pianos alone: notes without bends and breath (docs/auditions.md)"
