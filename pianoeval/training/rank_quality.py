"""What out-of-fold pairs say of a ranker: how often it is right, and where it tosses a coin.

Pairs of one content group share takes and music, so groups are the units: with :math:`r_g` right
of :math:`n_g` pairs in group g of G, the share of right ones :math:`a = Σ r_g / Σ n_g` has the
standard error :math:`\\sqrt{G/(G-1) Σ (r_g - a n_g)^2} / Σ n_g` (linearised ratio; Cochran 1977,
Sampling Techniques, section 6.3); its interval takes Student's t with G - 1 degrees of freedom.

A coin toss: among the pairs that the ranker finds closest, up to some log-odds, the interval of
the share of right ones holds one half. The largest such log-odds on a grid of shares of all pairs
is the threshold; a ranker that is right no more often than chance on all pairs has none above it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from pianoeval.models.base import Float64, Rows

LEVEL = 0.95
_GRID = np.linspace(0.05, 1.0, 20)
_TIE = 1e-9


def known_of_pairs(
    margins: Float64, differences: Float64, cluster: Rows, dimensions: list[str]
) -> dict[str, dict[str, Any]]:
    """What is known of each dimension.

    Parameters
    ----------
    margins : float64, shape (pairs, dimensions)
        Out-of-fold log-odds that the first take is the higher one.
    differences : float64, shape (pairs, dimensions)
        Label of the first less that of the second; pairs of equal labels are left out.
    cluster : int64, shape (pairs,)
        Content group of each pair.

    Returns
    -------
    dict by dimension
        ``pairs``, ``accuracy`` with ``low`` and ``high``, ``expected`` (the mean probability that
        the ranker gave the take it put first: its own idea of its accuracy), and ``coin_toss``
        (log-odds up to which it tosses a coin; None = everywhere).
    """
    found = {}
    for d, name in enumerate(dimensions):
        kept = np.abs(differences[:, d]) > _TIE
        m, gap = margins[kept, d], differences[kept, d]
        right = np.where(m == 0, 0.5, (m > 0) == (gap > 0)).astype(np.float64)
        share, low, high = share_right(right, cluster[kept])
        expected = float(special.expit(np.abs(m)).mean()) if len(m) else float("nan")
        found[name] = {
            "pairs": len(m), "accuracy": _number(share), "low": _number(low),
            "high": _number(high), "expected": _number(expected),
            "coin_toss": coin_toss(np.abs(m), right, cluster[kept]),
        }  # fmt: skip
    return found


def share_right(right: Float64, cluster: Rows) -> tuple[float, float, float]:
    """Share of right pairs with its interval; NaN limits for fewer than two groups."""
    if not len(right):
        return float("nan"), float("nan"), float("nan")
    _, code = np.unique(cluster, return_inverse=True)
    per, n = np.bincount(code, weights=right), np.bincount(code)
    share, groups = float(right.mean()), len(n)
    if groups < 2:
        return share, float("nan"), float("nan")
    error = np.sqrt(groups / (groups - 1) * np.sum((per - share * n) ** 2)) / n.sum()
    reach = float(stats.t.ppf((1 + LEVEL) / 2, groups - 1) * error)
    return share, share - reach, share + reach


def coin_toss(size: Float64, right: Float64, cluster: Rows) -> float | None:
    """Log-odds up to which pairs are right no more often than chance; None = all of them."""
    if not len(size):
        return None
    threshold = 0.0
    for limit in np.quantile(size, _GRID):
        near = size <= limit
        low = share_right(right[near], cluster[near])[1]
        if not low > 0.5:  # NaN too: of one group nothing is known
            threshold = float(limit)
    return None if threshold >= size.max() else threshold


def paired_labels(
    pairs: pd.DataFrame, values: Float64, clips: list[str], groups: pd.Series
) -> tuple[Float64, Rows]:
    """Differences of labels and the content group of each row of a table of pairs.

    Parameters
    ----------
    values : float64, shape (clips, dimensions)
    groups : Series by clip
    """
    row = {clip: number for number, clip in enumerate(clips)}
    first = np.array([row[clip] for clip in pairs["first"]], dtype=np.int64)
    second = np.array([row[clip] for clip in pairs["second"]], dtype=np.int64)
    code = np.unique(groups.loc[pairs["first"]].astype(str), return_inverse=True)[1]
    return values[first] - values[second], code.astype(np.int64)


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
