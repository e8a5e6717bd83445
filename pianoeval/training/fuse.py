"""Fusion views: models of several views as one, out of fold, beside their members.

Weights are learned from nested predictions of the training side (``nested``) and applied to what
the members (``members``) predicted of the reported clips.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.cache import ItemCache
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.features.note_store import NOTES
from pianoeval.features.views import SYMBOLIC
from pianoeval.fusions import usable_fusions
from pianoeval.joins import SOURCE
from pianoeval.models.base import Float64, Fold, FoldPrediction
from pianoeval.models.fusion import Blend, average, stacked, weighted
from pianoeval.params import Params
from pianoeval.params_fusion import FUSION, FusionMethod, FusionView
from pianoeval.paths import CorpusPaths
from pianoeval.progress import Meter
from pianoeval.threads import one_thread
from pianoeval.training.crossval import make_scheme, prediction_rows
from pianoeval.training.curves import no_predictions
from pianoeval.training.fitted import model_key
from pianoeval.training.gating import gated_fold
from pianoeval.training.kernels import kernel_fold
from pianoeval.training.members import Voice, find_voices
from pianoeval.training.nested import fold_values

_log = logging.getLogger(__name__)
WEIGHTS = "fusion_weights"
LEARNED = frozenset({"weighted", "stacked"})  # from nested predictions
_OF_MIDI = (SYMBOLIC, NOTES)  # features that a corpus of recordings does not have


@one_thread()
def fuse_corpus(
    params: Params,
    paths: CorpusPaths,
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    cache: ItemCache,
) -> pd.DataFrame:
    """Predictions of every fusion view whose members are on the axes.

    Returns
    -------
    DataFrame
        The columns of ``predict.predict_features``; ``model`` is the method. Without rows where no
        view can be used. ``attrs["fusion_weights"]``: records of ``features, model, scheme, fold,
        member, dimension, weight``; of ``gated`` the mean share of each view.

    Raises
    ------
    BadInputError
        Members have no clip in common.
    """
    usable, left_out = usable_fusions(params)
    for name, reason in left_out.items():
        _log.warning("%s is left out: %s", name, reason)
    tables = [no_predictions().assign(features=pd.Series([], dtype="str"))]
    weights: list[dict[str, Any]] = []
    for name, members in usable.items():
        if manifest["midi_path"].isna().all() and any(m.features in _OF_MIDI for m in members):
            _log.warning("%s is left out: no clip has MIDI", name)
            continue
        voices = find_voices(name, members, params, paths, manifest, labels, folds)
        table, learned = _fuse(name, params.fusion.views[name], voices, params, folds, cache)
        tables.append(table.assign(features=name))
        weights += [{"features": name, **row} for row in learned]
    found = pd.concat(tables[1:] or tables, ignore_index=True)
    found.attrs |= {WEIGHTS: weights, SOURCE: FUSION}
    return found


def _fuse(
    name: str,
    wanted: FusionView,
    voices: Sequence[Voice],
    params: Params,
    folds: pd.DataFrame,
    cache: ItemCache,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Every method of one fusion view: predictions, and what it learned."""
    tables = [voice.reported(folds, cache) for voice in voices]
    predictions: list[pd.DataFrame] = []
    records: list[dict[str, Any]] = []
    schemes = list(dict.fromkeys(folds["scheme"]))
    with Meter(f"fuse {name}", len(schemes), unit="schemes") as meter:
        for scheme in schemes:
            cut = zip(*(make_scheme(v.of_clips, folds, str(scheme)) for v in voices), strict=True)
            for fold in _nested(name, wanted, list(cut), voices, cache):
                parts = zip(tables, voices, fold.of, strict=True)
                p = np.stack([fold_values(table, v.study, one) for table, v, one in parts])
                for method in fold.methods:
                    result, seed, learned = _predict(method, fold, p, voices, params, cache)
                    rows = prediction_rows(voices[0].of_clips, fold.of[0], result, (method, seed))
                    predictions.append(rows)
                    number = int(fold.of[0].name.split("/")[1])
                    where = {"model": method, "scheme": scheme, "fold": number}
                    records += [where | one for one in learned]
            meter.advance()
    return pd.concat(predictions, ignore_index=True), records


@dataclass(frozen=True, eq=False)
class _Division:
    """A reported fold of every member, their nested predictions, and what can be learned."""

    of: Sequence[Fold]
    nested: Float64 | None  # (members, n_train, dimensions); None where no method reads it
    methods: Sequence[FusionMethod]


def _nested(
    name: str,
    wanted: FusionView,
    cut: Sequence[Sequence[Fold]],
    voices: Sequence[Voice],
    cache: ItemCache,
) -> list[_Division]:
    """Nested predictions of all folds of a scheme.

    Where one of them is too small to be divided twice, weights are learned in none: a method
    either predicts a scheme whole or not at all, as clips that it lacked would be taken from all.
    """
    methods = wanted.methods
    if not set(methods) & LEARNED:
        return [_Division(same, None, methods) for same in cut]
    try:
        nested = [
            np.stack([voice.nested(fold, cache) for voice, fold in zip(voices, same, strict=True)])
            for same in cut
        ]
    except CannotCutError as reason:
        rest = [method for method in methods if method not in LEARNED]
        _log.warning("%s learns no weights here, too few groups: %s", name, reason.what)
        return [_Division(same, None, rest) for same in cut]
    return [_Division(same, p, methods) for same, p in zip(cut, nested, strict=True)]


def _predict(
    method: FusionMethod,
    fold: _Division,
    p: Float64,
    voices: Sequence[Voice],
    params: Params,
    cache: ItemCache,
) -> tuple[FoldPrediction, int, list[dict[str, Any]]]:
    """Predictions of one method, its seed, and records of its weights.

    Parameters
    ----------
    p : float64, shape (members, n_test, dimensions)
        The members' predictions of the reported clips.
    """
    if method == "gated":
        views = {v.member.view: (one, v) for one, v in zip(fold.of, voices, strict=True)}
        read = {name: model_key(v.study, v.inputs, "mlp") for name, (_, v) in views.items()}
        of_views = [one for one, _ in views.values()]
        result = gated_fold(of_views, read, params.probe.mlp, cache)
        shares = zip(views, result.selection["shares"], strict=True)
        told = [{"member": view, "dimension": "all", "weight": share} for view, share in shares]
        return result, params.probe.mlp.seed, told
    if method == "kernel":
        read = {v.member.view: model_key(v.study, v.inputs, "kernel_ridge") for v in voices}
        views = {v.member.view: (one, v) for one, v in zip(fold.of, voices, strict=True)}
        of_views = [one for one, _ in views.values()]
        return kernel_fold(of_views, read, params.probe.kernel_ridge, cache), 0, []
    y = fold.of[0].y
    if fold.nested is None or method == "average":
        blend = average(len(voices), y.shape[1])
    elif method == "stacked":
        blend = stacked(fold.nested, y, fold.of[0].inner, params.fusion.penalties)
    else:
        blend = weighted(fold.nested, y)
    dimensions = voices[0].study.labels.dimensions
    return FoldPrediction(blend.predict(p)), 0, _told(blend, [v.name for v in voices], dimensions)


def _told(blend: Blend, members: Sequence[str], dimensions: Sequence[str]) -> list[dict[str, Any]]:
    """Weights as records; one a member where all dimensions have the same."""
    alike = bool((blend.weights == blend.weights[:, :1]).all())
    return [
        {"member": member, "dimension": dimension, "weight": float(weight)}
        for member, row in zip(members, blend.weights, strict=True)
        for dimension, weight in ([("all", row[0])] if alike else zip(dimensions, row, strict=True))
    ]
