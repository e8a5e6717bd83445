"""Losses of lists: likelihoods that sum to one, literal twins, and what NDCG gains by a swap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.metrics import ndcg_score
from torch import Tensor

from pianoeval.losses.listwise import lambdarank, listmle, listnet

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
ALL: tuple[Loss, ...] = (listnet, listmle, lambdarank)
EACH = pytest.mark.parametrize("loss", ALL)


def one(loss: Loss, scores: object, labels: object) -> float:
    """Of one list in one dimension."""
    s, y = (torch.as_tensor(v, dtype=torch.float64).reshape(1, 1, -1, 1) for v in (scores, labels))
    return float(loss(s, y, torch.ones(s.shape[:3], dtype=torch.bool)))


def literal_lambdarank(s: np.ndarray, y: np.ndarray) -> float:
    """Change places and look at what becomes of NDCG."""
    gains = (y - y.min())[None]
    # Any scores that fall by rank have the same NDCG.
    by_rank = np.empty(len(s))
    by_rank[np.argsort(-s, kind="stable")] = np.arange(len(s), 0, -1)
    before, total = ndcg_score(gains, by_rank[None]), 0.0
    for i in range(len(s)):
        for j in range(len(s)):
            if y[i] > y[j]:
                swapped = by_rank.copy()
                swapped[[i, j]] = swapped[[j, i]]
                change = abs(ndcg_score(gains, swapped[None]) - before)
                total += change * np.log1p(np.exp(s[j] - s[i]))
    return total


def literal_listmle(s: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([logsumexp(s[y <= y[i]]) - s[i] for i in range(len(s))]))


def literal_listnet(s: np.ndarray, y: np.ndarray) -> float:
    return float(-(softmax(y) * log_softmax(s)).sum())


TWINS = (
    (listnet, literal_listnet), (listmle, literal_listmle), (lambdarank, literal_lambdarank)
)  # fmt: skip


def test_by_hand() -> None:
    """Two takes, the better one ahead by ln 3: it is first with 3/4; alike labels of ln 2."""
    s, y = [np.log(3), 0.0], [np.log(2), 0.0]
    found = one(listnet, s, y)
    assert found == pytest.approx(-2 / 3 * np.log(3 / 4) - 1 / 3 * np.log(1 / 4), abs=1e-15)
    assert one(listmle, s, y) == pytest.approx(-np.log(3 / 4) / 2, abs=1e-15)
    # NDCG 1 in this order, 1/log2(3) in the other.
    assert one(lambdarank, s, y) == pytest.approx((1 - 1 / np.log2(3)) * np.log(4 / 3), abs=1e-15)


@pytest.mark.parametrize(("loss", "twin"), TWINS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_literal_twin(
    loss: Loss, twin: Callable[[np.ndarray, np.ndarray], float], seed: int
) -> None:
    """Lists of 2 to 6 takes in one batch, some labels tied; dimensions and lists are averaged."""
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 6, 3)).round(seed)
    labels[:, 0] = labels[:, 1] + 0.5  # no list is all alike
    mask = np.arange(6) < np.arange(2, 7)[:, None]
    found = loss(*(torch.tensor(part[None]) for part in (scores, labels, mask)))
    expected = [
        twin(scores[i, : i + 2, d], labels[i, : i + 2, d]) for i in range(5) for d in range(3)
    ]
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-10)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_orders_have_probabilities_that_sum_to_one(scores: list[float]) -> None:
    n = len(scores)
    chances = [np.exp(-n * one(listmle, scores, order)) for order in permutations(range(n))]
    assert sum(chances) == pytest.approx(1.0, rel=1e-9)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_listnet_is_least_at_the_labels(labels: list[float], seed: int) -> None:
    least = one(listnet, labels, labels)
    other = np.random.default_rng(seed).normal(size=len(labels))
    if max(labels) - min(labels) > 1e-3:
        assert least <= one(listnet, other, labels) + 1e-9
        assert one(listnet, np.array(labels) + 3, labels) == pytest.approx(least, rel=1e-9)


@EACH
def test_the_right_order_costs_less(loss: Loss) -> None:
    labels = np.array([0.3, -1.0, 2.0, 0.9])
    assert one(loss, labels, labels) < one(loss, 0 * labels, labels) < one(loss, -labels, labels)


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_batch_does_not_matter(loss: Loss, seed: int) -> None:
    """Ties of labels among them."""
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=7), rng.integers(0, 3, 7)
    order = rng.permutation(7)
    assert one(loss, scores[order], labels[order]) == pytest.approx(one(loss, scores, labels))


@EACH
def test_lists_without_an_order_count_nothing(loss: Loss) -> None:
    """One take, no take, equal labels; not as zeros in the mean either."""
    torch.manual_seed(0)
    s, y = torch.randn(2, 1, 4, 4, 2, dtype=torch.float64)
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1:], mask[0, 2] = False, False
    y[0, 3] = 0.25
    alone = loss(s[:, :1], y[:, :1], mask[:, :1])
    torch.testing.assert_close(loss(s, y, mask), alone)
    y[0, 0, :, 1] = -1.0  # and in one dimension alone
    alone = loss(s[:, :1, :, :1], y[:, :1, :, :1], mask[:, :1])
    torch.testing.assert_close(loss(s, y, mask), alone)


@EACH
def test_scores_that_are_alike_are_drawn_apart(loss: Loss) -> None:
    """Where training begins with heads of zeros."""
    labels = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64).reshape(1, 1, 3, 1)
    scores = torch.zeros_like(labels, requires_grad=True)
    value = loss(scores, labels, torch.ones(1, 1, 3, dtype=torch.bool)).sum()
    (gradient,) = torch.autograd.grad(value, scores)
    down = gradient.flatten()
    assert down[1] < down[2] < down[0]


@EACH
def test_it_learns_an_order(loss: Loss) -> None:
    """Of labels well apart: LambdaRank hardly minds who is last but one by a little."""
    torch.manual_seed(1)
    labels = torch.stack([torch.randperm(5) for _ in range(6)]).float().reshape(1, 6, 5, 1)
    scores = torch.zeros_like(labels, requires_grad=True)
    adam = torch.optim.Adam([scores], lr=0.05)
    for _ in range(150):
        adam.zero_grad()
        loss(scores, labels, torch.ones(1, 6, 5, dtype=torch.bool)).sum().backward()
        adam.step()
    assert torch.equal(scores.argsort(dim=2), labels.argsort(dim=2))
