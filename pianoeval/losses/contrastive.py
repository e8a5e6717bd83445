r"""Losses of codes: what belongs together lies together.

Codes z (B, m, k) are scaled to length one here; B are replicas, which do not mix, m the takes of a
batch. ``positive`` (B, m, m), bool, says which takes belong to the anchor of a row, ``valid``
(B, m) which rows are no padding. No take is its own positive, whatever the diagonal says; all
valid others that are not positives are negatives. With :math:`s_{ij} = z_i \cdot z_j / τ` and the
positives P(i) and negatives N(i) of an anchor i:

``info_nce``  mean over P(i) of :math:`-\log\{e^{s_{ip}} / (e^{s_{ip}} + \sum_{n∈N(i)}
              e^{s_{in}})\}` (van den Oord et al. 2018, arXiv:1807.03748, eq. 4, each positive
              against the negatives alone)
``supcon``    mean over P(i) of :math:`-\log\{e^{s_{ip}} / \sum_{a≠i} e^{s_{ia}}\}`: the other
              positives are in the denominator too (Khosla et al. 2020, arXiv:2004.11362, eq. 2)
``triplet``   mean over P(i) of :math:`\max(0, d_{ip} - d_{in} + m)`, d the squared distance of
              unit codes, n the nearest negative that is farther than p, else the farthest one
              (semi-hard: Schroff et al. 2015, arXiv:1503.03832, section 3.2)

and each the mean over the anchors that have a positive and a negative; 0 where none has.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu, softplus

from pianoeval.losses.replicas import Each, each, lowest, weighted_mean

# t of Wang and Isola 2020, with which they ran all of their experiments.
_SHARPNESS = 2.0


def info_nce(codes: Tensor, positive: Tensor, valid: Tensor, temperature: Each) -> Tensor:
    """Each positive against all negatives.

    Parameters
    ----------
    codes : (B, m, k)
    positive : bool, (B, m, m)
    valid : bool, (B, m)
    temperature : float or (B,)

    Returns
    -------
    (B,)
    """
    near = _similarity(codes, valid)
    near = near / each(temperature, near)
    pulled, pushed = _roles(positive, valid)
    against = near.masked_fill(~pushed, lowest(near)).logsumexp(dim=2, keepdim=True)
    return _anchors(softplus(against - near), pulled, pushed)


def supcon(codes: Tensor, positive: Tensor, valid: Tensor, temperature: Each) -> Tensor:
    """Supervised contrast, the sum over positives outside of the logarithm; as ``info_nce``."""
    near = _similarity(codes, valid)
    near = near / each(temperature, near)
    pulled, pushed = _roles(positive, valid)
    others = near.masked_fill(~(pulled | pushed), lowest(near)).logsumexp(dim=2, keepdim=True)
    return _anchors(others - near, pulled, pushed)


def triplet(codes: Tensor, positive: Tensor, valid: Tensor, margin: Each) -> Tensor:
    """Each positive nearer than a semi-hard negative by ``margin``, float or (B,), of 0 to 4."""
    apart = 2 - 2 * _similarity(codes, valid)
    pulled, pushed = _roles(positive, valid)
    ordered = apart.masked_fill(~pushed, math.inf).sort(dim=2).values
    n_negatives = pushed.sum(dim=2, keepdim=True)
    farther = torch.searchsorted(ordered.detach(), apart.detach().contiguous(), right=True)
    chosen = torch.minimum(farther, n_negatives - 1).clamp(min=0)
    negative = ordered.gather(2, chosen)
    negative = negative.where(n_negatives > 0, negative.new_zeros(()))
    return _anchors(relu(apart - negative + each(margin, apart)), pulled, pushed)


def spread(codes: Tensor, same: Tensor, valid: Tensor) -> Tensor:
    r"""Uniformity within pieces: least where takes of one piece have codes far apart.

    :math:`\log \overline{\exp(-2\,‖z_i - z_j‖^2)}` over all pairs of ``same`` (Wang and Isola 2020,
    arXiv:2005.10242, eq. 2): 0 where all codes are alike, at which its gradient is 0 as well, at
    least −8. A replica without such a pair has 0.

    Parameters
    ----------
    codes : (B, m, k)
    same : bool, (B, m, m)
        Which takes are of one piece.
    valid : bool, (B, m)
    """
    near = (2 * _SHARPNESS) * (_similarity(codes, valid) - 1)
    pairs, _ = _roles(same, valid)
    n = pairs.flatten(1).sum(dim=1).to(near.dtype)
    total = near.masked_fill(~pairs, lowest(near)).flatten(1).logsumexp(dim=1)
    return (total - n.clamp(min=1).log()).where(n > 0, total.new_zeros(()))


def label_positives(
    labels: Tensor, same_piece: Tensor, share: float, valid: Tensor | None = None
) -> Tensor:
    """Takes of other pieces that were judged alike.

    Of every take, the ``share`` of the takes of other pieces whose labels are nearest (Euclidean
    distance over dimensions), one at least, and all that are as near as the last of them. Takes of
    its own piece are none: they share the music, and codes could be alike by it.

    Parameters
    ----------
    labels : (B, m, D)
    same_piece : bool, (B, m, m)
    share : float
        Above 0, at most 1.
    valid : bool, (B, m), optional
        Rows that are no padding; all without it.

    Returns
    -------
    bool, (B, m, m)
        Row: anchor. Not symmetric: the nearest of one take may have nearer ones.
    """
    if valid is None:
        valid = labels.new_ones(labels.shape[:2], dtype=torch.bool)
    labels = labels.masked_fill(~valid[..., None], 0.0)
    _, others = _roles(same_piece, valid)
    # Differences rather than products: equal labels must be at a distance of exactly 0.
    apart = torch.cdist(labels, labels, compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart.masked_fill(~others, math.inf)
    n = others.sum(dim=2, keepdim=True)
    last = ((n * share).ceil().long() - 1).clamp(min=0)
    return others & (apart <= apart.sort(dim=2).values.gather(2, last))


def _similarity(codes: Tensor, valid: Tensor) -> Tensor:
    """Cosines, (B, m, m); padding has codes of 0, whatever it held."""
    unit = normalize(codes.masked_fill(~valid[..., None], 0.0), dim=2, eps=1e-6)
    return unit @ unit.transpose(1, 2)


def _roles(positive: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives of each anchor, of which the anchor is neither."""
    others = valid[:, :, None] & valid[:, None, :]
    others = others & ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    return positive & others, ~positive & others


def _anchors(cost: Tensor, pulled: Tensor, pushed: Tensor) -> Tensor:
    """Mean over positives, then over the anchors that have positives and negatives."""
    share = pulled.to(cost.dtype)
    n = share.sum(dim=2)
    found = cost.masked_fill(~pulled, 0.0).sum(dim=2) / n.clamp(min=1)
    return weighted_mean(found, ((n > 0) & pushed.any(dim=2)).to(cost.dtype))
