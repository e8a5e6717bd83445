"""Nested predictions: of each training clip of a fold, by models that were not trained on it.

What combines models must see how they err on clips that they have not learned. So the training
side of each reported fold is divided as for every other choice (``Fold.inner``), and on each part
the model goes through all that it goes through on a reported fold: scaling, its own inner folds and
validation group. An inner fold is cut out of the reported fold's own :class:`Fold`, which holds no
label of the reported clips, so none can come through.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache, item_key
from pianoeval.errors import PianoevalError
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.models import kernel_ridge, ridge
from pianoeval.models.base import Float64, Fold
from pianoeval.models.registry import PROBES
from pianoeval.params import ModelName
from pianoeval.training.crossval import Study
from pianoeval.training.fitted import model_key
from pianoeval.training.renders import spread

STEP = "nested"
CODE_VERSION = 1


def inner_folds_of(study: Study, outer: Fold) -> list[Fold]:
    """Each inner division of a reported fold as a fold of its own, with divisions of its own.

    Parameters
    ----------
    study : Study
    outer : Fold
        Of clips, also where the study learns from every render: its rows are those of
        ``study.view``.

    Returns
    -------
    list of Fold
        Named ``<scheme>/<fold>/<inner>``; together their test rows are ``outer.train``, each once
        (and on each instrument, one after the other).

    Raises
    ------
    CannotCutError
        The clips that an inner fold learns from are one take.
    """
    scheme = outer.name.split("/")[0]
    clips = np.array([study.view.clips[row] for row in outer.train], dtype=object)
    made = []
    for number, (fit, held) in enumerate(outer.inner):
        name = f"{outer.name}/{number}"
        try:
            cut = divide(study.manifest, scheme, clips[fit], outer.y[fit], study.probe)
        except CannotCutError as reason:
            raise CannotCutError(f"inner fold {name}: {reason.what}") from reason
        fold = replace(
            outer, name=name, x=study.x, train=outer.train[fit], test=outer.train[held],
            y=outer.y[fit], inner=cut.inner, validation=cut.validation, groups=cut.groups,
        )  # fmt: skip
        if study.renders is not None:
            fold = spread(fold, len(study.view.clips), study.renders)
        made.append(fold)
    return made


def predict_nested(study: Study, outer: Fold, model: ModelName) -> Float64:
    """Nested predictions of one model for one reported fold, shape (n_train, dimensions).

    Raises
    ------
    CannotCutError
        As :func:`inner_folds_of`.
    PianoevalError
        The model gave no usable prediction.
    """
    folds = inner_folds_of(study, outer)
    found = np.full(outer.y.shape, np.nan)
    with _untold(ridge.__name__), _untold(kernel_ridge.__name__):
        results = PROBES[model].predict(folds, study.probe, study.run)
    for (_, held), result in zip(outer.inner, results, strict=True):
        kept = result.values.astype(np.float32)  # as predictions of reported folds are
        renders = kept.reshape(-1, len(held), kept.shape[1])
        found[held] = renders.mean(axis=0).astype(np.float32)
    if not np.isfinite(found).all():
        raise PianoevalError(f"{model} gave no usable prediction in fold {outer.name}")
    return found


@contextmanager
def _untold(name: str) -> Iterator[None]:
    """Without warnings of a module: a penalty at the edge of the grid is told of reported folds."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def nested_predictions(
    study: Study, outer: Fold, model: ModelName, inputs: Mapping[str, str], cache: ItemCache
) -> Float64:
    """:func:`predict_nested`, from the cache or trained: an item a reported fold and model.

    Parameters
    ----------
    inputs : mapping of str
        Digests of what is learned from (``fitted.fit_inputs``).
    """
    config = {"fold": outer.name}
    key = item_key(STEP, CODE_VERSION, {"model": model_key(study, inputs, model)}, config)
    item = cache.get(STEP, key)
    if item is not None:
        return np.array(item.arrays["values"], dtype=np.float64)
    values = predict_nested(study, outer, model)
    cache.put(STEP, key, {"values": values}, {"model": model, "fold": outer.name})
    return values


def fold_values(table: pd.DataFrame, study: Study, fold: Fold) -> Float64:
    """Predictions of one model for the test clips of a fold, shape (n_test, dimensions).

    Parameters
    ----------
    table : DataFrame
        Columns ``crossval.PREDICTION_COLUMNS``, of one model.

    Raises
    ------
    PianoevalError
        The table has other clips.
    """
    scheme, number = fold.name.split("/")
    part = table[(table["scheme"] == scheme) & (table["fold"] == int(number))]
    names = study.labels.dimensions
    wide = part.pivot(index="clip", columns="dimension", values="prediction")
    clips = [study.view.clips[row] for row in fold.test]
    values = wide.reindex(index=clips, columns=names).to_numpy(np.float64)
    if len(part) != values.size or not np.isfinite(values).all():
        raise PianoevalError(
            f"predictions of fold {fold.name} are not those of its clips", next_step="dvc repro"
        )
    return values
