"""Metrics of ordered pairs as functions of sums, and the sums.

As in ``statistics.metrics``; a pair is two takes of one segment and one fold, Δ the difference of
their labels and m the margin of a row.

pairwise_XXX   share of pairs with |Δ| above the margin that have the rated order; m = 0 counts ½
log_loss       −ln P of the rated order, P = 1/(1 + e^−m) that the first is higher, over all pairs
               of unequal labels; ln 2 for one who cannot tell
brier          (P − 1)² of the rated order (Brier 1950); ¼ for one who cannot tell
ece            expected calibration error: pairs are put into ten bins by max(P, 1 − P) from ½ to 1;
               |confidence − share in the rated order| of the bins, weighted by their pairs (Naeini,
               Cooper & Hauskrecht 2015, AAAI). Binned errors do not cancel, so it is above 0 even
               for a calibrated row, and its intervals are rough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pianoeval.evaluate.ranked.contest import Contest, Entry
from pianoeval.evaluate.ranked.orders import (
    cyclic_sums,
    gain_sums,
    kendall_sums,
    scores_of,
    spread_sums,
)
from pianoeval.evaluate.statistics.metrics import (
    Array,
    Metric,
    Sums,
    Unit,
    dispersion_ratio,
    intra_segment_std,
    margin_name,
    sum_metrics,
)
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE, row_adder
from pianoeval.evaluate.statistics.ranking import ndcg
from pianoeval.evaluate.statistics.sums import Cells, CellSums

BINS = 10
LOG_LOSS, BRIER, ECE, CYCLIC = "log_loss", "brier", "ece", "cyclic"
# One who cannot tell; NDCG depends on the lists (``orders.random_gain``).
CHANCE = {LOG_LOSS: float(np.log(2.0)), BRIER: 0.25, CYCLIC: 0.25, "kendall_within": 0.0}


def _mean(total: str, n: str) -> Metric:
    def mean(s: Sums) -> Array:
        out: Array = np.full(s[total].shape, np.nan)
        np.divide(s[total], s[n], out=out, where=s[n] > 0)
        return out

    return Metric(mean, (total, n), "pairs" if n == "unequal" else "segments")


def _ece(s: Sums) -> Array:
    # Bins stand last.
    gap = np.abs(s["gaps"]).sum(axis=-1)
    out: Array = np.full(gap.shape, np.nan)
    np.divide(gap, s["unequal"], out=out, where=s["unequal"] > 0)
    return out


def pair_metrics(margins: Sequence[float]) -> dict[str, Metric]:
    """Accuracies of all margins, by name."""
    found = sum_metrics(margins)
    return {margin_name(m): found[margin_name(m)] for m in margins}


def order_metrics() -> dict[str, Metric]:
    """What any order of the takes of a list has."""
    return {
        "kendall_within": _mean("tau", "tau_lists"),
        "ndcg": Metric(ndcg, ("ndcg", "ndcg_lists"), "segments"),
    }


def spread_metrics(labels: bool) -> dict[str, Metric]:
    """Spread within lists of whatever has scores; with that of labels where it predicts these."""
    found = {"intra_segment_std": Metric(intra_segment_std, ("segment_std", "segments"),
                                         "segments")}  # fmt: skip
    if labels:
        ratio = Metric(dispersion_ratio, ("within_pp", "within_yy"), "segments")
        found["dispersion_ratio"] = ratio
    return found


def probability_metrics() -> dict[str, Metric]:
    """What only rankers have: they say how sure they are, and need not be transitive."""
    return {
        CYCLIC: _mean("cyclic", "triples"),
        LOG_LOSS: _mean("loss", "unequal"),
        BRIER: _mean("squares", "unequal"),
        ECE: Metric(_ece, ("gaps", "unequal"), "pairs"),
    }


def contest_sums(
    contest: Contest,
    entries: Sequence[Entry],
    margins: Sequence[float],
    *,
    lists: bool = True,
    probabilities: bool = False,
) -> CellSums:
    """Sums of some rows over pairs and lists, as the bootstrap takes them.

    Parameters
    ----------
    contest : Contest
    entries : sequence of Entry
    margins : sequence of float
        Of ``evaluate.margins``.
    lists : bool
        Whether sums over lists are wanted.
    probabilities : bool
        Whether margins are log-odds.
    """
    units: dict[Unit, Cells] = {"pairs": _pair_cells(contest, entries, margins, probabilities)}
    if lists:
        units["segments"] = _list_cells(contest, entries, probabilities)
    design = contest.design
    return CellSums(units, len(entries), False, design.n_clusters, design.n_players)


def _pair_cells(
    contest: Contest, entries: Sequence[Entry], margins: Sequence[float], probabilities: bool
) -> Cells:
    """In single precision, as in ``statistics.sums``: counts stay exact."""
    design = contest.design
    first, second = design.pairs.T
    one, other = design.player[first], design.player[second]
    key = np.stack([design.cluster[first], np.minimum(one, other), np.maximum(one, other)])
    cells, cell = np.unique(key, axis=1, return_inverse=True)
    adder = row_adder(cell.reshape(-1), cells.shape[1])
    rated = contest.difference
    hits = np.stack([_hits(contest.margins[entry], rated) for entry in entries])
    sums: dict[str, NDArray[np.floating]] = {}
    for margin in margins:
        # NaN differences compare false and drop out.
        counted = np.abs(rated) > margin + MARGIN_TOLERANCE
        name = margin_name(margin)
        sums[f"{name}_pairs"] = _by_cell(adder, counted[None].astype(np.float64))
        sums[f"{name}_hits"] = _by_cell(adder, hits * counted)
    if probabilities:
        unequal = np.abs(rated) > MARGIN_TOLERANCE
        sums["unequal"] = _by_cell(adder, unequal[None].astype(np.float64))
        parts = [_calibration(contest.margins[e], rated, unequal) for e in entries]
        for name in ("loss", "squares"):
            sums[name] = _by_cell(adder, np.stack([part[name] for part in parts]))
        binned = np.stack([_by_cell(adder, part["gaps"]) for part in parts])
        sums["gaps"] = np.ascontiguousarray(np.moveaxis(binned, 1, 2))
    return Cells(cells[0], cells[1:].T, np.array([0, cells.shape[1]]), sums)


def _by_cell(adder: sparse.csr_matrix, values: Array) -> NDArray[np.float32]:
    """(models, pairs, D) added up -> (models, D, cells)."""
    found = np.stack([(adder @ one).T for one in values])
    return np.ascontiguousarray(found, dtype=np.float32)


def _hits(margins: Array, rated: Array) -> Array:
    return np.where(margins == 0.0, 0.5, np.sign(margins) == np.sign(rated))


def _calibration(margins: Array, rated: Array, unequal: NDArray[np.bool_]) -> dict[str, Array]:
    """Log loss and squared error of each pair, and confidence less hit in its bin.

    ``gaps`` has the shape (bins, pairs, D).
    """
    towards = margins * np.where(unequal, np.sign(rated), 0.0)  # log-odds of the rated order
    loss = np.logaddexp(0.0, -towards)
    p = np.exp(-loss)
    sure = np.maximum(p, 1.0 - p)
    gap = (sure - _hits(margins, rated)) * unequal
    place = np.minimum(((sure - 0.5) * 2.0 * BINS).astype(np.int64), BINS - 1)
    gaps = np.stack([np.where(place == b, gap, 0.0) for b in range(BINS)])
    return {"loss": loss * unequal, "squares": (1.0 - p) ** 2 * unequal, "gaps": gaps}


def _list_cells(contest: Contest, entries: Sequence[Entry], probabilities: bool) -> Cells:
    """Lists are drawn whole, with their content group."""
    found = []
    for entry in entries:
        scores = scores_of(contest, entry)
        sums = kendall_sums(contest, entry) | gain_sums(contest, scores)
        sums |= spread_sums(contest, scores)
        if probabilities:
            sums |= cyclic_sums(contest, entry)
        found.append(sums)
    n_clusters = contest.design.n_clusters
    stacked = {name: np.stack([one[name].T for one in found]) for name in found[0]}
    none = np.zeros((n_clusters, 0), np.int64)
    return Cells(np.arange(n_clusters), none, np.array([0, n_clusters]), stacked)
