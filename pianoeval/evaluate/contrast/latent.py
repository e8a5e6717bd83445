r"""What codes of one network look like: are classes of ratings apart, and in order?

Classes are equal parts of 0..1. Codes are those of reported clips, labels are used here alone: none
of these numbers chooses anything. Each is NaN where it is not defined.

``davies_bouldin``   mean over classes of the largest :math:`(S_i + S_j) / M_{ij}`: S the mean
                     distance of a class's codes from their centroid, M of two centroids (Davies
                     and Bouldin 1979, IEEE Trans. PAMI 1, 224-227); the smaller, the clearer
``silhouette``       mean over clips of :math:`(b - a) / \max(a, b)`, a the mean distance to the
                     others of the class, b to those of the nearest other one (Rousseeuw 1987,
                     J. Comput. Appl. Math. 20, 53-65); −1..1
``class_distances``  distances of centroids (figure 5 of Seshadri and Lerch 2021)
``surface_order``    Spearman's ρ of these with :math:`|i - j|`: do they grow with the distance of
                     ratings?
``interpretability`` by how much value r follows dimension r better than the best other value does
``tsne_map``         t-SNE (van der Maaten and Hinton 2008, JMLR 9, 2579-2605)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from pianoeval.threads import one_thread

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

# Labels nearer to a bound of a class are on it, as in losses.continuous.
_ON_BOUND = 1e-6
# Share of the longest distance below which distances are equal: they differ by rounding.
_EQUAL = 1e-9
# Share of the largest value below which codes differ by rounding: float32, averaged over chunks.
_ROUNDING = 1e-6
_LEAST_CLIPS = 5  # of a map: fewer have no neighbourhood
_START = 1e-4  # spread of the first axis before t-SNE, as in scikit-learn


def classes_of(y: Float64, bins: int) -> Index:
    """Class of each label, 0 to C − 1; lower bounds are the multiples of 1 / C.

    Parameters
    ----------
    y : float64, shape (n,)
        In 0..1, finite. 1 is in the last class.
    bins : int
        C.
    """
    place = np.floor((np.asarray(y, dtype=np.float64) + _ON_BOUND) * bins)
    return np.asarray(np.clip(place, 0, bins - 1), dtype=np.int64)


def is_collapsed(codes: NDArray[Any]) -> bool:
    """Whether all codes are one point but for rounding; those without values, or none, are."""
    if not codes.size:
        return True
    exact = codes.astype(np.float64)
    return bool(np.ptp(exact, axis=0).max() <= _ROUNDING * np.abs(exact).max())


def davies_bouldin(codes: NDArray[Any], y: Float64, bins: int) -> float:
    """Index of the classes that have clips.

    NaN with fewer than two of them, with no more clips than classes (all of them alone, with no
    spread to speak of), where two centroids are the same, and of a code that has collapsed.
    """
    member, centroid = _centroids(codes, y, bins)
    n_classes = len(centroid)
    if is_collapsed(codes) or not 2 <= n_classes < len(member):
        return float("nan")
    away = np.linalg.norm(codes.astype(np.float64) - centroid[member], axis=1)
    spread = np.bincount(member, away) / np.bincount(member)
    apart = _between(centroid)
    np.fill_diagonal(apart, np.inf)
    if apart.min() <= _EQUAL * np.abs(centroid).max(initial=0.0):
        return float("nan")
    return float(((spread[:, None] + spread) / apart).max(axis=1).mean())


def silhouette(codes: NDArray[Any], y: Float64, bins: int) -> float:
    """Mean silhouette; NaN as :func:`davies_bouldin`. A clip alone in its class counts 0."""
    classes, exact = classes_of(y, bins), codes.astype(np.float64)
    if is_collapsed(codes) or not 2 <= len(np.unique(classes)) < len(classes):
        return float("nan")
    return float(silhouette_score(exact, classes))


def class_distances(codes: NDArray[Any], y: Float64, bins: int) -> Float64:
    """Euclidean distances of the classes' centroids.

    Returns
    -------
    float64, shape (bins, bins)
        Symmetric, 0 on the diagonal; NaN where a class has no clips. All 0 of a code that has
        collapsed: what is left is rounding.
    """
    _, centroid = _centroids(codes, y, bins)
    present = np.unique(classes_of(y, bins))
    found = np.full((bins, bins), np.nan)
    found[np.ix_(present, present)] = 0.0 if is_collapsed(codes) else _between(centroid)
    return found


def surface_order(distances: Float64) -> float:
    """Spearman's ρ of class distances with the distances of the classes' numbers.

    Parameters
    ----------
    distances : float64, shape (bins, bins)
        Of :func:`class_distances`.

    Returns
    -------
    float
        1 where codes lie on a line at equal steps; NaN with fewer than three classes, or where all
        distances are the same.
    """
    first, second = np.triu_indices(len(distances), 1)
    apart = distances[first, second]
    known = np.isfinite(apart)
    apart, steps = apart[known], (second - first)[known]
    if len(apart) < 3:
        return float("nan")
    rounded = np.round(apart / max(float(apart.max()), np.finfo(float).tiny) / _EQUAL)
    return float(_rank_correlations(rounded[:, None], steps[:, None].astype(np.float64))[0, 0])


def value_correlations(codes: NDArray[Any], y: Float64) -> Float64:
    """Size of Spearman's ρ of each value of a code with each dimension.

    Parameters
    ----------
    codes : shape (n, values)
    y : float64, shape (n, D)

    Returns
    -------
    float64, shape (D, values)
        0 of a value that does not vary but for rounding, as it tells nothing; NaN of a dimension
        that does not vary.
    """
    exact = codes.astype(np.float64)
    found = np.abs(_rank_correlations(y, exact))
    found[:, np.ptp(exact, axis=0) <= _ROUNDING * np.abs(exact).max(axis=0)] = 0.0
    found[np.ptp(y, axis=0) == 0] = np.nan
    return found


def interpretability(codes: NDArray[Any], y: Float64) -> float:
    """Mean over dimensions r of \\|ρ\\| of value r less that of the best other value.

    −1..1: near 0 where other values follow the dimension as well, as they do where dimensions are
    alike. Dimensions that do not vary, or that have no value, are left out; NaN where none is left
    and where codes have fewer than two values.
    """
    if codes.shape[1] < 2:
        return float("nan")
    found = value_correlations(codes, y)
    n = min(found.shape)
    own, others = found[np.arange(n), np.arange(n)], found[:n].copy()
    others[np.arange(n), np.arange(n)] = -np.inf
    gap = own - others.max(axis=1)
    gap = gap[np.isfinite(gap)]
    return float(gap.mean()) if len(gap) else float("nan")


@one_thread()
def tsne_map(
    codes: NDArray[Any], perplexities: Sequence[float], seed: int
) -> tuple[Float64, float]:
    """Map of codes, at the best of several perplexities.

    The best has the least :math:`2 KL(P‖Q) + \\ln(n)\\,p / n` (Cao and Wang 2017,
    arXiv:1708.03229), which knows no labels: of maps that look at wider neighbourhoods,
    divergences are smaller whatever the data. Perplexities above a third of the other clips are
    held to that, which t-SNE needs. Starts from principal components.

    Parameters
    ----------
    codes : shape (n, values)
    perplexities : sequence of float
    seed : int
        Of what is added to the start, so that codes that are alike can part.

    Returns
    -------
    xy : float64, shape (n, 2)
        NaN of fewer than five clips, and of codes without values.
    perplexity : float
        NaN, too.
    """
    n, values = codes.shape
    if n < _LEAST_CLIPS or not values:
        return np.full((n, 2), np.nan), float("nan")
    exact = codes.astype(np.float64)
    start = _start(exact, seed)
    best: tuple[float, float, Float64] | None = None
    for perplexity in sorted({min(float(p), (n - 1) / 3) for p in perplexities}):
        fitted = TSNE(perplexity=perplexity, init=start, random_state=seed)
        xy = np.asarray(fitted.fit_transform(exact), dtype=np.float64)
        cost = 2 * float(fitted.kl_divergence_) + np.log(n) * perplexity / n
        if best is None or cost < best[0]:
            best = cost, perplexity, xy
    assert best is not None  # parameters have a perplexity at least
    return best[2], best[1]


def _start(codes: Float64, seed: int) -> Float64:
    """First two principal components, their signs as the largest weight of each says."""
    u, size, weights = np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)
    n = min(2, len(size))
    largest = np.abs(weights[:n]).argmax(axis=1)
    signs = np.sign(weights[np.arange(n), largest])
    found = np.zeros((len(codes), 2))
    found[:, :n] = u[:, :n] * size[:n] * signs
    found *= _START / max(float(found[:, 0].std()), np.finfo(float).tiny)
    return found + np.random.default_rng(seed).normal(scale=_START / 100, size=found.shape)


def _centroids(codes: NDArray[Any], y: Float64, bins: int) -> tuple[Index, Float64]:
    """Number of each clip's class among those that have clips, and their centroids."""
    _, member = np.unique(classes_of(y, bins), return_inverse=True)
    member = member.reshape(-1).astype(np.int64)
    n_classes = int(member.max()) + 1 if len(member) else 0
    total = np.zeros((n_classes, codes.shape[1]))
    np.add.at(total, member, codes.astype(np.float64))
    return member, total / np.bincount(member, minlength=n_classes)[:, None]


def _between(centroid: Float64) -> Float64:
    return np.asarray(np.linalg.norm(centroid[:, None] - centroid[None], axis=2))


def _rank_correlations(rows: Float64, columns: Float64) -> Float64:
    """Spearman's ρ of columns of two matrices, (their number, theirs); NaN where one is flat."""
    one, other = (_standardised(rankdata(side, axis=0)) for side in (rows, columns))
    return np.asarray(one.T @ other)


def _standardised(ranks: Float64) -> Float64:
    ranks = ranks - ranks.mean(axis=0)
    size = np.sqrt((ranks**2).sum(axis=0))
    return np.asarray(ranks / np.where(size > 0, size, np.nan))
