r"""Losses of lists: all takes of one segment at once.

``scores`` and ``labels`` are (B, L, n, D): B replicas, which do not mix, L lists of at most n
takes, D dimensions, each ranked by itself; ``mask`` (B, L, n), bool, is false on padding. Each loss
is the mean over lists and dimensions, shape (B,). A list with fewer than two takes, or whose labels
are all equal in a dimension, counts nothing there; 0 where nothing counts. With scores s and labels
y of a list:

``listnet``     cross-entropy of the probabilities to be first,
                :math:`-\sum_i p_i(y) \log p_i(s)`, p the softmax (Cao et al. 2007, ICML, eq. 6
                with top-one probabilities)
``listmle``     :math:`\frac{1}{n} \sum_i \{\log \sum_{j: y_j \le y_i} e^{s_j} - s_i\}`: the
                likelihood of the order by Plackett and Luce (Xia et al. 2008, ICML, eq. 5), a take
                at a time. Takes of equal labels choose from the same takes, as Breslow 1974 has it
                for the same likelihood in survival: their order in the batch does not matter
``lambdarank``  :math:`\sum_{y_i > y_j} |Δ_{ij}| \log(1 + e^{s_j - s_i})`, Δ the change of NDCG were
                i and j to change places (Burges et al. 2006, NIPS; as a loss: Wang et al. 2018,
                CIKM, eq. 14). Gains are labels less the least of the list, discounts
                :math:`1/\log_2(1 + rank)`, ranks those of the present scores, without gradient;
                equal scores are ranked as they come, or no pair of them would count
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax, softplus

from pianoeval.losses.pairwise import TIE, all_pairs, pair_targets
from pianoeval.losses.replicas import lowest, weighted_mean


def listnet(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of top-one probabilities; shapes as above, to (B,)."""
    labels, counted = _counted(labels, mask)
    taken = mask[..., None]
    wanted = softmax(labels.masked_fill(~taken, lowest(scores)), dim=2)
    found = log_softmax(scores.masked_fill(~taken, lowest(scores)), dim=2)
    cost = -(wanted * found.masked_fill(~taken, 0.0)).sum(dim=2)
    return weighted_mean(cost, counted)


def listmle(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Likelihood of the order of labels, a take at a time; shapes as above, to (B,)."""
    labels, counted = _counted(labels, mask)
    taken = mask[..., None].expand_as(labels)
    labels, order = labels.masked_fill(~taken, -math.inf).sort(dim=2, descending=True, stable=True)
    taken = taken.gather(2, order)
    scores = scores.gather(2, order).masked_fill(~taken, lowest(scores))
    below = scores.flip(2).logcumsumexp(dim=2).flip(2)
    cost = (below.gather(2, _first_of_equal(labels)) - scores).masked_fill(~taken, 0.0)
    n = mask.sum(dim=2).clamp(min=1)[..., None]
    return weighted_mean(cost.sum(dim=2) / n, counted)


def lambdarank(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Logistic loss of pairs, each by what its order is worth; shapes as above, to (B,)."""
    target, known = pair_targets(labels, mask)
    labels, counted = _counted(labels, mask)
    scores = scores.masked_fill(~mask[..., None], 0.0)
    first, second = all_pairs(labels.shape[2], labels.device)
    gain, discount = _gains(labels, mask), _discounts(scores.detach(), mask)
    worth = (gain[:, :, first] - gain[:, :, second]) * (
        discount[:, :, first] - discount[:, :, second]
    )
    apart = (2 * target - 1) * (scores[:, :, first] - scores[:, :, second])
    cost = (worth.abs() * known * softplus(-apart)).sum(dim=2)
    return weighted_mean(cost, counted)


def _counted(labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Labels with 0 on padding, and the weight of each list and dimension, (B, L, D)."""
    taken = mask[..., None]
    labels = labels.masked_fill(~taken, 0.0)
    highest = labels.masked_fill(~taken, -math.inf).amax(dim=2)
    least = labels.masked_fill(~taken, math.inf).amin(dim=2)
    return labels, (highest - least > TIE).to(labels.dtype)


def _first_of_equal(labels: Tensor) -> Tensor:
    """Position of the first of the labels that equal each, of labels in descending order."""
    starts = torch.ones_like(labels, dtype=torch.bool)
    # Padding is −inf, and −inf − −inf is NaN, which starts nothing and is not read.
    starts[:, :, 1:] = labels[:, :, :-1] - labels[:, :, 1:] > TIE
    place = torch.arange(labels.shape[2], device=labels.device)[:, None]
    return (starts * place).cummax(dim=2).values


def _gains(labels: Tensor, mask: Tensor) -> Tensor:
    """Gain of each take over the DCG of the right order; 0 on padding and where all are equal."""
    taken = mask[..., None]
    least = labels.masked_fill(~taken, math.inf).amin(dim=2, keepdim=True)
    gain = (labels - least).masked_fill(~taken, 0.0)
    ideal = (gain * _discounts(gain, mask)).sum(dim=2, keepdim=True)
    return gain / ideal.where(ideal > 0, ideal.new_ones(()))


def _discounts(scores: Tensor, mask: Tensor) -> Tensor:
    """Discount of the rank that each score has in its list; padding is ranked last."""
    falling = scores.masked_fill(~mask[..., None], -math.inf)
    order = falling.argsort(dim=2, descending=True, stable=True)
    return 1 / (order.argsort(dim=2).to(scores.dtype) + 2).log2()
