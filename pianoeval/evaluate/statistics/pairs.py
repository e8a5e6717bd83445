"""The clips under evaluation, their groups and their pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pianoeval.evaluate.protocol.groups import CannotCutError, Clips, group_labels

Index = NDArray[np.int64]
# Ratings are means of whole numbers, so a difference that equals the margin may exceed it by
# rounding alone.
MARGIN_TOLERANCE = 1e-9
MIN_PLAYERS = 6


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
    player : int64, shape (n,)
        Codes from 0; all 0 where players are too few to be resampled.
    """

    clips: Clips
    cluster: Index
    segment: Index
    fold: Index
    pairs: Index
    player: Index

    @property
    def n_clusters(self) -> int:
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0

    @property
    def n_players(self) -> int:
        """1 where players are not told apart."""
        return int(self.player.max()) + 1 if len(self.player) else 0


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


def make_design(
    manifest: pd.DataFrame, fold_of: pd.Series, min_players: int = MIN_PLAYERS
) -> Design:
    """Design of the clips in ``fold_of`` (indexed by clip), sorted by clip name.

    Players are told apart where every clip has one and they are ``min_players`` or more.
    """
    rows = manifest[manifest["clip"].isin(fold_of.index)].sort_values("clip")
    clips = rows["clip"].to_numpy(dtype=object)
    fold = fold_of.loc[list(clips)].to_numpy()
    cluster = group_labels(rows, "content_group").to_numpy()
    segment = rows["segment"].astype(str).to_numpy()
    codes = [np.unique(values, return_inverse=True)[1] for values in (cluster, segment, fold)]
    together = np.unique(np.stack(codes[1:]), axis=1, return_inverse=True)[1]
    pairs = same_group_pairs(together.reshape(-1), rows["sha256"].to_numpy(dtype=object))
    return Design(clips, codes[0], codes[1], codes[2], pairs, _players(rows, min_players))


def _players(rows: pd.DataFrame, min_players: int) -> Index:
    """Code of each clip's player; one for all where they cannot be resampled."""
    one_for_all = np.zeros(len(rows), np.int64)
    try:
        players = group_labels(rows, "player").to_numpy()
    except CannotCutError:  # some clip has no player: the notes say what is resampled
        return one_for_all
    names, codes = np.unique(players, return_inverse=True)
    return codes if len(names) >= min_players else one_for_all


def row_adder(index: Index, n_groups: int | None = None) -> sparse.csr_matrix:
    """Sparse matrix that adds up rows by group, shape (groups, rows)."""
    n = len(index)
    groups = n_groups if n_groups is not None else (int(index.max()) + 1 if n else 0)
    return sparse.csr_matrix((np.ones(n), (index, np.arange(n))), shape=(groups, n))
