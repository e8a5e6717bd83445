"""Get a corpus into the shared cache, checked, and from there into a workspace.

``pianoeval corpus get percepiano`` clones a pinned commit; ``--from DIR`` takes a local copy.
Either way every file is compared with the SHA-256 list that ships with the package.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.util import Finalize
from pathlib import Path

from pianoeval.atomic import output_folder, remove_abandoned_folders
from pianoeval.corpora.asap_fetch import get_asap
from pianoeval.corpora.fba_fetch import get_fba
from pianoeval.corpora.receipt import (
    RECEIPT,
    Receipt,
    check_files,
    checked_name,
    copy_files,
    read_receipt,
    tree_digest,
    write_receipt,
)
from pianoeval.corpora.upstream import PERCEPIANO, Upstream, clone
from pianoeval.errors import (
    BadInputError,
    ConfigError,
    CorruptDataError,
    PianoevalError,
)
from pianoeval.params import CorpusParams
from pianoeval.paths import cache_root
from pianoeval.provenance import sha256_file

log = logging.getLogger(__name__)

FROM_DIR = ("asap", "fba", "folder")  # loaders whose corpora only their owner's copy can bring
SIMULATED = ("studio", "auditions")  # loaders that play scores of an installed package
MEDIA_SUFFIXES = frozenset({".mid", ".midi", ".wav", ".flac", ".mp3", ".ogg"})
TABLES = ("labels.csv", "metadata.csv")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def get_corpus(
    name: str, params: CorpusParams, source: Path | None = None, levels: Path | None = None
) -> Path:
    """Fetch a corpus into ``<cache>/corpora/<name>``, replacing an earlier copy at one stroke.

    Parameters
    ----------
    source : Path, optional
        A local copy. Required for a folder corpus, ASAP and FBA; without it PercePiano is cloned
        with git.
    levels : Path, optional
        Of ASAP: a table of Henle levels.

    Raises
    ------
    MissingAssetError
        No network, no git, or files are missing.
    CorruptDataError
        Files differ from their checksum.
    BadInputError
        The folder holds no recordings, or links that lead out of it.
    """
    target = _cached(name)
    if params.loader in SIMULATED:
        command = f"dvc exp run -S 'axes.corpus=[{name}]'"
        if params.loader == "auditions":  # one axis alone would play it on a piano
            command = "the command in docs/auditions.md"
        raise ConfigError(
            f"'{name}' needs no fetching: its scores come with music21", next_step=command
        )
    if source is not None and not source.is_dir():
        raise BadInputError("no such directory", where=source, next_step=_get(name, "DIR"))
    with _staging(target) as staging:
        if params.loader == "percepiano":
            receipt = _get_upstream(PERCEPIANO, name, source, staging)
        elif params.loader == "asap":
            receipt = get_asap(name, source, levels, staging)
        elif params.loader == "fba":
            receipt = get_fba(name, source, params.level, staging)
        else:
            receipt = _get_folder(name, source, staging)
        write_receipt(receipt, staging)
    log.info("%s: %d files, digest %s, licence: %s", name, len(receipt.files), receipt.digest[:12],
             receipt.licence_note)  # fmt: skip
    return target


def materialise(name: str, params: CorpusParams, dest: Path) -> None:
    """Link or copy a fetched corpus to ``dest`` (``data/<name>/raw``) and check every file.

    Raises
    ------
    MissingAssetError
        Not fetched yet, or files are missing from the cache.
    CorruptDataError
        A file differs from its checksum, or the corpus is not the one pinned by
        ``corpora.<name>.digest``.
    """
    with output_folder(dest) as staging:
        if params.loader in SIMULATED:
            write_receipt(_scores_receipt(name, params.loader), staging)
            return
        cached = _cached(name)
        again = _get(name, "DIR" if params.loader in FROM_DIR else None)
        receipt = read_receipt(cached, again)
        if receipt.loader != params.loader:
            raise CorruptDataError(
                f"fetched as a '{receipt.loader}' corpus, not '{params.loader}'", where=cached,
                next_step=again,
            )  # fmt: skip
        pinned = PERCEPIANO.digest if params.loader == "percepiano" else params.digest
        if pinned and not receipt.digest.startswith(pinned):
            raise CorruptDataError(
                f"digest {receipt.digest[:12]}, pinned is {pinned[:12]}", where=cached,
                next_step=f"{again}, or set corpora.{name}.digest in params.yaml",
            )  # fmt: skip
        check_files(cached, receipt.files, again)
        copy_files(cached, staging, sorted(receipt.files), link=True)
        write_receipt(receipt, staging)


def _cached(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot name a corpus", allowed="letters, digits, _ and -",
            next_step="rename it in params.yaml",
        )  # fmt: skip
    return cache_root() / "corpora" / name


def _get(name: str, source: str | None) -> str:
    return f"pianoeval corpus get {name}" + (f" --from {source}" if source else "")


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its place when the block succeeds."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        clean = Finalize(None, shutil.rmtree, [staging, True], exitpriority=0)
        try:
            staging.chmod(0o775)
            _remove_abandoned(staging, target)
            yield staging
            _replace(staging, target)
        finally:
            clean()
    except OSError as error:
        raise PianoevalError(
            f"cannot read or write ({error.strerror or error})", where=target,
            next_step="free disk space or mend the permissions, then run the same command",
        ) from error  # fmt: skip


def _remove_abandoned(staging: Path, target: Path) -> None:
    """What killed processes left; a copy that was about to be replaced comes back first."""
    kept = sorted(target.parent.glob(f".{target.name}.old.*/{target.name}"))
    if kept and not target.exists():
        os.replace(kept[0], target)
    for pattern in (f".{target.name}.*", ".clone.*"):
        remove_abandoned_folders(staging, pattern)


def _replace(staging: Path, target: Path) -> None:
    """Put ``staging`` in the place of ``target``; a directory cannot be replaced by rename."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        os.replace(target, old / target.name)
        os.replace(staging, target)
        shutil.rmtree(old)
    else:
        os.replace(staging, target)


def _scores_receipt(name: str, loader: str) -> Receipt:
    installed = version("music21")
    return Receipt(
        name=name, loader=loader, version=f"music21 {installed}", licence="per score",
        licence_note="scores come with music21 by permission of their encoders; "
        f"see docs/{loader}.md",
        source="music21", digest="", files={},
    )  # fmt: skip


def _get_upstream(up: Upstream, name: str, source: Path | None, staging: Path) -> Receipt:
    expected = up.files()
    if source is not None:
        check_files(source, expected, f"take a copy of commit {up.commit}, or: {_get(name, None)}")
        copy_files(source, staging, sorted(expected), link=False)
    else:
        with tempfile.TemporaryDirectory(prefix=".clone.", dir=staging.parent) as folder:
            checkout = Path(folder) / "repository"
            clone(up, sorted(expected), checkout, _get(name, "DIR"))
            check_files(checkout, expected, _get(name, "DIR"))
            copy_files(checkout, staging, sorted(expected), link=True)
    check_files(staging, expected, _get(name, None))
    return Receipt(
        name=name, loader="percepiano", version=up.commit, licence=up.licence,
        licence_note=up.licence_note, source=f"{up.url}@{up.commit}", digest=up.digest,
        files=expected,
    )  # fmt: skip


def _get_folder(name: str, source: Path | None, staging: Path) -> Receipt:
    if source is None:
        raise ConfigError(
            f"'{name}' is a folder corpus: say where it lies", next_step=_get(name, "DIR")
        )
    names = list_folder(source)
    if not any(Path(file).suffix.lower() in MEDIA_SUFFIXES for file in names):
        raise BadInputError(
            "no recordings", where=source, allowed=" ".join(sorted(MEDIA_SUFFIXES)),
            next_step=_get(name, "DIR"),
        )  # fmt: skip
    # Copied, not linked: the user may go on editing the originals.
    copy_files(source, staging, names, link=False)
    files = {file: sha256_file(staging / file) for file in names}
    digest = tree_digest(files)
    return Receipt(
        name=name, loader="folder", version=digest[:12], licence="unknown",
        licence_note="as its owner says; not redistributed", source="folder", digest=digest,
        files=files,
    )  # fmt: skip


def list_folder(source: Path) -> list[str]:
    """Recordings and tables below ``source``; hidden files and folders are ignored.

    Raises
    ------
    BadInputError
        A symbolic link to a directory: its files could be counted twice, or lie anywhere.
    """
    names: list[str] = []
    ignored = 0
    for here, folders, files in os.walk(source):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for folder in folders:
            if (Path(here) / folder).is_symlink():
                raise BadInputError(
                    "a symbolic link to a directory", where=Path(here) / folder,
                    next_step="replace it by the directory itself",
                )  # fmt: skip
        for file in sorted(files):
            name = (Path(here) / file).relative_to(source).as_posix()
            if file.startswith(".") or name == RECEIPT:
                continue
            if Path(file).suffix.lower() in MEDIA_SUFFIXES or name in TABLES:
                names.append(checked_name(name))
            else:
                ignored += 1
    if ignored:
        log.info("%d other files in %s are ignored", ignored, source)
    return sorted(names)
