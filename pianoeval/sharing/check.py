"""Read every item and say which are not what was written, and what unfinished work lies about."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from pianoeval.atomic import disk_errors
from pianoeval.cache import UNFINISHED, ItemCache
from pianoeval.checkpoints.shelf import Receipt, is_intact
from pianoeval.itemread import read_item, read_origin
from pianoeval.progress import Meter
from pianoeval.provenance import sha256_file
from pianoeval.sharing.items import ItemFile, check_steps, in_threads, items_of, steps_of

_DAY_S = 24 * 3600.0
_RECEIPT = "checkpoint.json"
Origin = tuple[tuple[str, str], ...]


@dataclass
class StepItems:
    """Items of one step: how many, how large, and by what they were made."""

    step: str
    items: int = 0
    bytes: int = 0
    made_by: Counter[Origin] = field(default_factory=Counter)


@dataclass
class Check:
    """What was found; ``damaged`` says why by name, ``step/key`` or path.

    ``unread`` are items that could not be read, by permission or for want of memory: nobody knows
    how they are, and they are never removed.
    """

    steps: dict[str, StepItems] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    removed: int = 0
    leftovers: list[Path] = field(default_factory=list)
    assets: int = 0

    @property
    def remaining(self) -> int:
        """Damaged and still there."""
        return len(self.damaged) - self.removed


def list_items(cache: ItemCache, steps: Sequence[str] | None = None) -> list[StepItems]:
    """Count items by what made them; of each, the header is read."""
    found = []
    for step in check_steps(steps, steps_of(cache.root), cache.root):
        row = StepItems(step)
        for item in items_of(cache.root, step):
            try:
                _count(row, item, read_origin(item.path))
            except FileNotFoundError:
                continue
            except ValueError as error:
                _count(row, item, {"unreadable": str(error)[:80]})
        found.append(row)
    return found


def verify(
    cache: ItemCache,
    *,
    steps: Sequence[str] | None = None,
    jobs: int,
    remove: bool = False,
    assets: bool = False,
) -> Check:
    """Read every item.

    Parameters
    ----------
    remove : bool
        Remove damaged items: they are computed again when they are wanted.
    assets : bool
        Check weights and sound fonts too; these are never removed.

    Raises
    ------
    PianoevalError
        A damaged item cannot be removed.
    """
    report = Check()
    todo = [
        item
        for step in check_steps(steps, steps_of(cache.root), cache.root)
        for item in items_of(cache.root, step)
    ]
    with Meter("verify", len(todo), amount=sum(i.size for i in todo) / 1e6, unit="MB") as meter:
        for item, origin, reason, unread in in_threads(_examine, todo, jobs):
            meter.advance(item.size / 1e6)
            if unread:
                report.unread[item.name] = unread
            if origin is None and not reason:
                continue  # removed in between, or not read
            row = report.steps.setdefault(item.step, StepItems(item.step))
            if origin is not None:
                _count(row, item, origin)
                continue
            report.damaged[item.name] = reason
            if remove:
                with disk_errors(item.path, "an item is damaged and cannot be removed"):
                    item.path.unlink(missing_ok=True)
                report.removed += 1
    report.leftovers = leftovers(cache.root)
    if assets:
        for path, reason in _check_assets(cache.root.parent):
            report.assets += 1
            if reason:
                report.damaged[str(path)] = reason
    return report


def _count(row: StepItems, item: ItemFile, origin: dict[str, str]) -> None:
    row.items += 1
    row.bytes += item.size
    row.made_by[tuple(origin.items())] += 1


def _examine(item: ItemFile) -> tuple[ItemFile, dict[str, str] | None, str, str]:
    """What made it, or why it is damaged, or why it could not be read; none if it is gone."""
    try:
        return item, read_item(item.path, item.name).made_by, "", ""
    except FileNotFoundError:
        return item, None, "", ""
    except ValueError as error:
        return item, None, str(error), ""
    except OSError as error:
        if error.errno == errno.EIO:  # a sector that cannot be read is damage too
            return item, None, str(error), ""
        return item, None, "", error.strerror or str(error)


def leftovers(root: Path) -> list[Path]:
    """What killed processes left, and what others are writing now: times tell which."""
    found = [
        path for step in steps_of(root) for path in sorted((root / step / UNFINISHED).glob("*"))
    ]
    found += sorted((root / ".cluster").glob("*"))
    new = sorted((root.parent / "checkpoints").glob(".new.*"))
    return found + [path for path in new if time.time() - _time(path) > _DAY_S]


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _check_assets(root: Path) -> Iterator[tuple[Path, str]]:
    """Files of wheels and of model hubs: the folder of each is named by its digest."""
    for path in sorted((root / "assets").glob("*/*")):
        digest = sha256_file(path)
        wrong = "" if digest[:16] == path.parent.name else f"its SHA-256 is {digest[:16]}…"
        yield path, wrong and f"{wrong}; next: rm '{path}' && pianoeval fetch"
    for folder in sorted((root / "checkpoints").glob("[0-9a-f]*")):
        try:
            receipt = Receipt.model_validate_json((folder / _RECEIPT).read_bytes())
            intact = receipt.digest[:16] == folder.name and is_intact(folder, receipt.files)
        except (OSError, ValidationError):
            intact = False
        again = f"next: rm -r '{folder}' && pianoeval fetch   (or pianoeval encoder get)"
        yield folder, "" if intact else f"not the files that its receipt names; {again}"
