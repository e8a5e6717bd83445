"""Folds of heads on frames: clips, their labels in 0..1, and where training stops."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.protocol.splits import train_test
from pianoeval.features.sequences import Sequences
from pianoeval.heads.base import HeadFold
from pianoeval.models.base import Float64, Rows
from pianoeval.params import Params, ProbeParams

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Framed:
    """Clips of a corpus with the frames that heads read of them.

    Attributes
    ----------
    clips : list of str
    frames : Sequences
        Of each clip.
    y : float64, shape (clips, dimensions)
        Labels; NaN for a clip without.
    dimensions : list of str
    """

    clips: list[str]
    frames: Sequences
    y: Float64
    dimensions: list[str]


@dataclass(frozen=True, eq=False)
class Scaled:
    """A fold, and how its labels were brought into 0..1.

    Attributes
    ----------
    fold : HeadFold
    low, span : float64, shape (dimensions,)
        ``label = low + span · y``; 0 and 1 where labels lie in 0..1 anyway.
    """

    fold: HeadFold
    low: Float64
    span: Float64


def wanted_dimensions(labels: pd.DataFrame, params: Params) -> list[str]:
    """Those of ``contrast.dimensions`` that are labels of the task; all, if none is named."""
    there = list(dict.fromkeys(labels.loc[labels["task"] == params.probe.task, "dimension"]))
    named = params.contrast.dimensions
    return [name for name in named if name in there] if named else there


def wanted_labels(
    labels: pd.DataFrame, clips: list[str], params: Params
) -> tuple[Float64, list[str]]:
    """Labels of the dimensions that are learned, and their names, of which there is one.

    Returns
    -------
    values : float64, shape (clips, dimensions)
    dimensions : list of str

    Raises
    ------
    BadInputError
        No clip has a label, or one has some labels only.
    """
    task = params.probe.task
    y, names = label_matrix(labels, task, clips)
    chosen = wanted_dimensions(labels, params)
    y = y[:, [names.index(name) for name in chosen]]
    missing = np.isnan(y)
    if missing.all():
        raise BadInputError(
            f"no clip with frames has a label of the task {task}", where="contrast.heads",
            next_step="label clips that have audio, or change probe.task in params.yaml",
        )  # fmt: skip
    if partly := [*np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1))]:
        raise BadInputError(
            f"{len(partly)} clips are labelled in part", where=clips[partly[0]],
            next_step="label every dimension of a clip, or leave the clip out of the labels",
        )  # fmt: skip
    return y, chosen


def make_head_folds(
    framed: Framed, manifest: pd.DataFrame, folds: pd.DataFrame, scheme: str, params: Params
) -> list[Scaled]:
    """Folds of a scheme, at most ``contrast.folds`` of them; those without a split are named."""
    numbers = sorted(set(folds.loc[folds["scheme"] == scheme, "fold"]))
    found = []
    for number in numbers[: params.contrast.folds or None]:
        made = _fold(framed, manifest, folds, scheme, int(number), params)
        if isinstance(made, str):
            _log.warning("contrast: left out: fold %s/%d: %s", scheme, number, made)
        else:
            found.append(made)
    return found


def _fold(
    framed: Framed, manifest: pd.DataFrame, folds: pd.DataFrame, scheme: str, number: int,
    params: Params,
) -> Scaled | str:  # fmt: skip
    """One fold, or why there is none."""
    row_of = {clip: row for row, clip in enumerate(framed.clips)}
    labelled = np.asarray(~np.isnan(framed.y).any(axis=1))
    train, test = (
        _rows(clips, row_of, labelled) for clips in train_test(folds, manifest, scheme, number)
    )
    if len(train) < 3 or not len(test):
        return f"{len(train)} clips to learn from, {len(test)} to report"
    y, low, span = _scaled(framed.y[train], framed.y[labelled])
    names = np.array([framed.clips[row] for row in train], dtype=object)
    try:
        cut = divide(manifest, scheme, names, y, _probe(params))
    except CannotCutError as reason:
        return reason.what
    if cut.validation is None:
        return "no group of clips can be spared to stop on"
    fold = HeadFold(f"{scheme}/{number}", framed.frames, train, test, y, cut.validation)
    return Scaled(fold, low, span)


def _rows(clips: np.ndarray, row_of: dict[str, int], labelled: np.ndarray) -> Rows:
    rows = [row_of[clip] for clip in clips if clip in row_of]
    return np.array([row for row in rows if labelled[row]], dtype=np.int64)


def _scaled(y: Float64, of_corpus: Float64) -> tuple[Float64, Float64, Float64]:
    """Labels in 0..1: as they are if the scale is 0..1, else between the training extremes.

    Which of the two is asked of the scale, so of all labels; the extremes are of the training side.
    """
    n = y.shape[1]
    if of_corpus.min() >= 0 and of_corpus.max() <= 1:
        return y, np.zeros(n), np.ones(n)
    low = y.min(axis=0)
    span = y.max(axis=0) - low
    span[span == 0] = 1.0
    return (y - low) / span, low, span


def _probe(params: Params) -> ProbeParams:
    """How probes divide the training side, with the share that heads hold back."""
    held = params.contrast.validation_fraction
    mlp = params.probe.mlp.model_copy(update={"validation_fraction": held})
    return params.probe.model_copy(update={"mlp": mlp})
