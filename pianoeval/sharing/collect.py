"""Free items that nobody names and nobody used for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pianoeval.atomic import PartialFile, disk_errors
from pianoeval.cache import UNFINISHED, ItemCache, mark_used
from pianoeval.errors import PianoevalError
from pianoeval.sharing.items import ItemFile, items_of, named_keys, steps_of

_DAY_S = 24 * 3600.0


@dataclass
class Collected:
    """Items that may go, or have gone; ``kept`` counts the others by reason."""

    free: list[ItemFile] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    removed: int = 0
    removed_bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stores: int = 0
    named: int = 0
    recent: int = 0

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.free)


def collect(
    cache: ItemCache, workspaces: Sequence[Path], *, days: float, remove: bool = False
) -> Collected:
    """Find, and with ``remove`` delete, what can be computed again and is not in use.

    Parameters
    ----------
    workspaces : sequence of Path
        Items that their stores name are kept.
    days : float
        So are items that were made or read since, by the clock of the file system; 0 for none.

    Raises
    ------
    CorruptDataError
        A store cannot be read, so what it needs is unknown.
    PianoevalError
        The folder cannot be written, or its clock and this machine's disagree.
    """
    keys, stores = named_keys(workspaces)
    report = Collected(stores=stores)
    now = _now(cache.root) if cache.root.is_dir() else time.time()
    since = now - (days + 1) * _DAY_S if days else now  # a read renews the time only once a day
    for step in steps_of(cache.root):
        for item in items_of(cache.root, step):
            if item.key in keys:
                report.named += 1
            elif item.used >= since:  # a time to come counts as now
                report.recent += 1
                if remove and item.used - now > _DAY_S:
                    mark_used(item.path)  # and is now from here on
            else:
                report.free.append(item)
        report.unfinished += _abandoned(cache.root / step / UNFINISHED, now)
    if remove:
        _remove(report, since)
    return report


def _abandoned(folder: Path, now: float) -> Iterator[Path]:
    """What nobody writes to any more."""
    for path in sorted(folder.glob("*")):
        with suppress(FileNotFoundError):  # finished just now
            if now - path.stat().st_mtime > _DAY_S:
                yield path


def _now(root: Path) -> float:
    """Time by the clock of the file system that holds the items.

    Raises
    ------
    PianoevalError
        It is more than a day from this machine's: one of them is wrong, and ages mean nothing.
    """
    probe = PartialFile(root / "clock")
    try:
        with disk_errors(probe.target):
            probe.stream.write(b"0")  # some file servers set times when there is something to write
            probe.stream.flush()
            now = probe.path.stat().st_mtime
    finally:
        probe.abort()
    if abs(now - time.time()) > _DAY_S:
        raise PianoevalError(
            f"the file system's clock says {time.ctime(now)}, this machine's {time.ctime()}",
            where=root, next_step="set the clock that is wrong; nothing was removed",
        )  # fmt: skip
    return now


def _remove(report: Collected, since: float) -> None:
    for item in report.free:
        try:
            if item.path.stat().st_mtime >= since:
                report.recent += 1  # used since it was listed
                continue
            item.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            report.failed[item.name] = error.strerror or str(error)
            continue
        report.removed += 1
        report.removed_bytes += item.size
    for path in report.unfinished:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            report.failed[str(path)] = error.strerror or str(error)
