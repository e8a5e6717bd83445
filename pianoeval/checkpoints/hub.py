"""A model repository of the hub, through huggingface_hub: what it holds, and its files.

Nothing is asked of the hub but the list of files of one commit and the chosen files; access
tokens, mirrors (``HF_ENDPOINT``) and proxies are those of huggingface_hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pianoeval.errors import ConfigError, MissingAssetError

COMMIT = re.compile(r"[0-9a-f]{40}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Repository:
    """One commit of a model repository; ``files`` gives the SHA-256 of large files, else ''."""

    model: str
    commit: str
    files: dict[str, str]
    licence: str

    @property
    def source(self) -> str:
        return f"{self.model}@{self.commit}"


def check_model(model: str, name: str) -> None:
    """Refuse what cannot be a hub id."""
    if not _MODEL.fullmatch(model) or ".." in model:
        raise ConfigError(
            f"model is '{model}'", where=f"encoders.{name}", allowed="a hub id, owner/name",
            next_step=f"pianoeval encoder get {name} --model OWNER/NAME, or --from DIR_OR_FILE",
        )  # fmt: skip


def look_up(model: str, revision: str, name: str) -> Repository:
    """Resolve ``revision`` (empty: the main branch) to a commit and list its files.

    Raises
    ------
    MissingAssetError
        No network, no such model or revision, or no access to it.
    """
    from huggingface_hub import HfApi

    with _explained(model, name):
        api = HfApi(endpoint=_endpoint())
        found = api.model_info(model, revision=revision or None, files_metadata=True)
    commit = found.sha or ""
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
        raise MissingAssetError(
            f"the hub answers with the commit '{commit}' for revision '{revision or 'main'}'",
            where=model, next_step=f"pianoeval encoder get {name} --revision COMMIT",
        )  # fmt: skip
    files = {s.rfilename: (s.lfs.sha256 or "") if s.lfs else "" for s in found.siblings or []}
    stated = found.card_data.get("license") if found.card_data else None
    return Repository(model, commit, files, stated if isinstance(stated, str) else "")


def download(repository: Repository, file: str, folder: Path, name: str) -> Path:
    """One file of the commit below ``folder``; a download that broke off goes on."""
    from huggingface_hub import hf_hub_download

    with _explained(repository.model, name):
        path = hf_hub_download(
            repository.model, file, revision=repository.commit, local_dir=folder,
            endpoint=_endpoint(),
        )  # fmt: skip
    return Path(path)


def _endpoint() -> str | None:
    """A mirror of the hub; huggingface_hub itself reads this variable at import only."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _explained(model: str, name: str) -> Iterator[None]:
    """Errors of the hub and the network as one sentence and the next command."""
    from huggingface_hub import errors as hub

    network: type[Exception] = hub.HfHubHTTPError.__bases__[0]  # of the HTTP library it uses
    try:
        yield
    except (OSError, ValueError, RuntimeError, hub.EntryNotFoundError, network) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise MissingAssetError(
            f"could not be fetched from the hub: {text[:300]}", where=model,
            next_step=_advice(error, name),
        ) from error  # fmt: skip


def _advice(error: Exception, name: str) -> str:
    from huggingface_hub import errors as hub

    local = f"pianoeval encoder get {name} --from DIR_OR_FILE"
    if isinstance(error, hub.GatedRepoError):
        return f"accept the model's terms on its page and log in (hf auth login), or: {local}"
    if isinstance(error, hub.RevisionNotFoundError):
        return f"pianoeval encoder get {name} --revision COMMIT"
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"check the id, log in if the model is private (hf auth login), or: {local}"
    if isinstance(error, hub.OfflineModeIsEnabled) or os.environ.get("HF_HUB_OFFLINE"):
        return f"unset HF_HUB_OFFLINE, or take a copy: {local}"
    return f"try again (what came is kept), or take a copy: {local}"
