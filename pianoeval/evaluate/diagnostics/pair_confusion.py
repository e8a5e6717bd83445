"""Which pairs of takes a model orders rightly, by how far apart they were rated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.diagnostics.jsonable import number, numbers
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.statistics.ceiling import pairwise_ceiling
from pianoeval.evaluate.statistics.metrics import Array, headline_pairs, margin_name
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE
from pianoeval.evaluate.statistics.ranking import jackknife_interval

STEPS = (0, 1, 2, 3, 4, 6)  # edges of the bins in margins; the last bin has no upper end
NO_PAIRS = "no two human clips of one segment share a fold"
_FLAT = "predictions do not differ within segments"


def headline_margin(margins: Sequence[float]) -> float:
    """The margin of the headline metric; 0 where none is evaluated."""
    headline = headline_pairs(margins)
    return next((margin for margin in margins if margin_name(margin) == headline), 0.0)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs times dimensions, flat; pairs that were rated alike or not at all are absent.

    ``bin`` is the place of |Δy| among the edges.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    dimension: NDArray[np.intp]
    rated: Array
    cluster: NDArray[np.int64]
    bin: NDArray[np.intp]


def pair_confusion(human: Judged, margin: float, confidence: float) -> dict[str, Any]:
    """Right and wrong order of pairs of one segment and one fold, over the ranked dimensions.

    Parameters
    ----------
    human : Judged
        Without deadpan renderings.
    margin : float
        Of the confusion matrix; 0 leaves it to pairs rated exactly alike.
    confidence : float

    Returns
    -------
    dict
        By model: ``margin, n_pairs, n_compared, edges`` (last None: no upper end), ``rated_bins``,
        ``counts`` (right, tie, wrong a bin), ``share_right`` with ``ci_low, ci_high`` (a tie counts
        ½; leaving out content groups), ``ceiling`` (what raters' noise allows; None without raw
        ratings), ``confusion`` (rated lower, within, higher × predicted; each pair in both orders;
        predicted differences scaled to the spread of the rated ones).
    """
    pairs, edges = _flat_pairs(human, margin)
    out = {}
    for name, p in human.models.items():
        head = {"margin": margin, "n_pairs": len(human.design.pairs)}
        if not len(pairs.rated):
            out[name] = head | _nothing()
            continue
        found = head | {
            "n_compared": len(pairs.rated),
            "edges": [number(e) for e in edges] + [None],
        }
        found["rated_bins"] = _bin_names(edges)
        found |= _order(pairs, p, len(edges), human.design.n_clusters, confidence)
        found["ceiling"] = _ceiling(human, pairs, len(edges))
        out[name] = found | _confusion(human, p, margin)
    return out


def _nothing() -> dict[str, Any]:
    empty = ("edges", "rated_bins", "counts", "share_right", "ci_low", "ci_high")
    none = {"ceiling": None, "confusion": None, "reason": NO_PAIRS}
    return {"n_compared": 0, **{name: [] for name in empty}, **none}


def _edges(size: Array, margin: float) -> Array:
    """Multiples of the margin; without one, fifths of the rated differences."""
    if margin > 0:
        return np.array([margin * step for step in STEPS])
    return np.unique(np.concatenate([[0.0], np.quantile(size, (0.2, 0.4, 0.6, 0.8))]))


def _flat_pairs(human: Judged, margin: float) -> tuple[_Pairs, Array]:
    first, second = human.design.pairs[:, 0], human.design.pairs[:, 1]
    rated = human.y[first] - human.y[second]
    # NaN differences compare false.
    pair, dimension = np.nonzero((np.abs(rated) > MARGIN_TOLERANCE) & human.ranked)
    rated = rated[pair, dimension]
    first, second = first[pair], second[pair]
    edges = _edges(np.abs(rated), margin) if len(rated) else np.zeros(1)
    place = np.searchsorted(edges + MARGIN_TOLERANCE, np.abs(rated), side="left") - 1
    found = _Pairs(first, second, dimension, rated, human.design.cluster[first], place)
    return found, edges


def _bin_names(edges: Array) -> list[str]:
    names = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    return [*names, f"> {edges[-1]:g}"]


def _order(
    pairs: _Pairs, p: Array, n_bins: int, n_clusters: int, confidence: float
) -> dict[str, Any]:
    predicted = p[pairs.first, pairs.dimension] - p[pairs.second, pairs.dimension]
    outcome = np.where(predicted == 0.0, 1, np.where(predicted * pairs.rated > 0, 0, 2))
    code = (pairs.cluster * n_bins + pairs.bin) * 3 + outcome
    counts = np.bincount(code, minlength=n_clusters * n_bins * 3).reshape(n_clusters, n_bins, 3)
    total = counts.sum(axis=0)
    value = _share(total)
    present = counts[counts.any(axis=(1, 2))]  # a group without pairs is no cluster here
    low, high = jackknife_interval(value, _share(total - present), confidence, "logit")
    return {
        "counts": total.tolist(),
        "share_right": numbers(value),
        "ci_low": numbers(low),
        "ci_high": numbers(high),
    }


def _share(counts: NDArray[np.int64]) -> Array:
    n = counts.sum(axis=-1)
    out: Array = np.full(n.shape, np.nan)
    np.divide(counts[..., 0] + 0.5 * counts[..., 1], n, out=out, where=n > 0)
    return out


def _ceiling(human: Judged, pairs: _Pairs, n_bins: int) -> list[float | None] | None:
    """Mean of ``pairwise_ceiling`` over the pairs of each bin whose raters are known."""
    if human.noise is None:
        return None
    chance = np.full(len(pairs.rated), np.nan)
    raters = human.noise.raters
    for d in np.unique(pairs.dimension):
        rows = pairs.dimension == d
        one, other = raters[pairs.first[rows], d], raters[pairs.second[rows], d]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = human.noise.error_variance[d] * (1.0 / one + 1.0 / other)
        within = float(human.noise.within_variance[d])
        known = np.minimum(one, other) > 0
        found = pairwise_ceiling(pairs.rated[rows], np.where(known, error, 0.0), within)
        chance[rows] = np.where(known, found, np.nan)
    defined = np.isfinite(chance)
    n = np.bincount(pairs.bin[defined], minlength=n_bins)
    total = np.bincount(pairs.bin[defined], weights=chance[defined], minlength=n_bins)
    return [number(float(t / k)) if k else None for t, k in zip(total, n, strict=True)]


def _confusion(human: Judged, p: Array, margin: float) -> dict[str, Any]:
    first, second = human.design.pairs[:, 0], human.design.pairs[:, 1]
    rated, predicted = human.y[first] - human.y[second], p[first] - p[second]
    known = np.isfinite(rated) & human.ranked
    far, wide = (np.where(known, part**2, 0.0).sum(axis=0) for part in (rated, predicted))
    if not (wide[known.any(axis=0)] > 0).all():
        return {"confusion": None, "reason": _FLAT}
    scale = np.sqrt(far / np.where(wide > 0, wide, 1.0))
    cut = [_classes(part[known], margin) for part in (rated, predicted * scale)]
    counts = np.bincount(cut[0] * 3 + cut[1], minlength=9).reshape(3, 3)
    return {"confusion": (counts + counts[::-1, ::-1]).tolist()}


def _classes(difference: Array, margin: float) -> NDArray[np.int64]:
    """0 = lower, 1 = within the margin, 2 = higher."""
    above = (difference > margin + MARGIN_TOLERANCE).astype(np.int64)
    return 1 + above - (difference < -margin - MARGIN_TOLERANCE)
