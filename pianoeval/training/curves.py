"""Learning curves: ridge trained on parts of the training side, tested on all of the test side.

A part holds whole content groups in a seeded order, and smaller parts lie within larger ones
(``evaluate.protocol.controls.part_of_training``). Everything that ridge learns, scaling and penalty
included, it learns from the part. A scheme of which some fold has too little to be reduced so far
is left out with its reason: no point ever stands for another share than its name says.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.models.registry import PROBES
from pianoeval.progress import Meter
from pianoeval.training.crossval import (
    PREDICTION_COLUMNS,
    Part,
    Study,
    make_scheme,
    prediction_rows,
)


def no_predictions() -> pd.DataFrame:
    """A table of predictions without rows, its columns typed as if there were some."""
    types = {"fold": "int64", "seed": "int64", "prediction": "float32"}
    return pd.DataFrame({name: pd.Series([], dtype=types.get(name, "str"))
                         for name in PREDICTION_COLUMNS})  # fmt: skip


def predict_part(
    study: Study, folds: pd.DataFrame, part: Part, view_name: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Out-of-fold predictions of ridge after training on ``part``.

    Returns
    -------
    predictions : DataFrame
        Columns ``crossval.PREDICTION_COLUMNS``.
    left_out : dict of str
        Schemes that could not be reduced, each with the reason.
    """
    smaller = replace(study, part=part)
    tables: list[pd.DataFrame] = []
    left_out: dict[str, str] = {}
    schemes = list(dict.fromkeys(folds["scheme"]))
    with Meter(f"probe {view_name}", len(schemes), unit="models") as meter:
        for scheme in schemes:
            try:
                cut = make_scheme(smaller, folds, scheme)
            except CannotCutError as reason:
                left_out[scheme] = reason.what
            else:
                for fold in cut:
                    [result] = PROBES["ridge"].predict([fold], study.probe, study.run)
                    tables.append(prediction_rows(study, fold, result, ("ridge", 0)))
            meter.advance()
    return pd.concat(tables, ignore_index=True) if tables else no_predictions(), left_out
