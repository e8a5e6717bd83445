"""The file of a cached item: safetensors, written as it comes; :mod:`pianoeval.itemread` reads it.

Eight bytes give the length of a JSON header; it holds metadata, and shape, type and place of each
array; their bytes follow without gaps, wide types first so that all are aligned
(https://github.com/huggingface/safetensors#format). The item's digest stands in the metadata. It is
known when all bytes are, so its place is written last. Which item it is (``key``) and what made it
(``made_by``) stand beside it and are no part of the digest; older files have neither.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pianoeval.atomic import PartialFile, disk_errors, remove_abandoned
from pianoeval.errors import CorruptDataError, PianoevalError
from pianoeval.provenance import canonical_json, made_by, sha256_bytes

Array = NDArray[Any]
Layout = Mapping[str, tuple[tuple[int, ...], DTypeLike]]

_HASHED_BYTES = 8 << 20  # so much of a mapped file is in memory at once
TYPES = {
    "F64": "<f8", "I64": "<i8", "U64": "<u8", "F32": "<f4", "I32": "<i4", "U32": "<u4",
    "F16": "<f2", "I16": "<i2", "U16": "<u2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {numpy: name for name, numpy in TYPES.items()}


@dataclass(frozen=True)
class Item:
    """Arrays and metadata of one computed item; ``digest`` is the SHA-256 of both."""

    arrays: dict[str, Array]
    meta: dict[str, Any]
    digest: str
    made_by: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Blocks:
    """An array that comes in parts along its first axis and is never whole in memory."""

    shape: tuple[int, ...]
    dtype: DTypeLike
    parts: Iterable[Array]


class _ArrayHash:
    """Name, type, shape and SHA-256 of the bytes of an array."""

    def __init__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._head = f"{name}|{dtype.str}|{shape}"
        self._bytes = hashlib.sha256()

    def update(self, part: Array) -> None:
        self._bytes.update(as_bytes(part))

    def lines(self) -> list[bytes]:
        return [self._head.encode(), self._bytes.hexdigest().encode()]


def item_digest(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> str:
    """SHA-256 of names, dtypes, shapes, bytes and metadata."""
    hashes = {}
    for name, array in arrays.items():
        array = np.ascontiguousarray(array) if array.ndim == 0 else array
        hashes[name] = _ArrayHash(name, array.dtype, array.shape)
        for part in row_blocks(array):
            hashes[name].update(part)
    return _combine(hashes, meta)


def _combine(hashes: Mapping[str, _ArrayHash], meta: Mapping[str, Any]) -> str:
    lines = [canonical_json(dict(meta)).encode()]
    for name in sorted(hashes):
        lines += hashes[name].lines()
    return sha256_bytes(b"\n".join(lines))


def as_bytes(array: Array) -> memoryview:
    """The bytes of an array in C order; no copy if it is contiguous."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).data


def row_blocks(array: Array, rows: int | None = None) -> Iterator[Array]:
    """Parts of an array along its first axis; of a mapped file, one at a time is in memory.

    ``rows`` a part, or about 8 MB unless told.
    """
    if rows is None:
        rows = max(_HASHED_BYTES // max(array[:1].nbytes, 1), 1)
    for begin in range(0, len(array), rows):
        yield array[begin : begin + rows]
        _release(array)


def _release(array: Array) -> None:
    """Give the pages of a mapped file back: they would count as this process's memory."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


class ItemWriter:
    """Writes an item whose arrays come in parts; there is nothing until :meth:`commit`.

    Parameters
    ----------
    target, folder : Path
        As :class:`~pianoeval.atomic.PartialFile`; of the folder, what was abandoned is removed.
    layout : mapping
        ``{name: (shape, dtype)}`` of every array.
    meta : mapping
        Anything that JSON holds.
    name : str
        ``<step>/<key>``: what :func:`read_item` expects of the file.
    origin : mapping, optional
        Versions and machine that made it; this process unless told.

    Raises
    ------
    PianoevalError
        A type that safetensors does not have, parts that do not fit the layout, or a full disk.
        As a context manager it leaves nothing behind then.
    """

    def __init__(
        self, target: Path, folder: Path, layout: Layout, meta: Mapping[str, Any], name: str,
        origin: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._meta = meta
        self._layout = {n: (tuple(shape), np.dtype(kind)) for n, (shape, kind) in layout.items()}
        text = {"meta": canonical_json(dict(meta)), "key": name}
        text["made_by"] = canonical_json(dict(made_by() if origin is None else origin))
        header, self._digest_at, self._offsets = _make_header(self._layout, text)
        self._hashes = {
            name: _ArrayHash(name, kind, shape) for name, (shape, kind) in self._layout.items()
        }
        self._rows = dict.fromkeys(self._layout, 0)
        self._partial = PartialFile(target, folder)
        remove_abandoned(self._partial)
        self._write(0, header)

    def append(self, name: str, part: Array) -> None:
        """Add the next rows of an array."""
        shape, kind = self._layout[name]
        rows = self._rows[name] + len(part)
        if part.dtype != kind or part.shape[1:] != shape[1:] or rows > shape[0]:
            raise PianoevalError(
                f"rows up to {rows} of '{name}' have shape {part.shape} and type {part.dtype}",
                where=self._partial.target, allowed=f"{shape} in all, {kind}",
            )  # fmt: skip
        data = as_bytes(part)
        self._write(self._offsets[name] + self._rows[name] * row_bytes(shape, kind), data)
        self._hashes[name].update(part)
        self._rows[name] = rows

    def commit(self, expected: str = "") -> None:
        """Write the digest, flush to disk, give the file its name.

        Raises
        ------
        CorruptDataError
            What was written has another digest than the one ``expected``.
        """
        try:
            for name, (shape, _) in self._layout.items():
                if self._rows[name] != shape[0]:
                    raise PianoevalError(
                        f"'{name}' has {self._rows[name]} of {shape[0]} rows",
                        where=self._partial.target,
                    )
            digest = _combine(self._hashes, self._meta)
            if expected and digest != expected:
                raise CorruptDataError("checksum differs", where=self._partial.target)
            self._write(self._digest_at, digest.encode())
            self._partial.commit()
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what is not committed; harmless afterwards."""
        self._partial.abort()

    def _write(self, position: int, data: bytes | memoryview) -> None:
        try:
            with disk_errors(self._partial.target):
                self._partial.stream.seek(position)
                self._partial.stream.write(data)
        except PianoevalError:
            self.abort()
            raise

    def __enter__(self) -> ItemWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


def row_bytes(shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Bytes of one row of an array."""
    return int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize


def _make_header(
    layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], text: Mapping[str, str]
) -> tuple[bytes, int, dict[str, int]]:
    """Header with zeros for the digest, position of these zeros, position of each array."""
    placeholder = "0" * 64  # the first of its kind in the file
    header: dict[str, Any] = {"__metadata__": {"digest": placeholder, **text}}
    place = 0
    for name in sorted(layout, key=lambda n: (-layout[n][1].itemsize, n)):
        shape, kind = layout[name]
        if kind.str not in _NAMES or not shape or name == "__metadata__":
            raise PianoevalError(
                f"'{name}' of type {kind} and shape {shape} cannot be stored",
                allowed=f"at least one axis; {', '.join(TYPES)}",
            )
        end = place + shape[0] * row_bytes(shape, kind)
        where = {"dtype": _NAMES[kind.str], "shape": list(shape), "data_offsets": [place, end]}
        header[name], place = where, end
    data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    data += b" " * (-len(data) % 8)
    begin = 8 + len(data)
    offsets = {n: begin + header[n]["data_offsets"][0] for n in layout}
    return len(data).to_bytes(8, "little") + data, 8 + data.index(placeholder.encode()), offsets
