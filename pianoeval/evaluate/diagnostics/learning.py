"""Learning curves: how the score grows with the share of the training clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.judged import METRIC
from pianoeval.evaluate.protocol.controls import base_view, fraction_of
from pianoeval.evaluate.protocol.splits import train_test
from pianoeval.evaluate.tables import MEAN


def learning_curves(
    results: pd.DataFrame, folds: pd.DataFrame, manifest: pd.DataFrame, labelled: set[str]
) -> list[dict[str, Any]]:
    """Points of every curve, from few to all training clips, read off the results.

    Parameters
    ----------
    results : DataFrame
        Columns ``tables.RESULT_COLUMNS``.
    folds, manifest : DataFrame
    labelled : set of str
        Clips that can be trained on.

    Returns
    -------
    list of dict
        ``view, scheme, model, fraction, n_train`` (clips, mean over folds), ``value, ci_low,
        ci_high, metric``; all clips are fraction 1.
    """
    rows = results[
        (results["subset"] == "all")
        & (results["dimension"] == MEAN)
        & (results["metric"] == METRIC)
    ]
    names = rows["features"].astype(str)
    # An array: where no model has the metric, an empty list would choose columns.
    partial = rows[np.array([fraction_of(name) is not None for name in names], dtype=bool)]
    out: list[dict[str, Any]] = []
    for (scheme, model), part in partial.groupby(["scheme", "model"], sort=False):
        views = list(dict.fromkeys(base_view(str(name)) for name in part["features"]))
        n_train = _n_train(folds, manifest, str(scheme), labelled)
        whole = rows[(rows["scheme"] == scheme) & (rows["model"] == model)]
        points = pd.concat([part, whole[whole["features"].isin(views)]])
        for _, row in points.iterrows():
            fraction = fraction_of(str(row["features"]))
            share = 1.0 if fraction is None else fraction
            out.append(
                {
                    "view": base_view(str(row["features"])),
                    "scheme": str(scheme),
                    "model": str(model),
                    "fraction": number(share),
                    "n_train": round(share * n_train),
                    **{name: number(float(row[name])) for name in ("value", "ci_low", "ci_high")},
                    "metric": METRIC,
                }
            )
    return sorted(out, key=lambda p: (p["view"], p["scheme"], p["model"], p["fraction"]))


def _n_train(folds: pd.DataFrame, manifest: pd.DataFrame, scheme: str, labelled: set[str]) -> float:
    """Labelled training clips, mean over the folds of a scheme."""
    numbers = sorted(set(folds.loc[folds["scheme"] == scheme, "fold"]))
    sides = [train_test(folds, manifest, scheme, int(fold))[0] for fold in numbers]
    return float(np.mean([len(labelled.intersection(side)) for side in sides]))
