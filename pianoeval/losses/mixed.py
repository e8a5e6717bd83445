r"""Losses that hold scores to the scale of the labels as well as in their order.

A loss of pairs or lists leaves free where scores lie and how far apart they are. Shapes are as in
:mod:`~pianoeval.losses.listwise`: ``scores`` and ``labels`` (B, L, n, D), ``mask`` (B, L, n).

``squared``      mean of :math:`(s - y)^2` over takes and dimensions
``ordered``      margin loss of all pairs within lists, :func:`~pianoeval.losses.pairwise.
                 margin_loss` of the difference of scores
``concordance``  1 − Lin's concordance correlation over all takes of a replica, as
                 :func:`~pianoeval.losses.regression.ccc`: an anchor of location and scale
``mixed``        α · squared + (1 − α) · ordered
``anchored``     α · concordance + (1 − α) · ordered

α = 1 is the plain regression, α = 0 the plain ranking. Margins are in units of the labels.
"""

from __future__ import annotations

from torch import Tensor

from pianoeval.losses.pairwise import all_pairs, margin_loss, pair_targets
from pianoeval.losses.regression import ccc
from pianoeval.losses.replicas import Each, weighted_mean


def squared(scores: Tensor, labels: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error of each replica, (B,).

    Parameters
    ----------
    scores, labels : (B, L, n, D)
    mask : bool, (B, L, n)
    weight : (B, L, n, D), optional
        Of each label, e.g. by :func:`~pianoeval.losses.imbalance.lds_weights`.
    """
    padding = ~mask[..., None]
    error = scores.masked_fill(padding, 0.0) - labels.masked_fill(padding, 0.0)
    counted = mask[..., None].to(scores.dtype).expand_as(scores)
    if weight is not None:
        counted = weight.masked_fill(padding, 0.0)
    return weighted_mean(error.square(), counted)


def ordered(
    scores: Tensor, labels: Tensor, mask: Tensor, margin: Each, weight: Tensor | None = None
) -> Tensor:
    """Margin loss of all pairs within lists, (B,).

    Parameters
    ----------
    weight : (B, L, n(n − 1)/2, D), optional
        Of each pair, in the order of :func:`~pianoeval.losses.pairwise.all_pairs`. Ties and
        padding weigh nothing whatever it says.
    """
    first, second = all_pairs(scores.shape[2], scores.device)
    target, known = pair_targets(labels, mask)
    if weight is not None:
        known = weight.where(known > 0, known)
    return margin_loss(scores[:, :, first] - scores[:, :, second], target, known, margin)


def concordance(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """One less the concordance correlation, dimensions averaged, (B,): 0 to 2."""
    counted = mask.flatten(1)
    padding = ~counted[..., None]
    output = scores.flatten(1, 2).masked_fill(padding, 0.0)
    target = labels.flatten(1, 2).masked_fill(padding, 0.0)
    # Where nothing counts everything is 0, of which the concordance loss is 0, not 0/0.
    return ccc(output, target, counted | ~counted.any(dim=1, keepdim=True))


def mixed(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    alpha: Each,
    margin: Each,
    weight: Tensor | None = None,
    pair_weight: Tensor | None = None,
) -> Tensor:
    """A share ``alpha``, float or (B,), of ``squared``, the rest ``ordered``; (B,)."""
    error = squared(scores, labels, mask, weight)
    return alpha * error + (1 - alpha) * ordered(scores, labels, mask, margin, pair_weight)


def anchored(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    alpha: Each,
    margin: Each,
    pair_weight: Tensor | None = None,
) -> Tensor:
    """A share ``alpha``, float or (B,), of ``concordance``, the rest ``ordered``; (B,)."""
    anchor = concordance(scores, labels, mask)
    return alpha * anchor + (1 - alpha) * ordered(scores, labels, mask, margin, pair_weight)
