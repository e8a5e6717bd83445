r"""Mutual information of a code and a class from nearest neighbours.

The estimator of Ross (2014, PLoS ONE 9, e87357), after Kraskov, Stögbauer & Grassberger (2004): of
take i with class :math:`c_i`, let the k-th nearest take of its class be the m-th nearest of all;
then

.. math:: I(C; Z) \approx \frac1n \sum_i ψ(N_i) + ψ(k_i) - ψ(N_{c_i}) - ψ(m_i)

with :math:`N_i` takes in all and :math:`N_{c_i}` in its class, itself among them. Takes of its own
unit (see ``questions``) are nobody's neighbours. k = 3, less in a class of fewer, more where
several are equally far. In nats; it is not cut off at 0. Distances are Euclidean, on the first 8
principal components: neighbours tell little in many dimensions. It is biased all the same; what
permuted classes give is its bias.

A second estimate, the bound of a probe, is in ``probes``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import psi

from pianoeval.evaluate.ranked.questions import Index

Float64 = NDArray[np.float64]
NEIGHBOURS = 3
COMPONENTS = 8


def principal_components(z: Float64, n_components: int = COMPONENTS) -> Float64:
    """Scores on the first components of ``z`` (n, values), which is centred; (n, ≤ components)."""
    left, singular, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    return np.asarray((left * singular)[:, :n_components])


def neighbour_information(z: Float64, classes: Index, unit: Index) -> Float64:
    """Estimate for the classes as they are and every permutation of them.

    Parameters
    ----------
    z : float64, shape (n, values)
    classes : int64, shape (permutations + 1, n)
    unit : int64, shape (n,)

    Returns
    -------
    float64, shape (permutations + 1,)
        In nats; 0 where no take has a neighbour of its class.
    """
    apart = cdist(z, z, "sqeuclidean")  # exactly 0 between codes that are alike
    same = unit[:, None] == unit
    apart[same] = np.inf
    order = np.argsort(apart, axis=1, kind="stable")
    eligible = len(z) - same.sum(axis=1)
    reach = _reach(np.take_along_axis(apart, order, axis=1))
    # Takes of the own unit are last in the order, and are not counted.
    counted = np.arange(len(z)) < eligible[:, None]
    return np.array([_estimate(row, order, reach, counted, eligible) for row in classes])


def _reach(ordered: Float64) -> Index:
    """Place of the last of those that are as far away, at each place of a row in order."""
    n = len(ordered)
    last = np.ones((n, n), dtype=bool)
    last[:, :-1] = ordered[:, 1:] > ordered[:, :-1]
    places = np.where(last, np.arange(n), n)
    found: Index = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    return found


def _estimate(
    classes: Index, order: Index, reach: Index, counted: NDArray[np.bool_], eligible: Index
) -> float:
    alike = (classes[order] == classes[:, None]) & counted
    found = alike.cumsum(axis=1)
    in_class = found[:, -1]
    kept = in_class > 0
    if not kept.any():
        return 0.0
    wanted = np.minimum(NEIGHBOURS, in_class)
    place = (found >= wanted[:, None]).argmax(axis=1)
    # All that are as far away are as near: what comes first among them says nothing.
    place = np.take_along_axis(reach, place[:, None], axis=1)[:, 0][kept]
    k = found[kept, place]
    terms = psi(eligible[kept] + 1) + psi(k) - psi(in_class[kept] + 1) - psi(place + 1)
    return float(terms.mean())
