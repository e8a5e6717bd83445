"""Which models can be judged together: on what clips, by what labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.controls import CONTROLS, relabel
from pianoeval.evaluate.scoring import Kind, Problem
from pianoeval.evaluate.state import Evaluation
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import make_design
from pianoeval.evaluate.tables import (
    ModelKey,
    Predictions,
    common_clips,
    positions,
    predicted_in_full,
    prediction_matrices,
)

logger = logging.getLogger(__name__)


def all_problems(
    state: Evaluation, folds: pd.DataFrame, views: Mapping[str, Predictions], seed: int
) -> list[Problem]:
    """Models, controls and learning curves of every scheme and subset.

    Parameters
    ----------
    state : Evaluation
        Is told how many clips of each scheme some model did not predict.
    folds : DataFrame
    views : mapping of Predictions
    seed : int
        Of the labels of controls, as in training.

    Raises
    ------
    BadInputError
        No clip of a scheme was predicted by every model.
    """
    exchanged = _exchanged(state, views, seed)
    return [
        problem
        for scheme in dict.fromkeys(folds["scheme"])
        for problem in _problems(
            state, str(scheme), folds[folds["scheme"] == scheme], views, exchanged
        )
    ]


def _exchanged(state: Evaluation, views: Mapping[str, Predictions], seed: int) -> dict[str, Array]:
    """Labels of each control that some view was trained on."""
    clips = state.manifest["clip"].tolist()
    used = {ModelKey(name, "", None).control for name in views}
    return {
        control: relabel(state.manifest, clips, state.values, control, seed)
        for control in CONTROLS
        if control in used
    }


def _problems(
    state: Evaluation,
    scheme: str,
    folds: pd.DataFrame,
    views: Mapping[str, Predictions],
    exchanged: Mapping[str, Array],
) -> Iterator[Problem]:
    """One scheme: the clips that all models share, as a whole and the human ones."""
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
        for kind, labels, rows, keys in _grouped(matrices, y, row, chosen, exchanged):
            part = folds[rows].set_index("clip")["fold"]
            design = make_design(state.manifest, part, state.params.min_players)
            found = {key: matrices[key][rows] for key in keys}
            yield Problem(scheme, subset, design, labels[rows], found, kind)


_Group = tuple[Kind, Array, NDArray[np.bool_], list[ModelKey]]


def _grouped(
    matrices: Mapping[ModelKey, Array],
    y: Array,
    row: NDArray[np.intp],
    chosen: NDArray[np.bool_],
    exchanged: Mapping[str, Array],
) -> list[_Group]:
    """Kind, labels (n, D), clips (n,) and models that can be judged together.

    A control or a point of a learning curve need not have predicted all clips of the models.
    """
    models = [key for key in matrices if not (key.is_control or key.is_curve)]
    groups: dict[tuple[str, bytes], _Group] = {("", b""): ("models", y, chosen, models)}
    for key, p in matrices.items():
        if key in models:
            continue
        labels = exchanged[key.control][row] if key.control is not None else y
        rows = chosen & predicted_in_full(p, labels)
        kind: Kind = "control" if key.is_control else "curve"
        empty: _Group = (kind, labels, rows, [])
        groups.setdefault((key.control or kind, rows.tobytes()), empty)[3].append(key)
    return [group for group in groups.values() if group[2].any()]
