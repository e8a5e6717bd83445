"""The final ranker: ``difference`` learned from every take that may be learned from.

Its penalty and slopes are chosen on inner folds that keep together what the most telling scheme
holds out. There are no test takes: how good it is, and where it tosses a coin, the pairs that the
stage ``rank`` compared out of fold say of the same recipe, not of these weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pianoeval import __version__
from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import read_labels, read_manifest
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.groups import CannotCutError, group_labels
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.protocol.splits import inner_folds, most_telling
from pianoeval.evaluate.state import row_hashes
from pianoeval.models.base import Float64
from pianoeval.params import Params
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import config_hash, git_commit
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.difference import fit_fold, weights_at
from pianoeval.rankings import Ranker, rank_schemes, usable_rankers
from pianoeval.tablefile import read_table
from pianoeval.threads import one_thread
from pianoeval.training.facts import assets_of, corpus_of, dimensions_of, settings_of, training_of
from pianoeval.training.final import check_view
from pianoeval.training.inputs import describe_inputs
from pianoeval.training.modelfolder import RANKER
from pianoeval.training.rank import MARGIN, load_views, rank_corpus
from pianoeval.training.rank_quality import LEVEL, known_of_pairs, paired_labels
from pianoeval.training.ranker import ExportedRanker
from pianoeval.training.rankfolds import Takes, make_takes

PARTS = 10  # of the music that are left out, one at a time


@one_thread()
def train_ranker(paths: CorpusPaths, params: Params, name: str, cache: ItemCache) -> ExportedRanker:
    """Train the ranker ``name`` of ``rank.rankers`` on a corpus.

    Raises
    ------
    ConfigError
        A ranker that cannot be stored, or is not there.
    BadInputError
        Too few takes, or no scheme under which takes of one segment can be compared.
    """
    ranker = exportable_ranker(params, name)
    manifest, labels = read_manifest(paths.manifest), read_labels(paths.labels)
    folds = read_table(paths.folds)
    takes = make_takes(load_views(ranker, params, paths, manifest), manifest, labels, params)
    scheme = most_telling(s for s in rank_schemes(params) if s in set(folds["scheme"]))
    if scheme is None:
        raise BadInputError(
            "no scheme of rank.schemes is cut", where=paths.corpus,
            next_step="set rank.schemes to some of folds.schemes, then: dvc repro",
        )  # fmt: skip
    known = _known(ranker, takes, scheme, params, paths, (manifest, labels, folds), cache)
    fold, column = _fold_of_all(takes, manifest, scheme, params)
    fit = fit_fold(fold, ranker.params)
    used = manifest.set_index("clip").loc[[takes.clips[row] for row in fold.train]]
    left_out = _left_out(fold, used, fit.penalty) * fit.slope
    config = {
        "format": RANKER.name,
        "format_version": RANKER.version,
        "name": f"{paths.corpus} {name}",
        "ranker": name,
        "task": params.probe.task,
        "dimensions": dimensions_of(labels, params.probe.task, takes.dimensions, fold.y),
        "training": training_of(fit.scaler, takes.x[fold.train], used),
        "difference": {
            "lambda": fit.penalty, "slope": fit.slope.tolist(), "chosen_on": column,
            "grid": ranker.params.lambdas, "parts": len(left_out),
        },
        "corpus": corpus_of(used, paths.corpus),
        "quality": {"scheme": scheme, "level": LEVEL, "dimensions": known, "mean": _mean(known)},
        **_origin(ranker, params, paths),
    }  # fmt: skip
    return ExportedRanker(fit.scaler, fit.weights * fit.slope, left_out, config)


def _origin(ranker: Ranker, params: Params, paths: CorpusPaths) -> dict[str, Any]:
    """What makes the inputs, and the code and parameters behind the numbers."""
    sources = ranker.features.items()
    assets = [one for view, source in sources for one in assets_of(params, source, view)]
    rank = params.rank.model_dump(exclude={"rankers"})
    hashes = row_hashes(params, paths.corpus, ranker.features)
    return {
        "views": [
            {"name": view, "inputs": describe_inputs(source, view, params, paths),
             "settings": settings_of(params, source, view)}
            for view, source in sources
        ],
        "assets": list({one["name"]: one for one in assets}.values()),
        "pianoeval": __version__,
        "commit": git_commit(),
        "config_hash": config_hash({"ranker": ranker.params, "rank": rank, "views": hashes}),
    }  # fmt: skip


def exportable_ranker(params: Params, name: str) -> Ranker:
    """The ranker, if it can be stored; raises ConfigError."""
    usable, left_out = usable_rankers(params)
    known = ", ".join(exportable_names(params)) or "none in params.yaml"
    if name not in usable:
        why = f"'{name}' cannot be used: {left_out[name]}" if name in left_out else (
            f"no ranker '{name}'"
        )  # fmt: skip
        raise ConfigError(
            why, where="rank.rankers", allowed=known,
            next_step="name one of these, or add one with approach: difference to params.yaml",
        )  # fmt: skip
    if not _is_linear(usable[name]):
        raise ConfigError(
            f"'{name}' cannot be exported: only rankers of the approach difference, without a"
            " sweep, are a matrix of weights", where=f"rank.rankers.{name}", allowed=known,
            next_step="name one of these, or add one with approach: difference to params.yaml",
        )  # fmt: skip
    for view, source in usable[name].features.items():
        check_view(params, source, view)
    return usable[name]


def exportable_names(params: Params) -> list[str]:
    """Rankers that can be stored."""
    return [name for name, ranker in usable_rankers(params)[0].items() if _is_linear(ranker)]


def _is_linear(ranker: Ranker) -> bool:
    return ranker.params.approach == "difference" and not ranker.params.sweep


def _known(
    ranker: Ranker, takes: Takes, scheme: str, params: Params, paths: CorpusPaths,
    tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], cache: ItemCache,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """What out-of-fold pairs of one scheme say; from the cache where the stage found them."""
    only = params.rank.model_copy(
        update={"rankers": {ranker.name: ranker.params}, "schemes": [scheme]}
    )
    manifest, labels, folds = tables
    alone = params.model_copy(update={"rank": only})
    pairs = rank_corpus(alone, paths, manifest, labels, folds, cache).pairs
    if pairs.empty:
        raise BadInputError(
            f"no two takes of one segment can be compared under the scheme {scheme}",
            where=paths.corpus, next_step="add takes, or change rank.schemes in params.yaml",
        )  # fmt: skip
    groups = group_labels(manifest, "content_group")
    differences, cluster = paired_labels(pairs, takes.y, takes.clips, groups)
    margins = pairs[[f"{MARGIN}{d}" for d in takes.dimensions]].to_numpy(np.float64)
    return known_of_pairs(margins, differences, cluster, takes.dimensions)


def _mean(known: Mapping[str, Mapping[str, Any]]) -> float | None:
    found = [one["accuracy"] for one in known.values() if one["accuracy"] is not None]
    return round(float(np.mean(found)), 4) if found else None


def _fold_of_all(
    takes: Takes, manifest: pd.DataFrame, scheme: str, params: Params
) -> tuple[RankFold, str]:
    """A fold that reports nothing; and what stays together in its inner folds."""
    rows = np.flatnonzero(~np.isnan(takes.y).any(axis=1) & takes.learned)
    names = np.array([takes.clips[row] for row in rows], dtype=object)
    try:
        cut = divide(manifest, scheme, names, takes.y[rows], params.probe)
    except CannotCutError as reason:
        raise BadInputError(
            f"the penalty cannot be chosen: {reason.what}", next_step="label more takes"
        ) from reason
    none = np.zeros((0, 2), dtype=np.int64)
    fold = RankFold(
        "all labelled takes", takes.x, takes.segment, takes.piece, takes.identity, rows, none[:, 0],
        takes.y[rows], takes.error[rows], none, cut.inner, cut.validation, groups=cut.groups,
    )  # fmt: skip
    return fold, cut.column


def _left_out(fold: RankFold, used: pd.DataFrame, penalty: float) -> Float64:
    """Weights without one part of the content groups each, shape (parts, features, dimensions)."""
    groups = group_labels(used.reset_index(), "content_group").loc[used.index]
    part = inner_folds(groups.to_numpy(dtype=object), PARTS)
    kept = [np.flatnonzero(part != number) for number in np.unique(part)]
    if len(kept) < 2:
        raise BadInputError(
            "all takes are of one content group: nothing can be said of other music",
            next_step="add takes of another piece",
        )  # fmt: skip
    return np.stack([weights_at(fold, rows, penalty) for rows in kept])
