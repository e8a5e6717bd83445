"""Heads and baselines of one scheme on the same clips."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.corpora.manifest import label_matrix
from pianoeval.errors import BadInputError, CorruptDataError
from pianoeval.evaluate.contrast.read import PREDICTED
from pianoeval.evaluate.protocol.baselines import lookup_predictions
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Design, make_design
from pianoeval.evaluate.tables import (
    ModelKey,
    Predictions,
    encode_predictions,
    positions,
    predicted_in_full,
    prediction_matrices,
)
from pianoeval.params import Params
from pianoeval.rankings import POINT

_log = logging.getLogger(__name__)
TRUTH = "ceiling/truth"
HEADS = "heads"  # stands for a view where tables of predictions are encoded


@dataclass(frozen=True, eq=False)
class Trial:
    """All that is judged on the same clips.

    Attributes
    ----------
    scheme : str
    design : Design
    y : float64, shape (n, D)
        Labels.
    dimensions : list of str
    seeds : list of int
        Of all heads.
    heads : dict of float64, shape (seeds, n, D), by name
        Points of sweeps are ``<head>:<point>``.
    baselines : dict of float64, shape (1, n, D), by name ``features/model``
    known : dict of float64, shape (1, n, D), by name ``ceiling/<what>``
        What one predicts who knows more than can be heard.
    dropped : int
        Labelled clips of the tested folds that some head did not predict.
    """

    scheme: str
    design: Design
    y: Array
    dimensions: list[str]
    seeds: list[int]
    heads: Mapping[str, Array]
    baselines: Mapping[str, Array]
    known: Mapping[str, Array]
    dropped: int

    @property
    def n_folds(self) -> int:
        return len(np.unique(self.design.fold))

    @property
    def varied(self) -> NDArray[np.bool_]:
        """Dimensions whose labels differ, (D,): of the others there is no R²."""
        rated = np.isfinite(self.y)
        most, least = (np.where(rated, self.y, end) for end in (-np.inf, np.inf))
        return np.asarray(most.max(axis=0) > least.min(axis=0))

    def of(self, name: str) -> Array:
        """Predictions of a head, a baseline or what is known, (seeds or 1, n, D)."""
        return {**self.heads, **self.baselines, **self.known}[name]


def is_point(name: str) -> bool:
    """Whether a name is that of a point of a sweep, which is compared with nothing."""
    return POINT in name


def make_trials(
    manifest: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    predictions: pd.DataFrame,
    params: Params,
    truth: pd.DataFrame | None = None,
) -> list[Trial]:
    """One trial a scheme that heads were trained in, in the order of the table.

    Parameters
    ----------
    truth : DataFrame or None
        ``clip`` and a column a dimension: labels without the error of judges. Used only where it
        has every dimension.

    Raises
    ------
    CorruptDataError
        A dimension without labels, seeds that differ between heads, a clip predicted twice, a
        truth that lacks clips.
    BadInputError
        No clip was predicted by every head.
    """
    task, dimensions = params.probe.task, list(predictions.attrs.get("dimensions", []))
    manifest = manifest.sort_values("clip", ignore_index=True)
    clips = manifest["clip"].tolist()
    values, names = label_matrix(labels, task, clips)
    if unknown := sorted({*dimensions, *predictions["dimension"].unique()} - {*names}):
        raise CorruptDataError(
            f"heads predict '{unknown[0]}', of which there are no labels", where="heads",
            allowed=", ".join(names), next_step="dvc repro",
        )  # fmt: skip
    values = values[:, [names.index(name) for name in dimensions]]
    schemes = [str(scheme) for scheme in predictions["scheme"].unique()]
    chosen = folds[folds["scheme"].isin(schemes)]
    told = predictions.rename(columns={"head": "model", PREDICTED: "prediction"})
    tables = {HEADS: told.assign(task=task), **lookup_predictions(manifest, labels, chosen, task)}
    encoded = {
        view: encode_predictions(view, table, task, clips, dimensions)
        for view, table in tables.items()
    }
    trials = [
        _trial(scheme, manifest, values, dimensions, chosen[chosen["scheme"] == scheme], encoded,
               params.evaluate.min_players)
        for scheme in schemes
    ]  # fmt: skip
    if truth is None or not set(dimensions) <= set(truth.columns):
        return trials
    return [replace(trial, known={TRUTH: _true(trial, truth)}) for trial in trials]


def _true(trial: Trial, truth: pd.DataFrame) -> Array:
    wide = truth.set_index("clip")[trial.dimensions]
    if absent := sorted(set(trial.design.clips) - set(wide.index)):
        raise CorruptDataError(
            f"no true labels of '{absent[0]}'", where="truth.parquet",
            allowed="every clip of the corpus", next_step="dvc repro",
        )  # fmt: skip
    return wide.loc[list(trial.design.clips)].to_numpy(np.float64)[None]


def _trial(
    scheme: str, manifest: pd.DataFrame, values: Array, dimensions: list[str],
    folds: pd.DataFrame, encoded: Mapping[str, Predictions], min_players: int,
) -> Trial:  # fmt: skip
    folds = folds.sort_values("clip", ignore_index=True)
    row = positions(manifest["clip"].tolist(), folds["clip"])
    y, fold = values[row], folds["fold"].to_numpy(np.int64)
    matrices = prediction_matrices(encoded, scheme, row, fold, values.shape)
    heads = {key: p for key, p in matrices.items() if key.features == HEADS}
    told = np.array([predicted_in_full(p, y) for p in heads.values()])
    keep, some = told.all(axis=0), told.any(axis=0)
    dropped = int((some & ~keep).sum())
    if not keep.any():
        raise BadInputError(
            f"no clip was predicted by every head under '{scheme}'",
            next_step="dvc repro   (or take heads of fewer stores in params.yaml)",
        )
    if dropped:
        _log.warning("%s: %d clips lack the prediction of some head", scheme, dropped)
    design = make_design(manifest, folds[keep].set_index("clip")["fold"], min_players)
    stacked, seeds = _by_head({key: p[keep] for key, p in heads.items()}, scheme)
    baselines = {
        f"{key.features}/{key.model}": p[keep][None]
        for key, p in matrices.items() if key.is_baseline
    }  # fmt: skip
    return Trial(scheme, design, y[keep], dimensions, seeds, stacked, baselines, {}, dropped)


def _by_head(matrices: Mapping[ModelKey, Array], scheme: str) -> tuple[dict[str, Array], list[int]]:
    """Predictions (seeds, n, D) of each head, and the seeds."""
    parts: dict[str, dict[int, Array]] = {}
    for key, p in matrices.items():
        parts.setdefault(key.model, {})[-1 if key.seed is None else key.seed] = p
    seeds = sorted(next(iter(parts.values())))
    for name, found in parts.items():
        if sorted(found) != seeds:
            raise CorruptDataError(
                f"'{name}' was trained with seeds {sorted(found)} under '{scheme}'", where="heads",
                allowed=f"the seeds of the others, {seeds}", next_step="dvc repro",
            )  # fmt: skip
    return {name: np.stack([found[s] for s in seeds]) for name, found in parts.items()}, seeds
