"""Evaluation of a corpus in the workspace: read the tables, evaluate, write the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.atomic import write_output
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.evaluate.comparisons import (
    compare_models,
    compared_metrics,
    compared_models,
    comparisons_table,
)
from pianoeval.evaluate.diagnostics.assemble import diagnostics
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.evaluate.quarantined import quarantined_clips
from pianoeval.evaluate.results import evaluate_state
from pianoeval.evaluate.state import Evaluation
from pianoeval.evaluate.summary import summarise
from pianoeval.evaluate.tables import results_table
from pianoeval.fusions import predicted_sources, usable_fusions
from pianoeval.params import Params
from pianoeval.params_fusion import FUSION
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import git_commit, sha256_file
from pianoeval.sealed import write_sealed
from pianoeval.tablefile import read_table
from pianoeval.threads import one_thread


@one_thread()
def evaluate_workspace(paths: CorpusPaths, params: Params) -> None:
    """Write everything that is said of one corpus, and the receipt of it.

    ``results.csv``, ``comparisons.csv``, ``diagnostics.json``, ``latent.csv``, ``summary.json``.
    Raises what :func:`~pianoeval.evaluate.protocol.receipt.read_audit`,
    :func:`~pianoeval.evaluate.results.evaluate_state`,
    :func:`~pianoeval.evaluate.diagnostics.assemble.diagnostics` and
    :func:`~pianoeval.evaluate.quarantined.quarantined_clips` raise.
    """
    audit = read_audit(paths)
    ratings = read_table(paths.ratings) if paths.ratings.is_file() else None
    sources = predicted_sources(params)
    predictions = read_predictions(paths, sources)
    quarantined = quarantined_clips(paths, params)
    folds = read_table(paths.folds)
    state = evaluate_state(
        read_manifest(paths.manifest), read_labels(paths.labels), folds,
        predictions, ratings, params, git_commit(),
    )  # fmt: skip
    results = results_table(state.rows)
    found, maps = diagnostics(paths, params, state, results, folds)
    written = [
        _write_table(paths.results / "results.csv", results),
        _write_table(paths.results / "comparisons.csv", comparisons(state, params)),
        _write_json(paths.results / "diagnostics.json", found),
        _write_table(paths.results / "latent.csv", maps),
        _write_json(
            paths.results / "summary.json",
            summarise(state) | {"quarantined": quarantined, "settings": settings(params, paths)},
        ),
    ]
    inputs = [paths.predictions(name) for name in sources]
    inputs += [paths.manifest, paths.labels, paths.audit]
    # The report stage depends on it: it changes whenever a file that the page reads does.
    results_sha256 = {file.name: sha256_file(file) for file in written}
    receipt = {
        "results": results_sha256 | {"leaks.csv": audit["leaks"]},
        "inputs": {file.name: sha256_file(file) for file in inputs},
    }
    write_sealed(paths.evaluated, receipt)


def settings(params: Params, paths: CorpusPaths) -> list[str]:
    """What ``dvc exp run -S`` needs to be told to make this corpus' numbers again."""
    axes = params.axes
    chosen = {
        "corpus": [paths.corpus], "instrument": axes.instrument, "encoder": axes.encoder,
        "features": axes.features,
    }  # fmt: skip
    return [f"axes.{name}=[{','.join(values)}]" for name, values in chosen.items()] + [
        f"encoders.{name}.precision={params.encoders[name].precision}" for name in axes.encoder
    ]


def comparisons(state: Evaluation, params: Params) -> pd.DataFrame:
    """Every pair of baselines and models of first views, fusions among them, under every scheme.

    Returns
    -------
    DataFrame
        Columns ``comparisons.COMPARISON_COLUMNS``.
    """
    views: dict[str, Mapping[str, Any]] = {s: params.views[s] for s in params.axes.features}
    views[FUSION] = usable_fusions(params)[0]
    scale = state.scale
    rows: list[dict[str, Any]] = []
    for (scheme, subset), found in state.scored.items():
        keys = compared_models(found.predictions, views)
        has_human = (scheme, "human") in state.scored
        for metric in compared_metrics(subset, has_human, params.evaluate.margins):
            rows += compare_models(
                scheme, subset, metric, found.design, found.y,
                {key: found.predictions[key] for key in keys}, found.means,
                scale.averaged(metric), state.manifest, params.evaluate,
            )  # fmt: skip
    return comparisons_table(rows)


def _write_table(path: Path, table: pd.DataFrame) -> Path:
    write_output(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return path


def _write_json(path: Path, found: Mapping[str, Any]) -> Path:
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    write_output(path, text + "\n")
    return path
