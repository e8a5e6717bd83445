"""Errors inside each movement, composition and player: where a model is good, and where biased."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.protocol.groups import group_labels, players
from pianoeval.evaluate.statistics.metrics import Array

COLUMNS = ("movement", "composition", "player")
MIN_CLIPS = 10  # fewer say nothing about explained variance


def group_errors(judged: Judged) -> list[dict[str, Any]]:
    """One row a model and group; every number is the average over the rated dimensions.

    Clips of unknown players are in no group of the column ``player``.

    Returns
    -------
    list of dict
        ``model, column, group, n, mean_rated, mean_predicted, bias`` (predicted − rated), ``rmse``
        and ``r2`` (about the group's own mean; None below ``MIN_CLIPS`` clips or where the
        ratings do not vary).
    """
    rows = []
    for column in COLUMNS:
        labels = _known(judged.manifest, column)
        for group, where in pd.Series(range(len(labels))).groupby(labels, sort=True):
            inside = where.to_numpy()
            for model, p in judged.models.items():
                found = _errors(judged.y[inside], p[inside])
                row: dict[str, Any] = {"model": model, "column": column, "group": str(group)}
                rows.append(row | {"n": len(inside)} | found)
    return rows


def _known(manifest: pd.DataFrame, column: str) -> pd.Series:
    """Group of each row; missing where it is unknown."""
    if column == "player":
        return players(manifest).reset_index(drop=True)
    return group_labels(manifest, column).reset_index(drop=True)


def _errors(y: Array, p: Array) -> dict[str, Any]:
    """Averages over dimensions of one group's errors, from (n, D)."""
    rated = np.isfinite(y)
    n = rated.sum(axis=0)
    y, p, rated, n = y[:, n > 0], p[:, n > 0], rated[:, n > 0], n[n > 0]
    mean_y = np.where(rated, y, 0.0).sum(axis=0) / n
    mean_p = np.where(rated, p, 0.0).sum(axis=0) / n
    squares = np.where(rated, (y - p) ** 2, 0.0).sum(axis=0)
    total = np.where(rated, (y - mean_y) ** 2, 0.0).sum(axis=0)
    enough = (n >= MIN_CLIPS) & (total > 1e-12)
    out: dict[str, Any] = {
        "mean_rated": number(float(mean_y.mean())),
        "mean_predicted": number(float(mean_p.mean())),
        "bias": number(float((mean_p - mean_y).mean())),
        "rmse": number(float(np.sqrt(squares / n).mean())),
        "r2": None,
    }
    if enough.any():
        out["r2"] = number(float((1.0 - squares[enough] / total[enough]).mean()))
    else:
        out["reason"] = f"fewer than {MIN_CLIPS} clips, or ratings that do not vary"
    return out
