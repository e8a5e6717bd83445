"""Metrics of ordered classes and of labels that are present or absent.

What a task's labels are decides how its predictions are judged (``metric_family``):

ordinal     whole-number classes (``difficulty``, ``expertise``). Predictions are numbers; they are
            rounded to the nearest whole number, halves up, and clipped to the classes there are.
            acc_0, acc_1   accuracy within n, eq. 2 of the Piano Judges paper: the share of a class
                           that is predicted at most n classes away, mean over classes. acc_0 is
                           therefore balanced accuracy.
            accuracy       share predicted exactly, over all clips
            f1_macro       2·TP / (rated c + predicted c), mean over classes rated or predicted
multilabel  0 or 1 (``technique``): each dimension is a label, predictions are scores.
            accuracy, f1_macro   of each label, score ≥ .5 taken as present; their mean over labels
                                 is the macro average
            auc            area under the ROC curve = share of pairs, one clip with the label and
                           one without, that are in the right order, a tie counting ½
                           (Hanley & McNeil 1982, Radiology 143, 29-36)
            average_precision    mean over the clips with the label of the precision at their score;
                                 its mean over labels is mAP
regression  everything else; see ``metrics``

All but the last two are functions of sums, and so can be bootstrapped. AUC and average precision
come with their values without each cluster, for the jackknife (``ranking``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError, CorruptDataError
from pianoeval.evaluate.statistics.metrics import Array, Sums
from pianoeval.evaluate.statistics.orders import BLOCK_NUMBERS, Order
from pianoeval.evaluate.statistics.pairs import Design, Index
from pianoeval.evaluate.statistics.ranking import LeftOut

Family = Literal["regression", "ordinal", "multilabel"]
Metric = Callable[[Sums], Array]

ORDINAL_TASKS = ("difficulty", "expertise")
MULTILABEL_TASKS = ("technique",)
MAX_CLASSES = 100
THRESHOLD = 0.5


def metric_family(task: str, values: Array) -> Family:
    """Which metrics a task's labels call for.

    Parameters
    ----------
    task : str
    values : float64, any shape
        All labels of the task; NaN = no label.

    Raises
    ------
    BadInputError
        If the labels are not of the kind that the task's name promises.
    """
    known = values[np.isfinite(values)]
    if task in MULTILABEL_TASKS:
        wrong = known[(known != 0) & (known != 1)]
        _refuse(task, wrong, "0 (absent) or 1 (present)")
        return "multilabel"
    if task in ORDINAL_TASKS:
        _refuse(task, known[known != np.round(known)], "whole numbers, one a class")
        if len(known) and known.max() - known.min() >= MAX_CLASSES:
            _refuse(task, known[[np.argmax(known)]], f"at most {MAX_CLASSES} classes")
        return "ordinal"
    return "regression"


def _refuse(task: str, wrong: Array, allowed: str) -> None:
    if len(wrong):
        raise BadInputError(
            f"a label of the task '{task}' is {wrong[0]:g}",
            where="labels",
            allowed=allowed,
            next_step="correct the labels, or file them under the task 'rating'",
        )


def class_sums(
    family: Family, design: Design, y: Array, p: Array, values: Array | None = None
) -> dict[str, Array]:
    """Counts of clips by class, added up by cluster.

    Parameters
    ----------
    family : {"ordinal", "multilabel"}
    design : Design
    y, p : float64, shape (n, D)
        Labels (NaN = none) and predictions.
    values : float64, shape (any, D), optional
        Labels that say which classes there are, where they are more than ``y``.

    Returns
    -------
    dict of float64, shape (clusters, D, K)
        ``class_rated``, ``class_predicted``, and ``class_within_0``, ``class_within_1``: how many
        of a class were predicted at most so far away. K = 2 where a label is absent or present.
    """
    rated = np.isfinite(y)
    if not np.isfinite(p[rated]).all():
        raise CorruptDataError(
            "a labelled clip has no prediction", where="classification",
            allowed="finite predictions of all labelled clips", next_step="dvc repro",
        )  # fmt: skip
    rows, column = np.nonzero(rated)
    truth = y[rows, column]
    if family == "multilabel":
        lowest, n_classes = 0.0, 2
        found = (p[rows, column] >= THRESHOLD).astype(np.float64)
    else:
        low, high = _range(y if values is None else values)
        lowest, n_classes = float(low.min()), int(high.max() - low.min()) + 1
        # Halves up: rounding to even would favour every other class.
        found = np.clip(np.floor(p[rows, column] + 0.5), low[column], high[column])
    shape = (design.n_clusters, y.shape[1], n_classes)
    group = design.cluster[rows] * shape[1] + column

    def count(label: Array, weight: Array | None = None) -> Array:
        index = group * n_classes + (label - lowest).astype(np.int64)
        return np.bincount(index, weight, int(np.prod(shape))).astype(np.float64).reshape(shape)

    away = np.abs(found - truth)
    return {
        "class_rated": count(truth),
        "class_predicted": count(found),
        "class_within_0": count(truth, (away == 0).astype(np.float64)),
        "class_within_1": count(truth, (away <= 1).astype(np.float64)),
    }


def _range(values: Array) -> tuple[Array, Array]:
    """Lowest and highest class of each dimension; 0 where there is no label."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
    empty = ~known.any(axis=0)
    fallback = low[~empty].min() if (~empty).any() else 0.0
    return np.where(empty, fallback, low), np.where(empty, fallback, high)


def _share(part: Array, whole: Array) -> Array:
    out: Array = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _mean_over_classes(shares: Array) -> Array:
    """Mean of the defined classes; NaN where there is none."""
    known = np.isfinite(shares)
    return _share(np.where(known, shares, 0.0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))


def _within(n: int) -> Metric:
    def accuracy_within(s: Sums) -> Array:
        return _mean_over_classes(_share(s[f"class_within_{n}"], s["class_rated"]))

    return accuracy_within


def accuracy(s: Sums) -> Array:
    """Share of clips whose class was predicted exactly."""
    return _share(s["class_within_0"].sum(axis=-1), s["class_rated"].sum(axis=-1))


def _f1(s: Sums) -> Array:
    """F1 of each class, shape (..., K); NaN for a class that is neither rated nor predicted."""
    return _share(2.0 * s["class_within_0"], s["class_rated"] + s["class_predicted"])


def f1_macro(s: Sums) -> Array:
    """Mean of the classes' F1."""
    return _mean_over_classes(_f1(s))


def f1_present(s: Sums) -> Array:
    """F1 of a label's presence."""
    present: Array = _f1(s)[..., 1]
    return present


def class_metrics(family: Family) -> dict[str, Metric]:
    """Functions of ``class_sums`` by name; (..., D, K) -> (..., D). None for regression."""
    if family == "ordinal":
        return {
            "acc_0": _within(0),
            "acc_1": _within(1),
            "accuracy": accuracy,
            "f1_macro": f1_macro,
        }
    if family == "multilabel":
        return {"accuracy": accuracy, "f1_macro": f1_present}
    return {}


def rank_statistics_multilabel(
    y: Array, p: Array, cluster: Index, n_clusters: int
) -> dict[str, LeftOut]:
    """AUC and average precision of each label, and what they are without each cluster.

    Parameters
    ----------
    y, p : float64, shape (n, D)
        Labels 0, 1 or NaN, and scores.
    cluster : int64, shape (n,)
    n_clusters : int

    Returns
    -------
    dict of (float64 shape (D,), float64 shape (n_clusters, D)), ``auc`` and ``average_precision``
        AUC is NaN where all clips or none have the label, average precision where none has it.
    """
    shape = (n_clusters + 1, y.shape[1])
    found = {"auc": np.full(shape, np.nan), "average_precision": np.full(shape, np.nan)}
    for d in range(y.shape[1]):
        rows = np.flatnonzero(np.isfinite(y[:, d]))
        if not np.isfinite(p[rows, d]).all():
            raise CorruptDataError(
                "a labelled clip has no prediction", where="classification",
                allowed="finite predictions of all labelled clips", next_step="dvc repro",
            )  # fmt: skip
        if len(rows):
            auc, precision = _label(y[rows, d] > 0, p[rows, d], cluster[rows], n_clusters)
            found["auc"][:, d], found["average_precision"][:, d] = auc, precision
    return {name: (values[-1], values[:-1]) for name, values in found.items()}


def _label(present: NDArray[np.bool_], score: Array, cluster: Index, n_clusters: int) -> LeftOut:
    """Both metrics of one label without each cluster, then without none; (C + 1,) each."""
    order, weight = Order.of(score), present.astype(np.float64)
    width = max(1, BLOCK_NUMBERS // len(score))
    edges = range(0, n_clusters + 1, width)
    parts = [
        _without_block(order, weight, cluster, first, min(first + width, n_clusters + 1))
        for first in edges
    ]
    auc, precision = (np.concatenate(column) for column in zip(*parts, strict=True))
    return auc, precision


def _without_block(order: Order, weight: Array, cluster: Index, first: int, last: int) -> LeftOut:
    """Both metrics without each cluster first..last-1; ``weight`` is 1 where the label is."""
    chosen = np.flatnonzero(weight)
    start, end = order.start[chosen], order.end[chosen]
    m, lower = len(weight), np.append(0.0, np.cumsum(weight[order.rows]))
    counts = order.cumulative(cluster, first, last)
    labelled = order.cumulative(cluster, first, last, weight)
    absent = counts - labelled
    # What is left of the clips that score at least as much, of those of them with the label, and
    # of the clips without it that score less (a tie counting half).
    above = (m - start)[:, None] - (counts[m] - counts[start])
    hits = (lower[m] - lower[start])[:, None] - (labelled[m] - labelled[start])
    below = 0.5 * (start - lower[start] + end - lower[end])[:, None]
    below = below - 0.5 * (absent[start] + absent[end])
    stays = np.ones(above.shape)
    own = np.flatnonzero((cluster[chosen] >= first) & (cluster[chosen] < last))
    stays[own, cluster[chosen][own] - first] = 0.0
    positives = weight.sum() - labelled[m]
    negatives = m - weight.sum() - absent[m]
    precision = np.divide(hits, above, out=np.zeros_like(above), where=above > 0)
    return (
        _share((below * stays).sum(axis=0), positives * negatives),
        _share((precision * stays).sum(axis=0), positives),
    )
