"""Which copy of a corpus is here, and its digest written into ``params.yaml``."""

from __future__ import annotations

from pathlib import Path

from pianoeval.corpora.fetch import FROM_DIR
from pianoeval.corpora.receipt import Receipt, read_receipt
from pianoeval.params import CorpusParams
from pianoeval.params_edit import set_values
from pianoeval.paths import cache_root


def fetched_receipt(name: str, params: CorpusParams) -> Receipt:
    """Receipt of a fetched corpus; raises MissingAssetError with the next command."""
    option = " --from DIR" if params.loader in FROM_DIR else ""
    return read_receipt(cache_root() / "corpora" / name, f"pianoeval corpus get {name}{option}")


def pin_digest(params_path: Path, name: str, digest: str) -> None:
    """Set ``corpora.<name>.digest``, keeping the file's comments.

    DVC does not look into the cache: the digest is what tells it that a folder has changed.
    """
    set_values(params_path, ["corpora", name], {"digest": digest})
