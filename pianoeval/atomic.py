"""Files that are whole or absent, whenever the process is killed.

What is being written has a name of its own; it is flushed to disk and then renamed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path

from pianoeval.errors import PianoevalError
from pianoeval.interrupt import beginning

log = logging.getLogger(__name__)
_BEFORE = ".before"  # in the folder of a partial one: what it takes the place of
_ABANDONED_S = 24 * 3600.0  # nobody computes the next part of a file for so long


class PartialFile:
    """``stream`` is a file that becomes ``target`` on :meth:`commit`, or never was.

    Parameters
    ----------
    target : Path
        Replaced if it is there.
    folder : Path, optional
        Where it is written, on the same file system; beside ``target`` unless told.
    shared : bool
        The group may read and write it and the folders made for it, whatever the umask. Otherwise
        its name is ``.<name>.partial``, and what a killed process has left there is replaced.

    Raises
    ------
    PianoevalError
        The disk is full or the folder cannot be written; from :meth:`commit` too.
    """

    def __init__(self, target: Path, folder: Path | None = None, *, shared: bool = True) -> None:
        self.target, self._shared = target, shared
        folder = folder or target.parent
        # The name tells people whose it is; containers may share host name and process number.
        mark = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}"
        self.path = folder / f".{target.name}.{mark if shared else 'partial'}"
        # A worker that is told to end runs multiprocessing's finalizers, but no 'finally'.
        self._clean = Finalize(None, _remove, args=[self.path], exitpriority=0)
        try:
            with disk_errors(target):
                for needed in (folder, target.parent):
                    make_shared(needed) if shared else needed.mkdir(parents=True, exist_ok=True)
                with beginning():
                    if not shared:
                        self.path.unlink(missing_ok=True)
                    self.stream = self.path.open("x+b")
        except PianoevalError:
            self._clean()
            raise

    def commit(self) -> None:
        """Flush to disk, make it readable for the group, rename; nothing stays on an error."""
        try:
            with disk_errors(self.target):
                self.stream.flush()
                _to_disk(self.stream.fileno())
                self.stream.close()
                if self._shared:
                    self.path.chmod(0o664)
                os.replace(self.path, self.target)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what is not committed; harmless afterwards."""
        try:
            self.stream.close()
        except OSError as error:  # of a full disk: its last bytes are not wanted any more
            log.debug("%s: %s", self.path, error)
        self._clean()


def _to_disk(descriptor: int) -> None:
    """Flush a file; on macOS fsync leaves it in the disk's own cache (fsync(2) there)."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError as error:  # a network file system does not know it
            log.debug("F_FULLFSYNC: %s", error)
    os.fsync(descriptor)


def _remove(path: Path) -> None:
    """Remove what was being written; on a disk that turned read-only it has to stay."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s stays: %s", path, error)


def write_output(target: Path, data: str | bytes) -> None:
    """Write a file of a workspace; its mode is the user's own.

    A former file is replaced, not written into: it may be a link into the cache of DVC, where
    others would read what was written here. Text is UTF-8, lines end as they stand. Of several
    processes that write into one folder, each waits for the one before.

    Raises
    ------
    PianoevalError
        As :func:`write_atomic`.
    """
    with disk_errors(target), _alone_in(target.parent):
        _write(PartialFile(target, shared=False), data.encode() if isinstance(data, str) else data)


def write_atomic(target: Path, data: bytes) -> None:
    """Write a whole file at once, for the group to read and write.

    Raises
    ------
    PianoevalError
        The disk is full or the folder cannot be written; nothing partial stays.
    """
    _write(PartialFile(target), data)


def _write(partial: PartialFile, data: bytes) -> None:
    target = partial.target
    try:
        with disk_errors(target):
            partial.stream.write(data)
        partial.commit()
    finally:
        partial.abort()


@contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """A new folder of the same name that takes ``target``'s place when the block succeeds.

    What a killed process was writing, ``.<name>.partial``, goes with the next run; where it was
    killed between the two renames at the end, that run puts the former folder back first. Of
    several processes that write into one folder, each waits for the one before. The files are not
    flushed to disk: what a power failure takes from them, their checksums tell.

    Raises
    ------
    PianoevalError
        It cannot be written; what was in ``target`` before is then still there.
    """
    partial = target.with_name(f".{target.name}.partial")
    made = partial / target.name
    with disk_errors(target), _alone_in(target.parent):
        _give_up(partial, target)
        clean = Finalize(None, _give_up, [partial, target], exitpriority=0)
        try:
            with beginning():
                made.mkdir(parents=True)
            yield made
            if target.exists():  # a folder cannot be renamed over another, nor removed at a stroke
                os.replace(target, partial / _BEFORE)
            os.replace(made, target)
        finally:
            clean()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system knows locks of folders; others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # NFS wants a file that is open for writing
            log.debug("%s cannot be locked: %s", folder, error)
        yield
    finally:
        os.close(descriptor)


def _give_up(folder: Path, target: Path) -> None:
    """Put back what stood at ``target``, and remove what was to take its place.

    Another thread may be writing into it when the process is told to end: look again.
    """
    if (folder / _BEFORE).exists() and not target.exists():
        os.replace(folder / _BEFORE, target)
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def remove_abandoned(beside: PartialFile) -> None:
    """Remove what killed processes left in its folder, a day after their end.

    A new file's time is now by the file system's clock; the clock of a host may be wrong, and the
    folder holds what others are writing.
    """
    now = os.fstat(beside.stream.fileno()).st_mtime
    for path in beside.path.parent.iterdir():
        try:
            if now - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()
                log.info("removed %s, which a killed process had left", path)
        except (FileNotFoundError, PermissionError) as error:  # finished, or another user's
            log.debug("%s: %s", path, error)


def remove_abandoned_folders(beside: Path, pattern: str, abandoned_s: float = _ABANDONED_S) -> None:
    """As :func:`remove_abandoned`, of folders: those that match, and lie beside the new ``beside``.

    A folder is as old as the file in it that was written last.
    """
    now = beside.stat().st_mtime
    for folder in beside.parent.glob(pattern):
        try:
            written = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if folder != beside and folder.is_dir() and now - written > abandoned_s:
                shutil.rmtree(folder)
                log.info("removed %s, which a killed process had left", folder)
        except (FileNotFoundError, PermissionError) as error:
            log.debug("%s: %s", folder, error)


@contextmanager
def disk_errors(target: Path, what: str = "cannot write") -> Iterator[None]:
    """Turn an OSError into one message with the next command."""
    try:
        yield
    except OSError as error:
        raise PianoevalError(
            f"{what} ({error.strerror}); what was computed before is kept",
            where=target.parent,
            next_step="free space or permissions, or set PIANOEVAL_CACHE to another folder; "
            "then: dvc repro",
        ) from error


def make_shared(folder: Path) -> None:
    """Create folders that pass their group on (setgid), so that lab mates can write too."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        try:
            made.chmod(0o2775)
        except PermissionError:  # another process of another user made it first: its mode stands
            log.debug("mode of %s left as it is", made)
