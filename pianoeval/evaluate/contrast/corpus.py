"""Evaluation of the heads of a corpus: read the tables, judge, write what is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from pianoeval.atomic import write_output
from pianoeval.builder import n_workers
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.errors import ConfigError
from pianoeval.evaluate.contrast.codes import analyse_codes
from pianoeval.evaluate.contrast.compare import compare_heads, compared_table
from pianoeval.evaluate.contrast.points import chosen_rows
from pianoeval.evaluate.contrast.read import read_heads
from pianoeval.evaluate.contrast.rows import (
    ceiling_line,
    contrastive_table,
    judge,
    line_rows,
    table_rows,
)
from pianoeval.evaluate.contrast.trial import Trial, is_point, make_trials
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.evaluate.state import row_hashes
from pianoeval.evaluate.statistics.ceiling import reliability
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import config_hash, git_commit, sha256_file
from pianoeval.rankings import POINT
from pianoeval.sealed import write_sealed
from pianoeval.tablefile import read_table
from pianoeval.threads import one_thread

TABLES = ("contrastive", "contrast_comparisons", "class_distances", "tsne")


@dataclass(frozen=True, eq=False)
class HeadEvaluation:
    """Rows of ``contrastive.csv`` and ``contrast_comparisons.csv``.

    ``dropped`` is the number of clips of each scheme that some head did not predict.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def evaluate_heads(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    predictions: pd.DataFrame,
    ratings: pd.DataFrame | None,
    params: Params,
    commit: str,
    truth: pd.DataFrame | None = None,
) -> HeadEvaluation:
    """Judge every head beside lookups, the training mean and ceilings.

    Parameters
    ----------
    predictions : DataFrame
        As the stage ``contrast`` writes it; schemes that it lacks are not evaluated.
    ratings : DataFrame or None
        ``clip, rater, dimension, value``; with one rater a clip their agreement is no ceiling.
    truth : DataFrame or None
        See :func:`~pianoeval.evaluate.contrast.trial.make_trials`; the ceiling of a simulated
        corpus.

    Raises ConfigError where the corpus has no labels of ``probe.task``, and what
    :func:`~pianoeval.evaluate.contrast.trial.make_trials` raises.
    """
    found = HeadEvaluation()
    if predictions.empty:
        return found
    _check_task(labels, params.probe.task)
    trials = make_trials(manifest, labels, folds, predictions, params, truth)
    corpus = str(manifest["corpus"].iloc[0])
    before = {"corpus": corpus, "task": params.probe.task}
    agreement = _agreement(ratings, manifest, params)
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(max(1, n_workers(params.run))) as pool,
    ):
        for judged in pool.map(lambda trial: judge(trial, params.evaluate), trials):
            trial = judged.trial
            about = described(trial, params, corpus, commit)
            found.rows.extend(table_rows(judged, before, about))
            if agreement is not None:
                cells = {**before, **about["ceiling/icc_1k"]}
                found.rows.extend(line_rows(trial, ceiling_line(trial, agreement), cells, None))
            selection = predictions.attrs.get("selection", [])
            found.rows.extend(chosen_rows(selection, trial, {**before, "commit": commit}, about))
            found.comparisons.extend(compare_heads(judged, manifest, params.evaluate))
            found.dropped[trial.scheme] = trial.dropped
    return found


def _agreement(
    ratings: pd.DataFrame | None, manifest: pd.DataFrame, params: Params
) -> pd.DataFrame | None:
    if ratings is None:
        return None
    segments = manifest.set_index("clip")["segment"]
    return reliability(ratings, segments, params.evaluate.seed)


def _check_task(labels: pd.DataFrame, task: str) -> None:
    if task not in set(labels["task"]):
        raise ConfigError(
            f"the corpus has no labels of task '{task}'",
            allowed=", ".join(sorted(set(labels["task"]))) or "none: the corpus has no labels",
            next_step="set probe.task in params.yaml, or add labels",
        )


def described(trial: Trial, params: Params, corpus: str, commit: str) -> dict[str, dict[str, Any]]:
    """Cells that tell what each row is and where it comes from, by head or baseline."""
    of_views = row_hashes(params, corpus, [])
    found: dict[str, dict[str, Any]] = {}
    for name in trial.heads:
        base, _, point = name.partition(POINT)
        block = params.contrast.heads[base]
        approach = (block.points()[point] if point else block).approach
        found[name] = {
            "kind": "point" if is_point(name) else "head", "head": name, "approach": approach,
            "store": block.store, "config_hash": head_hash(params, corpus, base), "commit": commit,
        }  # fmt: skip
    for name in [*trial.baselines, *trial.known, "ceiling/icc_1k"]:
        features, model = name.split("/")
        found[name] = {
            "kind": "ceiling" if features == "ceiling" else "baseline", "head": name,
            "approach": model, "store": "", "config_hash": of_views[features], "commit": commit,
        }  # fmt: skip
    return found


def head_hash(params: Params, corpus: str, name: str) -> str:
    """Hash of the configuration behind a head: its block, what all share, and its frames'."""
    head = params.contrast.heads[name]
    instrument = head.instrument or params.axes.instrument[0]
    encoder = params.encoders.get(head.store)
    if encoder is None:
        instrument = params.contours.instrument
    return config_hash({
        "corpus": params.corpora.get(corpus), "midi": params.midi, "folds": params.folds,
        "evaluate": params.evaluate, "task": params.probe.task, "head": head,
        "contrast": params.contrast.model_dump(mode="json", exclude={"heads", "schemes"}),
        "validation_seed": params.probe.mlp.seed,
        "store": params.contours if encoder is None else encoder,
        "pool": None if encoder is None else params.pool, "render": params.render,
        "instrument": params.instruments.get(instrument),
    })  # fmt: skip


@one_thread()
def evaluate_contrast_workspace(paths: CorpusPaths, params: Params) -> None:
    """Write ``contrastive.csv``, ``contrast_comparisons.csv``, ``class_distances.csv``,
    ``tsne.csv`` and their receipt.

    A corpus without heads gets tables without rows. Raises what
    :func:`~pianoeval.evaluate.protocol.receipt.read_audit`,
    :func:`~pianoeval.evaluate.contrast.read.read_heads` and :func:`evaluate_heads` raise.
    """
    read_audit(paths)
    folds, labels = read_table(paths.folds), read_labels(paths.labels)
    predictions, latents = read_heads(paths, params, folds)
    ratings, truth = (
        read_table(path) if path.is_file() else None for path in (paths.ratings, paths.truth)
    )
    manifest, commit = read_manifest(paths.manifest), git_commit()
    found = evaluate_heads(manifest, labels, folds, predictions, ratings, params, commit, truth)
    before = {"corpus": paths.corpus, "task": params.probe.task}
    codes = analyse_codes(latents, predictions.attrs.get("dimensions", []), labels, params)
    rows = [*found.rows, *_latent_rows(codes.rows, params, before, commit)]
    tables = dict(
        zip(
            TABLES,
            (contrastive_table(rows), compared_table(found.comparisons), codes.distances,
             codes.maps),
            strict=True,
        )
    )  # fmt: skip
    written = {}
    for name, table in tables.items():
        path = paths.results / f"{name}.csv"
        write_output(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        written[path.name] = sha256_file(path)
    inputs = [paths.manifest, paths.labels, paths.audit, paths.head_predictions]
    inputs.append(paths.head_latents)
    if paths.contour_audit.is_file():  # the page shows it beside the heads
        inputs.append(paths.contour_audit)
    receipt = {
        "results": written,
        "inputs": {file.name: sha256_file(file) for file in inputs},
        "dropped": found.dropped,
    }
    write_sealed(paths.contrasted, receipt)


def _latent_rows(
    rows: Sequence[Mapping[str, Any]], params: Params, before: Mapping[str, Any], commit: str
) -> list[dict[str, Any]]:
    """Measures of codes with the cells that all rows have."""
    hashes: dict[str, str] = {}
    found = []
    for row in rows:
        base = str(row["head"]).partition(POINT)[0]
        if base not in hashes:
            hashes[base] = head_hash(params, str(before["corpus"]), base)
        block = params.contrast.heads[base]
        found.append({
            **before, **row, "kind": "point" if is_point(str(row["head"])) else "head",
            "approach": block.approach, "store": block.store, "config_hash": hashes[base],
            "commit": commit,
        })  # fmt: skip
    return found
