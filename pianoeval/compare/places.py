"""Where a run lies: a workspace folder, or a revision whose outputs DVC finds."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pianoeval.errors import ConfigError, MissingAssetError
from pianoeval.paths import workspace_root
from pianoeval.yamlfile import read_yaml

PARAMS = "params.yaml"
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Place(Protocol):
    """Files of one run, by their path relative to its workspace."""

    name: str
    version: str  # commit, or empty for a folder

    def file(self, relative: str, stage: str) -> Path:
        """A local copy; ``stage`` writes it. Raises MissingAssetError."""

    def has(self, relative: str, stage: str) -> bool:
        """Whether the run has this file; MissingAssetError where that cannot be known here."""

    def where(self, relative: str) -> str:
        """The file as messages name it."""


def split_run(text: str) -> tuple[str, str | None]:
    """``PLACE[:features/model]`` as place and row; git allows no colon in names.

    Raises
    ------
    ConfigError
        Nothing stands before or after the colon, or the row lacks its slash.
    """
    start = 2 if _DRIVE.match(text) else 0
    place, colon, row = text[start:].partition(":")
    place = text[:start] + place
    if not place or (colon and "/" not in row.strip("/")):
        raise ConfigError(
            f"'{text}' does not name a run", allowed="PLACE or PLACE:features/model",
            next_step="pianoeval compare main .   (or: … compare .:symbolic/ridge .:mel/ridge)",
        )  # fmt: skip
    return place, row if colon else None


def read_params(place: Place) -> dict[str, Any]:
    """``params.yaml`` as it stands: a revision may hold keys that this version does not know."""
    path = place.file(PARAMS, "")
    data = read_yaml(path, place.where(PARAMS))
    if not isinstance(data, dict):
        raise ConfigError("not a mapping", where=place.where(PARAMS))
    return data


@contextmanager
def open_place(name: str) -> Iterator[Place]:
    """A folder with ``params.yaml``; anything else is a revision of the current workspace.

    Raises
    ------
    ConfigError
        It is neither.
    """
    if (Path(name) / PARAMS).is_file():
        yield Folder(name)
        return
    if Path(name).is_dir() and (os.sep in name or name == "."):
        raise ConfigError(
            "this folder holds no run: there is no params.yaml", where=name,
            allowed="a workspace folder, or a revision, branch, tag or experiment",
            next_step="cd to the project, or name its folder",
        )  # fmt: skip
    with _open_revision(name) as place:
        yield place


class Folder:
    """A workspace as it stands on disk."""

    version = ""

    def __init__(self, name: str) -> None:
        self.name, self.root = name, Path(name)

    def where(self, relative: str) -> str:
        return str(self.root / relative)

    def has(self, relative: str, stage: str) -> bool:
        del stage  # on disk it is there or not
        return (self.root / relative).is_file()

    def file(self, relative: str, stage: str) -> Path:
        path = self.root / relative
        if not path.is_file():
            there = "" if self.root.resolve() == Path.cwd() else f"cd '{self.root}' && "
            raise MissingAssetError(
                "this run has no such file", where=path,
                next_step=f"{there}dvc pull {stage}   (or: {there}dvc repro {stage}); its corpus "
                "must be on axes.corpus of params.yaml",
            )  # fmt: skip
        return path


class Revision:
    """A revision of the current workspace; outputs come from DVC's cache or its remote.

    Parameters
    ----------
    files : dvc.api.DVCFileSystem
    prefix : str
        Path of the workspace below the top of the git repository; empty at the top.
    copies : Path
        Folder for the local copies.
    """

    def __init__(self, name: str, version: str, files: Any, prefix: str, copies: Path) -> None:
        self.name, self.version = name, version
        self._files, self._prefix, self._copies = files, prefix, copies

    def where(self, relative: str) -> str:
        return f"{relative} at '{self.name}'"

    def has(self, relative: str, stage: str) -> bool:
        from dvc_data.index.index import DataIndexError

        try:
            self._files.info(self._prefix + relative)
        except FileNotFoundError:
            return False
        except DataIndexError as error:
            raise self._not_here(relative, stage) from error
        return True

    def file(self, relative: str, stage: str) -> Path:
        from dvc.exceptions import DvcException
        from dvc_data.index.index import DataIndexError

        copy = self._copies / relative
        if copy.is_file():
            return copy
        if not self.has(relative, stage):
            raise self._no_output(relative, stage)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._files.get_file(self._prefix + relative, str(copy))
        except (OSError, DvcException, DataIndexError) as error:
            raise self._not_here(relative, stage) from error
        return copy

    def _not_here(self, relative: str, stage: str) -> MissingAssetError:
        return MissingAssetError(
            "neither the cache nor the remote of DVC has this file", where=self.where(relative),
            next_step=f"dvc fetch --all-commits {relative}   (an experiment: dvc exp pull <remote> "
            f"{self.name}; no remote: git switch --detach {self.name} && dvc repro {stage})",
        )  # fmt: skip

    def _no_output(self, relative: str, stage: str) -> MissingAssetError:
        again = f"dvc repro {stage}, then git commit dvc.lock" if stage else "git switch to another"
        return MissingAssetError(
            "this revision has no such output", where=self.where(relative),
            next_step=f"git switch --detach {self.name}, {again}",
        )  # fmt: skip


@contextmanager
def _open_revision(name: str) -> Iterator[Revision]:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    workspace = workspace_root().resolve()
    try:
        with Repo(str(workspace)) as repo:
            # Remotes and the cache are where they are today, whatever the revision's file says.
            settings, top = dict(repo.config), Path(repo.scm.root_dir).resolve()
        files = DVCFileSystem(str(top), rev=name, config=settings, subrepos=True)
        version = str(files.repo.get_rev())[:12]
    except DvcException as error:
        raise ConfigError(
            f"'{name}' is no folder with params.yaml, and no revision ({error})",
            allowed="a workspace folder, or a revision, branch, tag or experiment",
            next_step="git branch --all; git tag; dvc exp list --all-commits",
        ) from error
    below = workspace.relative_to(top).as_posix()
    try:
        with tempfile.TemporaryDirectory(prefix="pianoeval-compare-") as copies:
            prefix = "" if below == "." else f"{below}/"
            yield Revision(name, version, files, prefix, Path(copies))
    finally:
        files.close()
