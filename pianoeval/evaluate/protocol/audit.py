"""Leak audit of a corpus in the workspace: what must be clean before anything is trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import pandas as pd

from pianoeval.atomic import write_output
from pianoeval.corpora.manifest import check_notes, read_labels, read_manifest
from pianoeval.evaluate.protocol.duplicates import Notes, compare_content_groups, read_notes
from pianoeval.evaluate.protocol.leaks import audit, parts_mapping
from pianoeval.evaluate.protocol.overlaps import Selection
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_bytes, sha256_file
from pianoeval.sealed import write_sealed
from pianoeval.tablefile import read_table


def audit_workspace(paths: CorpusPaths, params: Params) -> None:
    """Write ``leaks.csv`` and the receipt of one corpus, if its folds are clean.

    Raises
    ------
    LeakError, CorruptDataError
        As :func:`~pianoeval.evaluate.protocol.leaks.audit`.
    MissingAssetError
        A MIDI file of the manifest is not there.
    CorruptDataError
        One is not the file that was written.
    """
    # What an earlier audit found says nothing of these tables, should this one stop.
    for former in (paths.audit, paths.results / "leaks.csv"):
        former.unlink(missing_ok=True)
    manifest, folds = read_manifest(paths.manifest), read_table(paths.folds)
    check_notes(manifest, paths.root)
    notes = read_notes(manifest, paths.root, params.midi)
    selection = Selection(params.probe, read_labels(paths.labels))
    matrix = audit(folds, manifest, selection, notes)
    leaks = matrix.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_output(paths.results / "leaks.csv", leaks)
    receipt = _receipt(paths, manifest, folds, matrix, notes)
    write_sealed(paths.audit, receipt | {"leaks": sha256_bytes(leaks.encode())})


def _receipt(
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    folds: pd.DataFrame,
    matrix: pd.DataFrame,
    notes: Notes,
) -> dict[str, Any]:
    return {
        "folds": sha256_file(paths.folds),
        "manifest": sha256_file(paths.manifest),
        "labels": sha256_file(paths.labels),
        "clips": len(manifest),
        "schemes": [str(scheme) for scheme in dict.fromkeys(folds["scheme"])],
        "unchecked": dict(sorted(Counter(notes.unchecked.values()).items())),
        "content_groups": compare_content_groups(manifest, notes.music),
        "overlap": parts_mapping(matrix),
        "one_performance": [asdict(pair) for pair in notes.duplicates],
    }
