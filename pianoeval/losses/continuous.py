r"""Contrasts of codes by ratings of 0 to 1: what was rated far apart lies far apart.

Codes z (B, m, k), as they are unless said otherwise; ``labels`` (B, m), of one criterion. Replicas
B do not mix, ``valid`` (B, m) says which rows are no padding, and each loss is one number a
replica, (B,): 0 where nothing counts. Padding may hold any value, NaN too, and has no gradient.
With X a rating's bin (:func:`bins_of`), D the Euclidean distance of two codes, c their cosine and
τ the temperature:

``weighted_contrastive``  :math:`½ D^2` within a bin, else :math:`½ \max(0, m - D)^2` with a margin
                          :math:`m = |X_i - X_j| s` (Seshadri and Lerch 2021, eqs. 2 and 3), the
                          mean over pairs
``max_margin``            the same with :math:`m = s` whatever the bins (eq. 2 alone; Chopra et al.
                          2005, CVPR)
``n_pairs``               mean over the takes p of the anchor's bin of
                          :math:`\log\{1 + \sum_n e^{(c_{in} - c_{ip})/τ}\}`, n of all other bins
                          (Sohn 2016, NeurIPS, his loss of N pairs, here of cosines)
``info_nce_continuous``   :math:`-\sum_j \bar w_{ij} \log\{e^{c_{ij}/τ} / \sum_l e^{c_{il}/τ}\}`, of
                          j, l ≠ i: w a Gaussian of the difference of ratings, its sum over j made 1
                          (Dufumier et al. 2021, arXiv:2106.08808)
``rank_n_contrast``       mean over j ≠ i of :math:`-\log\{e^{-D_{ij}/τ} / \sum_k e^{-D_{ik}/τ}\}`,
                          k those whose ratings are no nearer to the anchor's than that of j
                          (Zha et al. 2023, arXiv:2210.01189)
``ar_vae``                first values of codes in the order of several ratings: mean over i, j of
                          :math:`|\tanh(δ(z_i - z_j)) - \mathrm{sgn}(y_i - y_j)|`, ratings summed
                          (Pati and Lerch 2021, Neural Comput. Appl. 33, 4429-4444)
``i_vae``                 first values as lenses of them: :math:`-\log N(y; αz + β, σ^2)`, ratings
                          summed (Adel et al. 2018, ICML)

The third to fifth are means over anchors i that have what they are compared with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pianoeval.losses.contrastive import info_nce
from pianoeval.losses.pairwise import TIE
from pianoeval.losses.replicas import Each, each, lowest, weighted_mean

# Smallest σ² of a lens, as of torch's Gaussian likelihood: a rating that a value says exactly would
# have an infinite one.
_LEAST_VARIANCE = 1e-6


def bins_of(labels: Tensor, bins: Each) -> Tensor:
    """Bin of each rating, int64, 0 to C − 1: lower bounds are the multiples of 1 / C.

    The last bin has 1 in it as well. A rating that differs from a bound by rounding alone is on it:
    0.6 of float32 times 5 need not be 3. What is outside of 0 to 1 is in the nearest bin.

    Parameters
    ----------
    labels : (B, …)
    bins : int or (B,)
        C.
    """
    bins = each(bins, labels)
    place = ((labels + TIE) * bins).floor().clamp(min=0)
    return torch.minimum(place, torch.as_tensor(bins).to(place) - 1).long()


def weighted_contrastive(
    codes: Tensor,
    labels: Tensor,
    valid: Tensor,
    bins: Each,
    margin: Each,
    pairs: Tensor | None = None,
) -> Tensor:
    """Margin in proportion to the distance of bins.

    Parameters
    ----------
    codes : (B, m, k)
    labels : (B, m)
    valid : bool, (B, m)
    bins : int or (B,)
        C.
    margin : float or (B,)
        s, distance of codes for each bin between their ratings.
    pairs : int64, (B, p, 2), optional
        Rows of the batch, those of all pairs without it. A row with itself is no pair.

    Returns
    -------
    (B,)
        Its gradient is 0 where two codes are the same.
    """
    apart, steps, weight = _pairs(codes, labels, valid, bins, pairs)
    return _hinge(apart, steps, each(margin, apart) * steps, weight)


def max_margin(
    codes: Tensor,
    labels: Tensor,
    valid: Tensor,
    bins: Each,
    margin: Each,
    pairs: Tensor | None = None,
) -> Tensor:
    """The same margin between all bins; as :func:`weighted_contrastive`."""
    apart, steps, weight = _pairs(codes, labels, valid, bins, pairs)
    return _hinge(apart, steps, each(margin, apart), weight)


def n_pairs(codes: Tensor, labels: Tensor, valid: Tensor, bins: Each, temperature: Each) -> Tensor:
    """Takes of the anchor's bin against all others; as :func:`weighted_contrastive`.

    Codes have length one here; the paper has products of codes and holds their lengths by a
    penalty. Anchors without a take of their bin, or of another, do not count.
    """
    level = bins_of(labels.masked_fill(~valid, 0.0), bins)
    # Each positive against the negatives alone, which is the logarithm of his sum.
    return info_nce(codes, level[:, :, None] == level[:, None, :], valid, temperature)


def info_nce_continuous(
    codes: Tensor, labels: Tensor, valid: Tensor, bins: Each, temperature: Each
) -> Tensor:
    """All others, each as far as its rating is like the anchor's; as :func:`n_pairs`.

    The Gaussian's standard deviation is the width of a bin, 1 / C. The paper's second view of each
    take is not there, and its factor 1 / N, which has no gradient, is left out.
    """
    labels = labels.masked_fill(~valid, 0.0)
    others = _others(valid)
    unit = normalize(codes.masked_fill(~valid[..., None], 0.0), dim=2, eps=1e-6)
    near = unit @ unit.transpose(1, 2)
    apart = (labels[:, :, None] - labels[:, None, :]) * each(bins, near)
    wanted = (-0.5 * apart.square()).masked_fill(~others, lowest(near)).softmax(dim=2)
    found = (near / each(temperature, near)).masked_fill(~others, lowest(near)).log_softmax(dim=2)
    cost = -(wanted * found.masked_fill(~others, 0.0)).sum(dim=2)
    return weighted_mean(cost, others.any(dim=2).to(cost.dtype))


def rank_n_contrast(codes: Tensor, labels: Tensor, valid: Tensor, temperature: Each) -> Tensor:
    """Each other take against those that are rated no nearer to the anchor.

    Parameters
    ----------
    codes : (B, m, k)
    labels : (B, m)
        Differences that are equal but for rounding are equal.
    valid : bool, (B, m)
    temperature : float or (B,)
        τ, in units of codes.

    Returns
    -------
    (B,)
        At least 0, which is reached only where no two are compared. Its gradient is 0 between two
        codes that are the same.
    """
    codes = codes.masked_fill(~valid[..., None], 0.0)
    labels = labels.masked_fill(~valid, 0.0)
    others = _others(valid)
    near = -_distances(codes)
    near = (near / each(temperature, near)).masked_fill(~others, lowest(near))
    # Nearest ratings first, before them those that are none: sums from a place on are suffixes.
    apart = (labels[:, :, None] - labels[:, None, :]).abs().masked_fill(~others, -1.0)
    ordered, order = apart.sort(dim=2)
    sums = near.gather(2, order).flip(2).logcumsumexp(dim=2).flip(2)
    from_here = torch.searchsorted(ordered, apart - TIE)
    cost = (sums.gather(2, from_here) - near).masked_fill(~others, 0.0)
    n = others.sum(dim=2).to(cost.dtype)
    return weighted_mean(cost.sum(dim=2) / n.clamp(min=1), (n > 0).to(cost.dtype))


def ar_vae(codes: Tensor, labels: Tensor, valid: Tensor, delta: Each) -> Tensor:
    """First values of codes in the order of ratings.

    Parameters
    ----------
    codes : (B, m, k)
        Value r follows rating r; the others are free.
    labels : (B, m, a)
        At most k ratings. Those that are equal but for rounding are equal.
    valid : bool, (B, m)
    delta : float or (B,)
        δ: the larger, the smaller the difference of values that is enough.

    Returns
    -------
    (B,)
        The mean over all m² of i, j, i = j too, which has no cost: as in the authors' programs.
    """
    values, labels = _followed(codes, labels, valid)
    between = values[:, :, None] - values[:, None, :]
    apart = labels[:, :, None] - labels[:, None, :]
    wanted = apart.sign().masked_fill(apart.abs() <= TIE, 0.0)
    cost = (torch.tanh(each(delta, between) * between) - wanted).abs().sum(dim=3)
    return weighted_mean(cost, (valid[:, :, None] & valid[:, None, :]).to(cost.dtype))


def i_vae(
    codes: Tensor,
    labels: Tensor,
    valid: Tensor,
    slope: Tensor,
    offset: Tensor,
    log_variance: Tensor,
) -> Tensor:
    """First values of codes from which ratings are read by one straight line each.

    The line stands in for the paper's invertible lens. The constant ½ log 2π is left out, so the
    loss may be below 0.

    Parameters
    ----------
    codes, labels, valid
        As of :func:`ar_vae`.
    slope, offset, log_variance : (B, a)
        α, β and log σ² of each line, to be learned; σ² counts as 1e-6 at least.

    Returns
    -------
    (B,)
        The mean over takes.
    """
    values, labels = _followed(codes, labels, valid)
    error = labels - (slope[:, None] * values + offset[:, None])
    held = log_variance.detach().clamp(min=math.log(_LEAST_VARIANCE)) - log_variance.detach()
    spread = (log_variance + held)[:, None]
    cost = 0.5 * (error.square() * torch.exp(-spread) + spread).sum(dim=2)
    return weighted_mean(cost, valid.to(cost.dtype))


def _followed(codes: Tensor, labels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Values that follow a rating, and the ratings, (B, m, a); 0 in padding."""
    n, values = labels.shape[2], codes.shape[2]
    if n > values:
        raise ValueError(f"{n} ratings, but codes of {values} values")
    padding = ~valid[..., None]
    return codes[..., :n].masked_fill(padding, 0.0), labels.masked_fill(padding, 0.0)


def _hinge(apart: Tensor, steps: Tensor, margin: Each, weight: Tensor) -> Tensor:
    short = torch.relu(margin - apart)
    return weighted_mean(0.5 * torch.where(steps == 0, apart, short).square(), weight)


def _pairs(
    codes: Tensor, labels: Tensor, valid: Tensor, bins: Each, pairs: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances of codes and of bins, and weights 0 or 1: (B, m, m), or (B, p) if sampled."""
    codes = codes.masked_fill(~valid[..., None], 0.0)
    level = bins_of(labels.masked_fill(~valid, 0.0), bins).to(codes.dtype)
    if pairs is None:
        weight = _others(valid).to(codes.dtype)
        return _distances(codes), (level[:, :, None] - level[:, None, :]).abs(), weight
    first, second = pairs.unbind(dim=2)
    values = codes.shape[2]
    between = codes.gather(1, first[..., None].expand(-1, -1, values)) - codes.gather(
        1, second[..., None].expand(-1, -1, values)
    )
    steps = (level.gather(1, first) - level.gather(1, second)).abs()
    counted = valid.gather(1, first) & valid.gather(1, second) & (first != second)
    # The norm of a zero vector has a gradient of 0 in torch, as have distances in cdist.
    return torch.linalg.vector_norm(between, dim=2), steps, counted.to(codes.dtype)


def _distances(codes: Tensor) -> Tensor:
    """Of all codes, (B, m, m), by differences: products would part codes that are the same."""
    return torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist")


def _others(valid: Tensor) -> Tensor:
    """Both of a pair count and are two, bool (B, m, m)."""
    alone = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    return valid[:, :, None] & valid[:, None, :] & ~alone
