"""The clips under evaluation, their groups and pairs, and the sums that metrics are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pianoeval.evaluate.groups import Clips, group_labels
from pianoeval.evaluate.metrics import Array, margin_name

Index = NDArray[np.int64]
# Ratings are means of whole numbers, so a difference that equals the margin may exceed it by
# rounding alone.
MARGIN_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Design:
    """Evaluated clips of one scheme.

    Attributes
    ----------
    clips : array of str, shape (n,)
    cluster, segment, fold : int64, shape (n,)
        Codes from 0; the cluster is the content group, which contains whole segments.
    pairs : int64, shape (pairs, 2)
        Row numbers of two clips of one segment and one fold, not byte-identical.
    """

    clips: Clips
    cluster: Index
    segment: Index
    fold: Index
    pairs: Index

    @property
    def n_clusters(self) -> int:
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0


def same_group_pairs(group: Index, identity: Clips) -> Index:
    """Pairs of rows of one group, not of one identity, first < second; shape (pairs, 2)."""
    order = np.argsort(group, kind="stable")
    parts = [np.zeros((0, 2), np.int64)]
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        first, second = np.triu_indices(len(rows), 1)
        parts.append(np.stack([rows[first], rows[second]], axis=1))
    pairs: Index = np.concatenate(parts)
    different: Index = pairs[identity[pairs[:, 0]] != identity[pairs[:, 1]]]
    return different


def make_design(manifest: pd.DataFrame, fold_of: pd.Series) -> Design:
    """Design of the clips in ``fold_of`` (indexed by clip), sorted by clip name."""
    rows = manifest[manifest["clip"].isin(fold_of.index)].sort_values("clip")
    clips = rows["clip"].to_numpy(dtype=object)
    fold = fold_of.loc[list(clips)].to_numpy()
    cluster = group_labels(rows, "content_group").to_numpy()
    segment = rows["segment"].astype(str).to_numpy()
    codes = [np.unique(values, return_inverse=True)[1] for values in (cluster, segment, fold)]
    together = np.unique(np.stack(codes[1:]), axis=1, return_inverse=True)[1]
    pairs = same_group_pairs(together.reshape(-1), rows["sha256"].to_numpy(dtype=object))
    return Design(clips, codes[0], codes[1], codes[2], pairs)


def row_adder(index: Index, n_groups: int | None = None) -> sparse.csr_matrix:
    """Sparse matrix that adds up rows by group, shape (groups, rows)."""
    n = len(index)
    groups = n_groups if n_groups is not None else (int(index.max()) + 1 if n else 0)
    return sparse.csr_matrix((np.ones(n), (index, np.arange(n))), shape=(groups, n))


def cluster_sums(design: Design, y: Array, p: Array, margins: Sequence[float]) -> dict[str, Array]:
    """Sums over the clips of each cluster, from which every metric follows.

    Parameters
    ----------
    design : Design
    y, p : float64, shape (n, D)
        Ratings (NaN = not rated) and predictions.
    margins : sequence of float
        Pairs count when their ratings differ by more than this.

    Returns
    -------
    dict of float64, shape (clusters, D), those named ``fold_*`` (clusters, D, folds)
    """
    rated = np.isfinite(y)
    counts = rated.sum()
    centre = float(y[rated].mean()) if counts else 0.0
    # A common shift changes no metric and keeps the sums of squares small.
    y0, p0 = np.where(rated, y - centre, 0.0), np.where(rated, p - centre, 0.0)
    n, error = rated.astype(np.float64), y0 - p0
    add = row_adder(design.cluster, design.n_clusters)
    per_clip = {
        "n": n, "y": y0, "yy": y0**2, "p": p0, "pp": p0**2, "yp": y0 * p0,
        "sse": error**2, "sae": np.abs(error),
    }  # fmt: skip
    sums: dict[str, Array] = {name: add @ values for name, values in per_clip.items()}
    sums |= _fold_sums(design, {"n": n, "y": y0, "yy": y0**2, "sse": error**2})
    sums |= _within_sums(design, rated, y0, p0)
    return sums | _pair_sums(design, y, p, margins)


def _fold_sums(design: Design, per_clip: dict[str, Array]) -> dict[str, Array]:
    n_folds = int(design.fold.max()) + 1
    add = row_adder(design.cluster * n_folds + design.fold, design.n_clusters * n_folds)
    shape = (design.n_clusters, n_folds, per_clip["n"].shape[1])
    return {
        f"fold_{name}": np.moveaxis((add @ values).reshape(shape), 1, 2)
        for name, values in per_clip.items()
    }


def _within_sums(
    design: Design, rated: NDArray[np.bool_], y0: Array, p0: Array
) -> dict[str, Array]:
    """Squares about the segment's mean, and the standard deviation of predictions in it."""
    n_segments = int(design.segment.max()) + 1
    add = row_adder(design.segment, n_segments)
    n = add @ rated.astype(np.float64)
    squares = {}
    for name, values in (("within_yy", y0), ("within_pp", p0)):
        mean = (add @ values) / np.maximum(n, 1.0)
        squares[name] = add @ np.where(rated, values - mean[design.segment], 0.0) ** 2
    several = n > 1
    std = np.sqrt(squares["within_pp"] / np.maximum(n - 1.0, 1.0)) * several
    home = np.zeros(n_segments, np.int64)
    home[design.segment] = design.cluster
    up = row_adder(home, design.n_clusters)
    return {
        "within_yy": up @ squares["within_yy"],
        "within_pp": up @ squares["within_pp"],
        "segment_std": up @ std,
        "segments": up @ several.astype(np.float64),
    }


def _pair_sums(design: Design, y: Array, p: Array, margins: Sequence[float]) -> dict[str, Array]:
    """Pairs beyond each margin, and how many of them the predictions order rightly."""
    first, second = design.pairs[:, 0], design.pairs[:, 1]
    add = row_adder(design.cluster[first], design.n_clusters)
    rated, predicted = y[first] - y[second], p[first] - p[second]
    hit = np.where(predicted == 0.0, 0.5, np.sign(predicted) == np.sign(rated))
    sums: dict[str, Array] = {}
    for margin in margins:
        # NaN differences compare false and drop out.
        counted = np.abs(rated) > margin + MARGIN_TOLERANCE
        sums[f"{margin_name(margin)}_pairs"] = add @ counted.astype(np.float64)
        sums[f"{margin_name(margin)}_hits"] = add @ np.where(counted, hit, 0.0)
    return sums
