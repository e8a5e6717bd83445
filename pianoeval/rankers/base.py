"""What every ranker is given and what it returns.

As in :mod:`pianoeval.models.base`: a fold holds the labels of its training takes only, so nothing
that is chosen can be chosen on the pairs that are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pianoeval.features.sequences import Sequences
from pianoeval.models.base import Float32, Float64, Rows
from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.audio import TakeAudio


@dataclass(frozen=True, eq=False)
class RankFold:
    """One fold of one scheme.

    Attributes
    ----------
    name : str
        ``scheme/fold``, for messages.
    x : float32, shape (clips, features)
        Features of all clips, shared by the folds; NaN = missing.
    segment, piece, identity : int64, shape (clips,)
        Of every clip: what is played (takes of one segment are compared), what contrasts and the
        adversary call its piece, and a code that byte-identical clips share.
    train, test : int64
        Rows of ``x`` that may be learned from, and of the takes that are reported.
    y : float64, shape (len(train), dimensions)
        Labels of the training rows, in their order.
    error : float64, shape (len(train), dimensions)
        Standard error of each of these labels over raters; NaN where it is unknown.
    pairs : int64, shape (pairs, 2)
        Rows of ``x``: two takes of one segment, both of ``test``; what is reported.
    inner : list of (fit, held)
        Positions within ``train``: group-aware folds on which penalties are chosen.
    validation : (fit, held)
        Positions within ``train``: one group-aware split, on which training stops.
    sequences : Sequences, optional
        Frames or notes of all clips, in the rows of ``x``.
    groups : int64, shape (len(train),), optional
        Which training clips are of one group of those that the scheme holds out.
    audio : TakeAudio, optional
        Audio of all clips, in the rows of ``x``.
    player, movement : int64, shape (clips,), optional
        Codes of every clip, -1 where unknown; for what takes of one player, or movement, share.
    widths : tuple of int
        Columns of each view in ``x``; none: they are of one view.
    """

    name: str
    x: Float32
    segment: Rows
    piece: Rows
    identity: Rows
    train: Rows
    test: Rows
    y: Float64
    error: Float64
    pairs: Rows
    inner: Sequence[tuple[Rows, Rows]] = field(default_factory=list)
    validation: tuple[Rows, Rows] | None = None
    sequences: Sequences | None = None
    groups: Rows | None = None
    audio: TakeAudio | None = None
    player: Rows | None = None
    movement: Rows | None = None
    widths: tuple[int, ...] = ()

    @property
    def n_dimensions(self) -> int:
        return int(self.y.shape[1])

    @cached_property
    def places(self) -> Rows:
        """Position of each pair's takes within ``test``, shape (pairs, 2)."""
        position = np.full(len(self.x), -1, dtype=np.int64)
        position[self.test] = np.arange(len(self.test))
        return position[self.pairs]


@dataclass(frozen=True, eq=False)
class RankPrediction:
    """What a ranker says of a fold's pairs.

    Attributes
    ----------
    margins : float64, shape (pairs, dimensions)
        Log-odds that the first take of each pair is the higher one; 0 = cannot tell.
    validation : float
        Mean accuracy on the validation pairs of the training side, by which points of a sweep are
        chosen; NaN where there are none.
    codes : dict of float32, shape (len(test), values)
        Learned codes of the reported takes by branch: ``shared``, or ``piece`` and ``style``.
    selection : dict
        What was chosen inside the training side, e.g. ``{"epoch": [12.0]}``.
    """

    margins: Float64
    validation: float = float("nan")
    codes: dict[str, Float32] = field(default_factory=dict)
    selection: dict[str, list[float]] = field(default_factory=dict)


# One list a point of the sweep, of one prediction a fold: all of them may train at once.
Predict = Callable[
    [Sequence[RankFold], Sequence[RankerParams], RunParams], list[list[RankPrediction]]
]


def score_margins(fold: RankFold, scores: Float64) -> Float64:
    """Margins of rankers that give each take a score: first less second.

    Parameters
    ----------
    scores : float64, shape (len(test), dimensions)
    """
    first, second = fold.places.T
    return np.asarray(scores[first] - scores[second], dtype=np.float64)
