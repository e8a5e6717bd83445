"""What codes are asked, and the chance level of every answer.

=====================  ===========================  ============================
question               classes                      exchanged under the null
=====================  ===========================  ============================
``piece``              pieces (``rank.piece``)      takes, over all pieces
``piece_given_player`` pieces                       takes of one player
``player``             players                      takes of one piece
``labels``             none: labels less the mean   takes of one piece
                       of their piece
=====================  ===========================  ============================

A code that tells the player tells the composition where players did not play everything, and so
something of the piece, without having heard it. Exchanging takes of one player only keeps what
the player tells in the chance level (restricted permutation: Anderson & ter Braak 2003,
J. Stat. Comput. Simul. 73, 85-113). In the same way a code of the piece is no code of the player
for knowing which players played it.

Versions of one take move together. **Units** are what a probe leaves out as one: takes of one
content group by one player, and byte-identical clips. Segments of a content group share notes, so a
player's takes of them share a performance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.corpora.manifest import label_matrix
from pianoeval.evaluate.protocol.groups import families, group_labels, players
from pianoeval.params_rank import RankParams

Index = NDArray[np.int64]
Float64 = NDArray[np.float64]
QuestionName = Literal["piece", "piece_given_player", "player", "labels"]
QUESTIONS: tuple[QuestionName, ...] = ("piece", "piece_given_player", "player", "labels")


@dataclass(frozen=True, eq=False)
class Question:
    """A question about the codes of one fold's takes.

    Attributes
    ----------
    name : str
    rows : int64, shape (n,)
        Which of the fold's takes it is asked of.
    unit : int64, shape (n,)
        What a probe leaves out as one.
    classes : int64, shape (permutations + 1, n)
        Class of each take, from 0; as it is, then permuted. Without columns for ``labels``.
    names : array of str
        Of the classes.
    residuals : float64, shape (n, dimensions)
        Of ``labels``: labels less the mean of their piece; else without columns.
    orders : int64, shape (permutations + 1, n)
        Of ``labels``: whose residuals each take is given; else without columns.
    """

    name: QuestionName
    rows: Index
    unit: Index
    classes: Index
    names: NDArray[np.object_]
    residuals: Float64
    orders: Index


@dataclass(frozen=True, eq=False)
class _Groups:
    """Groups of takes, codes from 0; the player is -1 where unknown."""

    piece: Index
    player: Index
    family: Index
    unit: Index
    piece_names: NDArray[np.object_]
    player_names: NDArray[np.object_]


def ask(
    rows: pd.DataFrame, labels: pd.DataFrame, task: str, params: RankParams, fold: int
) -> list[Question]:
    """Every question that the takes of one fold allow.

    A class of fewer than two units is left out, and a question with fewer than two classes or
    nothing to exchange is not asked.

    Parameters
    ----------
    rows : DataFrame
        Manifest rows of the takes, in the order of their codes.
    labels : DataFrame
        Label table of the corpus.
    fold : int
        Number of the fold, for its random numbers.
    """
    groups = _groups(rows, params)
    found: list[Question | None] = []
    for number, name in enumerate(QUESTIONS):
        random = np.random.default_rng([params.seed, fold, number])
        if name == "labels":
            y = label_matrix(labels, task, rows["clip"].tolist())[0]
            found.append(_of_labels(y, groups, params.permutations, random))
        else:
            found.append(_of_classes(name, groups, params.permutations, random))
    return [question for question in found if question is not None]


def _groups(rows: pd.DataFrame, params: RankParams) -> _Groups:
    family = families(rows).to_numpy(dtype=object)
    player = players(rows).to_numpy(dtype=object)
    known = np.array([isinstance(name, str) for name in player], dtype=bool)
    who = np.where(known, player, family)  # a take of nobody known is a unit of its own
    content = rows["content_group"].astype(str).to_numpy(dtype=object)
    joined = [f"{a}\0{b}" for a, b in zip(content, who, strict=True)]
    unit = group_labels(rows.assign(segment=joined), "segment", link=True)
    piece_names, piece = _codes(group_labels(rows, params.piece).to_numpy(dtype=object))
    player_names, code = _codes(np.where(known, player, ""))
    return _Groups(
        piece, np.where(known, code, -1), _codes(family)[1], _codes(unit.to_numpy(dtype=object))[1],
        piece_names, player_names,
    )  # fmt: skip


def _codes(values: NDArray[np.object_]) -> tuple[NDArray[np.object_], Index]:
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return names.astype(object), codes.astype(np.int64)


def _of_classes(
    name: QuestionName, groups: _Groups, n: int, random: np.random.Generator
) -> Question | None:
    of_player = name == "player"
    classes = groups.player if of_player else groups.piece
    strata = {"piece": np.zeros_like(classes), "player": groups.piece}.get(name, groups.player)
    rows = _of_two_units(classes, groups.unit, np.flatnonzero((classes >= 0) & (strata >= 0)))
    kept, inside = np.unique(classes[rows], return_inverse=True)
    if len(kept) < 2:
        return None
    family = np.unique(groups.family[rows], return_inverse=True)[1]
    permuted = permuted_classes(inside.astype(np.int64), family, strata[rows], n, random)
    if (permuted == permuted[0]).all():
        return None
    names = (groups.player_names if of_player else groups.piece_names)[kept]
    nothing = np.zeros((len(rows), 0))
    return Question(
        name, rows, groups.unit[rows], permuted, names, nothing, np.zeros((n + 1, 0), np.int64)
    )


def _of_two_units(classes: Index, unit: Index, rows: Index) -> Index:
    """Those of ``rows`` whose class has two units or more among them."""
    seen = np.unique(np.stack([classes[rows], unit[rows]]), axis=1)[0]
    enough = np.flatnonzero(np.bincount(seen) >= 2) if len(seen) else seen
    kept: Index = rows[np.isin(classes[rows], enough)]
    return kept


def permuted_classes(
    classes: Index, family: Index, strata: Index, n: int, random: np.random.Generator
) -> Index:
    """Classes as they are, then ``n`` times exchanged among families of one stratum.

    Parameters
    ----------
    classes, family, strata : int64, shape (takes,)
        Takes of a family have one class and lie in one stratum.

    Returns
    -------
    int64, shape (n + 1, takes)
    """
    first = np.unique(family, return_index=True)[1]
    return np.stack(
        [classes] + [classes[first][_exchanged(strata[first], random)][family] for _ in range(n)]
    )


def _exchanged(strata: Index, random: np.random.Generator) -> Index:
    """Positions in an order that is random within every stratum."""
    places = np.argsort(strata, kind="stable")
    order = np.empty_like(places)
    order[places] = np.lexsort((random.random(len(strata)), strata))
    return order


def _of_labels(y: Float64, groups: _Groups, n: int, random: np.random.Generator) -> Question | None:
    labelled = np.flatnonzero(~np.isnan(y).any(axis=1))
    rows = _of_two_units(groups.piece, groups.unit, labelled)
    if not len(rows):
        return None
    piece = np.unique(groups.piece[rows], return_inverse=True)[1]
    sums = np.zeros((piece.max() + 1, y.shape[1]))
    np.add.at(sums, piece, y[rows])
    residuals = y[rows] - (sums / np.bincount(piece)[:, None])[piece]
    orders = [np.arange(len(rows))] + [_exchanged(piece, random) for _ in range(n)]
    return Question(
        "labels", rows, groups.unit[rows], np.zeros((n + 1, 0), np.int64),
        np.zeros(0, dtype=object), residuals, np.stack(orders),
    )  # fmt: skip
