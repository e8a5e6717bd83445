"""All numbers of one corpus: every scheme, subset, model, baseline, metric and interval."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate import ceiling, leaks, summary
from pianoeval.evaluate.baselines import lookup_predictions
from pianoeval.evaluate.bootstrap import Resampled, resample, with_mean
from pianoeval.evaluate.metrics import RANK_METRICS, Array, sum_metrics
from pianoeval.evaluate.pairs import Design, cluster_sums, make_design
from pianoeval.evaluate.splits import skipped_schemes
from pianoeval.evaluate.state import Evaluation, Sizes, row_hashes
from pianoeval.evaluate.tables import (
    MEAN,
    ModelKey,
    Predictions,
    common_clips,
    count_clips,
    encode_predictions,
    positions,
    prediction_matrices,
    results_table,
)
from pianoeval.params import Params

logger = logging.getLogger(__name__)

_REPORTED_CEILINGS = ("icc_11", "within_share", "within_reliability")


def evaluate_corpus(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    ratings: pd.DataFrame | None,
    params: Params,
    commit: str,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluate every view of one corpus beside its baselines and ceilings.

    Parameters
    ----------
    manifest, labels, folds : DataFrame
        Of one corpus.
    predictions : mapping of DataFrame
        Out-of-fold predictions by view.
    ratings : DataFrame or None
        Raw ratings ``clip, rater, dimension, value``; None where the truth is known or unrecorded.
    params : Params
    commit : str

    Returns
    -------
    results : DataFrame
        Columns ``RESULT_COLUMNS``; ``dimension`` is ``mean`` for averages.
    summary : dict
        JSON-able; see ``summary.summarise``.

    Raises
    ------
    LeakError
        If training shares with test what a scheme does not declare.
    ConfigError
        If the corpus has no labels of ``probe.task``, or a margin has no name.
    """
    task = params.probe.task
    sum_metrics(params.evaluate.margins)  # a margin without a name stops here, not halfway
    _check_task(labels, task)
    matrix = leaks.audit(folds, manifest)
    manifest = manifest.sort_values("clip", ignore_index=True)
    values, dimensions = label_matrix(labels, task, manifest["clip"].tolist())
    state = Evaluation(
        corpus=str(manifest["corpus"].iloc[0]),
        task=task,
        manifest=manifest,
        values=values,
        dimensions=dimensions,
        ratings=ratings,
        raters=None,
        params=params.evaluate,
        hashes=row_hashes(params, str(manifest["corpus"].iloc[0]), predictions),
        commit=commit,
    )
    _measure_reliability(state)
    views = {**lookup_predictions(manifest, labels, folds, task), **dict(predictions)}
    clips = manifest["clip"].tolist()
    encoded = {
        name: encode_predictions(name, table, task, clips, dimensions)
        for name, table in views.items()
    }
    for scheme in dict.fromkeys(folds["scheme"]):
        _evaluate_scheme(state, str(scheme), folds[folds["scheme"] == scheme], encoded)
    return (
        results_table(state.rows),
        summary.summarise(state, matrix, skipped_schemes(manifest, params.folds)),
    )


def _check_task(labels: pd.DataFrame, task: str) -> None:
    tasks = sorted(set(labels["task"]))
    if task not in tasks:
        raise ConfigError(
            f"the corpus has no labels of task '{task}'",
            allowed=", ".join(tasks) or "none: the corpus has no labels",
            next_step="set probe.task in params.yaml, or add labels",
        )


def _measure_reliability(state: Evaluation) -> None:
    """Reliability of all and of human clips; dimensions that ranking must not average."""
    if state.ratings is None:
        return
    clips = state.manifest["clip"].tolist()
    state.raters = ceiling.rater_counts(state.ratings, clips, state.dimensions)
    segments = state.manifest.set_index("clip")["segment"]
    human = ~state.manifest.set_index("clip")["is_score_render"].astype(bool)
    for subset, part in (("all", segments), ("human", segments[human])):
        if len(part) and (subset == "all" or len(part) < len(segments)):
            state.reliability[subset] = ceiling.reliability(state.ratings, part, state.params.seed)
    table = state.reliability["all"]
    state.unreliable = ceiling.unreliable_dimensions(table, state.params.min_within_reliability)
    state.unknown_reliability = ceiling.dimensions_of_unknown_reliability(table)


def _evaluate_scheme(
    state: Evaluation, scheme: str, folds: pd.DataFrame, views: Mapping[str, Predictions]
) -> None:
    """Rows of one scheme: the clips that all models share, as a whole and the human ones."""
    folds = folds.sort_values("clip", ignore_index=True)
    row = positions(state.manifest["clip"].tolist(), folds["clip"])
    y = state.values[row]
    fold = folds["fold"].to_numpy(np.int64)
    matrices = prediction_matrices(views, scheme, row, fold, state.values.shape)
    keep = common_clips(matrices, y)
    labelled = np.isfinite(y).any(axis=1)
    if (labelled & ~keep).any():
        state.dropped[scheme] = int((labelled & ~keep).sum())
        logger.warning("%s: %d clips lack some prediction", scheme, state.dropped[scheme])
    if not keep.any():
        raise BadInputError(
            f"no clip has predictions of every model under scheme '{scheme}'",
            next_step="dvc repro",
        )
    deadpan = state.manifest["is_score_render"].to_numpy(bool)[row]
    subsets = {"all": keep, "human": keep & ~deadpan}
    for subset, chosen in subsets.items():
        if not chosen.any() or (subset == "human" and not (keep & deadpan).any()):
            continue
        part = folds[chosen].set_index("clip")["fold"]
        design = make_design(state.manifest, part)
        found = {key: predicted[chosen] for key, predicted in matrices.items()}
        _evaluate_subset(state, scheme, subset, design, y[chosen], found)


def _evaluate_subset(
    state: Evaluation,
    scheme: str,
    subset: str,
    design: Design,
    y: Array,
    matrices: Mapping[ModelKey, Array],
) -> None:
    metrics = sum_metrics(state.params.margins)
    averaged = {name: state.averaged(name) for name in (*metrics, *RANK_METRICS)}
    counts = state.counts(design.n_clusters)
    means: dict[ModelKey, dict[str, Resampled]] = {}
    for key, p in matrices.items():
        sums = cluster_sums(design, y, p, state.params.margins)
        drawn = resample(sums, metrics, counts, averaged)
        rows: list[tuple[str, Array, Array, Array]] = []
        for name, r in drawn.items():
            rows.append((name, r.value, *r.interval(state.params.confidence)))
        for name, function in RANK_METRICS.items():
            ranked = function(y, p)
            value = with_mean(ranked, averaged[name] & np.isfinite(ranked))
            rows.append((name, value, np.full_like(value, np.nan), np.full_like(value, np.nan)))
        _append(state, scheme, subset, key, design, y, rows)
        means[key] = _means_only(drawn)
    ceilings = _ceiling_rows(state, scheme, subset, design, y)
    found = summary.headline(means, ceilings, state.params.confidence)
    state.headlines.setdefault(scheme, {})[subset] = found
    n_folds = len(set(design.fold.tolist()))
    size = Sizes(scheme, subset, n_folds, len(y), design.n_clusters, len(design.pairs))
    state.sizes.append(size)


def _means_only(drawn: Mapping[str, Resampled]) -> dict[str, Resampled]:
    """Means over dimensions of the headline metrics; all the rest would be too large to keep."""
    return {
        name: Resampled(r.value[-1:], r.draws[-1:].copy(), r.jackknife[-1:].copy())
        for name, r in drawn.items()
        if name == "r2_pooled" or name.startswith("pairwise")
    }


def _append(
    state: Evaluation,
    scheme: str,
    subset: str,
    key: ModelKey,
    design: Design,
    y: Array,
    rows: list[tuple[str, Array, Array, Array]],
) -> None:
    """Add defined values to the results; what is undefined is remembered for the notes."""
    names = [*state.dimensions, MEAN]
    clips, clusters = count_clips(y, design.cluster)
    before = (state.corpus, state.task, scheme, subset, key.features, key.model)
    after = (key.seed, state.hashes[key.features], state.commit)
    for metric, value, low, high in rows:
        for i, name in enumerate(names):
            if np.isfinite(value[i]):
                numbers = (float(value[i]), float(low[i]), float(high[i]), clips[i], clusters[i])
                state.rows.append((*before, name, metric, *numbers, *after))
            elif key.features not in ("none", "lookup", "ceiling"):
                state.undefined.add((scheme, metric, name))


def _ceiling_rows(
    state: Evaluation, scheme: str, subset: str, design: Design, y: Array
) -> dict[str, float]:
    """Rows of what rater reliability allows; returns the ceilings of the means, by metric."""
    table = state.reliability.get(subset)
    if table is None or state.raters is None:
        return {}
    aligned = table.reindex(state.dimensions)
    found: list[tuple[str, str, Array]] = [
        (name, "r2_pooled", aligned[name].to_numpy(np.float64)) for name in ("icc_1k", "split_half")
    ]
    found += [(n, n, aligned[n].to_numpy(np.float64)) for n in _REPORTED_CEILINGS]
    raters = state.raters[positions(state.manifest["clip"].tolist(), design.clips)]
    pairwise = ceiling.pairwise_ceilings(
        y, state.dimensions, design.pairs, raters, table, state.params.margins
    )
    found += [("within_segment", metric, values) for metric, values in pairwise.items()]
    means: dict[str, float] = {}
    for model, metric, values in found:
        value = with_mean(values, state.averaged(metric) & np.isfinite(values))
        none = np.full_like(value, np.nan)
        rows = [(metric, value, none, none)]
        _append(state, scheme, subset, ModelKey("ceiling", model, None), design, y, rows)
        means.setdefault(metric, float(value[-1]))
    return means
