"""Proof that the folds which are there were audited: nothing is trained or evaluated without it."""

from __future__ import annotations

import json
from typing import Any

from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_file


def read_audit(paths: CorpusPaths) -> dict[str, Any]:
    """The receipt of the audit of the folds and manifest that are there now.

    Returns
    -------
    dict
        ``folds, manifest`` (SHA-256), ``clips, schemes, unchecked`` (reason → clips without known
        notes), ``content_groups`` (see ``duplicates.compare_content_groups``), ``overlap`` (see
        ``leaks.parts_mapping``) and ``one_performance``: pairs of clips.

    Raises
    ------
    MissingAssetError
        There was no audit, or it found a leak; or what it was made of is gone.
    CorruptDataError
        It was made of other folds or another manifest.
    """
    again = f"dvc repro audit@{paths.corpus}"
    if not paths.audit.is_file():
        raise MissingAssetError("these folds were not audited", where=paths.audit, next_step=again)
    try:
        receipt: dict[str, Any] = json.loads(paths.audit.read_text(encoding="utf-8"))
        current = {name: sha256_file(getattr(paths, name)) for name in ("folds", "manifest")}
        stale = [name for name, digest in current.items() if receipt[name] != digest]
    except FileNotFoundError as error:
        raise MissingAssetError("no such file", where=error.filename, next_step=again) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"not a receipt of the audit ({type(error).__name__})", where=paths.audit,
            next_step=again,
        ) from error  # fmt: skip
    if stale:
        raise CorruptDataError(
            f"the audit was made with another {stale[0]}", where=paths.audit, next_step=again
        )
    return receipt
