r"""Losses of pairs: which of two takes is the higher one.

Replicas (folds, points of a sweep, seeds) come first and do not mix: each loss is one number a
replica, shape (B,). A logit x is how much the first take is preferred, a target t the wanted
probability that it is the higher one, and a weight w at least 0:

``margin_loss``    :math:`t \max(0, m - x) + (1 - t) \max(0, m + x)`: for t of 0 and 1 the hinge
                   of Herbrich et al. 2000 (Advances in Large Margin Classifiers, 115-132); a
                   target between them is the hinge that is expected of its orders
``logistic_loss``  :math:`-t \log σ(x) - (1 - t) \log σ(-x)`: RankNet (Burges et al. 2005, ICML,
                   eq. 3), which is cross-entropy with soft targets

both as :math:`\sum w\,l / \sum w` over pairs and dimensions. What weighs nothing may hold any
value, NaN too, and has no gradient; a replica in which nothing weighs has a loss of 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from pianoeval.losses.replicas import Each, each, weighted_mean

# Standardised labels that differ by less are equal: ratings are means of whole numbers, of which
# equal ones may differ by rounding alone.
TIE = 1e-6


def all_pairs(n: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """First and second of the n(n − 1)/2 pairs of n takes, first < second, by first."""
    first, second = torch.triu_indices(n, n, 1, device=device)
    return first, second


def pair_targets(labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Targets 0 and 1 of all pairs within lists, and weights 1, or 0 for ties and padding.

    Parameters
    ----------
    labels : (B, L, n, D)
    mask : bool, (B, L, n)

    Returns
    -------
    target, weight : (B, L, n(n − 1)/2, D)
        Pairs in the order of :func:`all_pairs`.
    """
    first, second = all_pairs(labels.shape[2], labels.device)
    difference = labels[:, :, first] - labels[:, :, second]
    known = (mask[:, :, first] & mask[:, :, second])[..., None] & (difference.abs() > TIE)
    return (difference > 0).to(labels.dtype), known.to(labels.dtype)


def margin_loss(logit: Tensor, target: Tensor, weight: Tensor, margin: Each) -> Tensor:
    """Hinge of each replica.

    Parameters
    ----------
    logit, target, weight : (B, …, D)
    margin : float or (B,)
        Logit above which a pair in the right order costs nothing.

    Returns
    -------
    (B,)
    """
    logit, target = _counted(logit, target, weight)
    margin = each(margin, logit)
    cost = target * relu(margin - logit) + (1 - target) * relu(margin + logit)
    return weighted_mean(cost, weight)


def logistic_loss(logit: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of each replica; all (B, …, D), to (B,)."""
    logit, target = _counted(logit, target, weight)
    cost = binary_cross_entropy_with_logits(logit, target, reduction="none")
    return weighted_mean(cost, weight)


def _counted(logit: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    nothing = logit.new_zeros(())
    return logit.where(weight > 0, nothing), target.where(weight > 0, nothing)
