r"""Approach siamese: one projection for both takes, and a module that compares their codes.

Comparisons of codes :math:`z_A, z_B`, each with a logit a dimension:

``antisymmetric``   :math:`w_d^\top (z_A - z_B)`, no bias: DirectRanker (Köppel et al. 2019,
                    arXiv:1909.02768, eq. 3), an odd function, so that P(A>B) = 1 − P(B>A) exactly
``concatenation``   :math:`w_d^\top \mathrm{GELU}(W [z_A; z_B; z_A - z_B; z_A ⊙ z_B] + c) + b_d`: a
                    layer between, because of a linear form what is not odd says nothing
``bilinear``        :math:`z_A^\top W_d z_B`, of which the antisymmetric part says something
``attention``       cross-attention over frames, :mod:`~pianoeval.rankers.frame_attention`

Every pair is learned in both orders, A, B with target t and B, A with 1 − t: orientation is
balanced. A margin is (logit(A, B) − logit(B, A))/2, odd whatever the module; how often the sign of
the two orders disagrees is in ``selection["asymmetry"]``, a share of pairs and dimensions.

Codes are those of the shared projection; of attention, the mean of the frames' codes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pianoeval.errors import ConfigError
from pianoeval.losses.pairwise import all_pairs
from pianoeval.models.base import Float64
from pianoeval.params import RunParams
from pianoeval.params_rank import PAIR_LOSSES, RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.contrastive import pair_loss
from pianoeval.rankers.frame_attention import FrameAttention
from pianoeval.rankers.networks import (
    BaseNetwork,
    Initial,
    Network,
    Shape,
    Weights,
    linear,
    pick,
    projection,
)
from pianoeval.rankers.sampling import Batch, Takes
from pianoeval.rankers.trainer import train


class Siamese(BaseNetwork):
    """A projection and a comparison: ``antisymmetric``, ``concatenation`` or ``bilinear``."""

    def __init__(self, params: RankerParams) -> None:
        self.params = params

    def initial(self, shape: Shape, seed: int, labels: Float64) -> Weights:
        p, d = self.params, shape.n_dimensions
        start = Initial(seed)
        start.projection("shared", shape.n_features, p.hidden, p.projection)
        if p.comparison == "antisymmetric":
            start.linear("head", p.projection, d, bias=False)
        elif p.comparison == "bilinear":
            start.uniform("form", (d, p.projection, p.projection), p.projection**2)
        else:
            start.linear("between", 4 * p.projection, p.hidden)
            start.linear("head", p.hidden, d)
        return start.weights

    def values(self, shape: Shape, n_takes: int, n_pairs: int) -> int:
        p, d = self.params, shape.n_dimensions
        pair = {"antisymmetric": 0, "bilinear": 2 * p.projection}.get(
            p.comparison, 2 * (2 * p.projection + 5 * p.hidden)
        )
        take = shape.n_features + 7 * p.hidden + 3 * p.projection
        take += d * p.projection if p.comparison == "bilinear" else 0
        return n_takes * take + n_pairs * (pair + 12 * d)

    def loss(self, weights: Weights, batch: Batch) -> Tensor:
        factors = batch.dropout(self.params.hidden, 0)
        codes = projection(weights, "shared", batch.takes.x, factors)
        first, second = list_pairs(batch)
        return both_orders(self.params, *self.logits(weights, codes, first, second), batch)

    def logits(
        self, weights: Weights, codes: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of pairs (B, P) of takes with codes (B, m, k) in both orders: (B, P, D) each."""
        if self.params.comparison == "antisymmetric":
            # By linearity the difference of scores: one product a take instead of one a pair.
            scores = linear(weights, "head", codes)
            apart = pick(scores, first) - pick(scores, second)
            return apart, -apart
        if self.params.comparison == "bilinear":
            return self._bilinear(weights, codes, first, second)
        return self._concatenated(weights, codes, first, second)

    def _bilinear(
        self, weights: Weights, codes: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        ahead, back = [], []
        a, b = pick(codes, first), pick(codes, second)
        for form in weights["form"].unbind(1):
            turned = torch.bmm(codes, form)  # z' W of every take
            ahead.append((pick(turned, first) * b).sum(dim=2))
            back.append((pick(turned, second) * a).sum(dim=2))
        return torch.stack(ahead, dim=2), torch.stack(back, dim=2)

    def _concatenated(
        self, weights: Weights, codes: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[zA; zB; zA − zB; zA ⊙ zB] W: all but the product are linear, so done a take."""
        of_a, of_b, apart, product = weights["between.w"].transpose(1, 2).chunk(4, dim=1)
        as_first, as_second = torch.bmm(codes, of_a + apart), torch.bmm(codes, of_b - apart)
        alike = torch.bmm(pick(codes, first) * pick(codes, second), product)
        alike = alike + weights["between.b"][:, None]
        ahead = alike + pick(as_first, first) + pick(as_second, second)
        back = alike + pick(as_first, second) + pick(as_second, first)
        return (
            linear(weights, "head", functional.gelu(ahead)),
            linear(weights, "head", functional.gelu(back)),
        )

    def margins(self, weights: Weights, takes: Takes, first: Tensor, second: Tensor) -> Tensor:
        ahead, back = self._of_takes(weights, takes, first, second)
        return (ahead - back) / 2

    def asymmetry(self, weights: Weights, takes: Takes, first: Tensor, second: Tensor) -> Tensor:
        ahead, back = self._of_takes(weights, takes, first, second)
        return disagreement(ahead, back)

    def _of_takes(
        self, weights: Weights, takes: Takes, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.logits(weights, projection(weights, "shared", takes.x), first, second)

    def codes(self, weights: Weights, takes: Takes) -> dict[str, Tensor]:
        return {"shared": projection(weights, "shared", takes.x)}


def list_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """All pairs of each list as positions among its L·n takes, (B, L·P) each."""
    replicas, lists, n = batch.mask.shape
    first, second = all_pairs(n)
    start = (torch.arange(lists) * n)[:, None]
    return tuple((start + one).flatten().expand(replicas, -1) for one in (first, second))  # type: ignore[return-value]


def both_orders(params: RankerParams, ahead: Tensor, back: Tensor, batch: Batch) -> Tensor:
    """Loss of logits (B, L·P, D) of A, B and of B, A: (B,)."""
    first = pair_loss(params, ahead.reshape(batch.target.shape), batch.target, batch)
    second = pair_loss(params, back.reshape(batch.target.shape), 1 - batch.target, batch)
    return (first + second) / 2


def disagreement(ahead: Tensor, back: Tensor) -> Tensor:
    """Share of pairs and dimensions that both orders give to their first, or second, take: (B,)."""
    return (ahead * back > 0).float().mean(dim=(1, 2))


def make_siamese(params: RankerParams) -> Network:
    """The network of a point.

    Raises
    ------
    ConfigError
        A loss of scores: a comparison has none.
    """
    if params.loss not in PAIR_LOSSES:
        raise ConfigError(
            f"approach siamese has no scores for loss {params.loss}", where="rank.rankers",
            allowed=" or ".join(PAIR_LOSSES),
            next_step="choose one of these losses, or approach contrastive, in params.yaml",
        )  # fmt: skip
    return FrameAttention(params) if params.comparison == "attention" else Siamese(params)


def predict_siamese(
    folds: Sequence[RankFold], points: Sequence[RankerParams], run: RunParams
) -> list[list[RankPrediction]]:
    """Every point in every fold.

    Raises
    ------
    ConfigError
        A loss of scores, no frames for attention, a fold without pairs to stop on.
    PianoevalError
        The loss diverged.
    """
    return train(make_siamese, folds, points)
