"""Push items to a place and pull them from there: only what is missing, and only what is whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pianoeval.atomic import PartialFile, remove_abandoned
from pianoeval.cache import UNFINISHED, ItemCache
from pianoeval.errors import PianoevalError
from pianoeval.itemread import read_item
from pianoeval.progress import Meter
from pianoeval.sharing.items import ItemFile, check_steps, in_threads, items_of, steps_of
from pianoeval.sharing.place import Place

log = logging.getLogger(__name__)
DONE, THERE, GONE = "done", "there", "gone"


@dataclass
class Transfer:
    """What was done; ``refused`` says why by name, ``step/key``."""

    transferred: int = 0
    bytes: int = 0
    there: int = 0  # and not transferred
    gone: int = 0  # removed by somebody in between
    refused: dict[str, str] = field(default_factory=dict)


def push(
    cache: ItemCache,
    place: Place,
    *,
    steps: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    jobs: int | None = None,
    check: bool = False,
) -> Transfer:
    """Upload what the place lacks; what is damaged here is named and stays here.

    Parameters
    ----------
    steps, only : collection of str, optional
        Steps and keys; all unless told.
    jobs : int, optional
        Transfers at a time; as the place suggests unless told.
    check : bool
        Read all that is there already and replace what is damaged; otherwise only what has
        another size is read: the header names the maker, so that a whole item may have one.

    Raises
    ------
    PianoevalError
        The place cannot be reached or written; what was uploaded stays.
    """
    report = Transfer()
    todo: list[ItemFile] = []
    named: set[str] = set()  # are there, as they may be
    for step in check_steps(steps, steps_of(cache.root), cache.root):
        there = place.sizes(step)
        for item in items_of(cache.root, step):
            if only is not None and item.key not in only:
                continue
            if item.key in there:
                named.add(item.name)
            if check or there.get(item.key) != item.size:
                todo.append(item)
            else:
                report.there += 1

    def work(item: ItemFile) -> str:
        try:
            read_item(item.path, item.name)
            if item.name in named and _is_whole(place, cache, item):
                return THERE
            place.store(item)
        except FileNotFoundError:
            return GONE
        except ValueError as error:
            return f"damaged here, not pushed ({error})"
        return DONE

    _run("push", work, todo, jobs or place.jobs, report)
    return report


def pull(
    cache: ItemCache,
    place: Place,
    *,
    steps: Sequence[str] | None = None,
    only: Collection[str] | None = None,
    jobs: int | None = None,
) -> Transfer:
    """Download what is missing here; what is not the item its name says is refused.

    Parameters and errors are those of :func:`push`.
    """
    report = Transfer()
    todo: list[ItemFile] = []
    for step in check_steps(steps, place.steps(), place.shown):
        for key, size in sorted(place.sizes(step).items()):
            if only is not None and key not in only:
                continue
            if cache.has(step, key):
                report.there += 1
            else:
                todo.append(ItemFile(step, key, cache.path(step, key), size, 0.0))

    def work(item: ItemFile) -> str:
        try:
            with _fetched(place, cache, item) as partial:
                partial.commit()
        except FileNotFoundError:
            return GONE
        except ValueError as error:
            return f"damaged there, refused ({error})"
        return DONE

    _run("pull", work, todo, jobs or place.jobs, report)
    return report


@contextmanager
def _fetched(place: Place, cache: ItemCache, item: ItemFile) -> Iterator[PartialFile]:
    """The item from the place, verified, in a file that is gone unless it is committed.

    Raises
    ------
    ValueError
        It is not the item that its name says.
    """
    partial = PartialFile(cache.path(item.step, item.key), cache.root / item.step / UNFINISHED)
    try:
        remove_abandoned(partial)
        with _copy_errors(place):
            place.fetch(item.step, item.key, partial.path)
        read_item(partial.path, item.name)
        yield partial
    finally:
        partial.abort()


def _is_whole(place: Place, cache: ItemCache, item: ItemFile) -> bool:
    """Whether what the place has is the item."""
    try:
        with _fetched(place, cache, item):
            return True
    except FileNotFoundError:
        return False
    except ValueError as error:
        log.warning("%s: %s is damaged (%s); it is replaced", place.shown, item.name, error)
        return False


def _run(
    what: str, work: Callable[[ItemFile], str], todo: Sequence[ItemFile], jobs: int,
    report: Transfer,
) -> None:  # fmt: skip
    """Do it in threads and count what comes of it; an error that is not an item's own ends it."""

    def answered(item: ItemFile) -> tuple[ItemFile, str]:
        return item, work(item)

    total = sum(item.size for item in todo) / 1e6
    with Meter(what, len(todo), amount=total, unit="MB") as meter:
        for item, answer in in_threads(answered, todo, jobs):
            if answer == DONE:
                report.transferred += 1
                report.bytes += item.size
            elif answer == THERE:
                report.there += 1
            elif answer == GONE:
                report.gone += 1
            else:
                report.refused[item.name] = answer
                log.warning("%s: %s", item.name, answer)
            meter.advance(item.size / 1e6)


@contextmanager
def _copy_errors(place: Place) -> Iterator[None]:
    """That a file is not there passes."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PianoevalError(
            f"cannot be copied ({error.strerror or error})", where=error.filename or place.shown,
            next_step="free space or mend the permissions, then run this again: "
            "what was transferred is kept",
        ) from error  # fmt: skip
