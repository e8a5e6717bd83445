"""Losses of codes: literal twins, cross-entropy, distances of scipy, neighbours of sklearn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from scipy.special import logsumexp
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from pianoeval.losses.contrastive import info_nce, label_positives, spread, supcon, triplet

CONTRASTS = pytest.mark.parametrize(
    "loss", [lambda *b: info_nce(*b, 0.2), lambda *b: supcon(*b, 0.2), lambda *b: triplet(*b, 0.5)]
)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def pieces(*sizes: int) -> Tensor:
    piece = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return (piece[:, None] == piece)[None]


def every(codes: Tensor) -> Tensor:
    return torch.ones(codes.shape[:2], dtype=torch.bool)


def anchors(positive: np.ndarray) -> list[tuple[int, list[int], list[int]]]:
    """Every anchor with its positives and negatives, those without either left out."""
    found = []
    for i, row in enumerate(positive):
        others = [j for j in range(len(row)) if j != i]
        p, n = [j for j in others if row[j]], [j for j in others if not row[j]]
        if p and n:
            found.append((i, p, n))
    return found


def literal(name: str, z: np.ndarray, positive: np.ndarray, parameter: float) -> float:
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    s, d = z @ z.T / parameter, cdist(z, z, "sqeuclidean")
    total = []
    for i, p, n in anchors(positive):
        if name == "info_nce":
            costs = [logsumexp(s[i, [j, *n]]) - s[i, j] for j in p]
        elif name == "supcon":
            costs = [logsumexp(s[i, p + n]) - s[i, j] for j in p]
        else:
            costs = []
            for j in p:
                farther = [d[i, k] for k in n if d[i, k] > d[i, j]]
                chosen = min(farther) if farther else max(d[i, n])
                costs.append(max(0.0, d[i, j] - chosen + parameter))
        total.append(np.mean(costs))
    return float(np.mean(total)) if total else 0.0


@pytest.mark.parametrize("loss", [info_nce, supcon, triplet])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_literal_twin(loss: Callable[..., Tensor], seed: int) -> None:
    """Positives of any kind, also one-sided, none, or all; a diagonal that says anything."""
    rng = np.random.default_rng(seed)
    z, positive = rng.normal(size=(8, 3)), rng.uniform(size=(8, 8)) < 0.4
    positive[0], positive[1] = False, True
    found = loss(
        torch.tensor(z[None]), torch.tensor(positive[None]), every(torch.tensor(z[None])), 0.3
    )
    expected = literal(loss.__name__, z, positive, 0.3)
    assert expected > 0
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_by_hand() -> None:
    """Two pieces at right angles, τ = 1: e over e and twice 1; with the negatives alone 2."""
    z = torch.tensor([[[1.0, 0], [2, 0], [0, 1], [0, 3]]], dtype=torch.float64)
    batch = z, pieces(2, 2), every(z)
    expected = np.log((np.e + 2) / np.e)
    assert float(info_nce(*batch, 1.0)) == pytest.approx(expected, abs=1e-14)
    assert float(supcon(*batch, 1.0)) == pytest.approx(expected, abs=1e-14)
    assert float(triplet(*batch, 1.0)) == 0.0  # 0 to 2, a margin of 1
    assert float(triplet(*batch, 2.5)) == pytest.approx(0.5, abs=1e-14)
    # Squared distances 0 within pieces.
    assert float(spread(*batch)) == pytest.approx(0.0, abs=1e-14)
    # All pairs: two of 0, four of 2.
    assert float(spread(z, pieces(4), every(z))) == pytest.approx(
        np.log((2 + 4 * np.exp(-4)) / 6), abs=1e-14
    )


def test_a_negative_as_near_as_the_positive_is_not_farther() -> None:
    """Squared distances 2 to the positive, 2 and 4 to the negatives: semi-hard is the 4."""
    z = torch.tensor([[[1.0, 0], [0, 1], [0, -1], [-1, 0]]], dtype=torch.float64)
    positive = torch.zeros(1, 4, 4, dtype=torch.bool)
    positive[0, 0, 1] = True
    assert float(triplet(z, positive, every(z), 1.0)) == 0.0
    assert float(triplet(z, positive, every(z), 2.5)) == pytest.approx(0.5, abs=1e-14)


def test_with_one_positive_it_is_cross_entropy() -> None:
    torch.manual_seed(0)
    z = torch.randn(1, 10, 4, dtype=torch.float64)
    unit = normalize(z[0], dim=1)
    logits = (unit @ unit.T / 0.1).fill_diagonal_(-torch.inf)
    partner = torch.arange(10) ^ 1
    expected = float(cross_entropy(logits, partner))
    for loss in (info_nce, supcon):
        assert float(loss(z, pieces(*[2] * 5), every(z), 0.1)) == pytest.approx(expected, rel=1e-12)


def test_other_positives_push_in_supcon_alone() -> None:
    """Three takes of a piece: with them in the denominator the least is ln 2, not 0."""
    z = torch.tensor([[[1.0, 0]] * 3 + [[-1.0, 0]] * 3], dtype=torch.float64)
    batch = z, pieces(3, 3), every(z)
    assert float(info_nce(*batch, 0.05)) == pytest.approx(0.0, abs=1e-12)
    assert float(supcon(*batch, 0.05)) == pytest.approx(np.log(2), abs=1e-12)


@CONTRASTS
def test_only_directions_count(loss: Loss) -> None:
    torch.manual_seed(1)
    z = torch.randn(1, 9, 4, dtype=torch.float64)
    lengths = torch.rand(1, 9, 1, dtype=torch.float64) + 0.5
    batch = pieces(3, 3, 3), every(z)
    torch.testing.assert_close(loss(z * lengths, *batch), loss(z, *batch))


@CONTRASTS
def test_the_order_of_the_batch_does_not_matter(loss: Loss) -> None:
    torch.manual_seed(2)
    z, same = torch.randn(1, 9, 4, dtype=torch.float64), pieces(2, 3, 4)
    order = torch.randperm(9)
    shuffled = loss(z[:, order], same[:, order][:, :, order], every(z))
    torch.testing.assert_close(shuffled, loss(z, same, every(z)))


@CONTRASTS
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5,)])
def test_without_positives_or_without_negatives(loss: Loss, sizes: tuple[int, ...]) -> None:
    """A batch of one piece or of one take a piece has nothing to contrast."""
    z = torch.randn(1, sum(sizes), 3, requires_grad=True)
    found = loss(z, pieces(*sizes), every(z))
    assert found.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert (gradient == 0).all()


@CONTRASTS
def test_what_belongs_together_comes_together(loss: Loss) -> None:
    torch.manual_seed(3)
    z = torch.randn(1, 12, 4, requires_grad=True)
    same = pieces(3, 3, 3, 3)
    adam = torch.optim.Adam([z], lr=0.05)
    for _ in range(150):
        adam.zero_grad()
        loss(z, same, every(z)).sum().backward()
        adam.step()
    unit = normalize(z.detach()[0], dim=1)
    near = unit @ unit.T
    assert near[same[0]].min() > near[~same[0]].max() + 0.2


def test_spread_of_one_piece_is_uniformity() -> None:
    rng = np.random.default_rng(4)
    z = rng.normal(size=(7, 3))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    expected = np.log(np.exp(-2 * pdist(unit, "sqeuclidean")).mean())
    codes = torch.tensor(z[None])
    assert float(spread(codes, pieces(7), every(codes))) == pytest.approx(expected, rel=1e-12)


def test_spread_draws_takes_of_a_piece_apart_and_no_others() -> None:
    torch.manual_seed(5)
    z = torch.randn(1, 6, 3, dtype=torch.float64, requires_grad=True)
    same = pieces(3, 3)
    (gradient,) = torch.autograd.grad(spread(z, same, every(z)).sum(), z)
    before, after = (spread(x.detach(), same, every(z)) for x in (z, z - 0.05 * gradient))
    assert float(after) < float(before)
    # The second piece elsewhere leaves the slope of the first in proportion to its share.
    moved = z.detach().clone()
    moved[0, 3:] = moved[0, [4, 5, 3]]
    moved.requires_grad_()
    (again,) = torch.autograd.grad(spread(moved, same, every(z)).sum(), moved)
    torch.testing.assert_close(again[0, :3], gradient[0, :3])


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 1.0])
def test_label_positives_are_the_nearest_of_other_pieces(share: float) -> None:
    rng = np.random.default_rng(6)
    labels, piece = rng.normal(size=(14, 3)), np.arange(14) % 4
    same = piece[:, None] == piece
    valid = np.ones(14, dtype=bool)
    valid[[2, 9]] = False
    labels[~valid] = np.nan
    found = label_positives(*(torch.tensor(part[None]) for part in (labels, same)), share,
                            torch.tensor(valid[None]))[0].numpy()  # fmt: skip
    for i in range(14):
        others = [j for j in range(14) if valid[i] and valid[j] and not same[i, j]]
        n = int(np.ceil(share * len(others)))
        nearest = sorted(others, key=lambda j: np.linalg.norm(labels[i] - labels[j]))[:n]
        assert set(np.flatnonzero(found[i])) == set(nearest)


def test_ties_of_labels_are_all_positives() -> None:
    """Whichever comes first in the batch."""
    labels = torch.tensor([[[0.0], [1.0], [-1.0], [2.0]]])
    alone = torch.eye(4, dtype=torch.bool)[None]
    found = label_positives(labels, alone, 0.1)
    assert found[0, 0].tolist() == [False, True, True, False]
    equal = label_positives(torch.full((1, 4, 2), 0.3), alone, 0.1)
    assert torch.equal(equal, ~alone)


def test_one_piece_has_no_positives_by_label() -> None:
    found = label_positives(torch.randn(2, 5, 3), torch.ones(2, 5, 5, dtype=torch.bool), 0.5)
    assert not found.any()
