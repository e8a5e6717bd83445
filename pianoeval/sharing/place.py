"""Where items are pushed to and pulled from: a folder, a DVC remote, or a URL.

All of it lies in ``pianoeval-items/`` of the place, in the layout of the local cache. Transports,
credentials and options of remotes are DVC's.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pianoeval.atomic import PartialFile, disk_errors
from pianoeval.cache import SUFFIX, UNFINISHED, ItemCache
from pianoeval.errors import ConfigError, MissingAssetError, PianoevalError
from pianoeval.paths import workspace_root
from pianoeval.sharing.items import ItemFile, is_step, items_of, key_of, steps_of

FOLDER = "pianoeval-items"
_COPIED_BYTES = 4 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_EXTRAS = ("s3", "ssh")  # of this package; others are DVC's own
# Not OSErrors; the modules are there once a transport has been loaded.
_TRANSPORT_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"),
    ("asyncssh", "Error"), ("aiohttp", "ClientError"), ("azure.core.exceptions", "AzureError"),
    ("google.auth.exceptions", "GoogleAuthError"), ("gcsfs.retry", "HttpError"),
    ("dvc_objects.fs.errors", "AuthError"), ("dvc_objects.fs.errors", "ConfigError"),
)  # fmt: skip


class Place(Protocol):
    """A folder of items somewhere else."""

    shown: str
    jobs: int

    def steps(self) -> list[str]:
        """Steps of which there may be items."""
        ...

    def sizes(self, step: str) -> dict[str, int]:
        """``{key: bytes}`` of the items of a step, as they are listed; none is read."""
        ...

    def fetch(self, step: str, key: str, to: Path) -> None:
        """Write the file into ``to``; FileNotFoundError if it is gone."""
        ...

    def store(self, item: ItemFile) -> None:
        """Put a file there, whole or not at all; one that is there is replaced."""
        ...


def open_place(name: str | None, *, create: bool) -> Place:
    """The place of this name.

    Parameters
    ----------
    name : str, optional
        A DVC remote of this workspace, a URL, or a folder; the default remote of DVC unless told.
    create : bool
        A folder is to be written to and may be new.

    Raises
    ------
    ConfigError
        No such remote, no such folder, or nothing that can be listed.
    MissingAssetError
        What its transport needs is not installed.
    """
    if name is not None and "://" not in name and not _remotes().get(name.lower()):
        return _folder(name, create)
    if name is not None and name.startswith("file://"):
        return FolderPlace(Path(name.removeprefix("file://")), name)
    return _remote(name)


def _remotes() -> dict[str, Any]:
    """Remotes of this workspace's DVC configuration."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(str(workspace_root()), uninitialized=True) as repo:
            return dict(repo.config["remote"])
    except NotDvcRepoError:
        return {}


def _folder(name: str, create: bool) -> Place:
    folder = Path(name).expanduser()
    if not folder.is_dir() and not (create and os.sep in name):
        known = ", ".join(sorted(_remotes())) or "none is configured"
        raise ConfigError(
            f"'{name}' is neither a DVC remote nor a folder",
            allowed=f"a remote ({known}), a folder, or a URL",
            next_step=f"dvc remote add {name} URL, or for a new folder: ./{name}"
            if os.sep not in name else "dvc remote list",
        )  # fmt: skip
    return FolderPlace(folder, str(folder))


def _remote(name: str | None) -> Place:
    """A remote of DVC, or what a URL names, with DVC's own file system."""
    from dvc.config import ConfigError as DvcConfigError
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.fs import RemoteMissingDepsError, parse_external_url
    from dvc.repo import Repo

    shown = name or "the default remote"
    try:
        with Repo(str(workspace_root()), uninitialized=True) as repo:
            if name and "://" in name:
                files, path = parse_external_url(name, config=repo.config)
            else:
                remote = repo.cloud.get_remote(name)
                files, path, shown = remote.fs, remote.path, remote.name
    except RemoteMissingDepsError as error:
        raise _missing(error.protocol, shown) from error
    except ImportError as error:  # of a whole transport: "gs is supported, but requires …"
        raise _missing(str(error).partition(" ")[0], shown) from error
    except NoRemoteError as error:
        raise ConfigError(
            "this workspace has no default remote", allowed="a DVC remote, a folder, or a URL",
            next_step="dvc remote add -d NAME URL, or name the place: pianoeval cache push PLACE",
        ) from error  # fmt: skip
    except (DvcConfigError, DvcException, ValueError) as error:
        raise ConfigError(str(error), where=shown, next_step="dvc remote list") from error
    if files.protocol == "local":
        return FolderPlace(Path(path), shown)
    if files.protocol in ("http", "https"):
        raise ConfigError(
            "what lies behind HTTP cannot be listed", where=shown,
            allowed="a folder, or a remote over ssh, in S3, Google Storage or Azure",
        )  # fmt: skip
    return RemotePlace(files, path, shown)


def _missing(protocol: str, shown: str) -> MissingAssetError:
    package = f"pianoeval[{protocol}]" if protocol in _EXTRAS else f"dvc[{protocol}]"
    return MissingAssetError(
        f"what reads and writes {protocol}:// is not installed", where=shown,
        next_step=f"pip install '{package}'",
    )  # fmt: skip


class FolderPlace:
    """A folder: a mounted share, a disk, a DVC remote of that kind."""

    def __init__(self, folder: Path, shown: str) -> None:
        self.shown, self.jobs = shown, os.cpu_count() or 1
        self.cache = ItemCache(folder / FOLDER)

    def steps(self) -> list[str]:
        return steps_of(self.cache.root)

    def sizes(self, step: str) -> dict[str, int]:
        return {item.key: item.size for item in items_of(self.cache.root, step)}

    def fetch(self, step: str, key: str, to: Path) -> None:
        shutil.copyfile(self.cache.path(step, key), to)

    def store(self, item: ItemFile) -> None:
        folder = self.cache.root / item.step / UNFINISHED
        with item.path.open("rb") as source, _own_advice():
            partial = PartialFile(self.cache.path(item.step, item.key), folder)
            try:
                with disk_errors(partial.target):
                    shutil.copyfileobj(source, partial.stream, _COPIED_BYTES)
                partial.commit()
            finally:
                partial.abort()


@contextmanager
def _own_advice() -> Iterator[None]:
    """A disk that is full is the place's, not the cache's."""
    try:
        yield
    except PianoevalError as error:
        raise PianoevalError(
            error.what, where=error.where,
            next_step="free space or mend the permissions there, then run this again: "
            "what was transferred is kept",
        ) from error  # fmt: skip


class RemotePlace:
    """Anything that DVC can reach otherwise."""

    def __init__(self, files: Any, path: str, shown: str) -> None:
        self._files, self._root = files, files.join(path, FOLDER)
        self.shown, self.jobs = shown, int(files.jobs)

    def steps(self) -> list[str]:
        with self._explained():
            try:
                entries = list(self._files.ls(self._root, detail=False))
            except FileNotFoundError:
                return []
        names = [self._files.name(str(entry).rstrip("/")) for entry in entries]
        return sorted(name for name in names if is_step(name))

    def sizes(self, step: str) -> dict[str, int]:
        with self._explained():
            # DVC's own find tells no sizes.
            found = self._files.fs.find(self._files.join(self._root, step), detail=True)
        sizes = {}
        for path, entry in found.items():
            folder, name = self._files.split(str(path))
            key = key_of(name)
            if key is not None and self._files.name(folder) == key[:2]:
                sizes[key] = int(entry["size"])
        return sizes

    def fetch(self, step: str, key: str, to: Path) -> None:
        with self._explained():
            self._files.get_file(self._path(step, key), str(to))

    def store(self, item: ItemFile) -> None:
        from dvc_objects.fs.base import ObjectFileSystem
        from dvc_objects.fs.utils import as_atomic

        target = self._path(item.step, item.key)
        with self._explained():
            # An object is there when all of it is; DVC's ssh renames by itself.
            if isinstance(self._files, ObjectFileSystem) or self._files.protocol == "ssh":
                self._files.put_file(str(item.path), target)
                return
            with as_atomic(self._files, target, create_parents=True) as partial:
                self._files.put_file(str(item.path), partial)

    def _path(self, step: str, key: str) -> str:
        return str(self._files.join(self._root, step, key[:2], key + SUFFIX))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What transports raise, as one message; that a file is not there passes."""
        from dvc.fs import RemoteMissingDepsError

        try:
            yield
        except FileNotFoundError:
            raise
        except RemoteMissingDepsError as error:
            raise _missing(error.protocol, self.shown) from error
        except _transport_errors() as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise  # it is the disk here
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PianoevalError(
                f"cannot be reached or written ({reason})", where=self.shown,
                next_step="see 'dvc remote list' for address and credentials, then run this again: "
                "what was transferred is kept",
            ) from error  # fmt: skip


def _transport_errors() -> tuple[type[BaseException], ...]:
    modules = [(sys.modules.get(module), name) for module, name in _TRANSPORT_ERRORS]
    return OSError, *(getattr(module, name) for module, name in modules if module is not None)
