"""What a head minimises, phase by phase.

``pcconv``       squared error
``contrastive``  first the contrast of codes, by which the encoder learns; then, with the encoder
                 frozen, its running moments too, the squared error of linear layers (Khosla et al.
                 2020, arXiv:2004.11362)
``joint``        both at once, eq. 1 of Seshadri and Lerch 2021, and regularisers of the code
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pianoeval.heads.networks import Layout
from pianoeval.losses import continuous
from pianoeval.params_contrast import HeadParams

# Codes are means of what ReLU leaves, so a few tenths are a difference.
_DELTA = 10.0


@dataclass(frozen=True)
class Phase:
    """One training sequence: what learns, for how long, and how fast.

    Attributes
    ----------
    name : str
        Of the epoch it chooses, in the selection.
    encoder : bool
        Whether convolutions learn.
    rates : pcconv, linear or none
        Which layers predict, and learn.
    contrasts : bool
        Whether the loss contrasts codes.
    """

    name: str
    head: HeadParams
    encoder: bool
    rates: Literal["pcconv", "linear", "none"]
    contrasts: bool
    epochs: int
    learning_rate: float


def phases_of(head: HeadParams) -> list[Phase]:
    """Training sequences of a head, one after the other."""
    epochs, rate = head.epochs, head.learning_rate
    if head.approach == "pcconv":
        return [Phase("epoch", head, True, "pcconv", False, epochs, rate)]
    if head.approach == "joint":
        return [Phase("epoch", head, True, "linear", True, epochs, rate)]
    first = (head.contrast_epochs, head.contrast_learning_rate)
    return [
        Phase("contrast_epoch", head, True, "none", True, *first),
        Phase("epoch", head, False, "linear", False, epochs, rate),
    ]


def codes_loss(
    layout: Layout, phase: Phase, row: Tensor, codes: Tensor, y: Tensor, goal: Tensor,
    pairs: Tensor | None,
) -> Tensor:  # fmt: skip
    """What a phase asks of codes, (1,).

    Parameters
    ----------
    row : (1, n)
        Parameters; the regulariser may have some.
    codes : (1, m, k)
    y : (m, dimensions)
    goal : (1, m)
        The dimension that is learned.
    pairs : (1, p, 2), optional
        For losses of pairs; all without them. Losses by temperature compare all clips of a batch.
    """
    head, loss = phase.head, codes.new_zeros(1)
    if phase.contrasts:
        weight = 1.0 if phase.rates == "none" else head.contrast_weight
        loss = loss + weight * _contrast(head, codes, goal, pairs)
    if phase.rates == "linear" and head.regularise != "none":
        loss = loss + head.regularise_weight * _regulariser(layout, head, row, codes, y)
    return loss


def _contrast(head: HeadParams, codes: Tensor, labels: Tensor, pairs: Tensor | None) -> Tensor:
    valid = torch.ones(labels.shape, dtype=torch.bool)
    if head.contrast in ("weighted", "max_margin"):
        weighted = head.contrast == "weighted"
        of_pairs = continuous.weighted_contrastive if weighted else continuous.max_margin
        return of_pairs(codes, labels, valid, head.bins, head.margin, pairs)
    if head.contrast == "rnc":
        return continuous.rank_n_contrast(codes, labels, valid, head.temperature)
    of_anchors = (
        continuous.n_pairs if head.contrast == "n_pairs" else continuous.info_nce_continuous
    )
    return of_anchors(codes, labels, valid, head.bins, head.temperature)


def _regulariser(layout: Layout, head: HeadParams, row: Tensor, codes: Tensor, y: Tensor) -> Tensor:
    """By which the first values of codes follow the dimensions; as many as a code has values."""
    n = min(y.shape[1], codes.shape[2])
    labels = y[None, :, :n]
    valid = torch.ones(labels.shape[:2], dtype=torch.bool)
    if head.regularise == "ar_vae":
        return continuous.ar_vae(codes, labels, valid, _DELTA)
    slope, offset, log_variance = (
        layout.get(row, f"lens.{name}")[:, :n] for name in ("slope", "offset", "log_variance")
    )
    return continuous.i_vae(codes, labels, valid, slope, offset, log_variance)
