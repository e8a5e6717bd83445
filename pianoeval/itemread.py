"""Read the files of cached items without a copy, verified (:mod:`pianoeval.itemfile` writes them).

They may come from anywhere, so nothing in a header is believed before it is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.itemfile import TYPES, Array, Item, item_digest, row_bytes

_MAPPED_BYTES = 32 << 20  # a larger file is mapped, not read
_HEADER_LIMIT = 8 << 20  # no step's metadata comes near it


def read_item(path: Path, name: str = "") -> Item:
    """Read and verify; a large file is mapped into memory.

    Parameters
    ----------
    name : str
        ``<step>/<key>``, where it matters which item it is.

    Raises
    ------
    FileNotFoundError
        There is none.
    ValueError
        It is not what was written, or another item.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _MAPPED_BYTES:
            data: Array = np.memmap(stream, np.uint8, "r")
        else:
            data = np.fromfile(stream, np.uint8)
    try:
        arrays, text = _split(data)
        meta, origin = json.loads(text["meta"]), _origin(text)
        digest, held = str(text["digest"]), text.get("key", name)
        right = item_digest(arrays, meta) == digest
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"header: {error!r}") from error
    if not right:
        raise ValueError("checksum differs")
    if name and held != name:
        raise ValueError(f"it holds another item, {str(held)[:200]!r}")
    return Item(arrays, meta, digest, origin)


def read_origin(path: Path) -> dict[str, str]:
    """What made an item, of its header alone: nothing else is checked.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_item`; an older file gives an empty answer.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        header = stream.read(length) if length <= _HEADER_LIMIT else b""
    try:
        found, _ = _load_header(np.frombuffer(start + header, np.uint8))
        return _origin(found["__metadata__"])
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"header: {error!r}") from error


def _origin(text: Mapping[str, str]) -> dict[str, str]:
    found = json.loads(text.get("made_by", "{}"))
    return {str(name): str(version) for name, version in found.items()}


def _load_header(data: Array) -> tuple[dict[str, Any], int]:
    """The header at the beginning of a file, and where it ends."""
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or begin > min(8 + _HEADER_LIMIT, len(data)):
        raise ValueError("cut off within its header")
    return json.loads(data[8:begin].tobytes()), begin


def _split(data: Array) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays without a copy, and the metadata."""
    header, begin = _load_header(data)
    text = header.pop("__metadata__")
    arrays = {}
    place = 0
    for name, at in sorted(header.items(), key=lambda entry: entry[1]["data_offsets"]):
        kind, shape = np.dtype(TYPES[at["dtype"]]), tuple(int(n) for n in at["shape"])
        start, stop = at["data_offsets"]
        wanted = shape[0] * row_bytes(shape, kind)
        if start != place or stop - start != wanted or begin + stop > len(data) or min(shape) < 0:
            raise ValueError(f"array '{name}' does not lie where it should")
        arrays[name] = data[begin + start : begin + stop].view(kind).reshape(shape)
        place = stop
    if begin + place != len(data):
        raise ValueError(f"{len(data) - begin - place} bytes too many")
    return arrays, text
