"""Do codes cluster by piece, or by player?

``nmi``, ``ari``  k-means with as many clusters as classes, compared with the classes: mutual
                  information over the mean of the entropies, and the adjusted Rand index (Hubert &
                  Arabie 1985, J. Classif. 2, 193-218). Small classes alone make ``nmi`` large: read
                  it beside its chance level.
``silhouette``    mean over takes (Rousseeuw 1987, J. Comput. Appl. Math. 20, 53-65)
``share``         of the codes' variance that lies between classes (η², Anderson 2001, Austral Ecol.
                  26, 32-46); the rest is how far takes of one class differ
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from pianoeval.evaluate.ranked.probes import squared_distances
from pianoeval.evaluate.ranked.questions import Index

Float64 = NDArray[np.float64]
_STARTS = 4


def clustering(z: Float64, classes: Index, seed: int) -> dict[str, Float64]:
    """Every measure for the classes as they are and every permutation of them.

    Parameters
    ----------
    z : float64, shape (n, values)
        Codes, centred.
    classes : int64, shape (permutations + 1, n)

    Returns
    -------
    dict of float64, shape (permutations + 1,)
    """
    n_classes = int(classes.max()) + 1
    cluster = clusters(z, n_classes, seed)
    compared = np.array([agreement(row, cluster) for row in classes])
    apart = np.sqrt(squared_distances(z))
    return {
        "nmi": compared[:, 0],
        "ari": compared[:, 1],
        "silhouette": np.array([silhouette(apart, row) for row in classes]),
        "share": np.array([between_share(z, row) for row in classes]),
    }


def clusters(z: Float64, n_clusters: int, seed: int) -> Index:
    """Cluster of each row by k-means; codes that are alike are one cluster."""
    distinct, same = np.unique(z, axis=0, return_inverse=True)
    if len(distinct) <= n_clusters:
        return np.asarray(same.reshape(-1), dtype=np.int64)
    fitted = KMeans(n_clusters, n_init=_STARTS, random_state=seed).fit(z)
    return np.asarray(fitted.labels_, dtype=np.int64)


def agreement(one: Index, other: Index) -> tuple[float, float]:
    """Normalised mutual information and adjusted Rand index of two divisions."""
    n = len(one)
    width = int(other.max()) + 1
    table = np.bincount(one * width + other, minlength=(int(one.max()) + 1) * width)
    table = table.reshape(-1, width).astype(np.float64)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    entropy = _entropy(rows / n) + _entropy(columns / n)
    shared = entropy - _entropy(table.ravel() / n)
    pairs, of_rows, of_columns = (
        (x * (x - 1.0) / 2.0).sum() for x in (table.ravel(), rows, columns)
    )
    expected = of_rows * of_columns / (n * (n - 1.0) / 2.0)
    most = (of_rows + of_columns) / 2.0
    # Two divisions that are both trivial agree.
    ari = 1.0 if most == expected else (pairs - expected) / (most - expected)
    return (1.0 if entropy == 0 else 2.0 * max(shared, 0.0) / entropy), float(ari)


def _entropy(share: Float64) -> float:
    present = share[share > 0]
    return float(-(present * np.log(present)).sum())


def silhouette(apart: Float64, classes: Index) -> float:
    """Mean silhouette from distances (n, n); a take alone in its class counts 0."""
    n, sizes = len(classes), np.bincount(classes).astype(np.float64)
    sums = apart @ np.eye(len(sizes))[classes]
    place = np.arange(n)
    own = sizes[classes]
    inside = sums[place, classes] / np.maximum(own - 1.0, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(sizes > 0, sums / sizes, np.inf)
    means[place, classes] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    values = np.zeros(n)
    np.divide(outside - inside, largest, out=values, where=(own > 1) & (largest > 0))
    return float(values.mean())


def between_share(z: Float64, classes: Index) -> float:
    """Variance between classes over all of it; 0 where codes do not vary."""
    centred = z - z.mean(axis=0)
    total = float((centred**2).sum())
    if total == 0:
        return 0.0
    sizes = np.bincount(classes)
    sums = np.eye(len(sizes))[classes].T @ centred
    return float(((sums**2).sum(axis=1) / np.maximum(sizes, 1)).sum() / total)
