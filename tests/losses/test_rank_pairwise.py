"""Losses of pairs: values by hand, other programs, targets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch.nn.functional import margin_ranking_loss

from pianoeval.losses.pairwise import all_pairs, logistic_loss, margin_loss, pair_targets

NAN = float("nan")


def tensor(*values: float) -> torch.Tensor:
    """One replica of pairs in one dimension."""
    return torch.tensor(values, dtype=torch.float64)[None, :, None]


@pytest.mark.parametrize("n", range(6))
def test_all_pairs(n: int) -> None:
    found = list(zip(*(part.tolist() for part in all_pairs(n)), strict=True))
    assert found == list(combinations(range(n), 2))


def test_margin_by_hand() -> None:
    """Right by 1 of .2; right by .05: .15; wrong by 1: 1.2; between the two orders: .7 of each."""
    logit, target = tensor(1.0, 0.05, -1.0, 0.5), tensor(1, 1, 1, 0.7)
    alone = [
        float(margin_loss(logit[:, i : i + 1], target[:, i : i + 1], torch.ones(1, 1, 1), 0.2))
        for i in range(4)
    ]
    assert alone == pytest.approx([0.0, 0.15, 1.2, 0.3 * 0.7], abs=1e-15)
    weight = tensor(1, 2, 3, 0)
    expected = (2 * 0.15 + 3 * 1.2) / 6
    assert float(margin_loss(logit, target, weight, 0.2)) == pytest.approx(expected, abs=1e-15)


def test_logistic_by_hand() -> None:
    """Logit ln 3 is P = 3/4."""
    logit, target = tensor(np.log(3), -np.log(3)), tensor(1.0, 0.9)
    expected = (-np.log(3 / 4) + 3 * (-0.9 * np.log(1 / 4) - 0.1 * np.log(3 / 4))) / 4
    assert float(logistic_loss(logit, target, tensor(1, 3))) == pytest.approx(expected, abs=1e-15)


def test_as_other_programs_have_it() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=40), rng.uniform(size=40)
    above = rng.integers(0, 2, 40)
    batch = tensor(*x), tensor(*above), tensor(*weight)
    expected = log_loss(above, 1 / (1 + np.exp(-x)), sample_weight=weight)
    assert float(logistic_loss(*batch)) == pytest.approx(expected, rel=1e-12)
    hinge = margin_ranking_loss(
        batch[0], torch.zeros_like(batch[0]), 2 * batch[1] - 1, margin=0.3, reduction="none"
    )
    expected = float((hinge * batch[2]).sum() / batch[2].sum())
    assert float(margin_loss(*batch, 0.3)) == pytest.approx(expected, rel=1e-12)


@given(
    st.lists(
        st.tuples(st.floats(-9, 9), st.floats(0, 1), st.floats(0.1, 2)), min_size=1, max_size=8
    )
)
@settings(max_examples=50, deadline=None)
def test_either_take_may_come_first(pairs: list[tuple[float, float, float]]) -> None:
    x, t, w = (tensor(*column) for column in zip(*pairs, strict=True))
    for loss in (logistic_loss, lambda *b: margin_loss(*b, 0.4)):
        found = float(loss(x, t, w))
        assert found == pytest.approx(float(loss(-x, 1 - t, w)), rel=1e-9, abs=1e-12)
        assert found >= 0


def test_logistic_is_least_at_the_target() -> None:
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)
    value = [float(logistic_loss(tensor(float(x)), tensor(0.8), tensor(1))) for x in grid]
    assert float(grid[int(np.argmin(value))]) == pytest.approx(np.log(4), abs=0.01)


def test_weights_are_shares() -> None:
    torch.manual_seed(0)
    x, t, w = torch.randn(2, 4, 3), torch.rand(2, 4, 3), torch.rand(2, 4, 3)
    torch.testing.assert_close(logistic_loss(x, t, w), logistic_loss(x, t, 7 * w))
    torch.testing.assert_close(margin_loss(x, t, w, 0.1), margin_loss(x, t, 7 * w, 0.1))


def test_targets_of_lists() -> None:
    """Equal labels and padding weigh nothing, whatever padding holds."""
    labels = torch.tensor([[[3.0, 1.0], [2.0, 1.0], [2.5, 2.0], [NAN, NAN]]])[None]
    mask = torch.tensor([[[True, True, True, False]]])
    target, weight = pair_targets(labels, mask)
    assert target.shape == weight.shape == (1, 1, 6, 2)
    # 01, 02, 03, 12, 13, 23
    assert weight[0, 0].T.tolist() == [[1, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0]]
    known = weight[0, 0] > 0
    assert target[0, 0][known].tolist() == [1, 1, 0, 0, 0]


def test_rounding_makes_no_order() -> None:
    """Means of the same ratings, summed in another order."""
    a, b = (0.1 + 0.2 + 0.3) / 3, (0.3 + 0.2 + 0.1) / 3
    labels = torch.tensor([a, b, a + 1e-3], dtype=torch.float64).reshape(1, 1, 3, 1)
    _, weight = pair_targets(labels, torch.ones(1, 1, 3, dtype=torch.bool))
    assert a != b
    assert weight.flatten().tolist() == [0, 1, 1]
