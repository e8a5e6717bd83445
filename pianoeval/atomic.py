"""Files that are whole or absent, whenever the process is killed.

What is being written has a name of its own; it is flushed to disk and then renamed.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from pathlib import Path

from pianoeval.errors import PianoevalError

log = logging.getLogger(__name__)
_ABANDONED_S = 24 * 3600.0  # nobody computes the next part of a file for so long


class PartialFile:
    """``stream`` is a file that becomes ``target`` on :meth:`commit`, or never was.

    Parameters
    ----------
    target : Path
        Replaced if it is there.
    folder : Path, optional
        Where it is written, on the same file system; beside ``target`` unless told.

    Raises
    ------
    PianoevalError
        The disk is full or the folder cannot be written; from :meth:`commit` too.
    """

    def __init__(self, target: Path, folder: Path | None = None) -> None:
        self.target = target
        folder = folder or target.parent
        # The name tells people whose it is; containers may share host name and process number.
        mark = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}"
        self.path = folder / f".{target.name}.{mark}"
        # A worker that is told to end runs multiprocessing's finalizers, but no 'finally'.
        self._clean = Finalize(None, self.path.unlink, kwargs={"missing_ok": True}, exitpriority=0)
        try:
            with disk_errors(target):
                make_shared(folder)
                make_shared(target.parent)
                self.stream = self.path.open("x+b")
        except PianoevalError:
            self._clean()
            raise

    def commit(self) -> None:
        """Flush to disk, make it readable for the group, rename; nothing stays on an error."""
        try:
            with disk_errors(self.target):
                self.stream.flush()
                os.fsync(self.stream.fileno())
                self.stream.close()
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


def write_atomic(target: Path, data: bytes) -> None:
    """Write a whole file at once.

    Raises
    ------
    PianoevalError
        The disk is full or the folder cannot be written; nothing partial stays.
    """
    partial = PartialFile(target)
    try:
        with disk_errors(target):
            partial.stream.write(data)
        partial.commit()
    finally:
        partial.abort()


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
