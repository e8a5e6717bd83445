"""Whether others can use what this user writes into caches that a group shares."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GROUP_FOLDER = 0o2770  # the group may write, and what is made inside belongs to it


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a shared folder; ``fix`` is the command that mends it."""

    what: str
    fix: str


def folder_troubles(folder: Path) -> Iterator[Trouble]:
    """Troubles of a folder that a group shares, and of the folders in it, two levels down."""
    status = folder.stat()
    groups = {os.getgid(), *os.getgroups()}
    if os.geteuid() != 0 and status.st_gid not in groups:
        yield Trouble(
            f"you are not in its group ({status.st_gid})",
            f"ask for membership of the group of {folder}, then log in again",
        )
    closed = [
        found for found in (folder, *_folders(folder, 2))
        if found.stat().st_mode & _GROUP_FOLDER != _GROUP_FOLDER
    ]  # fmt: skip
    if closed:
        yield Trouble(
            f"in {len(closed)} folders the group cannot write, or new files would not be the "
            f"group's: {closed[0]}",
            f"find {folder} -type d -user $USER -exec chmod g+rwxs {{}} +",
        )
    strange = [found for found in _folders(folder, 2) if found.stat().st_gid != status.st_gid]
    if strange:
        yield Trouble(
            f"{len(strange)} folders are of another group: {strange[0]}",
            f"chgrp -R --reference={folder} {folder}/*",
        )


def is_shared(folder: Path) -> bool:
    """Whether somebody meant it for a group: setgid, or parts of it are another user's."""
    if folder.stat().st_mode & stat.S_ISGID:
        return True
    return any(found.stat().st_uid != os.getuid() for found in (folder, *_folders(folder, 1)))


def _folders(folder: Path, levels: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield path
            if levels > 1 and os.access(path, os.R_OK | os.X_OK):
                yield from _folders(path, levels - 1)


def dvc_cache_troubles(
    workspace: Path, folder: Path, shared: str, types: list[str]
) -> list[Trouble]:
    """Troubles of a DVC cache outside its workspace.

    Parameters
    ----------
    shared : str
        ``cache.shared`` of DVC's configuration.
    types : list of str
        ``cache.type``: kinds of links, in the order in which DVC tries them.
    """
    found = list(folder_troubles(folder))
    if shared != "group":
        found.append(
            Trouble("others could not add to what you add",
                    "dvc config --local cache.shared group")
        )  # fmt: skip
    other_disk = folder.stat().st_dev != workspace.stat().st_dev
    usable = {"symlink"} if other_disk else {"hardlink", "symlink"}
    if not usable & set(types):
        found.append(
            Trouble(
                f"outputs are copied from it ({', '.join(types)}"
                + (", and it is on another file system)" if other_disk else ")"),
                "dvc config --local cache.type hardlink,symlink && dvc checkout --relink",
            )
        )
    return found
