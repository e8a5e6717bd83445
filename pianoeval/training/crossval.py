"""Nested cross-validation of probes: out-of-fold predictions under every scheme.

For each scheme and fold a model is given the features of all clips and the labels of the training
clips only (``models.base.Fold``); what it selects, it selects on groups inside those.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pianoeval.errors import BadInputError, ConfigError, PianoevalError
from pianoeval.evaluate.protocol.controls import part_of_training
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.protocol.splits import train_test
from pianoeval.features.views import View
from pianoeval.models.base import Float32, Float64, Fold, FoldPrediction, Rows
from pianoeval.models.registry import PROBES
from pianoeval.params import ModelName, ProbeParams, RunParams
from pianoeval.progress import Meter
from pianoeval.training.renders import RENDER, Renders, spread, stacked

_log = logging.getLogger(__name__)
Model = tuple[str, int]  # name, or method of a fusion; seed
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
class Part:
    """A part of the training side, for a point of the learning curve."""

    percent: int
    seed: int


@dataclass(frozen=True, eq=False)
class Study:
    """What stays the same from fold to fold; all of the training side unless ``part`` is given.

    With ``renders`` every clip is learned from and predicted on each of these instruments.
    """

    view: View
    labels: Labels
    manifest: pd.DataFrame
    probe: ProbeParams
    run: RunParams
    part: Part | None = None
    renders: Renders | None = None

    @cached_property
    def x(self) -> Float32:
        """Features that folds share: of clips, or of their renders one after the other."""
        return self.view.x if self.renders is None else stacked(self.view.renders, self.renders)


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold predictions and what was selected in each fold.

    Attributes
    ----------
    predictions : DataFrame
        Columns ``clip, scheme, fold, model, seed, task, dimension, prediction`` (float32).
    selection : DataFrame
        Columns ``scheme, fold, model, parameter, dimension, value``; ``dimension`` is ``all``
        where one value serves all, and a layer for ``layer_weights``.
    """

    predictions: pd.DataFrame
    selection: pd.DataFrame


def check_complete(values: Float64, clips: list[str], dimensions: list[str]) -> None:
    """Refuse clips that are labelled in some dimensions only: values (clips, dimensions)."""
    missing = np.isnan(values)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        absent = [dimensions[d] for d in np.flatnonzero(missing[row])]
        raise BadInputError(
            f"{int(partly.sum())} clips are labelled in part; the first lacks {', '.join(absent)}",
            where=clips[row],
            next_step="label every dimension of a clip, or leave the clip out of the labels",
        )


def usable_rows(view: View, labels: Labels) -> Rows:
    """Rows of the view that have labels; a partly labelled clip is an error."""
    if labels.values.shape != (len(view.clips), len(labels.dimensions)):
        raise ConfigError(
            f"labels have shape {labels.values.shape}, the view has {len(view.clips)} clips"
            f" and {len(labels.dimensions)} dimensions are named"
        )
    check_complete(labels.values, view.clips, labels.dimensions)
    missing = np.isnan(labels.values)
    if not labels.dimensions or missing.all():
        raise BadInputError(
            "no clip of the view has a label",
            next_step="label clips that have these features, or take the features out of"
            " axes.features in params.yaml",
        )
    if missing.any():
        _log.info("%d clips without a label are not used", int(missing.all(axis=1).sum()))
    return np.flatnonzero(~missing.any(axis=1))


def _known(clips: np.ndarray, row_of: dict[str, int]) -> tuple[list[str], Rows]:
    kept = [clip for clip in clips if clip in row_of]
    return kept, np.array([row_of[clip] for clip in kept], dtype=np.int64)


def make_fold(
    study: Study, folds: pd.DataFrame, row_of: dict[str, int], scheme: str, number: int
) -> Fold | None:
    """The fold's rows, training labels and inner divisions; None if none of its clips is usable.

    Raises
    ------
    BadInputError
        The training side is too small; ``CannotCutError`` where that is due to ``study.part``.
    """
    train_clips, test_clips = train_test(folds, study.manifest, scheme, number)
    train, train_rows = _known(train_clips, row_of)
    test, test_rows = _known(test_clips, row_of)
    name = f"{scheme}/{number}"
    if not test:
        _log.warning("fold %s has no labelled clip in view and is left out", name)
        return None
    if len(train) < 2:
        raise _too_few(scheme, f"fold {name} has {len(train)} labelled clips to learn from")
    try:
        if study.part is not None:
            kept = _part(study.part, study.manifest, train)
            train, train_rows = [train[row] for row in kept], train_rows[kept]
        y = study.labels.values[train_rows]
        cut = divide(study.manifest, scheme, np.array(train, dtype=object), y, study.probe)
    except CannotCutError as reason:
        if study.part is not None:
            raise CannotCutError(f"fold {name}: {reason.what}") from reason
        raise _too_few(scheme, f"fold {name}: {reason.what}") from reason
    fold = Fold(
        name=name,
        x=study.x,
        train=train_rows,
        test=test_rows,
        y=y,
        inner=cut.inner,
        validation=cut.validation,
        layering=study.view.layering,
        sequences=study.view.sequences,
        groups=cut.groups,
    )
    return fold if study.renders is None else spread(fold, len(study.view.clips), study.renders)


def _part(part: Part, manifest: pd.DataFrame, train: list[str]) -> Rows:
    clips = np.array(train, dtype=object)
    return np.flatnonzero(part_of_training(manifest, clips, part.percent / 100, part.seed))


def _too_few(scheme: str, what: str) -> BadInputError:
    return BadInputError(
        what, next_step=f"label more clips, or remove {scheme} from folds.schemes in params.yaml"
    )


def make_scheme(study: Study, folds: pd.DataFrame, scheme: str) -> list[Fold]:
    """All usable folds of one scheme."""
    usable = usable_rows(study.view, study.labels)
    row_of = {study.view.clips[row]: int(row) for row in usable}
    numbers = sorted(set(folds.loc[folds["scheme"] == scheme, "fold"]))
    made = (make_fold(study, folds, row_of, scheme, int(number)) for number in numbers)
    return [fold for fold in made if fold is not None]


def prediction_rows(study: Study, fold: Fold, result: FoldPrediction, model: Model) -> pd.DataFrame:
    """Predictions of one fold, one row a clip (and render) and dimension."""
    names, n_clips = study.labels.dimensions, len(study.view.clips)
    scheme, number = fold.name.rsplit("/", 1)
    if result.values.shape != (len(fold.test), len(names)) or not np.isfinite(result.values).all():
        raise PianoevalError(f"{model[0]} gave no usable prediction in fold {fold.name}")
    table = pd.DataFrame(
        {
            "clip": np.repeat([study.view.clips[row % n_clips] for row in fold.test], len(names)),
            "scheme": scheme,
            "fold": int(number),
            "model": model[0],
            "seed": model[1],
            "task": study.probe.task,
            "dimension": names * len(fold.test),
            "prediction": result.values.astype(np.float32).ravel(),
        }
    )
    if study.renders is None:
        return table
    heard = [study.renders.used[row // n_clips] for row in fold.test]
    return table.assign(**{RENDER: np.repeat(heard, len(names))})


def _selection(study: Study, fold: Fold, result: FoldPrediction, model: Model) -> pd.DataFrame:
    """What a model selected in one fold, one row a parameter (and dimension)."""
    names = study.labels.dimensions
    scheme, number = fold.name.rsplit("/", 1)
    rows = []
    for parameter, values in result.selection.items():
        per = names if len(values) == len(names) else ["all"]
        if parameter == "layer_weights":
            per = study.view.layers
        rows += [
            (scheme, int(number), model[0], parameter, dimension, value)
            for dimension, value in zip(per, values, strict=True)
        ]
    columns = ["scheme", "fold", "model", "parameter", "dimension", "value"]
    return pd.DataFrame(rows, columns=columns)


def nested_cross_validation(
    study: Study, folds: pd.DataFrame, models: Sequence[ModelName], view_name: str
) -> CrossValidation:
    """Predict every usable clip once under every scheme by every model, and tell what was chosen.

    Parameters
    ----------
    models : sequence of str
        Keys of ``models.registry.PROBES``; the ensemble is made from predictions of these.

    Raises
    ------
    BadInputError
        Clips labelled in part, no label at all, or too few to divide.
    """
    schemes = list(dict.fromkeys(folds["scheme"]))
    predictions, selection = [], []
    with Meter(f"probe {view_name}", len(schemes) * len(models), unit="models") as meter:
        for scheme in schemes:
            cut = make_scheme(study, folds, scheme)
            for name in models:
                results = PROBES[name].predict(cut, study.probe, study.run)
                model = (name, PROBES[name].seed(study.probe))
                for fold, result in zip(cut, results, strict=True):
                    _log.debug("%s %s %s chose %s", view_name, name, fold.name, result.selection)
                    predictions.append(prediction_rows(study, fold, result, model))
                    selection.append(_selection(study, fold, result, model))
                meter.advance()
    if not predictions:
        raise BadInputError(
            "no fold has a labelled clip of the view", where=view_name,
            next_step="label clips that the folds hold, or change folds.schemes in params.yaml",
        )  # fmt: skip
    return CrossValidation(
        pd.concat(predictions, ignore_index=True), pd.concat(selection, ignore_index=True)
    )
