"""Baselines that do not listen: the training mean, and lookups of group means.

A lookup predicts the mean label of the training clips that share a group (player, segment ...)
with the test clip; a group unseen in training gets the training mean. Whatever a model scores, a
lookup that scores as much shows that it need not have heard anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.corpora.manifest import label_matrix
from pianoeval.evaluate.protocol.groups import Clips
from pianoeval.evaluate.protocol.splits import train_test

LOOKUPS: dict[str, tuple[str, ...]] = {
    "movement_mean": ("movement",),
    "player_mean": ("player",),
    "movement_player_mean": ("movement", "player"),
    "content_mean": ("content_group",),
    "segment_mean": ("segment",),
}
TRAINING_MEAN = "training_mean"
PREDICTION_COLUMNS = [
    "clip", "scheme", "fold", "model", "seed", "task", "dimension", "prediction",
]  # fmt: skip


def _column_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each column over its finite entries; NaN where there is none. (n, D) -> (D,)."""
    counts = np.isfinite(values).sum(axis=0)
    sums = np.nansum(values, axis=0)
    means: NDArray[np.float64] = np.full(values.shape[1], np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def lookup(values: NDArray[np.float64], train_keys: Clips, test_keys: Clips) -> NDArray[np.float64]:
    """Group means of the training labels, read off for the test clips.

    Parameters
    ----------
    values : array, shape (training clips, dimensions)
        Labels; NaN where a clip was not rated.
    train_keys, test_keys : arrays of str
        Group of each clip; None matches nothing.

    Returns
    -------
    array, shape (test clips, dimensions)
    """
    overall = _column_means(values)
    known = {
        key: _column_means(values[train_keys == key]) for key in set(test_keys) & set(train_keys)
    }
    rows = [known[key] if key is not None and key in known else overall for key in test_keys]
    found = np.array(rows).reshape(len(test_keys), values.shape[1])
    return np.where(np.isfinite(found), found, overall)


def _keys(manifest: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    """One key a clip from several columns; None if any of them is missing."""
    parts = manifest[list(columns)]
    keys = [
        None if any(pd.isna(v) for v in row) else "|".join(map(str, row))
        for row in parts.itertuples(index=False)
    ]
    return pd.Series(np.array(keys, dtype=object), index=manifest["clip"].to_numpy(), dtype=object)


def lookup_predictions(
    manifest: pd.DataFrame, labels: pd.DataFrame, folds: pd.DataFrame, task: str
) -> dict[str, pd.DataFrame]:
    """Predictions of every baseline, in the form models give theirs.

    Returns
    -------
    dict of DataFrame
        ``none`` holds the training mean, ``lookup`` the group means; columns ``clip, scheme,
        fold, model, seed, task, dimension, prediction``; ``seed`` is null, nothing is random.
    """
    clips = manifest["clip"].to_numpy(dtype=object)
    values, dimensions = label_matrix(labels, task, list(clips))
    row = {clip: i for i, clip in enumerate(clips)}
    keys = {name: _keys(manifest, columns) for name, columns in LOOKUPS.items()}
    parts: dict[str, list[pd.DataFrame]] = {"none": [], "lookup": []}
    cells = folds[["scheme", "fold"]].drop_duplicates()
    for scheme, fold in zip(cells["scheme"], cells["fold"], strict=True):
        train, test = train_test(folds, manifest, scheme, int(fold))
        known = values[[row[clip] for clip in train]]
        frame = {"scheme": scheme, "fold": fold, "task": task}
        mean = np.tile(_column_means(known), (len(test), 1))
        parts["none"].append(_long(mean, test, dimensions, {**frame, "model": TRAINING_MEAN}))
        for name, key in keys.items():
            found = lookup(known, key.loc[list(train)].to_numpy(), key.loc[list(test)].to_numpy())
            parts["lookup"].append(_long(found, test, dimensions, {**frame, "model": name}))
    return {view: _concat(tables) for view, tables in parts.items()}


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=PREDICTION_COLUMNS)
    return pd.concat(tables, ignore_index=True)


def _long(
    predicted: NDArray[np.float64],
    clips: Clips,
    dimensions: list[str],
    constants: dict[str, Any],
) -> pd.DataFrame:
    """(clips, dimensions) as rows of the prediction table."""
    table = pd.DataFrame(
        {
            "clip": np.repeat(clips, len(dimensions)),
            "dimension": np.tile(np.array(dimensions, dtype=object), len(clips)),
            "prediction": predicted.astype(np.float32).ravel(),
        }
    )
    for name, value in constants.items():
        table[name] = value
    table["seed"] = pd.array([None] * len(table), dtype="Int64")
    return table[PREDICTION_COLUMNS]
