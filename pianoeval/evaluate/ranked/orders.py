"""How orders of the takes of one list agree with the rated one, and with themselves.

A list is the takes of one segment within one fold. Everything here is a sum over lists, so the
bootstrap over content groups reaches it.

kendall_within  τ-b of each list (Kendall 1945), from its pairs: Σ sign(m)·sign(Δ) over the root of
                the pairs not tied in m times those not tied in Δ; mean over lists. A list in which
                a row tells no pair apart counts as 0, one without unequal labels not at all
cyclic          share of triples of takes with a > b, b > c and c > a among those whose three
                margins are not 0: ¼ where margins are tossed coins, 0 for whatever gives each take
                a score (Kendall & Babington Smith 1940, Biometrika 31, 324-345)
ndcg            as in ``statistics.ranking``; of rankers by ``Contest.list_scores``
spread          standard deviation (n − 1) of scores within a list, mean over lists
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pianoeval.evaluate.ranked.contest import SCORE_DIGITS, Contest, Entry
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Index, row_adder
from pianoeval.evaluate.statistics.ranking import ndcg_sums

Sums = dict[str, Array]


def kendall_sums(contest: Contest, entry: Entry) -> Sums:
    """τ-b of the lists added up by content group, and how many there are; (clusters, D) each."""
    rated, told = np.sign(contest.difference), np.sign(contest.margins[entry])
    known = np.isfinite(rated)
    rated, told = np.where(known, rated, 0.0), np.where(known, told, 0.0)
    n_lists = len(contest.home)
    by_list = row_adder(contest.list_of_pair, n_lists)
    agreed, unequal, apart = (by_list @ x for x in (rated * told, rated**2, told**2))
    tau = agreed / np.sqrt(np.maximum(unequal * apart, 1.0))
    counted = (unequal > 0).astype(np.float64)
    up = row_adder(contest.home, contest.design.n_clusters)
    return {"tau": up @ (tau * counted), "tau_lists": up @ counted}


def cyclic_sums(contest: Contest, entry: Entry) -> Sums:
    """Cyclic and decided triples by content group, (clusters, D) each.

    With W the matrix of strict wins in a list, ``trace(W³)/3`` triples are cyclic, and with U = W +
    Wᵀ ``trace(U³)/6`` are decided.
    """
    n_dimensions = contest.y.shape[1]
    cyclic, triples = (np.zeros((len(contest.home), n_dimensions)) for _ in range(2))
    for number, wins in _win_matrices(contest, np.sign(contest.margins[entry])):
        either = wins + wins.transpose(0, 2, 1)
        cyclic[number] = _cubic_trace(wins) / 3.0
        triples[number] = _cubic_trace(either) / 6.0
    up = row_adder(contest.home, contest.design.n_clusters)
    return {"cyclic": up @ cyclic, "triples": up @ triples}


def _cubic_trace(matrices: Array) -> Array:
    product = np.matmul(matrices, matrices)
    return np.asarray((product * matrices.transpose(0, 2, 1)).sum(axis=(1, 2)))


def _win_matrices(contest: Contest, sign: Array) -> Iterator[tuple[int, Array]]:
    """Number of each list of three or more takes, and its wins, (D, n, n)."""
    pairs, size = contest.design.pairs, np.bincount(contest.lists)
    place = _place_in_list(contest.lists)
    order = np.argsort(contest.list_of_pair, kind="stable")
    cuts = np.searchsorted(contest.list_of_pair[order], np.arange(len(size) + 1))
    for number in np.flatnonzero(size >= 3):
        rows = order[cuts[number] : cuts[number + 1]]
        first, second = place[pairs[rows]].T
        wins = np.zeros((sign.shape[1], size[number], size[number]))
        wins[:, first, second] = (sign[rows] > 0).T
        wins[:, second, first] = (sign[rows] < 0).T
        yield int(number), wins


def _place_in_list(lists: Index) -> Index:
    """Place of each take among those of its list, from 0."""
    order = np.argsort(lists, kind="stable")
    starts = np.cumsum(np.bincount(lists)) - np.bincount(lists)
    place = np.empty(len(lists), np.int64)
    place[order] = np.arange(len(lists)) - starts[lists[order]]
    return place


def scores_of(contest: Contest, entry: Entry) -> Array:
    """Scores by which the takes of a list are ordered, (n, D)."""
    if entry in contest.scores:
        return contest.scores[entry]
    return np.round(contest.list_scores(entry), SCORE_DIGITS)


def gain_sums(contest: Contest, scores: Array) -> Sums:
    """NDCG of the lists by content group, (clusters, D) each."""
    return ndcg_sums(contest.design, contest.y, scores)


def random_gain(contest: Contest) -> Array:
    """Expected NDCG of a random order, (D,): that of equal scores, whose places are averaged."""
    found = ndcg_sums(contest.design, contest.y, np.zeros_like(contest.y))
    total, lists = found["ndcg"].sum(axis=0), found["ndcg_lists"].sum(axis=0)
    mean: Array = np.full(len(total), np.nan)
    np.divide(total, lists, out=mean, where=lists > 0)
    return mean


def spread_sums(contest: Contest, scores: Array) -> Sums:
    """Spread of scores and of labels within lists by content group, (clusters, D) each."""
    rated = np.isfinite(contest.y)
    adder, home = row_adder(contest.lists), contest.home
    n = adder @ rated.astype(np.float64)
    squares = {}
    for name, values in (("within_yy", contest.y), ("within_pp", scores)):
        known = np.where(rated, values, 0.0)
        mean = (adder @ known) / np.maximum(n, 1.0)
        squares[name] = adder @ np.where(rated, known - mean[contest.lists], 0.0) ** 2
    several = n > 1
    std = np.sqrt(squares["within_pp"] / np.maximum(n - 1.0, 1.0)) * several
    up = row_adder(home, contest.design.n_clusters)
    inner = {**squares, "segment_std": std, "segments": several.astype(np.float64)}
    return {name: up @ values for name, values in inner.items()}
