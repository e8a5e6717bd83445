r"""Narrow distributions of labels: what is rare counts more (Yang et al. 2021, arXiv:2102.09554).

``lds_weights``       label distribution smoothing, section 3.1: labels are counted in bins, the
                      counts smoothed by a Gaussian over bins, and each label weighs the inverse of
                      the smoothed count of its bin, because neighbours teach of it too
``FeatureSmoothing``  feature distribution smoothing, section 3.2: codes of takes with labels in
                      one bin have a mean μ and a variance v of each value; these are smoothed over
                      bins to μ' and v', and codes calibrated in training to
                      :math:`(z - μ_b) \sqrt{v'_b / v_b} + μ'_b`

As in the authors' programs, variances stand for the covariance matrix of the paper, which the
handful of takes of a bin does not determine, and :math:`v'/v` is held within 0.1 to 10.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pianoeval.losses.ordinal import edges as borders
from pianoeval.losses.ordinal import levels

# Bounds of v'/v in the authors' programs.
_LEAST, _MOST = 0.1, 10.0
# Variances below count as none, and their codes are moved but not stretched.
_NO_VARIANCE = 1e-12


def lds_weights(labels: Tensor, bins: int, sigma: float) -> Tensor:
    """Weight of each label of a training side.

    Parameters
    ----------
    labels : (m, D)
        All of them known.
    bins : int
        Equally wide, of each dimension.
    sigma : float
        Of the Gaussian, in bins; above 0.

    Returns
    -------
    (m, D)
        A mean of one in each dimension; all one where labels do not vary.
    """
    level = levels(labels, borders(labels, bins))
    counts = labels.new_zeros(bins, labels.shape[1])
    counts.scatter_add_(0, level, torch.ones_like(labels))
    density = (_gaussian(bins, sigma, labels) @ counts).gather(0, level)
    weights = 1 / density
    return weights / weights.mean(dim=0)


class FeatureSmoothing:
    """Running statistics of codes by bin of the label, smoothed over bins; of B replicas.

    Call ``update`` with the codes of all training takes after each epoch, and ``calibrate`` on the
    codes in training alone: labels of takes that are judged are not known.

    Parameters
    ----------
    edges : (B, bins + 1) or (bins + 1,)
        Borders of the bins of one label a take (e.g. the mean of its standardised dimensions), by
        :func:`~pianoeval.losses.ordinal.edges`.
    replicas, values : int
        B, and values of a code.
    sigma : float
        Of the Gaussian over bins, in bins; above 0.
    momentum : float
        Share of the former statistics that an update keeps. A bin that is met first keeps none.
    """

    def __init__(
        self, edges: Tensor, replicas: int, values: int, sigma: float = 2.0, momentum: float = 0.9
    ) -> None:
        self._edges = edges.expand(replicas, -1)
        self._momentum = momentum
        bins = self._edges.shape[1] - 1
        self._kernel = _gaussian(bins, sigma, edges)
        self._seen = edges.new_zeros(replicas, bins, dtype=torch.bool)
        self.mean = edges.new_zeros(replicas, bins, values)
        self.variance = edges.new_zeros(replicas, bins, values)
        self.smooth_mean = torch.zeros_like(self.mean)
        self.smooth_variance = torch.zeros_like(self.variance)

    def update(self, codes: Tensor, labels: Tensor, valid: Tensor) -> None:
        """Take up an epoch; bins without a take keep what they had.

        Parameters
        ----------
        codes : (B, m, values)
            Not calibrated.
        labels : (B, m)
        valid : bool, (B, m)
        """
        codes = codes.detach().masked_fill(~valid[..., None], 0.0)
        chosen = self._members(labels) * valid[..., None].to(codes.dtype)
        n = chosen.sum(dim=1)[..., None]
        share = chosen.transpose(1, 2) / n.clamp(min=1)
        mean = share @ codes
        apart = codes - (chosen @ mean)
        variance = share @ apart.square()
        met = n[..., 0] > 0
        keep = torch.where(met & self._seen, self._momentum, 1.0 - met.to(codes.dtype))[..., None]
        self.mean = keep * self.mean + (1 - keep) * mean
        self.variance = keep * self.variance + (1 - keep) * variance
        self._seen = self._seen | met
        self._smooth()

    def calibrate(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Codes with the smoothed statistics of their bins; differentiable by ``codes``.

        Those whose bin has not been seen are returned as they are.
        """
        chosen = self._members(labels)
        mean, smooth_mean = chosen @ self.mean, chosen @ self.smooth_mean
        ratio = self.smooth_variance / self.variance.clamp(min=_NO_VARIANCE)
        stretched = ratio.clamp(_LEAST, _MOST).sqrt()
        stretched = stretched.where(self.variance > _NO_VARIANCE, ratio.new_ones(()))
        found = (codes - mean) * (chosen @ stretched) + smooth_mean
        seen = (chosen @ self._seen.to(codes.dtype)[..., None]) > 0
        return torch.where(seen, found, codes)

    def state(self) -> dict[str, Tensor]:
        """All that ``update`` changes, by name, (B, …): to be kept elsewhere."""
        return {
            "seen": self._seen, "mean": self.mean, "variance": self.variance,
            "smooth_mean": self.smooth_mean, "smooth_variance": self.smooth_variance,
        }  # fmt: skip

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` gave."""
        self._seen, self.mean, self.variance = (state[n] for n in ("seen", "mean", "variance"))
        self.smooth_mean, self.smooth_variance = state["smooth_mean"], state["smooth_variance"]

    def _smooth(self) -> None:
        """Over the bins that have been seen: the others hold nothing to be smoothed in."""
        kernel = self._kernel * self._seen[:, None, :].to(self._kernel.dtype)
        kernel = kernel / kernel.sum(dim=2, keepdim=True).clamp(min=torch.finfo(kernel.dtype).tiny)
        self.smooth_mean = kernel @ self.mean
        self.smooth_variance = kernel @ self.variance

    def _members(self, labels: Tensor) -> Tensor:
        """One where a take's label is in a bin, (B, m, bins)."""
        level = levels(labels[..., None], self._edges[:, None, :])
        place = torch.arange(self._kernel.shape[0], device=labels.device)
        return (level == place).to(self.mean.dtype)


def _gaussian(bins: int, sigma: float, like: Tensor) -> Tensor:
    """Kernel of bins by bins, one on the diagonal."""
    place = torch.arange(bins, dtype=like.dtype, device=like.device)
    return torch.exp(-(place[:, None] - place).square() / (2 * sigma**2))
