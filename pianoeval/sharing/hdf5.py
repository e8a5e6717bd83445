"""Items in one HDF5 file, for people whose tools read h5py; :mod:`hdf5_read` takes them back.

``<store>/<clip>/`` holds ``frames`` [frames, layers, dim], ``level`` [3] and, of floating-point
frames, ``pooled_mean`` [layers, dim], all uncompressed; its attributes say which item it is. The
attributes of ``<store>/`` are those of the store (rates, layers, configuration): numbers and text
as they are, anything else as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pianoeval.atomic import PartialFile
from pianoeval.cache import Array, Item, ItemCache
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.itemfile import row_blocks
from pianoeval.progress import Meter
from pianoeval.provenance import canonical_json
from pianoeval.shards import BLOCK_FRAMES, frames_digest
from pianoeval.sharing.items import is_step
from pianoeval.store import RaggedStore

FORMAT, VERSION = "pianoeval-items", 1
DERIVED = "pooled_mean"  # beside the arrays of an item, not one of them
_ATTRIBUTE_LIMIT = 60_000  # bytes; HDF5 takes 64 kB in a form that any version reads


@dataclass
class Exported:
    """What was written; ``incomplete`` says by clip why it cannot be imported again."""

    clips: int = 0
    bytes: int = 0
    incomplete: dict[str, str] = field(default_factory=dict)


def export_stores(out: Path, stores: Sequence[Path], cache: ItemCache, data: Path) -> Exported:
    """Write all clips of the stores.

    Frames are the stores'; what an item holds beside them comes from the cache. Without its item a
    clip can be read, but not imported.

    Parameters
    ----------
    data : Path
        Stores below it are named by their path from there, others by their file name.

    Raises
    ------
    CorruptDataError
        A store is damaged.
    PianoevalError
        No store, two of one name, or a file that cannot be written. Nothing partial stays.
    """
    opened = {}
    for path in stores:
        name = _store_name(path, data)
        if name in opened:
            raise ConfigError(f"two stores are called '{name}'", where=path,
                              next_step="export them into two files")  # fmt: skip
        opened[name] = RaggedStore(path)
    report = Exported()
    partial = PartialFile(out, shared=False)
    try:
        with (
            _write_errors(out),
            h5py.File(partial.path, "w") as file,
            Meter("export", sum(map(len, opened.values()))) as meter,
        ):
            file.attrs.update({"format": FORMAT, "version": VERSION})
            for name, store in opened.items():
                _write_store(file.create_group(name), store, cache, report, meter)
        partial.commit()
    finally:
        partial.abort()
    report.bytes = out.stat().st_size
    return report


def _store_name(path: Path, data: Path) -> str:
    path, data = path.resolve(), data.resolve()
    name = path.relative_to(data).as_posix() if path.is_relative_to(data) else path.name
    return name.removesuffix(".zarr")


def _write_store(
    group: h5py.Group, store: RaggedStore, cache: ItemCache, report: Exported, meter: Meter
) -> None:
    step = str(store.attrs.get("step", ""))
    if not is_step(step):
        raise PianoevalError(f"'{step}' is no step of items", where=store.path,
                             next_step="name stores of audio, contours or embeddings")  # fmt: skip
    for name, value in store.attrs.items():
        plain = isinstance(value, (str, int, float, bool))
        _set(group, name, value if plain else canonical_json(value))
    for clip in store.clips:
        item = cache.get(step, store.item_key(clip))
        one = group.create_group(_escaped(clip))
        _set(one, "clip", clip)
        _set(one, "step", step)
        _set(one, "key", store.item_key(clip))
        if item is not None and frames_digest(item.arrays["frames"]).hex() == store.digest(clip):
            _write_item(one, item)
        else:
            absent = "its item is not in the cache"
            reason = absent if item is None else "the item in the cache has other frames"
            report.incomplete[f"{group.name}/{clip}".lstrip("/")] = reason
            _write_frames(one, store, clip)
        if one["frames"].dtype.kind == "f":
            one.create_dataset(DERIVED, data=store.pooled_mean[store.row(clip)])
        report.clips += 1
        meter.advance()


def _write_item(group: h5py.Group, item: Item) -> None:
    """All that makes the item again; ``arrays`` names what its digest covers."""
    _set(group, "digest", item.digest)
    _set(group, "arrays", canonical_json(sorted(item.arrays)))
    _set(group, "meta", canonical_json(item.meta))
    _set(group, "made_by", canonical_json(item.made_by))
    for name, array in item.arrays.items():
        _write(group, name, array.shape, array.dtype, row_blocks(array))


def _write_frames(group: h5py.Group, store: RaggedStore, clip: str) -> None:
    """What the store alone has."""
    parts = store.blocks(clip, BLOCK_FRAMES)
    first = next(parts)
    shape = (store.length(clip), *first.shape[1:])
    _write(group, "frames", shape, first.dtype, chain([first], parts))
    level: NDArray[np.float32] = store.level[store.row(clip)]
    group.create_dataset("level", data=level)


def _write(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any],
    parts: Iterator[Array],
) -> None:  # fmt: skip
    dataset = group.create_dataset(name, shape, dtype)
    begin = 0
    for part in parts:
        dataset[begin : begin + len(part)] = part
        begin += len(part)


def _set(group: h5py.Group, name: str, value: str | int | float | bool) -> None:
    if isinstance(value, str) and len(value.encode()) > _ATTRIBUTE_LIMIT:
        raise PianoevalError(
            f"'{name}' has {len(value.encode())} bytes", where=group.name,
            allowed=f"{_ATTRIBUTE_LIMIT} bytes in an attribute",
        )  # fmt: skip
    group.attrs[name] = value


def _escaped(clip: str) -> str:
    """A clip's name as one part of an HDF5 path; the attribute ``clip`` has it unchanged."""
    name = clip.replace("%", "%25").replace("/", "%2F")
    return name.replace(".", "%2E") if set(name) == {"."} else name


@contextmanager
def _write_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: while the library closes the file
        raise PianoevalError(
            f"cannot be written ({' '.join(str(error).split())[:300]})", where=out,
            next_step="free space or permissions, then run this again",
        ) from error  # fmt: skip
