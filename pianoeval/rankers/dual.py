r"""Approach dual: what is played and how it is played, in two branches.

.. math:: L = L_\mathrm{rank}(s(z_s)) + L_\mathrm{piece}(c(z_p)) + L_\mathrm{piece}(a(R_μ(z_s)))
          + λ_c L_\mathrm{contrast} + λ_s L_\mathrm{spread}(z_s)

:math:`z_p` and :math:`z_s` are two projections of a take's features, the piece and the style.
Labels are scored from the style alone, by any loss of approach contrastive. Two classifiers
(cross-entropy over the pieces of the fit takes) read the piece, one from each code; between the
style and its classifier, the adversary, lies a gradient reversal :math:`R_μ` (Ganin et al. 2016,
JMLR 17, arXiv:1505.07818): forwards it does nothing, backwards it multiplies by −μ, so the
adversary learns to tell the piece and the style to hide it. μ is ``adversary_weight`` times
:math:`2 / (1 + e^{-10 p}) - 1` at progress p, 0 at first, when the adversary knows nothing yet. No
epoch is kept before that is .9. The adversary reads styles normalised over their values, or styles
could escape it by their size alone.

The contrast is of the style where positives are takes with like labels, of the piece where they
are takes of one piece. The spread keeps styles of one piece apart. Codes are ``piece`` and
``style``; and ``features``, a control: the features read, on as many principal components of the
reported takes as a code has values. It reads no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pianoeval.losses.contrastive import spread
from pianoeval.losses.replicas import lowest, weighted_mean
from pianoeval.models.base import Float64
from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.contrastive import Contrastive, contrast
from pianoeval.rankers.networks import Initial, Shape, Weights, projection
from pianoeval.rankers.sampling import Batch, Takes
from pianoeval.rankers.trainer import train

_STEEPNESS = 10.0  # of the ramp, in all experiments of Ganin et al. 2016
_RISEN = 0.9  # of the ramp, below which no epoch is kept
_BRANCH = 1  # of the random stream: the style's is the network's own
_STYLE, _PIECE, _OF_PIECE, _ADVERSARY = "shared", "piece", "of_piece", "adversary"


class Reversal(torch.autograd.Function):
    """Identity whose gradient is multiplied by −μ, a replica at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mu: Tensor) -> Tensor:
        """``x`` (B, …), ``mu`` (B,)."""
        ctx.save_for_backward(mu)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient of ``x``, reversed; ``mu`` has none."""
        (gradient,) = gradients
        (mu,) = ctx.saved_tensors
        return -mu.reshape(-1, *[1] * (gradient.ndim - 1)) * gradient, None


def reverse(x: Tensor, mu: Tensor) -> Tensor:
    """:class:`Reversal` of ``x`` (B, …) by ``mu`` (B,)."""
    reversed_: Tensor = Reversal.apply(x, mu)  # type: ignore[no-untyped-call]
    return reversed_


def ramp(progress: float) -> float:
    """0 at the start, close to 1 from halfway on."""
    return float(2.0 / (1.0 + np.exp(-_STEEPNESS * progress)) - 1.0)


def piece_loss(logits: Tensor, piece: Tensor, n_pieces: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of each replica over its own pieces.

    Parameters
    ----------
    logits : (B, m, C)
    piece : int64, (B, m)
    n_pieces : int64, (B,)
        Classes from there on are padding.
    valid : bool, (B, m)

    Returns
    -------
    (B,)
    """
    beyond = torch.arange(logits.shape[2]) >= n_pieces[:, None]
    own = logits.masked_fill(beyond[:, None], lowest(logits))
    cost = functional.cross_entropy(own.transpose(1, 2), piece, reduction="none")
    return weighted_mean(cost, valid.to(logits.dtype))


class Dual(Contrastive):
    """Network of the approach; see the module. The style has the place of the shared code."""

    def __init__(self, params: RankerParams) -> None:
        super().__init__(params)
        # Where pieces can be told, an epoch before the ramp has risen is often the best one.
        risen = (e for e in range(params.max_epochs) if ramp(e / params.max_epochs) >= _RISEN)
        self.first_epoch = next(risen, params.max_epochs - 1) + 1

    def initial(self, shape: Shape, seed: int, labels: Float64) -> Weights:
        p = self.params
        weights = super().initial(shape, seed, labels)
        own = np.random.SeedSequence([seed, _BRANCH]).generate_state(1)[0]
        start = Initial(int(own))
        start.projection(_PIECE, shape.n_features, p.hidden, p.projection)
        start.projection(_OF_PIECE, p.projection, p.hidden, shape.n_pieces)
        start.projection(_ADVERSARY, p.projection, p.hidden, shape.n_pieces)
        return weights | start.weights

    def values(self, shape: Shape, n_takes: int, n_pairs: int) -> int:
        p = self.params
        branch = 7 * p.hidden + 3 * p.projection
        classifier = 7 * p.hidden + 6 * shape.n_pieces
        more = branch + 2 * classifier + 8 * n_takes
        return super().values(shape, n_takes, n_pairs) + n_takes * more

    def loss(self, weights: Weights, batch: Batch) -> Tensor:
        p, knobs, x = self.params, batch.knobs, batch.takes.x
        style = projection(weights, _STYLE, x, batch.dropout(p.hidden, 0))
        piece = projection(weights, _PIECE, x, batch.dropout(p.hidden, 1))
        even = functional.layer_norm(style, style.shape[-1:])
        hidden = reverse(even, knobs["adversary_weight"] * ramp(batch.progress))
        told = [
            piece_loss(
                projection(weights, name, code), batch.piece.flatten(1), batch.n_pieces,
                batch.mask.flatten(1),
            )
            for name, code in ((_OF_PIECE, piece), (_ADVERSARY, hidden))
        ]  # fmt: skip
        pulled = contrast(p, style if p.positives == "labels" else piece, batch)
        apart = spread(style, batch.same_piece(), batch.single.flatten(1))
        return (
            self._rank_loss(weights, self._calibrated(weights, style, batch), batch)
            + told[0] + told[1]
            + knobs["contrast_weight"] * pulled + knobs["spread_weight"] * apart
        )  # fmt: skip

    def _calibrated(self, weights: Weights, style: Tensor, batch: Batch) -> Tensor:
        """Styles smoothed by label where FDS is asked for."""
        if not self.smooths:
            return style
        return self._smoothing(weights).calibrate(style, batch.y.flatten(1, 2).mean(dim=2))

    def codes(self, weights: Weights, takes: Takes) -> dict[str, Tensor]:
        return {
            "piece": projection(weights, _PIECE, takes.x),
            "style": projection(weights, _STYLE, takes.x),
            "features": _components(takes.x, self.params.projection),
        }


def _components(x: Tensor, n: int) -> Tensor:
    """The first ``n`` principal components over takes, (B, m, ≤ n); distances stay."""
    z = x.double() - x.double().mean(dim=1, keepdim=True)
    left, size, right = torch.linalg.svd(z, full_matrices=False)
    # Signs are free: the largest weight of each component is positive.
    largest = right.abs().argmax(dim=2, keepdim=True)
    sign = right.gather(2, largest).sign().transpose(1, 2)
    found: Tensor = (left * size[:, None] * sign)[:, :, :n].to(x.dtype)
    return found


def predict_dual(
    folds: Sequence[RankFold], points: Sequence[RankerParams], run: RunParams
) -> list[list[RankPrediction]]:
    """Every point in every fold; errors as :func:`~pianoeval.rankers.trainer.train`."""
    return train(Dual, folds, points)
