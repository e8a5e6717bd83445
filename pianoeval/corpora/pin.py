"""Which copy of a corpus is here, and its digest written into ``params.yaml``."""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

from pianoeval.cache import write_atomic
from pianoeval.corpora.receipt import Receipt, read_receipt
from pianoeval.params import CorpusParams
from pianoeval.paths import cache_root


def fetched_receipt(name: str, params: CorpusParams) -> Receipt:
    """Receipt of a fetched corpus; raises MissingAssetError with the next command."""
    option = " --from DIR" if params.loader == "folder" else ""
    return read_receipt(cache_root() / "corpora" / name, f"pianoeval corpus get {name}{option}")


def pin_digest(params_path: Path, name: str, digest: str) -> None:
    """Set ``corpora.<name>.digest``, keeping the file's comments.

    DVC does not look into the cache: the digest is what tells it that a folder has changed.
    """
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    with params_path.open(encoding="utf-8") as stream:
        data = editor.load(stream)
    if data["corpora"][name].get("digest") == digest:
        return
    data["corpora"][name]["digest"] = digest
    text = io.StringIO()
    editor.dump(data, text)
    write_atomic(params_path, text.getvalue().encode())
