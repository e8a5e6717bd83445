"""Put items of an HDF5 file into the cache.

The file may come from anybody, so its structure is looked at before any of its data are read, and
it is refused as a whole where it reaches beyond itself (links, external or virtual data), names
what is not ours to write, or declares more than it holds. Filters are refused too: they are foreign
code, and a few bytes of them become many. The HDF5 library itself may crash, or go round in
circles, at a few wrong bytes; so another process looks first, for a limited time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pebble import ProcessExpired, ProcessPool

from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError, CorruptDataError
from pianoeval.itemfile import TYPES
from pianoeval.progress import Meter
from pianoeval.provenance import canonical_json
from pianoeval.sharing.hdf5 import DERIVED, FORMAT, VERSION
from pianoeval.sharing.items import is_key, is_step
from pianoeval.zarrgroup import UNREADABLE

_DEPTH = 16  # groups within groups
_TEXT_LIMIT = 1 << 20  # bytes of an attribute
_ROW_LIMIT = 64 << 20  # bytes of what is read at once, at least
_BLOCK = 8 << 20
_LOOK_S, _LOOK_BYTES_A_S = 60.0, 4 << 20  # time to look at the structure of a file
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_KINDS = frozenset(TYPES.values())


@dataclass
class Imported:
    """What was done; ``refused`` says why by name, ``step/key``."""

    imported: int = 0
    bytes: int = 0
    there: int = 0
    without_item: int = 0
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """One item as the file describes it."""

    group: h5py.Group
    step: str
    key: str
    digest: str
    meta: dict[str, Any]
    made_by: dict[str, str]
    arrays: dict[str, h5py.Dataset]


def import_items(path: Path, cache: ItemCache) -> Imported:
    """Verify every item of the file and put it into the cache under its key.

    Raises
    ------
    BadInputError
        Not a file of :func:`~pianoeval.sharing.hdf5.export_stores`, or one that was tampered with;
        nothing was imported.
    PianoevalError
        The cache cannot be written; what was imported stays.
    """
    if not path.is_file():
        raise BadInputError("no such file", where=path)
    _look_first(path)
    with _opened(path) as (file, size):
        entries, without = _look(file, size)
        report = Imported(without_item=without)
        with Meter("import", len(entries)) as meter:
            for entry in entries:
                _import_one(entry, cache, report)
                meter.advance()
    return report


def _look_first(path: Path) -> None:
    """Look at the file in a process that may crash or hang."""
    limit = _LOOK_S + path.stat().st_size / _LOOK_BYTES_A_S
    pool: Any
    with ProcessPool(max_workers=1, context=get_context("spawn")) as pool:
        try:
            pool.schedule(_look_alone, args=[path], timeout=limit).result()
        except FutureTimeout as error:
            raise _unreadable(path, f"no end after {limit:.0f} s") from error
        except ProcessExpired as error:
            raise _unreadable(path, f"the library crashes, exit code {error.exitcode}") from error
        finally:
            pool.stop()


def _look_alone(path: Path) -> None:
    with _opened(path) as (file, size):
        _look(file, size)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.File, int]]:
    """The file and its size; what the library says of it is one message."""
    try:
        with h5py.File(path, "r") as file:
            yield file, path.stat().st_size
    except UNREADABLE as error:
        raise _unreadable(path, " ".join(str(error).split()) or type(error).__name__) from error


def _unreadable(path: Path, reason: str) -> BadInputError:
    return BadInputError(
        f"cannot be read as HDF5 ({reason[:200]})", where=path,
        next_step="get the file again: pianoeval cache export made it",
    )  # fmt: skip


def _import_one(entry: _Entry, cache: ItemCache, report: Imported) -> None:
    name = f"{entry.step}/{entry.key}"
    if cache.has(entry.step, entry.key):
        report.there += 1
        return
    layout = {one: (data.shape, data.dtype) for one, data in entry.arrays.items()}
    try:
        with cache.writer(entry.step, entry.key, layout, entry.meta, entry.made_by) as writer:
            for one, data in entry.arrays.items():
                rows = max(_BLOCK // max(_row_bytes(data), 1), 1)
                for begin in range(0, data.shape[0], rows):
                    writer.append(one, np.ascontiguousarray(_rows(data, begin, rows)))
            writer.commit(entry.digest)
    except (CorruptDataError, _DamagedError) as error:
        what = error.what if isinstance(error, CorruptDataError) else str(error)
        report.refused[name] = f"damaged in the file, refused ({what})"
        return
    report.imported += 1
    report.bytes += sum(data.nbytes for data in entry.arrays.values())


class _DamagedError(Exception):
    """Data that the file promises and does not give."""


def _rows(data: h5py.Dataset, begin: int, rows: int) -> Any:
    try:
        return data[begin : begin + rows]
    except UNREADABLE as error:
        raise _DamagedError(" ".join(str(error).split())[:200]) from error


def _look(file: h5py.File, size: int) -> tuple[list[_Entry], int]:
    """All items that the file describes, and the number of clips without one.

    Raises
    ------
    BadInputError
        Something in it is not what an export has.
    """
    where = Path(file.filename)
    if _text(file, "format", where) != FORMAT or int(file.attrs.get("version", 0)) != VERSION:
        raise BadInputError(
            "not an export of items of a version that is known", where=where,
            allowed=f"format '{FORMAT}', version {VERSION}",
        )  # fmt: skip
    entries, without, declared = [], 0, 0
    for group in _clip_groups(file, where):
        entry = _entry(group, where)
        if entry is None:
            without += 1
            continue
        entries.append(entry)
        declared += sum(data.nbytes for data in entry.arrays.values())
        if declared > size:
            raise BadInputError(f"it declares more data than its {size} bytes", where=where)
    return entries, without


def _clip_groups(file: h5py.File, where: Path) -> Iterator[h5py.Group]:
    """Groups that have a key; others are entered."""
    seen: set[int] = set()
    todo: list[tuple[h5py.Group, int]] = [(file, 0)]
    while todo:
        group, depth = todo.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > _DEPTH:
            raise BadInputError(f"'{group.name}' is linked twice or too deep", where=where)
        seen.add(address)
        if "key" in group.attrs:
            yield group
            continue
        for name in group:
            if _kind(group, name, where) is h5py.Group:
                todo.append((group[name], depth + 1))


def _kind(group: h5py.Group, name: str, where: Path) -> Any:
    """Group or dataset; what a link names may be anywhere."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise BadInputError(
            f"'{group.name}/{name}' is a link ({type(link).__name__})", where=where,
            allowed="groups and data of the file itself",
        )  # fmt: skip
    return group.get(name, getclass=True)


def _entry(group: h5py.Group, where: Path) -> _Entry | None:
    """One item; None where the clip has frames but no item."""
    step, key = _text(group, "step", where), _text(group, "key", where)
    if not is_step(step) or not is_key(key):
        raise BadInputError(
            f"'{group.name}' is called {step[:80]!r}/{key[:80]!r}", where=where,
            allowed="the name of a step and 64 hex digits",
        )  # fmt: skip
    if "arrays" not in group.attrs:
        return None
    names = json.loads(_text(group, "arrays", where))
    meta = json.loads(_text(group, "meta", where))
    made_by = json.loads(_text(group, "made_by", where))
    right = isinstance(names, list) and isinstance(meta, dict) and isinstance(made_by, dict)
    if not right or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise BadInputError(f"attributes of '{group.name}' are not an item's", where=where)
    digest = _text(group, "digest", where)
    if not is_key(digest):
        raise BadInputError(f"the digest of '{group.name}' is none", where=where)
    arrays = {name: _array(group, name, where) for name in names}
    origin = {str(name): str(version) for name, version in made_by.items()}
    canonical_json([meta, origin]).encode()  # raises ValueError at what cannot be written
    return _Entry(group, step, key, digest, meta, origin, arrays)


def _array(group: h5py.Group, name: str, where: Path) -> h5py.Dataset:
    """Data whose bytes lie in the file, one for one."""
    full = f"{group.name}/{name}"
    if name not in list(group) or name == DERIVED or _kind(group, name, where) is not h5py.Dataset:
        raise BadInputError(f"'{full}' is not there, or no array of an item", where=where)
    data = group[name]
    if not data.shape or data.dtype.str not in _KINDS or h5py.check_dtype(enum=data.dtype):
        raise BadInputError(
            f"'{full}' is of type {data.dtype} and shape {data.shape}", where=where,
            allowed="numbers, of at least one axis",
        )  # fmt: skip
    made = data.id.get_create_plist()
    plain = made.get_layout() == h5py.h5d.CONTIGUOUS and not made.get_nfilters()
    if data.is_virtual or data.external or not plain:
        raise BadInputError(
            f"'{full}' is compressed, in chunks, or its data lie elsewhere", where=where,
            allowed="contiguous data in the file itself (h5repack -f NONE -l CONTI)",
        )  # fmt: skip
    if data.id.get_storage_size() < data.nbytes or _row_bytes(data) > _ROW_LIMIT:
        raise BadInputError(
            f"'{full}' of shape {data.shape} declares more data than it holds", where=where
        )
    return data


def _row_bytes(data: h5py.Dataset) -> int:
    shape: tuple[int, ...] = data.shape[1:]
    total = int(data.dtype.itemsize)
    for length in shape:
        total *= int(length)
    return total


def _text(place: h5py.Group, name: str, where: Path) -> str:
    """An attribute that is one text of bounded size."""
    if name not in place.attrs:
        raise BadInputError(f"'{place.name}' has no attribute '{name}'", where=where)
    attribute = h5py.h5a.open(place.id, name.encode())
    text = isinstance(attribute.get_type(), h5py.h5t.TypeStringID)
    if attribute.shape != () or not text or attribute.get_storage_size() > _TEXT_LIMIT:
        raise BadInputError(f"attribute '{name}' of '{place.name}' is no text", where=where)
    value = place.attrs[name]
    found = value.decode() if isinstance(value, bytes) else str(value)
    if len(found) > _TEXT_LIMIT:
        raise BadInputError(f"attribute '{name}' of '{place.name}' is too long", where=where)
    return found
