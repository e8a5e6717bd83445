"""Out-of-fold predictions of all views of one source of features, trained once each.

A fitted model's predictions are an item of the cache, like an embedding: named by the features,
labels, groups, folds and parameters they came from. So a change of one view, or of one model's
parameters, trains that one alone.

Ridge on the first view of each source is also trained on labels of other clips and on parts of
its training side (``relabel``, ``curves``): rows of their own, ``<view>:<control>`` and
``<view>:train_<percent>``. Views that learn from every render have rows of single instruments
(``renders``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache
from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.controls import MARK, curve_view, render_view
from pianoeval.evaluate.protocol.splits import skipped_schemes
from pianoeval.features.note_store import NOTES
from pianoeval.features.views import SYMBOLIC, load_view
from pianoeval.joins import SOURCE
from pianoeval.models.registry import ENSEMBLE
from pianoeval.params import LossName, ModelName, Params, ProbeParams
from pianoeval.paths import CorpusPaths
from pianoeval.threads import one_thread
from pianoeval.training.crossval import Labels, Part, Study, nested_cross_validation
from pianoeval.training.curves import no_predictions, predict_part
from pianoeval.training.fitted import (
    LAYER_WEIGHTS,
    STEP,
    bare,
    fit_inputs,
    label_digest,
    load_fit,
    model_key,
    save_fit,
    unpack_fit,
)
from pianoeval.training.relabel import exchanged_labels, predict_label_sets
from pianoeval.training.renders import apart, by_instrument, over_renders, whole

_log = logging.getLogger(__name__)


@one_thread()
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
        The columns of ``crossval.PREDICTION_COLUMNS`` and ``features``, the name of the view, of
        a control, or of a point of the learning curve. What ``layer_mlp`` learned of layers is
        in ``attrs["layer_weights"]``: records of ``features, scheme, fold, layer, weight``.
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
    if features in (SYMBOLIC, NOTES) and manifest["midi_path"].isna().all():
        _log.warning("no clip has MIDI: %s features are left out", features)
        empty = no_predictions().assign(features=pd.Series([], dtype="str"))
        empty.attrs[SOURCE] = features
        return empty
    tables: list[pd.DataFrame] = []
    weights: list[dict[str, Any]] = []
    for name, wanted in views.items():
        study = view_study(features, name, params, paths, manifest, labels)
        if wanted.renders == "each":
            where = f"views.{features}.{name}"
            study = replace(study, renders=whole(tuple(study.view.renders), where))
        extra: dict[str, pd.DataFrame] = {}
        inputs = fit_inputs(study, folds)
        if name == next(iter(views)):
            if "ridge" in members(wanted.models, params.probe):
                extra = _label_controls(name, study, labels, folds, inputs, cache)
                extra |= _learning_curve(name, study, folds, inputs, cache)
            elif params.probe.controls.labels or params.probe.learning_curve.percents:
                _log.warning("%s has no ridge: no controls and no learning curve", name)
        own = predict_view(name, study, folds, wanted.models, inputs, cache)
        if study.renders is not None:
            extra |= _render_rows(name, study, folds, wanted.models, own, cache)
        found = {key: over_renders(table) for key, table in ({name: own} | extra).items()}
        tables += [table.assign(features=key) for key, table in found.items()]
        weights += [{"features": name, **row} for row in own.attrs.get(LAYER_WEIGHTS, [])]
    joined = pd.concat([bare(table) for table in tables], ignore_index=True)
    joined.attrs |= {LAYER_WEIGHTS: weights, SOURCE: features}
    return joined


def view_study(
    features: str,
    name: str,
    params: Params,
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
) -> Study:
    """A view with the labels of its clips, as its models are given it."""
    view = load_view(features, name, params, paths, manifest["clip"].tolist())
    values, dimensions = label_matrix(labels, params.probe.task, view.clips)
    probe = with_loss(params.probe, params.views[features][name].loss)
    return Study(view, Labels(values, dimensions), manifest, probe, params.run)


def with_loss(probe: ProbeParams, loss: LossName | None) -> ProbeParams:
    """The parameters with the loss that a view names, if it does."""
    if loss is None:
        return probe
    return probe.model_copy(update={"mlp": probe.mlp.model_copy(update={"loss": loss})})


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


def predict_view(
    name: str,
    study: Study,
    folds: pd.DataFrame,
    models: list[ModelName],
    inputs: dict[str, str],
    cache: ItemCache,
) -> pd.DataFrame:
    """Every listed model, from the cache or trained; the ensemble is their average."""
    tables: dict[ModelName, pd.DataFrame] = {}
    for model in members(models, study.probe):
        key = model_key(study, inputs, model)
        found = load_fit(cache, key)
        if found is None:
            made = nested_cross_validation(study, folds, [model], f"{name} {model}")
            found = made.predictions
            learned = _layer_weights(made.selection)
            found.attrs[LAYER_WEIGHTS] = learned
            save_fit(cache, key, found, {"view": name, "model": model, LAYER_WEIGHTS: learned})
        tables[model] = found
    weights = [row for table in tables.values() for row in table.attrs[LAYER_WEIGHTS]]
    parts = [bare(table) for table in tables.values()]
    if ENSEMBLE in models:
        mean = np.mean([tables[m]["prediction"].to_numpy() for m in study.probe.ensemble], axis=0)
        first = tables[study.probe.ensemble[0]]
        parts.append(first.assign(model=ENSEMBLE, seed=0, prediction=mean.astype(np.float32)))
    found = pd.concat(parts, ignore_index=True)
    found.attrs[LAYER_WEIGHTS] = weights
    return found


def _layer_weights(selection: pd.DataFrame) -> list[dict[str, Any]]:
    """What was learned of layers: ``scheme, fold, layer, weight``."""
    rows = selection[selection["parameter"] == "layer_weights"]
    rows = rows.rename(columns={"dimension": "layer", "value": "weight"})
    records = rows[["scheme", "fold", "layer", "weight"]].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in records]


def _label_controls(
    name: str,
    study: Study,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    inputs: dict[str, str],
    cache: ItemCache,
) -> dict[str, pd.DataFrame]:
    """Predictions of ``<name>:<control>``; what is not cached is trained together.

    So is the ridge of the view itself where it is not cached: it shares the decompositions.
    """
    exchanged = exchanged_labels(study, labels, study.probe.controls)
    sets = {name: study.labels} | {f"{name}{MARK}{c}": found for c, found in exchanged.items()}
    keys = {
        row: model_key(study, inputs | {"labels": label_digest(found)}, "ridge")
        for row, found in sets.items()
    }
    tables = {row: load_fit(cache, keys[row]) for row in sets if row != name}
    wanted = [row for row, table in tables.items() if table is None]
    # Beside controls it is always made here, whichever of them are cached: one item, one digest.
    if exchanged and load_fit(cache, keys[name]) is None:
        wanted.insert(0, name)
    if wanted:
        found = predict_label_sets(study, folds, [sets[r] for r in wanted], f"{name} controls")
        for row, table in zip(wanted, found, strict=True):
            save_fit(cache, keys[row], table, {"view": row, "model": "ridge"})
            tables[row] = table
    return {row: table for row, table in tables.items() if table is not None and row != name}


def _learning_curve(
    name: str, study: Study, folds: pd.DataFrame, inputs: dict[str, str], cache: ItemCache
) -> dict[str, pd.DataFrame]:
    """Predictions of ``<name>:train_<percent>``, from the cache or trained."""
    curve = study.probe.learning_curve
    tables: dict[str, pd.DataFrame] = {}
    for percent in sorted(set(curve.percents)):
        row, part = curve_view(name, percent), Part(percent, curve.seed)
        key = model_key(replace(study, part=part), inputs, "ridge")
        item = cache.get(STEP, key)
        if item is None:
            table, left_out = predict_part(study, folds, part, row)
            save_fit(cache, key, table, {"view": row, "model": "ridge", "left_out": left_out})
        else:
            table, left_out = unpack_fit(item), item.meta["left_out"]
        for scheme, reason in left_out.items():
            _log.warning("%s is left out under '%s': %s", row, scheme, reason)
        if len(table):
            tables[row] = table
    return tables


def _render_rows(
    name: str,
    study: Study,
    folds: pd.DataFrame,
    models: list[ModelName],
    own: pd.DataFrame,
    cache: ItemCache,
) -> dict[str, pd.DataFrame]:
    """Predictions of ``own`` on each instrument, and of models that one was kept from."""
    tables = {render_view(name, "on", piano): t for piano, t in by_instrument(own).items()}
    for row, renders in apart(name, tuple(study.view.renders)):
        part = replace(study, renders=renders)
        tables[row] = predict_view(row, part, folds, models, fit_inputs(part, folds), cache)
    return tables
