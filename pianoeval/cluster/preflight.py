"""What a worker must have before it computes anything; each is checked on the worker itself."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pianoeval import __version__
from pianoeval.assets import asset_path
from pianoeval.encoders.registry import encoder_spec, needs_checkpoint, required_assets
from pianoeval.errors import PianoevalError
from pianoeval.params import CheckpointParams, EncoderParams
from pianoeval.paths import cache_root
from pianoeval.provenance import config_hash, sha256_bytes
from pianoeval.store import RaggedStore

# Libraries whose version may change the last digits of an embedding, or the protocol.
_LIBRARIES = ("torch", "numpy", "soxr", "nnAudio", "transformers", "dask", "distributed")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SEEN_WITHIN_S = 10.0  # network file systems show a new file a little later elsewhere
_MINE = "driver"


class ClusterError(PianoevalError):
    """Something is wrong with the cluster or a worker, not with a clip."""


@dataclass(frozen=True)
class Requirements:
    """What the work reads: audio stores, and encoders by name."""

    stores: tuple[Path, ...] = ()
    encoders: tuple[tuple[str, EncoderParams], ...] = ()


@dataclass(frozen=True)
class Need:
    """What the driver has, and a worker must have too."""

    run: str
    folder: Path
    token: str
    cache: str
    versions: Mapping[str, str]
    stores: Mapping[str, str]
    encoders: tuple[tuple[str, EncoderParams, Mapping[str, str]], ...] = field(default=())


def make_need(run: str, folder: Path, requirements: Requirements) -> Need:
    """The driver's side; leaves a file in ``folder`` that workers must see."""
    token = sha256_bytes(os.urandom(32))
    (folder / _MINE).write_text(token, encoding="utf-8")
    return Need(
        run=run,
        folder=folder,
        token=token,
        cache=str(cache_root().resolve()),
        versions=versions(),
        stores={str(path): store_digest(path) for path in requirements.stores},
        encoders=tuple(
            (name, params, encoder_facts(name, params)) for name, params in requirements.encoders
        ),
    )


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that matter."""
    found = {"pianoeval": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def store_digest(path: Path) -> str:
    """SHA-256 over clips and the digests of their samples."""
    store = RaggedStore(path)
    lines = "\n".join(f"{clip}|{store.digest(clip)}" for clip in store.clips)
    return sha256_bytes(lines.encode())


def encoder_facts(name: str, params: EncoderParams) -> dict[str, str]:
    """What of an encoder's code and weights stands in the keys of its items."""
    spec = encoder_spec(params, name)
    return {
        "CODE_VERSION": str(spec.code_version),
        "weights": spec.weights_sha256[:12] or "none",
        "configuration": config_hash(spec.config()),
    }


def check_worker(need: Need, address: str, threads: int) -> None:
    """Compare this process with the driver; leaves a file that the driver looks for.

    Raises
    ------
    ClusterError
        Naming the worker and everything that differs, theirs and ours.
    """
    found = [*_process(need, threads), *_versions(need), *_shared(need, address)]
    if not found:
        found = [*_stores(need), *_encoders(need)]
    if found:
        raise ClusterError(
            "this worker cannot take part: " + "; ".join(found), where=f"worker {address}",
            next_step="mend it on that machine (docs/cluster.md, 'What every worker is asked'), "
            "then run the same command again",
        )  # fmt: skip


def mark_name(address: str) -> str:
    """Name of the file by which a worker shows that it can write."""
    return "worker-" + "".join(c if c.isalnum() else "-" for c in address)


def wait_for(path: Path) -> bool:
    """Whether a file that another machine wrote shows up here."""
    end = time.monotonic() + _SEEN_WITHIN_S
    while not path.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _process(need: Need, threads: int) -> list[str]:
    found = []
    if threads != 1:
        found.append(f"it has {threads} threads, here 1 is wanted (--nthreads 1)")
    for name in _THREADS:
        if (value := os.environ.get(name)) != "1":
            found.append(f"{name} is {value or 'not set'} there, here 1 is wanted")
    theirs = str(cache_root().resolve())
    if theirs != need.cache:
        found.append(f"PIANOEVAL_CACHE is {theirs} there, {need.cache} here")
    return found


def _versions(need: Need) -> list[str]:
    theirs = versions()
    return [
        f"{name} is {theirs.get(name, 'not installed')} there, {ours} here"
        for name, ours in need.versions.items()
        if theirs.get(name) != ours
    ]


def _shared(need: Need, address: str) -> list[str]:
    """Both directions: what the driver wrote is seen, and the worker can write beside it."""
    path = need.folder / _MINE
    if not wait_for(path) or path.read_text(encoding="utf-8") != need.token:
        return [f"it does not see what was written to {need.folder}: no shared file system"]
    try:
        (need.folder / mark_name(address)).write_text(need.token, encoding="utf-8")
    except OSError as error:
        return [f"it cannot write to {need.folder} ({error.strerror})"]
    return []


def _stores(need: Need) -> list[str]:
    found = []
    for path, ours in need.stores.items():
        try:
            theirs = store_digest(Path(path))
        except PianoevalError as error:
            found.append(f"it cannot read the audio: {error.where}: {error.what}")
            continue
        if theirs != ours:
            found.append(f"audio {path} is {theirs[:12]} there, {ours[:12]} here")
    return found


def _encoders(need: Need) -> list[str]:
    found = []
    for name, params, ours in need.encoders:
        try:
            theirs = encoder_facts(name, params)
            check_weights(name, params)
            found += _device(name, params)
        except PianoevalError as error:
            found.append(f"encoder {name}: {error.what}")
            continue
        found += [
            f"{fact} of {name} is {theirs[fact]} there, {value} here"
            for fact, value in ours.items()
            if theirs[fact] != value
        ]
    return found


def check_weights(name: str, params: EncoderParams) -> None:
    """Weights of an encoder are here; raises PianoevalError with the command that fetches them."""
    for asset in required_assets(params):
        asset_path(asset)
    if isinstance(params, CheckpointParams) and needs_checkpoint(params):
        from pianoeval.checkpoints import open_checkpoint

        open_checkpoint(params, name)


def _device(name: str, params: EncoderParams) -> list[str]:
    if params.device == "cpu":
        return []
    import torch

    here = torch.cuda.is_available()
    return [] if here else [f"encoder {name} wants {params.device}, and there is none there"]
