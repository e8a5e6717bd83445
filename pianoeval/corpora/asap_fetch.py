"""ASAP taken from a local copy into the shared cache, with a table of Henle levels if there is one.

No commit of the repository is pinned: its annotations were corrected more than once, and a copy
says nowhere which version it is. The digest of the files that are read is written into
``params.yaml`` instead, so that a workspace refuses another version.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pianoeval.corpora.asap_files import (
    LEVELS,
    LICENCE,
    LICENCE_FILE,
    LICENCE_NOTE,
    METADATA,
    read_entries,
    read_levels,
)
from pianoeval.corpora.receipt import Receipt, copy_files, tree_digest
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.provenance import sha256_file

URL = "https://github.com/fosfrancesco/asap-dataset"
# Names under which a table of levels is found in the folder of the data set.
LEVEL_NAMES = (LEVELS, "asap_henle_levels.csv")


def get_asap(name: str, source: Path | None, levels: Path | None, staging: Path) -> Receipt:
    """Copy what is read of ASAP to ``staging``.

    Parameters
    ----------
    source : Path
        A checkout of the repository.
    levels : Path, optional
        Table with ``composer, title, henle``; without it one of ``LEVEL_NAMES`` in ``source``.

    Raises
    ------
    ConfigError
        No ``source``.
    MissingAssetError, BadInputError
        Not a copy of ASAP, or a table of levels that cannot be read.
    """
    again = f"pianoeval corpus get {name} --from DIR"
    if source is None:
        raise ConfigError(
            f"say where a copy of ASAP lies, to be had by: git clone {URL}", where=name,
            next_step=again,
        )  # fmt: skip
    entries = read_entries(source)
    wanted = {METADATA, *(file for entry in entries for file in entry.files)}
    if (source / LICENCE_FILE).is_file():
        wanted.add(LICENCE_FILE)
    copy_files(source, staging, sorted(wanted), link=False)
    table = levels or next((source / n for n in LEVEL_NAMES if (source / n).is_file()), None)
    if table is not None:
        if not table.is_file():
            raise BadInputError("no such file", where=table, next_step=f"{again} --levels FILE")
        shutil.copyfile(table, staging / LEVELS)
        read_levels(staging)
        wanted.add(LEVELS)
    files = {file: sha256_file(staging / file) for file in sorted(wanted)}
    digest = tree_digest(files)
    return Receipt(
        name=name, loader="asap", version=digest[:12], licence=LICENCE,
        licence_note=LICENCE_NOTE, source=URL, digest=digest, files=files,
    )  # fmt: skip
