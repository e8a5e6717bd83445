"""Out-of-fold predictions of all views of one source of features, trained once each.

A fitted model's predictions are an item of the cache, like an embedding: named by the features,
labels, groups, folds and parameters they came from. So a change of one view, or of one model's
parameters, trains that one alone.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache, item_key
from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.splits import skipped_schemes
from pianoeval.features.views import SYMBOLIC, View, load_view
from pianoeval.models.registry import ENSEMBLE
from pianoeval.params import ModelName, Params, ProbeParams
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import sha256_bytes
from pianoeval.training.crossval import (
    PREDICTION_COLUMNS,
    Labels,
    Study,
    nested_cross_validation,
)

_log = logging.getLogger(__name__)

STEP = "probe"
CODE_VERSION = 1
# Columns that decide who trains with whom, inside and outside.
_GROUP_COLUMNS = [
    "clip", "sha256", "composition", "movement", "segment", "content_group", "player", "parent",
]  # fmt: skip


def predict_features(
    features: str,
    params: Params,
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    cache: ItemCache,
) -> pd.DataFrame:
    """Predictions of every view of ``features``.

    Returns
    -------
    DataFrame
        The columns of ``crossval.PREDICTION_COLUMNS`` and ``features``, the name of the view.
        Without rows for the symbolic features of a corpus that has no MIDI at all.

    Raises
    ------
    ConfigError
        ``features`` has no view, or the corpus has no labels of ``probe.task``.
    BadInputError
        No scheme of folds could be cut.
    """
    views = params.views.get(features)
    if not views:
        raise ConfigError(
            f"no view of '{features}'", allowed=", ".join(params.views),
            next_step=f"add views.{features} to params.yaml",
        )  # fmt: skip
    _check_labels(params, paths.corpus, labels)
    _check_folds(params, paths.corpus, manifest, folds)
    if features == SYMBOLIC and manifest["midi_path"].isna().all():
        _log.warning("no clip has MIDI: symbolic features are left out")
        return _no_predictions()
    tables = []
    for name, wanted in views.items():
        view = load_view(features, name, params, paths, manifest["clip"].tolist())
        values, dimensions = label_matrix(labels, params.probe.task, view.clips)
        study = Study(view, Labels(values, dimensions), manifest, params.probe, params.run)
        tables.append(_predict_view(name, study, folds, wanted.models, cache).assign(features=name))
    return pd.concat(tables, ignore_index=True)


def _check_labels(params: Params, corpus: str, labels: pd.DataFrame) -> None:
    tasks = sorted(set(labels["task"]))
    if params.probe.task in tasks:
        return
    axes = params.axes
    pooled = [f"pool@{corpus}-{e}-{i}" for e in axes.encoder for i in axes.instrument]
    targets = " ".join([f"symbolic@{corpus}", *pooled])
    raise ConfigError(
        f"the corpus has no labels of task '{params.probe.task}'",
        where=corpus,
        allowed=", ".join(tasks) or "none: add labels",
        next_step="set probe.task in params.yaml, or add labels and ingest again; features need no"
        f" labels: dvc repro {targets}",
    )


def _check_folds(params: Params, corpus: str, manifest: pd.DataFrame, folds: pd.DataFrame) -> None:
    if folds.empty:
        skipped = skipped_schemes(manifest, params.folds)
        reasons = "; ".join(f"{scheme}: {reason}" for scheme, reason in skipped.items())
        raise BadInputError(
            f"no scheme of folds could be cut ({reasons or 'folds.schemes is empty'})",
            where=corpus,
            next_step="give player, piece or segment in metadata.csv (docs/corpora.md), add"
            " recordings, or add a scheme that the corpus allows to folds.schemes in params.yaml",
        )


def _no_predictions() -> pd.DataFrame:
    """A table of predictions without rows, its columns typed as if there were some."""
    types = {"fold": "int64", "seed": "int64", "prediction": "float32"}
    columns = (*PREDICTION_COLUMNS, "features")
    return pd.DataFrame({name: pd.Series([], dtype=types.get(name, "str")) for name in columns})


def members(models: Sequence[ModelName], probe: ProbeParams) -> list[ModelName]:
    """Models to train; the ensemble may average only what the view lists."""
    single = [model for model in models if model != ENSEMBLE]
    if ENSEMBLE in models:
        absent = [model for model in probe.ensemble if model not in single]
        if absent:
            raise ConfigError(
                f"the ensemble averages {', '.join(absent)}, which the view does not list",
                where="views.*.models",
                allowed=", ".join(single),
                next_step="add them to the view, or change probe.ensemble",
            )
    return single


def _predict_view(
    name: str, study: Study, folds: pd.DataFrame, models: list[ModelName], cache: ItemCache
) -> pd.DataFrame:
    """Every listed model, from the cache or trained; the ensemble is their average."""
    inputs = _inputs(study.view, study.labels, study.manifest, folds)
    tables: dict[ModelName, pd.DataFrame] = {}
    for model in members(models, study.probe):
        config = {"model": model, "parameters": getattr(study.probe, model), **_shared(study)}
        key = item_key(STEP, CODE_VERSION, inputs, config)
        item = cache.get(STEP, key)
        if item is None:
            found = nested_cross_validation(study, folds, [model], f"{name} {model}").predictions
            cache.put(STEP, key, {"parquet": _pack(found)}, {"view": name, "model": model})
            tables[model] = found
        else:
            tables[model] = pd.read_parquet(io.BytesIO(item.arrays["parquet"].tobytes()))
    parts = list(tables.values())
    if ENSEMBLE in models:
        mean = np.mean([tables[m]["prediction"].to_numpy() for m in study.probe.ensemble], axis=0)
        first = tables[study.probe.ensemble[0]]
        parts.append(first.assign(model=ENSEMBLE, seed=0, prediction=mean.astype(np.float32)))
    return pd.concat(parts, ignore_index=True)


def _shared(study: Study) -> dict[str, object]:
    """Parameters that concern every model: the task, and how inner groups are cut."""
    probe = study.probe
    return {
        "task": probe.task,
        "inner_folds": probe.ridge.inner_folds,
        "validation_fraction": probe.mlp.validation_fraction,
    }


def _inputs(
    view: View, labels: Labels, manifest: pd.DataFrame, folds: pd.DataFrame
) -> dict[str, str]:
    def digest(table: pd.DataFrame) -> str:
        return sha256_bytes(table.to_csv(index=False).encode())

    return {
        "features": sha256_bytes(view.x.tobytes() + str(view.x.shape).encode()),
        "labels": sha256_bytes(labels.values.tobytes() + "|".join(labels.dimensions).encode()),
        "clips": sha256_bytes("|".join(view.clips).encode()),
        "groups": digest(manifest[_GROUP_COLUMNS]),
        "folds": digest(folds),
    }


def _pack(table: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return np.frombuffer(buffer.getvalue(), np.uint8)
