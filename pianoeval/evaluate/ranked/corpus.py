"""Evaluation of the rankers of a corpus: read the tables, judge, write what is found."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pianoeval.atomic import write_output
from pianoeval.builder import n_workers
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.baselines import lookup_predictions
from pianoeval.evaluate.protocol.controls import MARK
from pianoeval.evaluate.protocol.receipt import read_audit
from pianoeval.evaluate.ranked.ceilings import ceiling_rows
from pianoeval.evaluate.ranked.compare import compare_entries, compared_table
from pianoeval.evaluate.ranked.contest import Contest, Entry
from pianoeval.evaluate.ranked.disentangle import COLUMNS, disentanglement, prediction_codes
from pianoeval.evaluate.ranked.matching import check_pairs, make_contest
from pianoeval.evaluate.ranked.points import chosen_rows
from pianoeval.evaluate.ranked.read import read_ranks
from pianoeval.evaluate.ranked.rows import (
    Judged,
    chances,
    judge,
    judge_pairs,
    ranking_table,
    table_rows,
)
from pianoeval.evaluate.ranked.setting import Setting, entry_hashes, make_setting
from pianoeval.evaluate.ranked.tiers import OVERALL, adjacent_tiers
from pianoeval.evaluate.statistics.metrics import headline_pairs, margin_name
from pianoeval.evaluate.tables import Predictions, encode_predictions
from pianoeval.fusions import predicted_sources
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import git_commit, sha256_file
from pianoeval.rankings import features_of
from pianoeval.sealed import write_sealed
from pianoeval.tablefile import read_table
from pianoeval.threads import one_thread

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RankEvaluation:
    """Rows of ``ranking.csv`` and ``rank_comparisons.csv``, and what is to be told besides.

    ``dropped`` is the number of takes of each scheme of which some row says nothing.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def evaluate_rankers(
    setting: Setting,
    folds: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    ranked: pd.DataFrame,
) -> RankEvaluation:
    """Judge every ranker beside models that predict labels, lookups and ceilings.

    Parameters
    ----------
    setting : Setting
    folds : DataFrame
    predictions : mapping of DataFrame
        By view, as the probes write them.
    ranked : DataFrame
        As the stage ``rank`` writes it; schemes that it lacks are not evaluated.

    Raises
    ------
    CorruptDataError, BadInputError
        See :func:`~pianoeval.evaluate.ranked.matching.make_contest`.
    """
    found = RankEvaluation()
    if ranked.empty:
        return found
    check_pairs(ranked, setting.dimensions)
    selection = ranked.attrs.get("selection", [])
    ranked = ranked.copy()
    ranked.attrs = {}  # pandas would copy them with every part
    schemes = list(dict.fromkeys(ranked["scheme"].astype(str)))
    folds = folds[folds["scheme"].isin(schemes)]
    encoded = _encoded(setting, folds, predictions)
    contests = [
        make_contest(
            setting, scheme, folds[folds["scheme"] == scheme], encoded,
            ranked[(ranked["scheme"] == scheme).to_numpy()],
        )
        for scheme in schemes
    ]  # fmt: skip
    workers = n_workers(setting.params.run)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(1, workers)) as pool:
        parts = pool.map(lambda contest: _evaluate(setting, contest), contests)
        for rows, compared in parts:
            found.rows.extend(rows)
            found.comparisons.extend(compared)
    found.rows.extend(chosen_rows(selection, found.rows))
    found.dropped.update(setting.dropped)
    return found


def _encoded(
    setting: Setting, folds: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]
) -> dict[str, Predictions]:
    """Baselines and views; controls and curves are no rows here and decide nothing."""
    task, schemes = setting.params.probe.task, set(folds["scheme"])
    tables = dict(lookup_predictions(setting.manifest, setting.labels, folds, task))
    tables |= {view: table for view, table in predictions.items() if MARK not in view}
    return {
        view: encode_predictions(
            view, table[table["scheme"].isin(schemes)], task, setting.clips, setting.dimensions
        )
        for view, table in tables.items()
    }


def _evaluate(
    setting: Setting, contest: Contest
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and comparisons of one scheme; depends on nothing else."""
    params = setting.params
    judged = judge(contest, setting.averaged, params.evaluate)
    after = _after(setting, list(contest.margins))
    before = {"corpus": setting.corpus, "task": params.probe.task}
    chance = chances(contest, setting.averaged, params.evaluate.margins)
    rows = table_rows(judged, setting.dimensions, chance, before, after)
    rows += ceiling_rows(setting, judged, before)
    for tiers in adjacent_tiers(contest, setting.manifest, setting.labels, setting.dimensions):
        known = judge_pairs(tiers, params.evaluate)
        flat = {margin_name(0.0): np.full(3, 0.5)}
        rows += table_rows(known, [OVERALL], flat, before, after, means=False)
    return rows, _compared(setting, judged)


def _compared(setting: Setting, judged: Judged) -> list[dict[str, Any]]:
    margins = setting.params.evaluate.margins
    metric = headline_pairs(margins)
    margin = next((m for m in margins if margin_name(m) == metric), None)
    if metric is None or margin is None:
        return []
    return compare_entries(judged, metric, margin, setting.manifest, setting.params.evaluate)


def _after(setting: Setting, entries: Sequence[Entry]) -> dict[Entry, dict[str, Any]]:
    """Cells that tell where each row comes from."""
    params = setting.params
    hashes = entry_hashes(params, setting.corpus, {entry.name: entry for entry in entries})
    found = {}
    for entry in entries:
        ranker = params.rank.rankers.get(entry.model.partition(MARK)[0])
        several = ranker.n_seeds if ranker and entry.kind in ("ranker", "point") else 1
        found[entry] = {
            "seed": entry.seed, "n_seeds": several, "config_hash": hashes[entry.name],
            "commit": setting.commit,
        }  # fmt: skip
    return found


def _disentangled(
    setting: Setting, predictions: Mapping[str, pd.DataFrame], codes: pd.DataFrame
) -> pd.DataFrame:
    """Measures of the codes, and of the predictions of a model that reads the same views.

    The model is the first of each view that a ranker with codes reads: a control that never learned
    to part piece and style.
    """
    if codes.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    params = setting.params
    schemes = list(dict.fromkeys(codes["scheme"].astype(str)))
    takes = list(dict.fromkeys(codes["clip"].astype(str)))
    rankers = dict.fromkeys(str(name).partition(MARK)[0] for name in codes["ranker"])
    views = dict.fromkeys(view for name in rankers for view in params.rank.rankers[name].views)
    parts = [codes]
    for view in views:
        table = predictions[view]
        first = params.views[features_of(params, view) or view][view].models[0]
        own = table[(table["model"] == first).to_numpy() & (table["task"] == params.probe.task)]
        parts.append(prediction_codes(own.assign(features=view), takes, schemes))
    together = pd.concat(parts, ignore_index=True)
    return disentanglement(together, setting.manifest, setting.labels, params)


@one_thread()
def evaluate_rank_workspace(paths: CorpusPaths, params: Params) -> None:
    """Write ``ranking.csv``, ``rank_comparisons.csv``, ``disentanglement.csv`` and their receipt.

    A corpus without rankers gets tables without rows. Raises what
    :func:`~pianoeval.evaluate.protocol.receipt.read_audit`,
    :func:`~pianoeval.evaluate.ranked.read.read_ranks`,
    :func:`~pianoeval.evaluate.corpus.read_predictions` and :func:`evaluate_rankers` raise.
    """
    read_audit(paths)
    folds = read_table(paths.folds)
    ranked, codes = read_ranks(paths, params, folds)
    ratings = read_table(paths.ratings) if paths.ratings.is_file() else None
    sources = predicted_sources(params)
    setting = make_setting(
        read_manifest(paths.manifest), read_labels(paths.labels), ratings, params, git_commit()
    )
    predictions = read_predictions(paths, sources)
    found = evaluate_rankers(setting, folds, predictions, ranked)
    apart = _disentangled(setting, predictions, codes)
    tables = {
        "ranking": ranking_table(found.rows),
        "rank_comparisons": compared_table(found.comparisons),
        "disentanglement": apart,
    }
    for scheme, n in found.dropped.items():
        if n:
            _log.warning("%s: %d takes are not known to every row", scheme, n)
    written = {}
    for name, table in tables.items():
        path = paths.results / f"{name}.csv"
        write_output(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        written[path.name] = sha256_file(path)
    inputs = [paths.predictions(name) for name in sources]
    inputs += [paths.manifest, paths.labels, paths.audit, paths.rank_pairs, paths.rank_codes]
    receipt = {
        "results": written,
        "inputs": {file.name: sha256_file(file) for file in inputs},
        "dropped": found.dropped,
        "left_out_of_means": setting.unreliable,
    }
    write_sealed(paths.ranked, receipt)
