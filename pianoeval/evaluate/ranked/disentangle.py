"""What learned codes tell of the piece, the player and the labels, beside chance.

Codes of one fold come from networks of their own, so every question (see ``questions``) is asked
inside the reported takes of a fold. A measure is averaged over folds by their takes, and so is
each permutation: the chance level is the mean of these averages with its central 95 %, and p the
share of permutations that reach the value, (b + 1)/(m + 1) (Phipson & Smyth 2010).

Larger is always more information about the classes. ``piece_accuracy`` of a style within its
chance interval is what disentanglement asks for; that it holds nothing is not shown by that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import CorruptDataError
from pianoeval.evaluate.ranked.clustering import clustering
from pianoeval.evaluate.ranked.mutual_information import neighbour_information, principal_components
from pianoeval.evaluate.ranked.probes import (
    centred,
    class_probe,
    leave_out_smoother,
    residual_probe,
)
from pianoeval.evaluate.ranked.questions import Question, ask
from pianoeval.params import Params

COLUMNS = (
    "ranker", "scheme", "branch", "measure", "value", "chance_mean", "chance_low", "chance_high",
    "p", "n_clips", "n_classes",
)  # fmt: skip
PREDICTION = "prediction"
_VALUE = re.compile(r"v\d+")
_TAIL = 2.5
_Measured = dict[str, tuple[NDArray[np.float64], Question]]


def disentanglement(
    codes: pd.DataFrame, manifest: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> pd.DataFrame:
    """Every measure of every branch of codes.

    Parameters
    ----------
    codes : DataFrame
        ``ranker, scheme, fold, branch, clip`` and values ``v000`` …, NaN beyond a code's length;
        see :func:`prediction_codes` for predictions as codes.
    manifest, labels : DataFrame
        Of all clips.

    Returns
    -------
    DataFrame with columns ``COLUMNS``; ``n_clips`` and ``n_classes`` (pieces or players; 0 for
    labels) count what could be asked. A measure that no fold allows has no row.

    Raises
    ------
    CorruptDataError
        Codes of a clip that the manifest does not list, or that are not finite.
    """
    rows_of = manifest.set_index("clip", drop=False)
    if unknown := sorted(set(codes["clip"]) - set(rows_of.index)):
        raise CorruptDataError(
            "the manifest does not list this clip of the codes", where=unknown[0],
            next_step="dvc repro rank",
        )  # fmt: skip
    asked: dict[tuple[int, tuple[str, ...]], list[Question]] = {}
    tables = []
    keys = ["ranker", "scheme", "branch"]
    for names, of_branch in codes.groupby(keys, sort=False):
        measured = []
        for fold, table in of_branch.groupby("fold", sort=True):
            clips = tuple(table["clip"])
            key = int(str(fold)), clips
            if key not in asked:
                rows = rows_of.loc[list(clips)].reset_index(drop=True)
                asked[key] = ask(rows, labels, params.probe.task, params.rank, key[0])
            measured.append(measure(code_values(table), asked[key], params.rank.seed))
        head = dict(zip(keys, names, strict=True))
        tables += [{**head, **row} for row in _averaged(measured)]
    return pd.DataFrame(tables, columns=list(COLUMNS))


def code_values(table: pd.DataFrame) -> NDArray[np.float32]:
    """Values of one branch in one fold, shape (takes, values).

    Raises
    ------
    CorruptDataError
        Some value is missing within the code's length.
    """
    columns = [name for name in table.columns if _VALUE.fullmatch(str(name))]
    values = table[columns].to_numpy(np.float32)
    values = values[:, ~np.isnan(values).all(axis=0)]
    if not values.shape[1] or not np.isfinite(values).all():
        raise CorruptDataError(
            "codes are not finite", where=str(table["ranker"].iloc[0]), next_step="dvc repro rank"
        )
    return values


def measure(values: NDArray[np.float32], questions: Sequence[Question], seed: int) -> _Measured:
    """Every measure of one fold's codes: as it is, then under every permutation."""
    found: _Measured = {}
    for question in questions:
        z, unit, classes = centred(values[question.rows]), question.unit, question.classes
        smoother = leave_out_smoother(z, unit)
        if question.name == "labels":
            answers = {"r2": residual_probe(smoother, question.residuals, question.orders)}
        else:
            accuracy, bound = class_probe(smoother, classes, unit)
            nearest = neighbour_information(principal_components(z), classes, unit)
            answers = {"accuracy": accuracy, "information": bound, "information_knn": nearest}
            if question.name != "piece_given_player":
                answers |= clustering(z, classes, seed)
        found |= {f"{question.name}_{name}": (row, question) for name, row in answers.items()}
    return found


def _averaged(folds: Sequence[_Measured]) -> list[dict[str, object]]:
    """Rows of one branch: folds averaged by their takes."""
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(name for found in folds for name in found):
        parts = [found[name] for found in folds if name in found]
        parts = [(row, question) for row, question in parts if np.isfinite(row).all()]
        if not parts:
            continue
        takes = [len(question.rows) for _, question in parts]
        value, *chance = np.average([row for row, _ in parts], axis=0, weights=takes)
        low, high = np.percentile(chance, [_TAIL, 100.0 - _TAIL])
        # Sums in another order differ by rounding; a tie must count as one.
        reached = (np.array(chance) >= value - 1e-12 * max(1.0, abs(value))).sum()
        rows.append(
            {
                "measure": name, "value": value, "chance_mean": float(np.mean(chance)),
                "chance_low": low, "chance_high": high,
                "p": (1.0 + reached) / (1.0 + len(chance)), "n_clips": sum(takes),
                "n_classes": len({c for _, question in parts for c in question.names}),
            }
        )  # fmt: skip
    return rows


def prediction_codes(
    predictions: pd.DataFrame, clips: Sequence[str], schemes: Sequence[str]
) -> pd.DataFrame:
    """Predicted labels as codes, a control: what a regression says of a take, all dimensions.

    Parameters
    ----------
    predictions : DataFrame
        ``clip, scheme, fold, model, dimension, prediction, features``; seeds are averaged.
    clips : sequence of str
        Takes that are reported.

    Returns
    -------
    DataFrame as :func:`disentanglement` reads; ``ranker`` is ``<features>/<model>``.
    """
    kept = predictions[predictions["clip"].isin(clips) & predictions["scheme"].isin(schemes)]
    named = kept.assign(
        ranker=kept["features"].astype(str) + "/" + kept["model"].astype(str), branch=PREDICTION
    )
    keys = ["ranker", "scheme", "fold", "branch", "clip"]
    wide = named.pivot_table(
        index=keys, columns="dimension", values="prediction", aggfunc="mean", observed=True
    )
    wide.columns = pd.Index([f"v{number:03d}" for number in range(wide.shape[1])])
    return wide.reset_index()
