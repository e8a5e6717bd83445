"""Mixtures of regression and ranking: their ends, their anchors, and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error
from torch import Tensor

from pianoeval.losses.mixed import anchored, concordance, mixed, ordered, squared
from pianoeval.losses.pairwise import all_pairs, margin_loss
from tests.losses.rank_cases import case


def lists(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two replicas of three lists of at most four takes in two dimensions."""
    draw = torch.Generator().manual_seed(seed)
    scores, labels = torch.randn(2, 2, 3, 4, 2, generator=draw, dtype=torch.float64)
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[0, 1, 2:], mask[1, 2, 1:] = False, False
    return scores, labels, mask


def test_by_hand() -> None:
    """Labels 0, 1, 1 and scores 0, .3, −.1: errors .09 and 1.21; pairs .3 and −.1 of .5."""
    scores, labels = (
        torch.tensor(v, dtype=torch.float64).reshape(1, 1, 3, 1)
        for v in ([0, 0.3, -0.1], [0.0, 1, 1])
    )
    mask = torch.ones(1, 1, 3, dtype=torch.bool)
    error, hinge = (0.49 + 1.21) / 3, (0.2 + 0.6) / 2
    assert float(squared(scores, labels, mask)) == pytest.approx(error, abs=1e-14)
    assert float(ordered(scores, labels, mask, 0.5)) == pytest.approx(hinge, abs=1e-14)
    found = float(mixed(scores, labels, mask, 0.25, 0.5))
    assert found == pytest.approx(0.25 * error + 0.75 * hinge, abs=1e-14)


def test_the_ends_are_regression_and_ranking() -> None:
    scores, labels, mask = lists()
    batch = scores, labels, mask
    for b in range(2):
        expected = mean_squared_error(labels[b][mask[b]].numpy(), scores[b][mask[b]].numpy())
        assert float(mixed(*batch, 1.0, 0.3)[b]) == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(mixed(*batch, 0.0, 0.3), ordered(*batch, 0.3))
    torch.testing.assert_close(anchored(*batch, 0.0, 0.3), ordered(*batch, 0.3))
    torch.testing.assert_close(anchored(*batch, 1.0, 0.3), concordance(*batch))


def test_pairs_are_those_of_lists() -> None:
    """A literal double loop; no pair across lists, none with padding."""
    scores, labels, mask = lists()
    for b in range(2):
        costs = []
        for piece in range(3):
            rows = np.flatnonzero(mask[b, piece])
            for i in rows:
                for j in rows:
                    above = labels[b, piece, i] > labels[b, piece, j]
                    gap = scores[b, piece, i] - scores[b, piece, j]
                    costs += [max(0.0, 0.4 - float(g)) for g in gap[above]]
        assert float(ordered(scores, labels, mask, 0.4)[b]) == pytest.approx(np.mean(costs))


def test_concordance_is_lins() -> None:
    scores, labels, mask = lists()
    for b in range(2):
        expected = []
        for d in range(2):
            x, y = (part[b, ..., d][mask[b]].numpy() for part in (scores, labels))
            covariance = np.cov(x, y, bias=True)[0, 1]
            whole = x.var() + y.var() + (x.mean() - y.mean()) ** 2
            expected.append(1 - 2 * covariance / whole)
        found = float(concordance(scores, labels, mask)[b])
        assert found == pytest.approx(np.mean(expected), rel=1e-10)


def test_what_holds_scores_to_their_scale() -> None:
    """Moved scores, or scores farther apart, rank as well; the anchors see them."""
    _, labels, mask = lists()
    for other in (labels + 2, 3 * labels):
        free = ordered(other, labels, mask, 1e-3) - ordered(labels, labels, mask, 1e-3)
        assert free.abs().max() < 1e-3
        for loss in (squared, concordance):
            assert (loss(other, labels, mask) > loss(labels, labels, mask) + 0.3).all()
    assert concordance(labels, labels, mask).tolist() == [0.0, 0.0]


def test_weights_of_labels() -> None:
    scores, labels, mask = lists()
    weight = torch.rand(scores.shape, dtype=torch.float64) + 0.1
    for b in range(2):
        x, y, w = (part[b][mask[b]].numpy() for part in (scores, labels, weight))
        expected = np.average((x - y) ** 2, weights=w)
        assert float(squared(scores, labels, mask, weight)[b]) == pytest.approx(expected)
    plain = squared(scores, labels, mask)
    torch.testing.assert_close(squared(scores, labels, mask, torch.full_like(weight, 3.0)), plain)
    found = mixed(scores, labels, mask, 0.5, 0.3, weight=weight)
    both = squared(scores, labels, mask, weight) + ordered(scores, labels, mask, 0.3)
    torch.testing.assert_close(found, both / 2)


def test_weights_of_pairs_make_no_pair_of_a_tie() -> None:
    scores, labels, mask = lists()
    labels[0, 0, 0] = labels[0, 0, 1]
    first, second = all_pairs(4)
    weight = torch.rand(2, 3, 6, 2, dtype=torch.float64) + 0.1
    gap = labels[:, :, first] - labels[:, :, second]
    known = (mask[:, :, first] & mask[:, :, second])[..., None] & (gap != 0)
    expected = margin_loss(
        scores[:, :, first] - scores[:, :, second], (gap > 0).double(), weight * known, 0.3
    )
    found = ordered(scores, labels, mask, 0.3, weight)
    torch.testing.assert_close(found, expected)
    assert (found - ordered(scores, labels, mask, 0.3)).abs().max() > 1e-3
    for loss in (mixed, anchored):
        weighted = loss(scores, labels, mask, 0.0, 0.3, pair_weight=weight)
        torch.testing.assert_close(weighted, expected)


def test_a_replica_without_takes_leaves_the_others_as_they_are() -> None:
    """Means of nothing are 0, not NaN that spreads over the sum of replicas."""
    one = case("concordance")
    assert one.value()[2] == 0
    torch.testing.assert_close(one.value()[:1], one.of(0).value())
