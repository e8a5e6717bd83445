"""Tests and effect sizes for paired comparisons of two models.

Differences are a − b throughout, one row a unit (a clip, or a content group) and one column a
comparison, so that many comparisons are one call. All p-values are two-sided.

What takes the units as independent (t, Wilcoxon, d) is only as honest as the units: clips that
share notes are not independent, content groups nearly are. The permutation test flips whole
groups and asks nothing of distributions, but few groups cannot give a small p; ``smallest_p``
says how small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from pianoeval.evaluate.statistics.metrics import Array

CHUNK_DRAWS = 1000
EXACT_WILCOXON = 50
# Sums over groups that are equal on paper differ by rounding; a tie must count as one.
TIE_TOLERANCE = 1e-12


def paired_t(x: Array) -> tuple[Array, Array]:
    """Paired t-test: mean over standard error (Student 1908).

    Parameters
    ----------
    x : float64, shape (n,) or (n, K)
        Differences.

    Returns
    -------
    t, p : float64, shape () or (K,)
        NaN below two rows; 0 and 1 where all differences are 0.
    """
    n = len(x)
    if n < 2:
        return np.full(x.shape[1:], np.nan), np.full(x.shape[1:], np.nan)
    t = np.asarray(cohen_d(x) * np.sqrt(n))
    return t, np.asarray(2.0 * stats.t.sf(np.abs(t), n - 1))


def paired_wilcoxon(x: Array) -> Array:
    """Wilcoxon's signed-rank test (Wilcoxon 1945); differences of 0 are left out.

    Exact up to 50 differences without ties or zeros, else normal with correction for ties, decided
    column by column (``scipy.stats.wilcoxon`` decides once for all columns of a call).

    Parameters
    ----------
    x : float64, shape (n,) or (n, K)

    Returns
    -------
    p : float64, shape () or (K,)
        1 where all differences are 0; NaN without rows.
    """
    columns = _as_columns(x)
    p: Array = np.full(columns.shape[1], np.nan)
    if not len(x):
        return p.reshape(x.shape[1:])
    some = (columns != 0.0).any(axis=0)
    p[~some] = 1.0
    sizes = np.sort(np.abs(columns), axis=0)
    distinct = (sizes[0] > 0.0) & (np.diff(sizes, axis=0) > 0.0).all(axis=0)
    exact = distinct & (len(x) <= EXACT_WILCOXON)
    for chosen, method in ((exact, "exact"), (some & ~exact, "asymptotic")):
        if chosen.any():
            p[chosen] = stats.wilcoxon(columns[:, chosen], axis=0, method=method).pvalue
    return p.reshape(x.shape[1:])


def cohen_d(x: Array) -> Array:
    """Standardised mean difference of pairs, mean(x) / sd(x), also called d_z (Cohen 1988, 2.3.5).

    Parameters
    ----------
    x : float64, shape (n,) or (n, K)

    Returns
    -------
    float64, shape () or (K,)
        Paired t = d·√n. 0 where all differences are 0; NaN below two rows.
    """
    if len(x) < 2:
        return np.full(x.shape[1:], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = x.mean(axis=0) / x.std(axis=0, ddof=1)
    return np.where((x == 0.0).all(axis=0), 0.0, d)


def cohen_q(r1: Array | float, r2: Array | float) -> Array:
    """Difference of Fisher's z of two correlations (Cohen 1988, eq. 4.2.1).

    Infinite where one correlation is ±1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.arctanh(r1) - np.arctanh(r2))


def williams(
    r_ya: Array | float, r_yb: Array | float, r_ab: Array | float, n: int
) -> tuple[Array, Array]:
    """Williams' test of two dependent correlations that share y: H0 ρ_ya = ρ_yb.

    T2 of Steiger (1980, Psychol. Bull. 87, 245-251, eq. 7), after Williams (1959):
    t = (r_ya − r_yb) √[(n−1)(1+r_ab) / (2 (n−1)/(n−3) |R| + r̄² (1−r_ab)³)], n − 3 degrees of
    freedom, |R| = 1 − r_ya² − r_yb² − r_ab² + 2 r_ya r_yb r_ab, r̄ = (r_ya + r_yb)/2.

    Parameters
    ----------
    r_ya, r_yb, r_ab : float64
        Of y with a, y with b, a with b.
    n : int
        Independent observations.

    Returns
    -------
    t, p : float64
        0 and 1 where the correlations are equal; NaN below four observations.
    """
    r_ya, r_yb, r_ab = np.broadcast_arrays(r_ya, r_yb, r_ab)
    difference = np.asarray(r_ya - r_yb, dtype=np.float64)
    if n < 4:
        return np.full(difference.shape, np.nan), np.full(difference.shape, np.nan)
    determinant = 1.0 - r_ya**2 - r_yb**2 - r_ab**2 + 2.0 * r_ya * r_yb * r_ab
    mean = 0.5 * (r_ya + r_yb)
    # |R| of a correlation matrix is not negative; rounding can make it so.
    spread = 2.0 * (n - 1) / (n - 3) * np.maximum(determinant, 0.0) + mean**2 * (1.0 - r_ab) ** 3
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference * np.sqrt((n - 1) * (1.0 + r_ab) / spread)
    t = np.where(difference == 0.0, 0.0, t)
    return t, np.asarray(2.0 * stats.t.sf(np.abs(t), n - 3))


def smallest_p(n_clusters: int, n_draws: int) -> float:
    """Smallest two-sided p that flipping so many clusters can give, whatever the data.

    Two of the 2^C sign patterns are as extreme as any observed one (all signs kept, all flipped):
    four clusters cannot go below 2/16 = .125, six are the first to pass .05. Random draws resolve
    no less than 1/(draws + 1).
    """
    exact = 2.0 ** (1 - n_clusters) if n_clusters else 1.0
    return exact if _enumerable(n_clusters, n_draws) else max(exact, 1.0 / (n_draws + 1))


def sign_flip(contributions: Array, n_draws: int, seed: int) -> Array:
    """Permutation test that exchanges two models within whole clusters.

    Under the null the models are exchangeable in every cluster, so each cluster's contribution to
    the difference is as likely to have the other sign. All 2^C patterns are enumerated where they
    are no more than ``n_draws``, C being the clusters in which the column is not 0; otherwise p =
    (b + 1)/(m + 1) over random ones (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39).
    The p of a column does not depend on the others.

    Parameters
    ----------
    contributions : float64, shape (C,) or (C, K)
        Summing to the difference over clusters.
    n_draws, seed : int

    Returns
    -------
    p : float64, shape () or (K,)
        1 where nothing contributes; NaN where a contribution is NaN.
    """
    columns = _as_columns(contributions)
    undefined = np.isnan(columns).any(axis=0)
    columns = np.where(undefined, 0.0, columns)
    some = columns != 0.0
    p: Array = np.empty(columns.shape[1])
    drawn = np.array([not _enumerable(n, n_draws) for n in some.sum(axis=0)], dtype=bool)
    if drawn.any():
        p[drawn] = _flipped(columns[:, drawn], n_draws, seed)
    for rows in np.unique(some[:, ~drawn], axis=1).T:
        alike = ~drawn & (some == rows[:, None]).all(axis=0)
        p[alike] = _flipped(columns[np.ix_(rows, alike)], n_draws, seed)
    p[undefined] = np.nan
    return p.reshape(contributions.shape[1:])


def _flipped(columns: Array, n_draws: int, seed: int) -> Array:
    """Share of sign patterns of the rows as extreme as the observed one, (C, K) -> (K,)."""
    reached = np.abs(columns.sum(axis=0)) - TIE_TOLERANCE * np.abs(columns).sum(axis=0)
    extreme = np.zeros(columns.shape[1])
    for signs in _sign_patterns(len(columns), n_draws, seed):
        extreme += (np.abs(signs @ columns) >= reached).sum(axis=0)
    return _share(extreme, len(columns), n_draws)


def _as_columns(x: Array) -> Array:
    """(n,) or (n, K) as (n, K), also where n is 0."""
    return x[:, None] if x.ndim == 1 else x


def _enumerable(n_clusters: int, n_draws: int) -> bool:
    return n_clusters < 63 and 2**n_clusters <= n_draws


def _share(extreme: Array, n_clusters: int, n_draws: int) -> Array:
    """Patterns at least as extreme as the observed one, as a p-value."""
    if _enumerable(n_clusters, n_draws):
        return extreme / 2.0**n_clusters
    return (extreme + 1.0) / (n_draws + 1.0)


def _sign_patterns(n_clusters: int, n_draws: int, seed: int) -> Iterator[Array]:
    """All patterns of ±1, or random ones, in chunks of shape (patterns, C)."""
    random = np.random.default_rng(seed)
    every = _enumerable(n_clusters, n_draws)
    total = 2**n_clusters if every else n_draws
    for start in range(0, total, CHUNK_DRAWS):
        stop = min(start + CHUNK_DRAWS, total)
        if every:
            bits = np.arange(start, stop)[:, None] >> np.arange(n_clusters) & 1
        else:
            bits = random.integers(0, 2, size=(stop - start, n_clusters))
        yield 1.0 - 2.0 * bits.astype(np.float64)


def benjamini_hochberg(p: Array) -> Array:
    """Adjusted p-values that control the false discovery rate (Benjamini & Hochberg 1995).

    Parameters
    ----------
    p : float64, shape (K,)
        NaN = not tested: stays NaN and does not count.

    Returns
    -------
    q : float64, shape (K,)
    """
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q: Array = np.full(len(p), np.nan)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
