"""Prediction tables as matrices, and matrices as rows of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.protocol.baselines import PREDICTION_COLUMNS
from pianoeval.evaluate.protocol.controls import control_of, fraction_of, render_of
from pianoeval.evaluate.protocol.groups import Clips
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.fusions import is_fusion

RESULT_COLUMNS = [
    "corpus", "task", "scheme", "subset", "features", "model", "dimension", "metric", "value",
    "ci_low", "ci_high", "interval", "n_clips", "n_clusters", "seed", "config_hash", "commit",
]  # fmt: skip
MEAN = "mean"


@dataclass(frozen=True)
class ModelKey:
    """What distinguishes one column of predictions."""

    features: str
    model: str
    seed: int | None

    @property
    def is_baseline(self) -> bool:
        return self.features in {"none", "lookup"}

    @property
    def is_symbolic(self) -> bool:
        """Whether the features are symbolic; all other views but fusions read audio."""
        return self.features.startswith(("symbolic", "notes"))

    @property
    def is_fusion(self) -> bool:
        """Whether this is several models read as one, of whatever views."""
        return is_fusion(self.features)

    @property
    def control(self) -> str | None:
        """The exchanged labels that this was trained on, if any (``controls.CONTROLS``)."""
        return control_of(self.features)

    @property
    def is_control(self) -> bool:
        """Whether this was trained on exchanged labels: no candidate for anything."""
        return self.control is not None

    @property
    def is_curve(self) -> bool:
        """Whether this is a point of a learning curve, or of one instrument: no candidate."""
        return fraction_of(self.features) is not None or render_of(self.features) is not None


@dataclass(frozen=True, eq=False)
class Predictions:
    """One view's predictions as codes, so that no scheme compares strings again.

    Attributes
    ----------
    clip, dimension : int64, shape (rows,)
        Positions among the clips and dimensions that are evaluated.
    fold : int64, shape (rows,)
    value : float64, shape (rows,)
    groups : dict
        Rows of each (scheme, model, seed).
    """

    clip: NDArray[np.intp]
    dimension: NDArray[np.intp]
    fold: NDArray[np.int64]
    value: Array
    groups: dict[tuple[str, str, int | None], NDArray[np.intp]]


def positions(names: Sequence[str], wanted: Sequence[str] | Clips | pd.Series) -> NDArray[np.intp]:
    """Place of each wanted name among ``names``, -1 where it is absent."""
    place = {name: i for i, name in enumerate(names)}
    codes, distinct = pd.factorize(pd.Series(wanted, dtype=object))
    return np.array([place.get(name, -1) for name in distinct], dtype=np.intp)[codes]


def encode_predictions(
    view: str, table: pd.DataFrame, task: str, clips: Sequence[str], dimensions: Sequence[str]
) -> Predictions:
    """Check and encode one table of predictions.

    Raises
    ------
    CorruptDataError
        If a column is missing, or a clip is not in the manifest.
    """
    missing = [name for name in PREDICTION_COLUMNS if name not in table.columns]
    if missing:
        raise CorruptDataError(
            f"predictions lack {', '.join(missing)}",
            where=view,
            allowed=", ".join(PREDICTION_COLUMNS),
            next_step="dvc repro",
        )
    table = table[(table["task"] == task).to_numpy()]
    clip = positions(clips, table["clip"])
    dimension = positions(dimensions, table["dimension"])
    if (clip < 0).any():
        unknown = str(table["clip"].to_numpy()[clip < 0][0])
        raise CorruptDataError(
            f"predictions of {view} name a clip that the manifest lacks",
            where=unknown,
            next_step="dvc repro",
        )
    seed = table["seed"].astype("Int64")
    keys = pd.DataFrame(
        {"scheme": table["scheme"].to_numpy(), "model": table["model"].to_numpy(),
         "seed": seed.fillna(-1).to_numpy(np.int64)}
    )  # fmt: skip
    code = keys.groupby(["scheme", "model", "seed"], sort=True).ngroup().to_numpy()
    groups = {}
    for number in range(int(code.max()) + 1 if len(code) else 0):
        rows = np.flatnonzero(code == number)
        scheme, model, n = keys.iloc[int(rows[0])]
        groups[str(scheme), str(model), None if n < 0 else int(n)] = rows
    fold = table["fold"].to_numpy(np.int64)
    return Predictions(clip, dimension, fold, table["prediction"].to_numpy(np.float64), groups)


def prediction_matrices(
    views: Mapping[str, Predictions],
    scheme: str,
    clip: NDArray[np.intp],
    fold: NDArray[np.int64],
    shape: tuple[int, int],
) -> dict[ModelKey, Array]:
    """Predictions of every model under one scheme.

    Parameters
    ----------
    views : mapping of Predictions
    scheme : str
    clip, fold : arrays, shape (n,)
        Clips of the scheme as positions in the manifest, and the fold that tests each.
    shape : (int, int)
        Clips of the manifest, dimensions.

    Returns
    -------
    dict of float64, shape (n, dimensions); NaN where a model predicted nothing

    Raises
    ------
    CorruptDataError
        If predictions were made on other folds, or a clip was predicted twice.
    """
    tested_in = np.full(shape[0], -1, np.int64)
    tested_in[clip] = fold
    out: dict[ModelKey, Array] = {}
    for view, table in views.items():
        for (found, model, seed), rows in table.groups.items():
            if found != scheme:
                continue
            if (tested_in[table.clip[rows]] != table.fold[rows]).any():
                raise CorruptDataError(
                    f"predictions of {view}/{model} under '{scheme}' were made on other folds",
                    where=view,
                    next_step="dvc repro",
                )
            out[ModelKey(view, model, seed)] = _matrix(table, rows, shape, view)[clip]
    return out


def _matrix(table: Predictions, rows: NDArray[np.intp], shape: tuple[int, int], view: str) -> Array:
    rows = rows[table.dimension[rows] >= 0]
    cell = table.clip[rows] * shape[1] + table.dimension[rows]
    if len(np.unique(cell)) < len(cell):
        raise CorruptDataError(
            "a model predicts the same clip twice", where=view, next_step="dvc repro"
        )
    out: Array = np.full(shape[0] * shape[1], np.nan)
    out[cell] = table.value[rows]
    return out.reshape(shape)


def predicted_in_full(p: Array, y: Array) -> NDArray[np.bool_]:
    """Labelled clips with a prediction of each labelled dimension, shape (n,)."""
    labelled = np.isfinite(y)
    return np.asarray((np.isfinite(p) | ~labelled).all(axis=1) & labelled.any(axis=1))


def common_clips(matrices: Mapping[ModelKey, Array], y: Array) -> NDArray[np.bool_]:
    """Labelled clips that every model predicted in full, so that all are compared on the same.

    Controls, learning curves and rows of one instrument take none away: they are no models of
    their own.
    """
    keep: NDArray[np.bool_] = np.asarray(np.isfinite(y).any(axis=1))
    for key, p in matrices.items():
        if not (key.is_control or key.is_curve):
            keep &= predicted_in_full(p, y)
    return keep


def count_clips(y: Array, cluster: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Rated clips and the clusters they lie in, a dimension each and then for their mean."""
    rated = np.isfinite(y)
    rated = np.concatenate([rated, rated.any(axis=1, keepdims=True)], axis=1)
    clips = [int(column.sum()) for column in rated.T]
    clusters = [len(np.unique(cluster[column])) for column in rated.T]
    return clips, clusters


def results_table(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows in the order of ``RESULT_COLUMNS`` as a table; ``seed`` is a nullable integer."""
    table = pd.DataFrame(list(rows), columns=RESULT_COLUMNS)
    return table.astype({"seed": "Int64", "n_clips": "int64", "n_clusters": "int64"})
