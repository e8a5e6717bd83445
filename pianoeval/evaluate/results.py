"""All numbers of one corpus: every scheme, subset, model, baseline, metric and interval."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pianoeval.builder import n_workers
from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import ConfigError
from pianoeval.evaluate import summary
from pianoeval.evaluate.problems import all_problems
from pianoeval.evaluate.protocol import leaks
from pianoeval.evaluate.protocol.baselines import lookup_predictions
from pianoeval.evaluate.protocol.splits import skipped_schemes
from pianoeval.evaluate.scoring import Problem, Row, Scale, Scored, score
from pianoeval.evaluate.state import Evaluation, Sizes, row_hashes
from pianoeval.evaluate.statistics import ceiling
from pianoeval.evaluate.statistics.bootstrap import with_mean
from pianoeval.evaluate.statistics.metrics import Array, sum_metrics
from pianoeval.evaluate.tables import (
    MEAN,
    ModelKey,
    count_clips,
    encode_predictions,
    positions,
)
from pianoeval.params import Params

logger = logging.getLogger(__name__)

_REPORTED_CEILINGS = ("icc_11", "within_share", "within_reliability")


def evaluate_state(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    ratings: pd.DataFrame | None,
    params: Params,
    commit: str,
) -> Evaluation:
    """Evaluate every view of one corpus beside its baselines and ceilings.

    Parameters
    ----------
    manifest, labels, folds : DataFrame
        Of one corpus.
    predictions : mapping of DataFrame
        Out-of-fold predictions by view, controls and points of learning curves among them.
    ratings : DataFrame or None
        Raw ratings ``clip, rater, dimension, value``; None where the truth is known or unrecorded.
    params : Params
    commit : str

    Raises
    ------
    LeakError
        If training shares with test what a scheme does not declare, or if shuffled labels can be
        predicted.
    ConfigError
        If the corpus has no labels of ``probe.task``, or a margin has no name.
    """
    task = params.probe.task
    sum_metrics(params.evaluate.margins)  # a margin without a name stops here, not halfway
    _check_task(labels, task)
    matrix = leaks.audit(folds, manifest)
    manifest = manifest.sort_values("clip", ignore_index=True)
    clips = manifest["clip"].tolist()
    values, dimensions = label_matrix(labels, task, clips)
    corpus = str(manifest["corpus"].iloc[0])
    state = Evaluation(
        corpus=corpus, task=task, manifest=manifest, values=values, dimensions=dimensions,
        ratings=ratings, raters=None, params=params.evaluate,
        hashes=row_hashes(params, corpus, predictions), commit=commit, leaks=matrix,
        skipped=skipped_schemes(manifest, params.folds),
    )  # fmt: skip
    _measure_reliability(state)
    views = {**lookup_predictions(manifest, labels, folds, task), **dict(predictions)}
    encoded = {
        name: encode_predictions(name, table, task, clips, dimensions)
        for name, table in views.items()
    }
    problems = all_problems(state, folds, encoded, params.probe.controls.seed)
    for found in solve(problems, state.scale, n_workers(params.run)):
        _record(state, found)
    return state


def solve(problems: Sequence[Problem], scale: Scale, workers: int) -> list[Scored]:
    """Score all problems, several at a time; each is computed in one thread, so alike."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(lambda problem: score(problem, scale), problems))


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


def _record(state: Evaluation, found: Scored) -> None:
    """Rows of the results; of models also headline, ceilings and sizes."""
    problem, design = found.problem, found.design
    for key, rows in found.rows.items():
        _append(state, found, key, rows)
    if problem.kind == "control":
        summary.check_controls(found)
        lines = summary.control_lines(found, state.params.confidence)
        if problem.subset == "all":
            state.controls.setdefault(problem.scheme, {}).update(lines)
    if problem.kind != "models":
        return
    state.scored[problem.scheme, problem.subset] = found
    ceilings = _ceiling_rows(state, found)
    lines = summary.headline(found.means, ceilings, state.params.confidence, found.one_way)
    state.headlines.setdefault(problem.scheme, {})[problem.subset] = lines
    size = Sizes(
        problem.scheme, problem.subset, len(set(design.fold.tolist())), len(design.clips),
        design.n_clusters, len(design.pairs), design.n_players,
    )  # fmt: skip
    state.sizes.append(size)


def _append(state: Evaluation, found: Scored, key: ModelKey, rows: Sequence[Row]) -> None:
    """Add defined values to the results; what is undefined is remembered for the notes."""
    names = [*state.dimensions, MEAN]
    scheme = found.problem.scheme
    clips, clusters = count_clips(found.y, found.design.cluster)
    before = (state.corpus, state.task, scheme, found.problem.subset, key.features, key.model)
    after = (key.seed, state.hashes[key.features], state.commit)
    judged = found.problem.kind == "models" and key.features not in ("none", "lookup", "ceiling")
    for metric, value, low, high, method in rows:
        for i, name in enumerate(names):
            if np.isfinite(value[i]):
                limits = (float(low[i]), float(high[i]), method if np.isfinite(low[i]) else "")
                numbers = (float(value[i]), *limits, clips[i], clusters[i])
                state.rows.append((*before, name, metric, *numbers, *after))
                if judged and not np.isfinite(low[i]):
                    state.unbounded.add((scheme, metric))
            elif judged:
                state.undefined.add((scheme, metric, name))


def _ceiling_rows(state: Evaluation, scored: Scored) -> dict[str, float]:
    """Rows of what rater reliability allows; returns the ceilings of the means, by metric.

    There is no ceiling of a mean where a dimension that models average has none.
    """
    table = state.reliability.get(scored.problem.subset)
    if table is None or state.raters is None:
        return {}
    aligned = table.reindex(state.dimensions)
    found: list[tuple[str, str, Array]] = [
        (name, "r2_pooled", aligned[name].to_numpy(np.float64)) for name in ("icc_1k", "split_half")
    ]
    found += [(n, n, aligned[n].to_numpy(np.float64)) for n in _REPORTED_CEILINGS]
    raters = state.raters[positions(state.manifest["clip"].tolist(), scored.design.clips)]
    pairwise = ceiling.pairwise_ceilings(
        scored.y, state.dimensions, scored.design.pairs, raters, table, state.params.margins
    )
    found += [("within_segment", metric, values) for metric, values in pairwise.items()]
    means: dict[str, float] = {}
    scale = state.scale
    for model, metric, values in found:
        value = with_mean(values, scale.averaged(metric) & np.isfinite(values))
        if (_averaged_by_models(scored, metric, scale) & ~np.isfinite(values)).any():
            value[-1] = np.nan  # a mean over fewer dimensions is no ceiling of the models' mean
        none = np.full_like(value, np.nan)
        key = ModelKey("ceiling", model, None)
        _append(state, scored, key, [(metric, value, none, none, "")])
        means.setdefault(metric, float(value[-1]))
    return means


def _averaged_by_models(scored: Scored, metric: str, scale: Scale) -> NDArray[np.bool_]:
    """Dimensions in the models' mean of a metric, (D,); none where it is no metric of models.

    R² and pairwise accuracy are undefined for all models or for none: ratings alone decide.
    """
    for name, value, *_ in next(iter(scored.rows.values())):
        if name == metric:
            return scale.averaged(metric) & np.isfinite(value[:-1])
    return np.zeros(scored.y.shape[1], bool)
