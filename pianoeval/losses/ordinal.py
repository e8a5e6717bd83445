r"""Ordinal regression: labels in K bins, of which K − 1 logits say "above bin k?".

Logits are (B, m, D, K − 1): B replicas, m takes, D dimensions; levels (B, m, D) are bins from 0 to
K − 1, ``valid`` (B, m) is false on padding. With y the level, σ the logistic function:

``coral_loss``  :math:`\sum_{k<K-1} -[y > k] \log σ(l_k) - [y \le k] \log(1 - σ(l_k))`, the mean
                over takes and dimensions (Cao, Mirjalili and Raschka 2020, arXiv:1901.07884,
                eq. 4). :math:`σ(l_k) = P(y > k)`. These fall with k for certain only where logits
                differ by a bias of each k and share the rest: the network's part
``corn_loss``   :math:`σ(l_k) = P(y > k \mid y > k - 1)`, learned from the takes with
                :math:`y > k - 1` alone; cross-entropies of all tasks over their number of takes
                (Shi, Cao and Raschka 2021, arXiv:2111.08851, eq. 6). Their products
                :math:`P(y > k) = \prod_{j \le k} σ(l_j)` fall with k whatever the logits

Decoded either as the expected label, :math:`\sum_k P(y = k)\,c_k` with c the middles of the bins,
or as the papers have it, the number of k with :math:`P(y > k) > 1/2`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from pianoeval.losses.replicas import weighted_mean


def edges(labels: Tensor, bins: int) -> Tensor:
    """Borders of ``bins`` equally wide bins from the least label of a dimension to the highest.

    Parameters
    ----------
    labels : (…, m, D)
        Training labels, all of them known.

    Returns
    -------
    (…, D, bins + 1)
        With both ends. All equal where labels are: every label is then in the first bin.
    """
    lowest, highest = labels.amin(dim=-2), labels.amax(dim=-2)
    steps = torch.linspace(0, 1, bins + 1, dtype=labels.dtype, device=labels.device)
    return torch.lerp(lowest[..., None], highest[..., None], steps)


def levels(labels: Tensor, edges: Tensor) -> Tensor:
    """Bin of each label, int64; a label on a border is in the lower bin, one beyond in the last.

    Parameters
    ----------
    labels : (…, m, D)
    edges : (…, D, K + 1)
        Leading axes of its own, or none.
    """
    inner = edges[..., 1:-1].unsqueeze(-3)
    return (labels[..., None] > inner).sum(dim=-1)


def coral_loss(
    logits: Tensor, levels: Tensor, valid: Tensor, weight: Tensor | None = None
) -> Tensor:
    """K − 1 cross-entropies of each take, summed.

    Parameters
    ----------
    logits : (B, m, D, K − 1)
    levels : int64, (B, m, D)
    valid : bool, (B, m)
    weight : (B, m, D), optional
        Of each label, e.g. by :func:`~pianoeval.losses.imbalance.lds_weights`.

    Returns
    -------
    (B,)
    """
    cost, _ = _tasks(logits, levels, valid)
    return weighted_mean(cost.sum(dim=-1), _weights(cost[..., 0], valid, weight))


def corn_loss(
    logits: Tensor, levels: Tensor, valid: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Each task on the takes that came as far; as :func:`coral_loss`.

    A task that no take of the batch came to has no part in it.
    """
    cost, task = _tasks(logits, levels, valid)
    reached = (levels[..., None] >= task).to(cost.dtype)
    return weighted_mean(cost, _weights(cost[..., 0], valid, weight)[..., None] * reached)


def coral_expected(logits: Tensor, edges: Tensor) -> Tensor:
    """Expected label.

    Parameters
    ----------
    logits : (B, m, D, K − 1)
    edges : (D, K + 1) or (B, D, K + 1)

    Returns
    -------
    (B, m, D)
    """
    return _expected(logits.sigmoid(), edges)


def corn_expected(logits: Tensor, edges: Tensor) -> Tensor:
    """Expected label; as :func:`coral_expected`."""
    return _expected(_reached(logits), edges)


def coral_decoded(logits: Tensor) -> Tensor:
    """Level as the paper decodes it, int64: (…, K − 1) to (…)."""
    return (logits > 0).sum(dim=-1)


def corn_decoded(logits: Tensor) -> Tensor:
    """Level as the paper decodes it, int64: (…, K − 1) to (…)."""
    return (_reached(logits) > 0.5).sum(dim=-1)


def _reached(logits: Tensor) -> Tensor:
    """P(y > k) from conditional logits; logarithms, as a product of many would lose its last."""
    return logsigmoid(logits).cumsum(dim=-1).exp()


def _expected(above: Tensor, edges: Tensor) -> Tensor:
    """:math:`c_0 + \\sum_k (c_{k+1} - c_k) P(y > k)`, which is the sum over bins rearranged."""
    middles = ((edges[..., 1:] + edges[..., :-1]) / 2).unsqueeze(-3)
    return middles[..., 0] + (above * middles.diff(dim=-1)).sum(dim=-1)


def _tasks(logits: Tensor, levels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each task, as ``logits``, and the tasks' numbers, (K − 1,)."""
    logits = logits.masked_fill(~valid[..., None, None], 0.0)
    task = torch.arange(logits.shape[-1], device=logits.device)
    above = (levels[..., None] > task).to(logits.dtype)
    return binary_cross_entropy_with_logits(logits, above, reduction="none"), task


def _weights(like: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
    counted = valid[..., None].to(like.dtype).expand_as(like)
    if weight is None:
        return counted
    return torch.where(valid[..., None], weight, weight.new_zeros(()))
