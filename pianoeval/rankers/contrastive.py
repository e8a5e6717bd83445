r"""Approach contrastive: a projection, a score head a dimension, and a contrast of codes.

.. math:: L = L_\mathrm{rank}(s) + λ\,L_\mathrm{contrast}(z; τ), \qquad s_d = w_d^\top z + b_d

z is the projection of a take's features (linear, LayerNorm, GELU, dropout, linear). Positives of a
take are other takes of its piece, or takes of other pieces with like labels, the nearest tenth
(``positives``). Scores are learned by any of the losses; with ``coral`` and ``corn`` a dimension
has K − 1 logits, coral's sharing all but their bias, and its score is the expected label.

``imbalance``: ``lds`` weighs labels in ``mse``, ``mixed``, ``coral`` and ``corn``, the losses that
read single labels; ``fds`` calibrates z before the heads in training, by bins of the mean label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pianoeval.losses import contrastive, listwise, mixed, ordinal, pairwise
from pianoeval.losses.imbalance import FeatureSmoothing
from pianoeval.models.base import Float64
from pianoeval.params import RunParams
from pianoeval.params_rank import RankerParams
from pianoeval.rankers.base import RankFold, RankPrediction
from pianoeval.rankers.networks import (
    BaseNetwork,
    Initial,
    Shape,
    Weights,
    linear,
    pick,
    projection,
)
from pianoeval.rankers.sampling import Batch, Takes
from pianoeval.rankers.trainer import train

POSITIVE_SHARE = 0.1  # of the takes of other pieces, when positives are takes with like labels
TRIPLET_MARGIN = 0.2  # Schroff et al. 2015
_ORDINAL = ("coral", "corn")
_EDGES, _FDS_EDGES = "edges", "fds.edges"
_FDS = ("seen", "mean", "variance", "smooth_mean", "smooth_variance")


class Contrastive(BaseNetwork):
    """Network of the approach; see the module."""

    def __init__(self, params: RankerParams) -> None:
        self.params = params
        self.smooths = params.imbalance in ("fds", "both")
        self.fixed = frozenset([_EDGES, _FDS_EDGES, *(f"fds.{name}" for name in _FDS)])

    def initial(self, shape: Shape, seed: int, labels: Float64) -> Weights:
        p, known = self.params, torch.from_numpy(labels).float()
        start, d = Initial(seed), shape.n_dimensions
        start.projection("shared", shape.n_features, p.hidden, p.projection)
        n_logits = d * (p.bins - 1) if p.loss == "corn" else d
        start.linear("head", p.projection, n_logits, bias=p.loss != "coral")
        if p.loss in _ORDINAL:
            edges = ordinal.edges(known, p.bins)
            start.weights[_EDGES] = edges
            name = "bias" if p.loss == "coral" else "head.b"
            start.weights[name] = _log_odds(known, edges, p.loss == "corn")
        if self.smooths:
            borders = ordinal.edges(known.mean(dim=1, keepdim=True), p.bins)[0]
            start.weights[_FDS_EDGES] = borders
            state = FeatureSmoothing(borders, 1, p.projection).state()
            start.weights |= {f"fds.{name}": value[0] for name, value in state.items()}
        return start.weights

    def values(self, shape: Shape, n_takes: int, n_pairs: int) -> int:
        p, d = self.params, shape.n_dimensions
        heads = d * p.bins * 6 if p.loss in _ORDINAL else 4 * d
        contrast = 0 if p.contrast == "none" else 8 * n_takes
        return n_takes * (shape.n_features + 7 * p.hidden + 3 * p.projection + heads + contrast) + (
            6 * d * n_pairs
        )

    def loss(self, weights: Weights, batch: Batch) -> Tensor:
        p = self.params
        codes = projection(weights, "shared", batch.takes.x, batch.dropout(p.hidden, 0))
        pulled = contrast(p, codes, batch)
        if self.smooths:
            codes = self._smoothing(weights).calibrate(codes, batch.y.flatten(1, 2).mean(dim=2))
        return self._rank_loss(weights, codes, batch) + batch.knobs["contrast_weight"] * pulled

    def _rank_loss(self, weights: Weights, codes: Tensor, batch: Batch) -> Tensor:
        if self.params.loss in _ORDINAL:
            y, valid = batch.y.flatten(1, 2), batch.mask.flatten(1)
            found = ordinal.levels(y, weights[_EDGES])
            loss = ordinal.coral_loss if self.params.loss == "coral" else ordinal.corn_loss
            weight = None if batch.label_weight is None else batch.label_weight.flatten(1, 2)
            return loss(self._logits(weights, codes), found, valid, weight)
        scores = linear(weights, "head", codes)
        return score_loss(self.params, scores.reshape(batch.y.shape), batch)

    def _logits(self, weights: Weights, codes: Tensor) -> Tensor:
        """(B, m, D, K − 1)."""
        found = linear(weights, "head", codes)
        if self.params.loss == "corn":
            return found.reshape(*found.shape[:2], -1, self.params.bins - 1)
        return found[..., None] + weights["bias"][:, None]

    def scores(self, weights: Weights, takes: Takes) -> Tensor:
        """Scores of takes, (B, m, D)."""
        codes = projection(weights, "shared", takes.x)
        if self.params.loss == "coral":
            return ordinal.coral_expected(self._logits(weights, codes), weights[_EDGES])
        if self.params.loss == "corn":
            return ordinal.corn_expected(self._logits(weights, codes), weights[_EDGES])
        return linear(weights, "head", codes)

    def margins(self, weights: Weights, takes: Takes, first: Tensor, second: Tensor) -> Tensor:
        scores = self.scores(weights, takes)
        return pick(scores, first) - pick(scores, second)

    def codes(self, weights: Weights, takes: Takes) -> dict[str, Tensor]:
        return {"shared": projection(weights, "shared", takes.x)}

    def _smoothing(self, weights: Weights) -> FeatureSmoothing:
        edges = weights[_FDS_EDGES]
        smoothing = FeatureSmoothing(edges, len(edges), self.params.projection)
        smoothing.load({name: weights[f"fds.{name}"] for name in _FDS})
        return smoothing

    @torch.no_grad()
    def after_epoch(self, weights: Weights, batches: Callable[[], Iterator[Batch]]) -> None:
        """Take up the statistics of all fit takes' codes, without dropout."""
        if not self.smooths:
            return
        parts = [
            (projection(weights, "shared", b.takes.x), b.y.flatten(1, 2).mean(2), b.mask.flatten(1))
            for b in batches()
        ]
        smoothing = self._smoothing(weights)
        codes, labels, valid = (torch.cat(one, dim=1) for one in zip(*parts, strict=True))
        smoothing.update(codes, labels, valid)
        for name, value in smoothing.state().items():
            weights[f"fds.{name}"].copy_(value)


def _log_odds(labels: Tensor, edges: Tensor, conditional: bool) -> Tensor:
    """Log-odds of the shares of ``labels`` (m, D) above each inner border, (D, K − 1): best biases.

    ``conditional``: among the labels above the border before, one dimension after the other.
    """
    above = (labels[..., None] > edges[:, 1:-1]).float().sum(dim=0)
    among = torch.full_like(above, len(labels))
    if conditional:
        among[:, 1:] = above[:, :-1]
    found = torch.logit((above + 0.5) / (among + 1))
    return found.flatten() if conditional else found


def contrast(params: RankerParams, codes: Tensor, batch: Batch) -> Tensor:
    """The contrast that ``params`` names, of codes (B, m, k): (B,)."""
    if params.contrast == "none":
        return codes.new_zeros(len(codes))
    valid = batch.single.flatten(1)
    positive = batch.same_piece()
    if params.positives == "labels":
        y = batch.y.flatten(1, 2)
        positive = contrastive.label_positives(y, positive, POSITIVE_SHARE, valid)
    if params.contrast == "triplet":
        return contrastive.triplet(codes, positive, valid, TRIPLET_MARGIN)
    loss = contrastive.info_nce if params.contrast == "infonce" else contrastive.supcon
    return loss(codes, positive, valid, batch.knobs["temperature"])


def score_loss(params: RankerParams, scores: Tensor, batch: Batch) -> Tensor:
    """The loss of scores (B, L, n, D) that ``params`` names, but for the ordinal ones: (B,)."""
    knobs, y, mask = batch.knobs, batch.y, batch.mask
    if params.loss in ("margin", "logistic"):
        first, second = pairwise.all_pairs(scores.shape[2])
        apart = scores[:, :, first] - scores[:, :, second]
        return pair_loss(params, apart, batch.target, batch)
    if params.loss == "mse":
        return mixed.squared(scores, y, mask, batch.label_weight)
    if params.loss == "mixed":
        return mixed.mixed(
            scores, y, mask, knobs["alpha"], knobs["margin"], batch.label_weight, batch.weight
        )
    if params.loss == "ccc":
        return mixed.anchored(scores, y, mask, knobs["alpha"], knobs["margin"], batch.weight)
    losses = {
        "listnet": listwise.listnet,
        "listmle": listwise.listmle,
        "lambdarank": listwise.lambdarank,
    }
    return losses[params.loss](scores, y, mask)


def pair_loss(params: RankerParams, logit: Tensor, target: Tensor, batch: Batch) -> Tensor:
    """``margin`` or ``logistic`` of pairs (B, L, P, D): (B,)."""
    if params.loss == "margin":
        return pairwise.margin_loss(logit, target, batch.weight, batch.knobs["margin"])
    return pairwise.logistic_loss(logit, target, batch.weight)


def predict_contrastive(
    folds: Sequence[RankFold], points: Sequence[RankerParams], run: RunParams
) -> list[list[RankPrediction]]:
    """Every point in every fold; errors as :func:`~pianoeval.rankers.trainer.train`."""
    return train(Contrastive, folds, points)
