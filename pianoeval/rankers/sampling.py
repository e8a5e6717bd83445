"""Batches of segments: the takes of several folds as lists, and the pairs within each list.

A fold's fit takes are laid out once, a row a segment, its takes beside one another and padded. A
batch is some of these rows for each replica, drawn by segment: all takes of one segment are seen
together, since they are compared. Random numbers come from streams keyed by (seed, purpose, epoch,
step) and are laid out such that more padding, or more replicas, change none that is used: a
replica is trained alike alone and among others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pianoeval.losses.imbalance import lds_weights
from pianoeval.models.base import Float64, Rows
from pianoeval.params_rank import PAIR_LOSSES, RankerParams
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.features import Frames, scaled_features, scaled_frames
from pianoeval.rankers.lists import (
    ALL_PAIRS,
    closeness,
    fold_lists,
    longest_list,
    places,
    split_of,
    standardised,
)
from pianoeval.rankers.pairs import no_pairs, training_pairs

_ORDER, _DROPOUT = 1, 2  # purposes of the random streams; initial weights are 0
LABEL_SIGMA = 2.0  # bins, of label distribution smoothing; as Yang et al. 2021


@dataclass(frozen=True, eq=False)
class Takes:
    """Some takes of every replica.

    Attributes
    ----------
    x : (B, m, features), standardised on the fit takes
    frames : (B, m, T, width), frames of each take, 0 where it has none; optional
    real : bool, (B, m, T), which of them it has
    """

    x: Tensor
    frames: Tensor | None = None
    real: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Segments of every replica: L lists of n takes, flat (m = L·n) where a network reads them.

    Attributes
    ----------
    takes : Takes
        L·n takes, list by list.
    mask : bool, (B, L, n)
        False on padding.
    single : bool, (B, L, n)
        As ``mask``, without the second and later of byte-identical takes.
    y : (B, L, n, D)
        Labels in standard deviations of the fit takes'; 0 on padding.
    piece : int64, (B, L, n)
        Class of the piece among the replica's own, from 0.
    n_pieces : int64, (B,)
        How many classes the replica has.
    label_weight : (B, L, n, D), optional
        Of labels that are regressed, by ``imbalance``.
    target, weight : (B, L, P, D)
        Of the n(n − 1)/2 pairs of each list, in the order of ``losses.pairwise.all_pairs``.
    progress : float
        Share of ``max_epochs`` that is behind, from 0 up to 1.
    knobs : dict of (B,)
        Numbers that replicas may have of their own: ``networks.KNOBS``.
    dropout : callable
        ``dropout(width, stream)``: factors (B, L·n, width), 0 or 1/(1 − rate).
    """

    takes: Takes
    mask: Tensor
    single: Tensor
    y: Tensor
    piece: Tensor
    n_pieces: Tensor
    label_weight: Tensor | None
    target: Tensor
    weight: Tensor
    progress: float
    knobs: dict[str, Tensor]
    dropout: Callable[[int, int], Tensor]

    def same_piece(self) -> Tensor:
        """Whether two takes of the batch are of one piece, bool (B, L·n, L·n)."""
        flat = self.piece.flatten(1)
        return flat[:, :, None] == flat[:, None, :]


class Material:
    """What the replicas of some folds learn from, and are stopped and reported on.

    Folds are numbered in the order given. ``y`` is NaN wherever a fold has no label to learn
    from: a slip would poison its loss at once.
    """

    def __init__(self, folds: Sequence[RankFold], params: RankerParams, frames: bool) -> None:
        self.folds, self.params = folds, params
        splits = [split_of(fold) for fold in folds]
        self.n_takes = max(longest_list(f, s[0]) for f, s in zip(folds, splits, strict=True))
        self.lists = [
            fold_lists(f, s[0], params.pairs, self.n_takes)
            for f, s in zip(folds, splits, strict=True)
        ]
        for fold, laid in zip(folds, self.lists, strict=True):
            if params.loss in PAIR_LOSSES and not (laid.pairs.weight > 0).any():
                raise no_pairs(fold, params.pairs)
        self.held = [f.train[s[1]] for f, s in zip(folds, splits, strict=True)]
        self.held_pairs = [
            training_pairs(f, s[1], ALL_PAIRS) for f, s in zip(folds, splits, strict=True)
        ]
        self.held_places = [
            places(s[1], pairs) for s, pairs in zip(splits, self.held_pairs, strict=True)
        ]
        self.x = torch.from_numpy(
            np.stack([scaled_features(f, *s, centre=params.centre)
                      for f, s in zip(folds, splits, strict=True)])
        )  # fmt: skip
        self.frames = _stacked_frames(folds, splits, params) if frames else None
        self.fit_labels = [standardised(f.y[s[0]]) for f, s in zip(folds, splits, strict=True)]
        self.y = torch.full((*self.x.shape[:2], folds[0].n_dimensions), torch.nan)
        for number, (fold, (fit, _)) in enumerate(zip(folds, splits, strict=True)):
            labels = torch.from_numpy(self.fit_labels[number].astype(np.float32))
            self.y[number, torch.from_numpy(fold.train[fit])] = labels
        self.label_weight: Tensor | None = None
        if params.imbalance in ("lds", "both"):
            self.label_weight = torch.zeros_like(self.y)
            for number, (fold, (fit, _)) in enumerate(zip(folds, splits, strict=True)):
                labels = torch.from_numpy(self.fit_labels[number])
                weights = lds_weights(labels, params.bins, LABEL_SIGMA).float()
                self.label_weight[number, torch.from_numpy(fold.train[fit])] = weights
        self.n_pieces = torch.tensor([int(one.piece.max()) + 1 for one in self.lists])
        self._lay_out()

    def _lay_out(self) -> None:
        """Lists and tables of pairs of all folds, padded to the longest."""
        most = max(len(one.rows) for one in self.lists)

        def padded(parts: Sequence[NDArray[Any]]) -> Tensor:
            out = np.zeros((len(parts), most, *parts[0].shape[1:]), parts[0].dtype)
            for number, part in enumerate(parts):
                out[number, : len(part)] = part
            return torch.from_numpy(out)

        self.rows = padded([one.rows for one in self.lists])
        self.mask = padded([one.mask for one in self.lists])
        self.single = padded([one.single for one in self.lists])
        self.piece = padded([one.piece for one in self.lists])
        offset = np.cumsum([0] + [len(one.pairs) for one in self.lists[:-1]])
        self.pair = padded(
            [np.where(one.pair > 0, one.pair + o, 0)
             for one, o in zip(self.lists, offset, strict=True)]
        )  # fmt: skip
        self.target = _table([one.pairs.target for one in self.lists], 0.5)
        self.weight = _table([one.pairs.weight for one in self.lists], 0.0)
        self.closeness = _table([closeness(one.pairs) for one in self.lists], 0.0)

    def n_batches(self, fold: int) -> int:
        """Steps an epoch of a fold."""
        return -(-len(self.lists[fold].rows) // self.params.batch_segments)

    def takes(self, fold: Tensor, rows: Tensor) -> Takes:
        """Rows (B, m) of the folds (B,)."""
        at = fold[:, None]
        if self.frames is None:
            return Takes(self.x[at, rows])
        return Takes(self.x[at, rows], self.frames.values[at, rows], self.frames.real[at, rows])

    def pair_weights(self, pair: Tensor, progress: float) -> Tensor:
        """Weights of pairs; ``hard`` tilts them from large to small differences on the way.

        A pair whose difference is the q-th share from the largest (q: 0 to 1) counts for
        1 + (2t − 1)(2q − 1) of its weight at progress t: 1 on average at any time.
        """
        weight = self.weight[pair]
        if self.params.pairs.curriculum == "hard":
            weight = weight * (1 + (2 * progress - 1) * (2 * self.closeness[pair] - 1))
        return weight

    def order(self, fold: int, epoch: int, seed: int) -> NDArray[np.int64]:
        """Segments of a fold in the order in which an epoch visits them."""
        n = len(self.lists[fold].rows)
        return np.random.default_rng([seed, _ORDER, epoch]).permutation(n)


def dropout_factors(
    key: Sequence[int], seeds: Tensor, rate: Tensor, lists: tuple[int, int], width: int
) -> Tensor:
    """Factors (B, L·n, width), 0 or 1/(1 − rate); replicas of one seed share what is drawn.

    Parameters
    ----------
    key : epoch, step, stream
    seeds, rate : (B,)
    lists : L, n
    """
    n_lists, n_takes = lists
    if not bool((rate > 0).any()):
        return torch.ones(len(seeds), n_lists * n_takes, width)
    different, which = torch.unique(seeds, return_inverse=True)
    drawn = []
    for seed in different.tolist():
        rng = np.random.default_rng([seed, _DROPOUT, *key])
        # The take comes first: a longer list draws more, and the same for the takes before.
        one = torch.from_numpy(rng.random((n_takes, n_lists, width), dtype=np.float32))
        drawn.append(one.transpose(0, 1).reshape(n_lists * n_takes, width))
    keep = (1 - rate)[:, None, None]
    return (torch.stack(drawn)[which] < keep) / keep


def _table(parts: Sequence[Float64], nothing: float) -> Tensor:
    """Pairs of all folds one after the other, behind a first row that stands for no pair."""
    first = np.full((1, parts[0].shape[1]), nothing)
    return torch.from_numpy(np.concatenate([first, *parts]).astype(np.float32))


def _stacked_frames(
    folds: Sequence[RankFold], splits: Sequence[tuple[Rows, Rows]], params: RankerParams
) -> Frames:
    parts = [scaled_frames(f, *s, centre=params.centre) for f, s in zip(folds, splits, strict=True)]
    width = max(part.values.shape[2] for part in parts)
    values = [torch.nn.functional.pad(p.values, (0, width - p.values.shape[2])) for p in parts]
    return Frames(torch.stack(values), torch.stack([part.real for part in parts]))
