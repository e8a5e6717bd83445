"""Evaluation of a corpus in the workspace: read the tables, evaluate, write the results."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from pianoeval.corpora.manifest import read_labels, read_manifest, read_table
from pianoeval.errors import MissingAssetError
from pianoeval.evaluate.quarantined import quarantined_clips
from pianoeval.evaluate.results import evaluate_corpus
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import git_commit, sha256_file

VIEW = "features"  # column of a predictions file that names the view


def read_predictions(paths: CorpusPaths, features: list[str]) -> dict[str, pd.DataFrame]:
    """Predictions of every view of ``features``.

    Raises
    ------
    MissingAssetError
        One of the files is absent: the folder is the output of several stages, and DVC cannot
        tell a part of it from the whole.
    """
    absent = [name for name in features if not paths.predictions(name).is_file()]
    if absent:
        targets = " ".join(f"probe@{paths.corpus}-{name}" for name in absent)
        raise MissingAssetError(
            f"no predictions of {', '.join(absent)}", where=paths.predictions(absent[0]),
            next_step=f"dvc pull {targets}   (or: dvc repro {targets})",
        )  # fmt: skip
    found: dict[str, pd.DataFrame] = {}
    for name in features:
        table = read_table(paths.predictions(name))
        found |= {str(v): part.drop(columns=VIEW) for v, part in table.groupby(VIEW, sort=False)}
    return found


def evaluate_workspace(paths: CorpusPaths, params: Params) -> None:
    """Write ``results.csv`` and ``summary.json`` of one corpus, and the receipt of both.

    Raises what :func:`~pianoeval.evaluate.results.evaluate_corpus` and
    :func:`~pianoeval.evaluate.quarantined.quarantined_clips` raise.
    """
    ratings = read_table(paths.ratings) if paths.ratings.is_file() else None
    predictions = read_predictions(paths, params.axes.features)
    quarantined = quarantined_clips(paths, params)
    results, summary = evaluate_corpus(
        read_manifest(paths.manifest), read_labels(paths.labels), read_table(paths.folds),
        predictions, ratings, params, git_commit(),
    )  # fmt: skip
    summary["quarantined"] = quarantined
    paths.results.mkdir(parents=True, exist_ok=True)
    table, text = paths.results / "results.csv", paths.results / "summary.json"
    results.to_csv(table, index=False, float_format="%.6g", lineterminator="\n")
    text.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    inputs = [paths.predictions(name) for name in params.axes.features]
    _write_receipt(paths.evaluated, [table, text, paths.manifest, paths.labels, *inputs])


def _write_receipt(path: Path, files: list[Path]) -> None:
    """What the report stage depends on: it changes whenever a file that the page reads does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    receipt = {file.name: sha256_file(file) for file in files}
    path.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
