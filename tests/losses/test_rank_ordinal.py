"""CORAL and CORN: bins of numpy, likelihoods that sum to one, expected values by summation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pianoeval.losses.ordinal import (
    coral_decoded,
    coral_expected,
    coral_loss,
    corn_decoded,
    corn_expected,
    corn_loss,
    edges,
    levels,
)

LOGITS = st.lists(st.floats(-6, 6), min_size=4, max_size=4)


def one(logits: list[float]) -> Tensor:
    """A replica of one take and one dimension in five bins."""
    return torch.tensor(logits, dtype=torch.float64).reshape(1, 1, 1, 4)


def level(k: int) -> Tensor:
    return torch.tensor([[[k]]])


VALID = torch.ones(1, 1, dtype=torch.bool)


def sigma(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def corn_chances(logits: list[float]) -> list[float]:
    """P(y = k) for every bin: come as far as k, and no farther."""
    reached = np.cumprod([1.0] + [sigma(x) for x in logits])
    return [float(reached[k] * (1 - (sigma(logits[k]) if k < 4 else 0.0))) for k in range(5)]


# Bins ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [3, 20])
def test_bins_are_those_of_numpy(bins: int) -> None:
    """Replicas and dimensions each with edges of their own."""
    labels = np.random.default_rng(0).normal(size=(2, 50, 3)) * [1, 0.01, 100]
    found = edges(torch.tensor(labels), bins)
    assert found.shape == (2, 3, bins + 1)
    binned = levels(torch.tensor(labels), found)
    assert binned.dtype == torch.int64
    for b in range(2):
        for d in range(3):
            borders = np.histogram_bin_edges(labels[b, :, d], bins)
            np.testing.assert_allclose(found[b, d], borders, rtol=1e-12)
            expected = np.digitize(labels[b, :, d], borders[1:-1], right=True)
            np.testing.assert_array_equal(binned[b, :, d], expected)
    assert (binned.amin(dim=1) == 0).all()
    assert (binned.amax(dim=1) == bins - 1).all()


def test_labels_beyond_the_training_labels_are_in_the_end_bins() -> None:
    borders = edges(torch.tensor([[0.0], [4.0]]), 4)
    assert borders.tolist() == [[0, 1, 2, 3, 4]]
    beyond = torch.tensor([[-9.0], [1.0], [1.1], [4.0], [9.0]])
    assert levels(beyond, borders).flatten().tolist() == [0, 0, 1, 3, 3]


def test_edges_of_all_replicas_serve_each() -> None:
    labels = torch.randn(3, 6, 2)
    borders = edges(labels[0], 5)
    torch.testing.assert_close(levels(labels, borders)[1], levels(labels[1], borders))


def test_labels_that_do_not_vary() -> None:
    """One bin, and that label is what is expected, whatever the logits."""
    labels = torch.full((1, 5, 2), 0.3, dtype=torch.float64)
    borders = edges(labels, 4)
    assert (levels(labels, borders) == 0).all()
    for expected in (coral_expected, corn_expected):
        found = expected(torch.randn(1, 5, 2, 3, dtype=torch.float64), borders)
        torch.testing.assert_close(found, labels)


# Losses ----------------------------------------------------------------------------------------


def test_by_hand() -> None:
    """Logits of 0, level 1 of 5: four coins for CORAL, two tasks reached for CORN."""
    zero = one([0.0] * 4)
    assert float(coral_loss(zero, level(1), VALID)) == pytest.approx(4 * np.log(2), abs=1e-14)
    assert float(corn_loss(zero, level(1), VALID)) == pytest.approx(np.log(2), abs=1e-14)
    three = one([np.log(3)] * 4)  # each with 3/4
    expected = -np.log(3 / 4) - 3 * np.log(1 / 4)
    assert float(coral_loss(three, level(1), VALID)) == pytest.approx(expected, abs=1e-14)
    expected = (-np.log(3 / 4) - np.log(1 / 4)) / 2
    assert float(corn_loss(three, level(1), VALID)) == pytest.approx(expected, abs=1e-14)


@given(LOGITS)
@settings(max_examples=40, deadline=None)
def test_corn_is_the_likelihood_of_the_level(logits: list[float]) -> None:
    """Times the number of tasks that were reached: chances that sum to one."""
    chances = []
    for k in range(5):
        reached = min(k + 1, 4)
        chances.append(np.exp(-reached * float(corn_loss(one(logits), level(k), VALID))))
    assert chances == pytest.approx(corn_chances(logits), rel=1e-9)
    assert sum(chances) == pytest.approx(1.0, rel=1e-9)


def literal(name: str, logits: np.ndarray, level: np.ndarray, weight: np.ndarray) -> float:
    total = count = 0.0
    for i, d in np.ndindex(level.shape):
        for k in range(logits.shape[-1]):
            p = sigma(logits[i, d, k])
            cost = -np.log(p) if level[i, d] > k else -np.log(1 - p)
            if name == "coral" or level[i, d] >= k:
                total += weight[i, d] * cost
                count += weight[i, d] if name == "corn" or k == 0 else 0.0
    return total / count


@pytest.mark.parametrize(("name", "loss"), [("coral", coral_loss), ("corn", corn_loss)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_literal_twin(name: str, loss: object, weighted: bool) -> None:
    rng = np.random.default_rng(1)
    logits, level = rng.normal(size=(7, 2, 4)), rng.integers(0, 5, (7, 2))
    valid = np.arange(7) != 3
    weight = rng.uniform(0.5, 2, (7, 2)) if weighted else np.ones((7, 2))
    parts = [torch.tensor(part[None]) for part in (logits, level, valid, weight)]
    found = loss(*parts[: 4 if weighted else 3])  # type: ignore[operator]
    expected = literal(name, logits[valid], level[valid], weight[valid])
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_tasks_that_nobody_reached_learn_nothing_in_corn() -> None:
    """All takes in the first bin: only the first question has been asked."""
    logits = torch.randn(1, 6, 1, 4, requires_grad=True)
    nobody = torch.zeros(1, 6, 1, dtype=torch.int64)
    everyone = torch.ones(1, 6, dtype=torch.bool)
    (gradient,) = torch.autograd.grad(corn_loss(logits, nobody, everyone).sum(), logits)
    assert (gradient[..., 0] != 0).all()
    assert (gradient[..., 1:] == 0).all()


# Decoding --------------------------------------------------------------------------------------


def middles(borders: np.ndarray) -> np.ndarray:
    return np.asarray((borders[1:] + borders[:-1]) / 2)


@given(LOGITS)
@settings(max_examples=40, deadline=None)
def test_expected_label_is_the_sum_over_bins(logits: list[float]) -> None:
    """Bins of unequal width too; for CORAL of logits that fall, of which chances are none < 0."""
    borders = np.array([0.0, 1.0, 1.5, 4.0, 4.25, 9.0])
    edge = torch.tensor(borders[None])
    expected = np.dot(corn_chances(logits), middles(borders))
    assert float(corn_expected(one(logits), edge)) == pytest.approx(expected, rel=1e-9)
    falling = sorted(logits, reverse=True)
    above = np.array([1.0] + [sigma(x) for x in falling] + [0.0])
    expected = np.dot(above[:-1] - above[1:], middles(borders))
    assert float(coral_expected(one(falling), edge)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("k", range(5))
def test_certain_logits_decode_to_their_bin(k: int) -> None:
    borders = torch.linspace(0, 10, 6, dtype=torch.float64)[None]
    logits = one([40.0 if k > j else -40.0 for j in range(4)])
    for expected in (coral_expected, corn_expected):
        assert float(expected(logits, borders)) == pytest.approx(2 * k + 1, abs=1e-9)
    for decoded in (coral_decoded, corn_decoded):
        assert decoded(logits).tolist() == [[[k]]]


@given(LOGITS)
@settings(max_examples=40, deadline=None)
def test_decoded_levels_count_halves(logits: list[float]) -> None:
    reached = np.cumprod([sigma(x) for x in logits])
    if np.abs(reached - 0.5).min() > 1e-9:
        assert int(corn_decoded(one(logits))) == int((reached > 0.5).sum())
    assert int(coral_decoded(one(logits))) == sum(x > 0 for x in logits)


def test_many_bins_of_unlikely_steps_stay_finite() -> None:
    """Products of a hundred small chances, in single precision."""
    logits = torch.full((1, 1, 1, 99), -30.0, requires_grad=True)
    borders = torch.linspace(0, 1, 101)[None]
    found = corn_expected(logits, borders)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert float(found.detach()) == pytest.approx(0.005, abs=1e-6)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("loss", "expected"), [(coral_loss, coral_expected), (corn_loss, corn_expected)]
)
def test_learned_logits_decode_to_the_labels(loss: object, expected: object) -> None:
    torch.manual_seed(2)
    labels = torch.rand(1, 20, 2)
    borders = edges(labels, 10)
    valid = torch.ones(1, 20, dtype=torch.bool)
    logits = torch.zeros(1, 20, 2, 9, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200):
        adam.zero_grad()
        loss(logits, levels(labels, borders), valid).sum().backward()  # type: ignore[operator]
        adam.step()
    off = expected(logits.detach(), borders) - labels  # type: ignore[operator]
    assert off.abs().max() < 0.06  # half a bin, and a little
