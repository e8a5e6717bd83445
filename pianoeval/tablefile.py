"""The file of a table: Parquet that is whole or absent, and checked when it is read.

Parquet has checksums of pages at best, and its footer none: a flipped bit changes a label without a
word. The SHA-256 of names, types, values and metadata stands in the schema's metadata.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pianoeval.atomic import write_output
from pianoeval.errors import CorruptDataError, MissingAssetError, quoted

_DIGEST = b"pianoeval.sha256"
# What pyarrow or pandas raise at a file that is no Parquet, or not a whole one.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index; ``attrs`` are kept if JSON holds them.

    A former file is replaced, never written into: it may be a link into a shared cache.

    Raises
    ------
    PianoevalError
        The disk is full or the folder cannot be written.
    TypeError
        A column is neither of numbers, truth values nor text.
    """
    found = pa.Table.from_pandas(table, preserve_index=False)
    metadata = {**(found.schema.metadata or {}), _DIGEST: table_digest(found).encode()}
    buffer = io.BytesIO()
    pq.write_table(found.replace_schema_metadata(metadata), buffer)
    write_output(path, buffer.getvalue())


def read_table(path: Path, next_step: str = "dvc repro") -> pd.DataFrame:
    """Read and verify.

    Raises
    ------
    MissingAssetError
        There is no such file.
    CorruptDataError
        It is not what :func:`write_table` wrote.
    """
    if not path.is_file():
        raise MissingAssetError("no such table", where=path, next_step=next_step)
    try:
        # No object of Python's: pyarrow's threads may still hold it when the interpreter ends.
        found = pq.read_table(pa.BufferReader(path.read_bytes()))
        metadata = found.schema.metadata or {}
        if _DIGEST not in metadata:
            raise ValueError("it names no SHA-256: another program wrote it, or an older version")
        if metadata[_DIGEST] != table_digest(found).encode():
            raise ValueError("its SHA-256 is not the one it names")
        table: pd.DataFrame = found.to_pandas()
    except _UNREADABLE as error:
        raise CorruptDataError(
            f"not the table that was written ({error})", where=path,
            next_step=f"rm {quoted(path)} && {next_step}",
        ) from error  # fmt: skip
    return table


def table_digest(table: pa.Table) -> str:
    """SHA-256 (hex) of names, types, values and metadata, whatever the encoding of the file."""
    total = hashlib.sha256()
    metadata = table.schema.metadata or {}
    for key in sorted(metadata):
        if key != _DIGEST:
            total.update(b"%s=%d:%s" % (key, len(metadata[key]), metadata[key]))
    for name, column in zip(table.column_names, table.columns, strict=True):
        total.update(f"|{name}|{column.type}|{len(column)}|".encode())
        for part in _parts(name, column):
            total.update(part)
    return total.hexdigest()


def _parts(name: str, column: pa.ChunkedArray) -> list[bytes | memoryview]:
    """Which values are there, and these; what lies under a null is not defined."""
    there = column.is_valid().to_numpy()
    parts: list[bytes | memoryview] = [there.tobytes()]
    kind = column.type
    if pa.types.is_null(kind):
        return parts
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return parts + _text(pc.fill_null(column.cast(pa.large_string()), ""))
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise TypeError(f"column '{name}' of type {kind} cannot be checked")
    zero = pa.scalar(False if pa.types.is_boolean(kind) else 0, kind)
    parts.append(np.ascontiguousarray(pc.fill_null(column, zero).to_numpy()).tobytes())
    return parts


def _text(column: pa.ChunkedArray) -> list[bytes | memoryview]:
    """Lengths of all values, then their UTF-8, however the column is cut into chunks."""
    lengths: list[bytes | memoryview] = []
    texts: list[bytes | memoryview] = []
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        places = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths.append(np.diff(places).tobytes())
        texts.append(b"" if data is None else memoryview(data)[places[0] : places[-1]])
    return lengths + texts
