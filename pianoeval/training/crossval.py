"""Nested cross-validation of probes: out-of-fold predictions under every scheme.

For each scheme and fold a model is given the features of all clips and the labels of the training
clips only (``models.base.Fold``); what it selects, it selects on groups inside those.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pianoeval.errors import BadInputError, ConfigError, PianoevalError
from pianoeval.evaluate.splits import inner_groups, train_test
from pianoeval.features.views import View
from pianoeval.models.base import Float64, Fold, FoldPrediction, Rows
from pianoeval.models.registry import ENSEMBLE, PROBES
from pianoeval.params import ModelName, ProbeParams, RunParams
from pianoeval.progress import track
from pianoeval.training.inner import inner_splits, validation_split

_log = logging.getLogger(__name__)
PREDICTION_COLUMNS = (
    "clip", "scheme", "fold", "model", "seed", "task", "dimension", "prediction",
)  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """Labels of a view's clips.

    Attributes
    ----------
    values : float64, shape (clips, dimensions)
        In the order of ``View.clips``; a clip without a label is all NaN.
    dimensions : list of str
    """

    values: Float64
    dimensions: list[str]


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold predictions and what was selected in each fold.

    Attributes
    ----------
    predictions : DataFrame
        Columns ``clip, scheme, fold, model, seed, task, dimension, prediction`` (float32).
    selection : DataFrame
        Columns ``scheme, fold, model, parameter, dimension, value``; ``dimension`` is ``all``
        where one value serves all.
    """

    predictions: pd.DataFrame
    selection: pd.DataFrame


def usable_rows(view: View, labels: Labels) -> Rows:
    """Rows of the view that have labels; a partly labelled clip is an error."""
    if labels.values.shape != (len(view.clips), len(labels.dimensions)):
        raise ConfigError(
            f"labels have shape {labels.values.shape}, the view has {len(view.clips)} clips"
            f" and {len(labels.dimensions)} dimensions are named"
        )
    missing = np.isnan(labels.values)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        absent = [labels.dimensions[d] for d in np.flatnonzero(missing[row])]
        raise BadInputError(
            f"{int(partly.sum())} clips are labelled in part; the first lacks {', '.join(absent)}",
            where=view.clips[row],
            next_step="label every dimension of a clip, or leave the clip out of the labels",
        )
    if not labels.dimensions or missing.all():
        raise BadInputError("no clip of the view has a label")
    if missing.any():
        _log.info("%d clips without a label are not used", int(missing.all(axis=1).sum()))
    return np.flatnonzero(~missing.any(axis=1))


def _known(clips: np.ndarray, row_of: dict[str, int]) -> tuple[list[str], Rows]:
    kept = [clip for clip in clips if clip in row_of]
    return kept, np.array([row_of[clip] for clip in kept], dtype=np.int64)


def make_fold(
    view: View,
    labels: Labels,
    manifest: pd.DataFrame,
    folds: pd.DataFrame,
    scheme: str,
    number: int,
    probe: ProbeParams,
) -> Fold | None:
    """The fold's rows, training labels and inner divisions; None if none of its clips is usable."""
    usable = usable_rows(view, labels)
    row_of = {view.clips[row]: int(row) for row in usable}
    train_clips, test_clips = train_test(folds, manifest, scheme, number)
    train, train_rows = _known(train_clips, row_of)
    test, test_rows = _known(test_clips, row_of)
    name = f"{scheme}/{number}"
    if not test:
        _log.warning("fold %s has no labelled clip in view and is left out", name)
        return None
    if len(train) < 2:
        raise PianoevalError(f"fold {name} has {len(train)} labelled clips to learn from")
    groups = inner_groups(manifest, scheme, np.array(train, dtype=object))
    return Fold(
        name=name,
        x=view.x,
        train=train_rows,
        test=test_rows,
        y=labels.values[train_rows],
        inner=inner_splits(groups, probe.ridge.inner_folds),
        validation=validation_split(groups, probe.mlp.validation_fraction, probe.mlp.seed),
    )


def _members(models: Sequence[ModelName], probe: ProbeParams) -> list[ModelName]:
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


def _ensemble(
    parts: dict[ModelName, list[FoldPrediction]], probe: ProbeParams
) -> list[FoldPrediction]:
    """Mean of the members' predictions, equal weights."""
    members = [parts[model] for model in probe.ensemble]
    return [
        FoldPrediction(np.mean([member.values for member in fold], axis=0))
        for fold in zip(*members, strict=True)
    ]


def _long(
    view: View, fold: Fold, result: FoldPrediction, model: str, seed: int, task: str, names: list[str]
) -> pd.DataFrame:
    """Predictions of one fold, one row a clip and dimension."""
    scheme, number = fold.name.rsplit("/", 1)
    if result.values.shape != (len(fold.test), len(names)) or not np.isfinite(result.values).all():
        raise PianoevalError(f"{model} gave no usable prediction in fold {fold.name}")
    return pd.DataFrame(
        {
            "clip": np.repeat([view.clips[row] for row in fold.test], len(names)),
            "scheme": scheme,
            "fold": int(number),
            "model": model,
            "seed": seed,
            "task": task,
            "dimension": names * len(fold.test),
            "prediction": result.values.astype(np.float32).ravel(),
        }
    )


def _chosen(fold: Fold, result: FoldPrediction, model: str, names: list[str]) -> pd.DataFrame:
    """What a model selected in one fold, one row a parameter (and dimension)."""
    scheme, number = fold.name.rsplit("/", 1)
    rows = [
        (scheme, int(number), model, parameter, dimension, value)
        for parameter, values in result.selection.items()
        for dimension, value in zip(
            names if len(values) == len(names) > 1 else ["all"], values, strict=True
        )
    ]
    columns = ["scheme", "fold", "model", "parameter", "dimension", "value"]
    return pd.DataFrame(rows, columns=columns)


def nested_cross_validation(
    view: View,
    labels: Labels,
    manifest: pd.DataFrame,
    folds: pd.DataFrame,
    models: Sequence[ModelName],
    probe: ProbeParams,
    run: RunParams,
    view_name: str,
) -> CrossValidation:
    """Predict every usable clip once under every scheme by every model, and tell what was chosen.

    Raises
    ------
    BadInputError
        Clips labelled in part, or no label at all.
    ConfigError
        The ensemble averages a model that is not listed.
    """
    single = _members(models, probe)
    schemes = list(dict.fromkeys(folds["scheme"]))
    work = [(scheme, model) for scheme in schemes for model in single]
    tables, chosen = [], []
    cut: dict[str, list[Fold]] = {}
    parts: dict[ModelName, list[FoldPrediction]] = {}
    for scheme, model in track(work, f"probe {view_name}", len(work)):
        if scheme not in cut:
            numbers = sorted(set(folds.loc[folds["scheme"] == scheme, "fold"]))
            made = (
                make_fold(view, labels, manifest, folds, scheme, int(number), probe)
                for number in numbers
            )
            cut, parts = {scheme: [fold for fold in made if fold is not None]}, {}
        parts[model] = PROBES[model].predict(cut[scheme], probe, run)
        results = [(model, PROBES[model].seed(probe), parts[model])]
        if ENSEMBLE in models and len(parts) == len(single):
            results.append((ENSEMBLE, 0, _ensemble(parts, probe)))
        for name, seed, predictions in results:
            for fold, result in zip(cut[scheme], predictions, strict=True):
                tables.append(
                    _long(view, fold, result, name, seed, probe.task, labels.dimensions)
                )
                chosen.append(_chosen(fold, result, name, labels.dimensions))
    if not tables:
        raise BadInputError("no fold has a labelled clip of the view", where=view_name)
    return CrossValidation(
        pd.concat(tables, ignore_index=True), pd.concat(chosen, ignore_index=True)
    )


def cross_validate(
    view: View,
    labels: tuple[Float64, list[str]],
    manifest: pd.DataFrame,
    folds: pd.DataFrame,
    models: Sequence[ModelName],
    probe: ProbeParams,
    run: RunParams,
    view_name: str,
) -> pd.DataFrame:
    """Out-of-fold predictions, columns :data:`PREDICTION_COLUMNS`; see nested_cross_validation.

    Parameters
    ----------
    labels : (values, dimensions)
        As ``corpora.manifest.label_matrix(labels, task, view.clips)`` returns them.
    """
    outcome = nested_cross_validation(
        view, Labels(*labels), manifest, folds, models, probe, run, view_name
    )
    return outcome.predictions
