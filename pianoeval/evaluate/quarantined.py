"""Clips that were left out before any model saw them, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.features.note_store import NoteStore
from pianoeval.features.pooling import PooledStore
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table

_SYMBOLIC = "symbolic"
_NOTES = "notes"


def quarantined_clips(paths: CorpusPaths, params: Params) -> dict[str, str]:
    """Reason of every quarantined clip, by name: of the first step that refused it.

    Read are ``source/quarantine.json``, where the corpus has one, the symbolic table, notes, and
    the pooled stores of all encoders and instruments. What is not there is passed over only if no
    features on ``axes.features`` need it.

    Raises
    ------
    MissingAssetError
        A store that the predictions were made from is absent.
    PianoevalError
        The symbolic table is absent, or a file cannot be read.
    """
    found = _of_ingest(paths.source / "quarantine.json")
    if _SYMBOLIC in params.axes.features:
        for clip, reason in dict(read_table(paths.symbolic).attrs.get("quarantined", {})).items():
            found.setdefault(str(clip), str(reason))
    if _NOTES in params.axes.features:
        for clip, reason in NoteStore(paths.notes).quarantined.items():
            found.setdefault(clip, reason)
    for encoder, instrument, needed in _stores(params):
        path = paths.pooled(encoder, instrument)
        if not path.exists():
            if not needed:
                continue
            target = f"pool@{paths.corpus}-{encoder}-{instrument}"
            raise MissingAssetError(
                f"no pooled vectors of {encoder} on {instrument}", where=path,
                next_step=f"dvc pull {target}   (or: dvc repro {target})",
            )  # fmt: skip
        for clip, reason in PooledStore(path).quarantined.items():
            found.setdefault(clip, reason)
    return dict(sorted(found.items()))


def _of_ingest(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"not JSON: {error}", where=path, next_step="dvc repro") from error
    if not isinstance(loaded, dict):
        raise CorruptDataError("not a JSON object", where=path, next_step="dvc repro")
    return {str(clip): str(reason) for clip, reason in loaded.items()}


def _stores(params: Params) -> Iterator[tuple[str, str, bool]]:
    """Encoder, instrument, and whether features on the axes are read from that store."""
    axes = params.axes
    for encoder in dict.fromkeys([*axes.encoder, *axes.features]):
        if encoder in (_SYMBOLIC, _NOTES):
            continue
        used: set[str] = set()
        for view in params.views.get(encoder, {}).values():
            used |= set(view.instruments or axes.instrument)
        for instrument in sorted(used | set(axes.instrument)):
            yield encoder, instrument, encoder in axes.features and instrument in used
