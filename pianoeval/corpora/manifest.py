"""The manifest (one row a clip) and the label table: schema, reading, writing.

Paths are relative to ``data/<corpus>/``; a missing value is null. ``content_group`` is what
splits rely on: segments that share notes share it. ``player`` is unique within the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from pianoeval.atomic import output_folder
from pianoeval.errors import BadInputError, PianoevalError, quoted
from pianoeval.sealed import check_listed, write_list
from pianoeval.tablefile import read_table, write_table

SOURCES = ("disklavier", "transcribed", "acoustic", "synthetic", "unknown")
TASKS = ("rating", "expertise", "difficulty", "technique", "placement", "preference")


def _text(nullable: bool = False, **options: Any) -> pa.Column:
    return pa.Column(str, nullable=nullable, **options)


MANIFEST_SCHEMA = pa.DataFrameSchema(
    {
        "clip": _text(unique=True),
        "corpus": _text(),
        "corpus_version": _text(),
        "licence": _text(),
        "redistributable": pa.Column(bool),
        "audio_path": _text(nullable=True),
        "midi_path": _text(nullable=True),
        "score_path": _text(nullable=True),
        "start_s": pa.Column(float, pa.Check.ge(0)),
        "end_s": pa.Column(float),
        "sha256": _text(),
        "source": _text(checks=pa.Check.isin(SOURCES)),
        "composer": _text(nullable=True),
        "composition": _text(),
        "movement": _text(),
        "segment": _text(),
        "content_group": _text(),
        "instrument": _text(nullable=True),
        "player": _text(),
        "is_score_render": pa.Column(bool),
        "take": _text(),
        "parent": _text(nullable=True),
        "tier": pa.Column(int, pa.Check.ge(0)),
    },
    checks=[
        pa.Check(lambda t: t["end_s"] > t["start_s"], error="end_s must exceed start_s"),
        pa.Check(
            lambda t: t["audio_path"].notna() | t["midi_path"].notna(),
            error="a clip needs audio_path or midi_path",
        ),
    ],
    strict=True,
    coerce=True,
    ordered=True,
)
LABEL_SCHEMA = pa.DataFrameSchema(
    {
        "clip": _text(),
        "task": _text(checks=pa.Check.isin(TASKS)),
        "dimension": _text(),
        "value": pa.Column(float),
        "n_raters": pa.Column("Int64", nullable=True),
        "sd": pa.Column(float, nullable=True),
        "low_pole": _text(nullable=True),
        "high_pole": _text(nullable=True),
        "higher_is_better": pa.Column("boolean", nullable=True),
    },
    unique=["clip", "task", "dimension"],
    strict=True,
    coerce=True,
    ordered=True,
)
MANIFEST_COLUMNS = tuple(MANIFEST_SCHEMA.columns)
LABEL_COLUMNS = tuple(LABEL_SCHEMA.columns)
_NOTES = ("midi_path", "score_path")


def _validated(table: pd.DataFrame, schema: pa.DataFrameSchema, where: str | Path) -> pd.DataFrame:
    """Check and normalise a table; the first fault becomes one sentence."""
    columns = [name for name in schema.columns if name in table.columns]
    table = table[columns + [name for name in table.columns if name not in columns]]
    for name in columns:
        if schema.columns[name].nullable and table[name].dtype == object:
            table = table.assign(**{name: table[name].where(table[name].notna(), None)})
    try:
        return schema.validate(table.reset_index(drop=True))
    except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
        raise BadInputError(
            f"table does not fit the schema: {str(error).splitlines()[0]}",
            where=where,
            allowed=", ".join(schema.columns),
            next_step="see docs/corpora.md for the columns",
        ) from error


def _write(table: pd.DataFrame, path: Path, schema: pa.DataFrameSchema) -> None:
    table = _validated(table, schema, path)
    write_table(table, path)


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Validate and write; raises BadInputError."""
    _write(table, path, MANIFEST_SCHEMA)


def read_manifest(path: Path) -> pd.DataFrame:
    """Read and validate a manifest."""
    return _validated(read_table(path), MANIFEST_SCHEMA, path)


def write_labels(table: pd.DataFrame, path: Path) -> None:
    """Validate and write a label table (it may have no rows)."""
    _write(table, path, LABEL_SCHEMA)


def read_labels(path: Path) -> pd.DataFrame:
    """Read and validate a label table."""
    return _validated(read_table(path), LABEL_SCHEMA, path)


@contextmanager
def corpus_folder(out: Path) -> Iterator[Path]:
    """A new folder of clips (:func:`~pianoeval.atomic.output_folder`), and the list of its files.

    Raises
    ------
    PianoevalError
        ``out`` holds something else, which would be lost.
    """
    ours = ("manifest.parquet", "quarantine.json")
    if out.is_dir() and any(out.iterdir()) and not any((out / name).is_file() for name in ours):
        raise PianoevalError(
            "the directory holds files that are not an ingested corpus", where=out,
            next_step=f"look into '{out}', empty it, then: dvc repro",
        )  # fmt: skip
    with output_folder(out) as made:
        yield made
        write_list(made)


def check_media(
    manifest: pd.DataFrame, root: Path, columns: Sequence[str] = ("audio_path", *_NOTES)
) -> None:
    """Compare the files that a manifest names with those that were written: disks forget.

    Parameters
    ----------
    root : Path
        ``data/<corpus>``; the lists are in the folders ``source`` and ``clips`` of it.
    columns : sequence of str
        Files of these columns; what no step after this one reads need not be hashed.

    Raises
    ------
    MissingAssetError
        A file is not there.
    CorruptDataError
        A file is not the one that was written.
    """
    whose: dict[str, dict[str, str]] = {}
    for column in columns:
        for clip, path in manifest[["clip", column]].itertuples(index=False):
            if isinstance(path, str):
                folder, _, name = path.partition("/")
                whose.setdefault(folder, {}).setdefault(name, str(clip))
    for folder, names in whose.items():
        check_listed(root / folder, names, f"rm -r {quoted(root / folder)} && dvc repro")


def check_notes(manifest: pd.DataFrame, root: Path) -> None:
    """:func:`check_media` of MIDI and scores alone."""
    check_media(manifest, root, _NOTES)


def label_matrix(
    labels: pd.DataFrame, task: str, clips: list[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Labels of one task as ``values : float64 (clips, dimensions)`` and the dimension names.

    Dimensions keep their order of first appearance; a clip without a label has NaN.
    """
    rows = labels[labels["task"] == task]
    dimensions = list(dict.fromkeys(rows["dimension"]))
    wide = rows.pivot(index="clip", columns="dimension", values="value")
    return wide.reindex(index=clips, columns=dimensions).to_numpy(np.float64), dimensions
