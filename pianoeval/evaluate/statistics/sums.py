"""Sums over cells of clips, from which every metric and every resampled metric follows.

A cell holds the clips of one content group and one player (and fold), or the pairs of one content
group and two players. All clips of a cell have one weight in a bootstrap draw, so what is resampled
are the cells' sums: a few hundred instead of a thousand clips, a few thousand instead of all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics.classification import Family, class_sums
from pianoeval.evaluate.statistics.metrics import Array, Unit, margin_name
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE, Design, Index, row_adder
from pianoeval.evaluate.statistics.ranking import ndcg_sums

FOLD = "fold_"


@dataclass(frozen=True, eq=False)
class Cells:
    """Sums of what is always drawn together.

    Attributes
    ----------
    group : int64, shape (M,)
        Content group of each cell.
    players : int64, shape (M, k)
        Players whose weights multiply that of the group; k = 0 where segments are taken whole.
    edges : int64, shape (folds + 1,)
        Cells edges[f]..edges[f + 1] hold what fold f tested.
    sums : mapping of float, shape (models or 1, D, M) or (models or 1, D, classes, M)
    """

    group: Index
    players: Index
    edges: Index
    sums: Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class CellSums:
    """All sums of some models on the same clips.

    Attributes
    ----------
    units : mapping of Cells
        By what is added up: clips, pairs, segments.
    n_models : int
    one_model : bool
        Predictions came as (n, D): results have no axis of models.
    n_clusters, n_players : int
    """

    units: Mapping[Unit, Cells]
    n_models: int
    one_model: bool
    n_clusters: int
    n_players: int


def cluster_sums(
    design: Design,
    y: Array,
    p: Array,
    margins: Sequence[float],
    family: Family = "regression",
    classes: Array | None = None,
) -> CellSums:
    """Sums over the clips of each cell.

    Parameters
    ----------
    design : Design
    y : float64, shape (n, D)
        Ratings; NaN = not rated.
    p : float64, shape (n, D) or (models, n, D)
        Predictions.
    margins : sequence of float
        Pairs count when their ratings differ by more than this.
    family : {"regression", "ordinal", "multilabel"}
        Whether counts by class are added (``classification.class_sums``).
    classes : float64, shape (any, D), optional
        Labels that say which classes there are, where they are more than ``y``.
    """
    one_model = p.ndim == 2
    models = p[None] if one_model else p
    units: dict[Unit, Cells] = {
        "clips": _clip_cells(design, y, models, family, classes),
        "pairs": _pair_cells(design, y, models, margins),
        "segments": _segment_cells(design, y, models),
    }
    return CellSums(units, len(models), one_model, design.n_clusters, design.n_players)


def clip_sums(design: Design, y: Array, p: Array) -> CellSums:
    """As :func:`cluster_sums`, of clips alone: enough for errors and correlations."""
    models = p[None] if p.ndim == 2 else p
    units: dict[Unit, Cells] = {"clips": _clip_cells(design, y, models, "regression", None)}
    return CellSums(units, len(models), p.ndim == 2, design.n_clusters, design.n_players)


def _added(index: Index, n_cells: int, values: NDArray[np.floating]) -> Array:
    """Rows of each cell added up: (rows, models, ...) -> (models, ..., cells)."""
    flat = row_adder(index, n_cells) @ values.reshape(len(values), math.prod(values.shape[1:]))
    total: Array = np.ascontiguousarray(flat.T).reshape(*values.shape[1:], n_cells)
    return total


def _centred(y: Array, p: Array) -> tuple[NDArray[np.bool_], Array, Array]:
    """Rated or not, ratings and predictions about the mean rating; (n, 1 or models, D) each.

    A shift common to both changes no metric, and keeps sums of squares from cancelling.
    """
    rated = np.isfinite(y)
    centre = np.where(rated, y, 0.0).sum(axis=0) / np.maximum(rated.sum(axis=0), 1)
    y0 = np.where(rated, y - centre, 0.0)[:, None]
    p0 = np.where(rated[:, None], np.moveaxis(p, 0, 1) - centre, 0.0)
    return rated[:, None], y0, p0


def _clip_cells(design: Design, y: Array, p: Array, family: Family, classes: Array | None) -> Cells:
    key = np.stack([design.fold, design.cluster, design.player])
    cells, cell = np.unique(key, axis=1, return_inverse=True)
    cell, n_cells = cell.reshape(-1), cells.shape[1]
    rated, y0, p0 = _centred(y, p)
    error = y0 - p0
    per_clip = {
        "n": rated.astype(np.float64), "y": y0, "yy": y0**2, "p": p0, "pp": p0**2, "yp": y0 * p0,
        "sse": error**2, "sae": np.abs(error),
    }  # fmt: skip
    sums: dict[str, NDArray[np.floating]] = {
        name: _added(cell, n_cells, values) for name, values in per_clip.items()
    }
    if family != "regression":
        by_cell = replace(design, cluster=cell)
        found = [class_sums(family, by_cell, y, one, classes) for one in p]
        sums |= {name: np.stack([np.moveaxis(s[name], 0, -1) for s in found]) for name in found[0]}
    n_folds = int(design.fold.max()) + 1
    edges = np.searchsorted(cells[0], np.arange(n_folds + 1))
    return Cells(cells[1], cells[2:].T, edges, sums)


def _pair_cells(design: Design, y: Array, p: Array, margins: Sequence[float]) -> Cells:
    """Pairs beyond each margin, and how many of them the predictions order rightly.

    In single precision: all are halves of whole numbers, and their weighted sums are exact below
    eight million.
    """
    first, second = design.pairs[:, 0], design.pairs[:, 1]
    one, other = design.player[first], design.player[second]
    key = np.stack([design.cluster[first], np.minimum(one, other), np.maximum(one, other)])
    cells, cell = np.unique(key, axis=1, return_inverse=True)
    cell, n_cells = cell.reshape(-1), cells.shape[1]
    rated = (y[first] - y[second])[:, None]
    predicted = np.moveaxis(p[:, first] - p[:, second], 0, 1)
    hit = np.where(predicted == 0.0, 0.5, np.sign(predicted) == np.sign(rated))
    hit = hit.astype(np.float32)
    sums: dict[str, NDArray[np.floating]] = {}
    for margin in margins:
        # NaN differences compare false and drop out.
        counted = (np.abs(rated) > margin + MARGIN_TOLERANCE).astype(np.float32)
        for name, values in (("pairs", counted), ("hits", hit * counted)):
            total = _added(cell, n_cells, values)
            sums[f"{margin_name(margin)}_{name}"] = total.astype(np.float32)
    return Cells(cells[0], cells[1:].T, np.array([0, n_cells]), sums)


def _segment_cells(design: Design, y: Array, p: Array) -> Cells:
    """Squares about the segment's mean, the standard deviation of predictions in it, and NDCG."""
    rated, y0, p0 = _centred(y, p)
    segment, n_segments = design.segment, int(design.segment.max()) + 1
    n = _added(segment, n_segments, rated.astype(np.float64))
    squares = {}
    for name, values in (("within_yy", y0), ("within_pp", p0)):
        mean = np.moveaxis(_added(segment, n_segments, values) / np.maximum(n, 1.0), -1, 0)
        away = np.where(rated, values - mean[segment], 0.0)
        squares[name] = _added(segment, n_segments, away**2)
    several = n > 1
    std = np.sqrt(squares["within_pp"] / np.maximum(n - 1.0, 1.0)) * several
    home = np.zeros(n_segments, np.int64)
    home[segment] = design.cluster
    inner = {**squares, "segment_std": std, "segments": several.astype(np.float64)}
    n_clusters = design.n_clusters
    sums: dict[str, NDArray[np.floating]] = {
        name: _added(home, n_clusters, np.moveaxis(values, -1, 0)) for name, values in inner.items()
    }
    found = [ndcg_sums(design, y, one) for one in p]
    sums |= {name: np.stack([s[name].T for s in found]) for name in found[0]}
    none = np.zeros((n_clusters, 0), np.int64)
    return Cells(np.arange(n_clusters), none, np.array([0, n_clusters]), sums)
