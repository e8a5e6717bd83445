"""What the nearest neighbours of a clip share with it, against chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.protocol.groups import CannotCutError, group_labels
from pianoeval.evaluate.statistics.metrics import Array

K = 10
COLUMNS = ("movement", "player", "segment")
_CHUNK = 512
_FEW = f"a clip has fewer than {K} others to be near to"
Codes = NDArray[np.intp]


def neighbourhood(scores: Array, manifest: pd.DataFrame, rating: Array) -> dict[str, Any]:
    """Shares of the nearest neighbours, and whether distance goes with the rating.

    Versions of one take and byte-identical clips are no neighbours of one another: they would
    show that a space recognises a recording, not whose or what it is.

    Parameters
    ----------
    scores : float64, shape (n, components)
        Distances between rows are Euclidean.
    manifest : DataFrame
        Rows of the clips.
    rating : float64, shape (n,)
        Mean rating of each clip.

    Returns
    -------
    dict
        ``k``; by column ``share`` of the neighbours in the clip's own group, ``chance``, the
        expected share if neighbours were any other clips, and for player and segment
        ``chance_given_movement``, if they were any clips of the movements they come from;
        ``rating``: Spearman's correlation between distance and difference of mean rating, within
        movements (``spearman``) and segments (``spearman_in_segments``), mean weighted by pairs.
    """
    groups: dict[str, Codes] = {}
    unknown: dict[str, Any] = {}
    for name in COLUMNS:
        try:
            groups[name] = _codes(group_labels(manifest, name))
        except CannotCutError as reason:  # unknown players are nobody's neighbours
            unknown[name] = {"share": None, "chance": None, "reason": reason.what}
    found: dict[str, Any] = {"k": K, **_shares(scores, groups, _recordings(manifest)), **unknown}
    within = [
        _distance_and_rating(scores, rating, groups[name]) for name in ("movement", "segment")
    ]
    found["rating"] = {"spearman": number(within[0]), "spearman_in_segments": number(within[1])}
    return found


def _codes(labels: pd.Series) -> Codes:
    return np.unique(labels.astype(str).to_numpy(dtype=object), return_inverse=True)[1]


def _recordings(manifest: pd.DataFrame) -> Codes:
    """Versions of one take are one recording, and so are takes with byte-identical clips."""
    take = group_labels(manifest, "take").to_numpy()
    return _codes(group_labels(manifest.assign(segment=take), "segment", link=True))


def _shares(scores: Array, groups: dict[str, Codes], recording: Codes) -> dict[str, Any]:
    n, movement = len(scores), groups["movement"]
    in_movement = np.eye(int(movement.max()) + 1)[movement]
    totals = {name: np.zeros(3) for name in groups}
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        allowed = recording[rows, None] != recording
        if (allowed.sum(axis=1) < K).any():
            empty = {"share": None, "chance": None, "reason": _FEW}
            return {name: dict(empty) for name in groups}
        near = np.argsort(
            np.where(allowed, _distances(scores, rows), np.inf), axis=1, kind="stable"
        )
        near = near[:, :K]
        for name in groups:
            same = (groups[name][rows, None] == groups[name]) & allowed
            totals[name] += [
                np.take_along_axis(same, near, axis=1).sum() / K,
                (same.sum(axis=1) / allowed.sum(axis=1)).sum(),
                np.take_along_axis(
                    _ratio(same @ in_movement, allowed @ in_movement), movement[near], axis=1
                ).sum() / K,
            ]  # fmt: skip
    found = {}
    for name in groups:
        share, chance, given = (number(float(total / n)) for total in totals[name])
        found[name] = {"share": share, "chance": chance}
        if name != "movement":
            found[name]["chance_given_movement"] = given
    return found


def _ratio(some: Array, all_: Array) -> Array:
    out: Array = np.zeros(all_.shape)
    np.divide(some, all_, out=out, where=all_ > 0)
    return out


def _distances(scores: Array, rows: NDArray[np.intp]) -> Array:
    """Squared Euclidean distances of some rows to all, (rows, n)."""
    squares = np.einsum("nk,nk->n", scores, scores)
    found: Array = squares[rows, None] + squares - 2.0 * scores[rows] @ scores.T
    return np.maximum(found, 0.0)


def _distance_and_rating(scores: Array, rating: Array, group: Codes) -> float:
    """Spearman's correlation over the pairs of each group; NaN where nothing can be ranked."""
    total, pairs = 0.0, 0
    for code in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == code)
        upper = np.triu_indices(len(rows), 1)
        if len(upper[0]) < 3:
            continue
        distance = _distances(scores[rows], np.arange(len(rows)))[upper]
        apart = np.abs(rating[rows, None] - rating[rows])[upper]
        if np.ptp(distance) > 0 and np.ptp(apart) > 0:
            r = np.corrcoef(rankdata(distance), rankdata(apart))[0, 1]
            total, pairs = total + float(r) * len(apart), pairs + len(apart)
    return total / pairs if pairs else math.nan
