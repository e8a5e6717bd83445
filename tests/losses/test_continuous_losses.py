"""Contrasts of codes by ratings: hand values, slow literal twins, torch's own losses, gradcheck."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, l1_loss

from pianoeval.losses.continuous import (
    ar_vae,
    bins_of,
    i_vae,
    info_nce_continuous,
    max_margin,
    n_pairs,
    rank_n_contrast,
    weighted_contrastive,
)

BINS, TEMPERATURE, DELTA = 5, 0.3, 2.0
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def lens(a: int, replicas: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    start = torch.linspace(0.5, 1.5, a, dtype=torch.float64).expand(replicas, a)
    return start, start - 1, -start


def several(loss: Callable[..., Tensor], *more: object) -> Loss:
    """A loss of several ratings, of which the second is the first reversed."""
    return lambda z, y, valid: loss(z, torch.stack([y, 1 - y], dim=2), valid, *more)


LOSSES: dict[str, Loss] = {
    "weighted": lambda *b: weighted_contrastive(*b, BINS, 0.7),
    "max_margin": lambda *b: max_margin(*b, BINS, 1.5),
    "n_pairs": lambda *b: n_pairs(*b, BINS, TEMPERATURE),
    "info_nce": lambda *b: info_nce_continuous(*b, BINS, TEMPERATURE),
    "rnc": lambda *b: rank_n_contrast(*b, TEMPERATURE),
    "ar_vae": several(ar_vae, DELTA),
    "i_vae": lambda z, y, v: several(i_vae, *(x.to(z) for x in lens(2, len(z))))(z, y, v),
}
CONTRASTS = ["weighted", "max_margin", "n_pairs", "info_nce", "rnc"]
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_contrast = pytest.mark.parametrize("name", CONTRASTS)


def batch(seed: int, m: int = 9, replicas: int = 1, k: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, ratings in tenths (ties, and some on bounds of bins), and nothing but takes."""
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(replicas, m, k)), rng.integers(0, 11, size=(replicas, m)) / 10
    return torch.tensor(z), torch.tensor(y), torch.ones(replicas, m, dtype=torch.bool)


def exact_bin(y: float, bins: int) -> int:
    """With fractions, of a rating in tenths."""
    return min(int(Fraction(round(y * 10), 10) * bins), bins - 1)


def literal(name: str, z: np.ndarray, y: np.ndarray) -> float:
    """One replica, take after take."""
    takes = range(len(y))
    x = [exact_bin(value, BINS) for value in y]
    tenths = np.round(y * 10).astype(int)
    d = np.array([[np.linalg.norm(a - b) for b in z] for a in z])
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    c = unit @ unit.T / TEMPERATURE
    costs = []
    if name in ("weighted", "max_margin"):
        for i, j in combinations(takes, 2):
            margin = 1.5 if name == "max_margin" else abs(x[i] - x[j]) * 0.7
            alike = x[i] == x[j]
            costs.append(0.5 * (d[i, j] if alike else max(0.0, margin - d[i, j])) ** 2)
        return float(np.mean(costs))
    for i in takes:
        others = [j for j in takes if j != i]
        if name == "n_pairs":
            own = [j for j in others if x[j] == x[i]]
            rest = [j for j in others if x[j] != x[i]]
            if own and rest:
                costs.append(np.mean([np.log1p(np.exp(c[i, rest] - c[i, p]).sum()) for p in own]))
        elif name == "info_nce":
            w = norm.pdf(y[i] - y[others], scale=1 / BINS)
            costs.append(-(w / w.sum()) @ (c[i, others] - logsumexp(c[i, others])))
        else:
            near = -d[i] / TEMPERATURE
            costs.append(np.mean([
                logsumexp([near[k] for k in others
                           if abs(tenths[i] - tenths[k]) >= abs(tenths[i] - tenths[j])]) - near[j]
                for j in others
            ]))  # fmt: skip
    return float(np.mean(costs))


@every_contrast
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_literal_twin(name: str, seed: int) -> None:
    z, y, valid = batch(seed)
    expected = literal(name, z[0].numpy(), y[0].numpy())
    assert expected > 0
    assert float(LOSSES[name](z, y, valid)) == pytest.approx(expected, rel=1e-9)


def test_equations_2_and_3_by_hand() -> None:
    """Bins 0, 0, 2 and 4; codes at 0, 3, 4 and 4.5 of a line; s = 1."""
    z = torch.tensor([[[0.0], [3.0], [4.0], [4.5]]])
    y, valid = torch.tensor([[0.0, 0.19, 0.4, 1.0]]), torch.ones(1, 4, dtype=torch.bool)
    #        0-1 alike  0-2 m 2, D 4  0-3 m 4, D 4.5  1-2 m 2, D 1  1-3 m 4, D 1.5  2-3 m 2, D ½
    costs = [0.5 * 9, 0.0, 0.0, 0.5 * 1, 0.5 * 2.5**2, 0.5 * 1.5**2]
    assert float(weighted_contrastive(z, y, valid, 5, 1.0)) == pytest.approx(np.mean(costs))
    # With m = 2 whatever the bins: 1-3 is ½ short of it, 2-3 by 1½.
    fixed = [0.5 * 9, 0.0, 0.0, 0.5 * 1, 0.5 * 0.5**2, 0.5 * 1.5**2]
    assert float(max_margin(z, y, valid, 5, 2.0)) == pytest.approx(np.mean(fixed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [2, 3, 5, 7, 10, 25, 49])
def test_lower_bounds_belong_to_their_bins(bins: int, dtype: torch.dtype) -> None:
    """Whichever way a bound was computed: 0.6 is 3 of 5, and 7 · 0.1 is not 0.7."""
    place = torch.arange(bins + 1)
    expected = place.clamp(max=bins - 1)
    share = torch.tensor(1 / bins, dtype=dtype)
    for labels in (place.to(dtype) / bins, place.to(dtype) * share):
        assert torch.equal(bins_of(labels[None], bins)[0], expected)
        below = (labels[1:] - 1e-4)[None]
        assert torch.equal(bins_of(below, bins)[0], place[:-1])


def test_bins_of_each_replica_and_of_what_is_outside() -> None:
    labels = torch.tensor([[-0.3, 0.0, 0.5, 1.0, 1.7]]).expand(2, -1)
    found = bins_of(labels, torch.tensor([2, 10]))
    assert found.tolist() == [[0, 0, 1, 1, 1], [0, 0, 5, 9, 9]]
    assert found.dtype == torch.int64


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(2, 20))
def test_bins_are_those_of_fractions(thousandths: list[int], bins: int) -> None:
    labels = torch.tensor([thousandths], dtype=torch.float32) / 1000
    expected = [min(int(Fraction(value, 1000) * bins), bins - 1) for value in thousandths]
    assert bins_of(labels, bins)[0].tolist() == expected


@pytest.mark.parametrize("loss", [weighted_contrastive, max_margin])
def test_all_pairs_sampled_are_all_pairs(loss: Callable[..., Tensor]) -> None:
    """In any order and direction, forwards and backwards; each counted as often as drawn."""
    z, y, valid = batch(1, replicas=2)
    z.requires_grad_()
    pairs = torch.tensor(list(combinations(range(9), 2)))
    pairs = pairs[torch.randperm(36, generator=torch.Generator().manual_seed(0))]
    pairs[::2] = pairs[::2].flip(1)
    found = loss(z, y, valid, BINS, 0.7, pairs.expand(2, -1, -1))
    expected = loss(z, y, valid, BINS, 0.7)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(x.sum(), z, retain_graph=True)[0] for x in (found, expected))
    torch.testing.assert_close(*gradients)
    one, other = (loss(z, y, valid, BINS, 0.7, p.expand(2, -1, -1)) for p in pairs[:2, None])
    drawn = loss(z, y, valid, BINS, 0.7, pairs[[0, 0, 0, 1]].expand(2, -1, -1))
    torch.testing.assert_close(drawn, 0.75 * one + 0.25 * other)


@pytest.mark.parametrize("loss", [weighted_contrastive, max_margin])
def test_sampled_pairs_that_are_none(loss: Callable[..., Tensor]) -> None:
    """A take with itself, and pairs with padding, do not count; without others the loss is 0."""
    z, y, valid = batch(2, m=4)
    valid[0, 3] = False
    alone = torch.tensor([[[0, 1], [2, 2], [1, 3]]])
    expected = loss(z, y, valid, BINS, 9.0, alone[:, :1])
    assert float(expected) > 0
    torch.testing.assert_close(loss(z, y, valid, BINS, 9.0, alone), expected)
    assert loss(z, y, valid, BINS, 9.0, alone[:, 1:]).tolist() == [0.0]


def test_n_pairs_of_one_take_a_class_is_cross_entropy() -> None:
    """Two takes a bin: each anchor's partner among its partner and all other bins' takes."""
    torch.manual_seed(0)
    z = torch.randn(1, 10, 4, dtype=torch.float64)
    y = (torch.arange(10) // 2)[None] / 5 + 0.1
    logits = cosine_similarity(z[0][:, None], z[0][None], dim=2) / 0.2
    expected = cross_entropy(logits.fill_diagonal_(-torch.inf), torch.arange(10) ^ 1)
    found = n_pairs(z, y, torch.ones(1, 10, dtype=torch.bool), 5, 0.2)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_info_nce_is_least_where_similarities_are_the_kernel() -> None:
    """Its least is the entropy of the wanted shares, which a flat kernel has at equal codes."""
    _, y, valid = batch(3, m=6)
    flat = torch.ones(1, 6, 2, dtype=torch.float64)
    found = info_nce_continuous(flat, y, valid, 1e-6, 0.1)
    assert float(found) == pytest.approx(np.log(5), rel=1e-9)


def test_rank_n_contrast_by_hand() -> None:
    """Ratings 0, ½ and 1 at 0, 1 and 3: only anchors' nearer takes have rivals."""
    z = torch.tensor([[[0.0], [1.0], [3.0]]], dtype=torch.float64)
    y, valid = torch.tensor([[0.0, 0.5, 1.0]]), torch.ones(1, 3, dtype=torch.bool)
    first = np.log(np.exp(-1) + np.exp(-3)) + 1  # 0: take 1 against 1 and 2; 2 against itself
    # From the middle both are as near, and each is against both.
    middle = 2 * np.log(np.exp(-1) + np.exp(-2)) + 3
    last = np.log(np.exp(-2) + np.exp(-3)) + 2
    assert float(rank_n_contrast(z, y.double(), valid, 1.0)) == pytest.approx(
        (first + middle + last) / 2 / 3, rel=1e-12
    )


def test_differences_that_are_equal_but_for_rounding_are_equal() -> None:
    """0.3 − 0.2 is not 0.2 − 0.1 in floats; without care one would be no rival of the other."""
    z, _, valid = batch(4, m=4)
    tenths = torch.tensor([[0.1, 0.2, 0.3, 0.9]], dtype=torch.float64)
    assert float(tenths[0, 2] - tenths[0, 1]) != float(tenths[0, 1] - tenths[0, 0])
    whole = torch.tensor([[1.0, 2.0, 3.0, 9.0]], dtype=torch.float64)
    torch.testing.assert_close(
        rank_n_contrast(z, tenths, valid, 1.0), rank_n_contrast(z, whole, valid, 1.0)
    )


def test_rank_n_contrast_far_apart_at_a_low_temperature_is_finite() -> None:
    z = torch.tensor([[[0.0], [1.0], [500.0], [1000.0]]], requires_grad=True)
    y, valid = torch.tensor([[0.0, 0.1, 0.9, 1.0]]), torch.ones(1, 4, dtype=torch.bool)
    found = rank_n_contrast(z, y, valid, 0.1)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()
    expected = literal_rnc(z.detach()[0].numpy(), y[0].numpy())
    assert float(found.detach()) == pytest.approx(expected, abs=1e-3)  # of similarities of 10,000


def literal_rnc(z: np.ndarray, y: np.ndarray) -> float:
    near = -np.abs(z - z.T).astype(np.float64) / 0.1
    costs = []
    for i in range(len(y)):
        others = [j for j in range(len(y)) if j != i]
        for j in others:
            rivals = [k for k in others if abs(y[i] - y[k]) >= abs(y[i] - y[j])]
            costs.append(logsumexp(near[i, rivals]) - near[i, j])
    return float(np.mean(costs))


def test_ar_vae_is_the_l1_of_the_authors() -> None:
    z, y, valid = batch(5, m=8)
    y = torch.stack([y, batch(6, m=8)[1]], dim=2)
    expected = sum(
        l1_loss(
            torch.tanh(DELTA * (z[0, :, None, r] - z[0, None, :, r])),
            torch.sign((10 * y[0, :, r]).round()[:, None] - (10 * y[0, :, r]).round()[None]),
        )
        for r in range(2)
    )
    torch.testing.assert_close(ar_vae(z, y, valid, DELTA)[0], expected)


def test_ar_vae_sees_the_first_values_alone() -> None:
    z, y, valid = batch(7)
    other = z.clone()
    other[..., 1:] += torch.randn_like(other[..., 1:])
    one = y[..., None]
    assert torch.equal(ar_vae(z, one, valid, 1.0), ar_vae(other, one, valid, 1.0))
    ordered = torch.cat([100 * one, z[..., 1:]], dim=2)
    assert float(ar_vae(ordered, one, valid, 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_i_vae_is_the_likelihood_of_gaussians() -> None:
    z, y, valid = batch(8, m=7)
    y = torch.stack([y, batch(9, m=7)[1]], dim=2)
    slope, offset, log_variance = lens(2)
    found = float(i_vae(z, y, valid, slope, offset, log_variance))
    expected = 0.0
    for r in range(2):
        mean = float(slope[0, r]) * z[0, :, r].numpy() + float(offset[0, r])
        scale = np.exp(float(log_variance[0, r]) / 2)
        expected -= norm.logpdf(y[0, :, r].numpy(), mean, scale).mean() + 0.5 * np.log(2 * np.pi)
    assert found == pytest.approx(expected, rel=1e-12)


def test_i_vae_of_a_perfect_lens_stays_finite() -> None:
    """A variance that has run away still learns: it has a gradient back."""
    y, valid = torch.rand(1, 6, 1), torch.ones(1, 6, dtype=torch.bool)
    run_away = torch.full((1, 1), -300.0, requires_grad=True)
    found = i_vae(y, y, valid, torch.ones(1, 1), torch.zeros(1, 1), run_away)
    assert float(found.detach()) == pytest.approx(0.5 * np.log(1e-6), rel=1e-5)
    missed = i_vae(y, y, valid, torch.ones(1, 1), torch.full((1, 1), 0.1), run_away)
    assert torch.isfinite(missed).all()
    (gradient,) = torch.autograd.grad(missed.sum(), run_away)
    assert float(gradient) == pytest.approx(0.5 * (1 - 0.01 / 1e-6), rel=1e-4)


@pytest.mark.parametrize("name", ["ar_vae", "i_vae"])
def test_more_ratings_than_values_are_refused(name: str) -> None:
    """One value would be broadcast to all ratings, and nobody would notice."""
    z, y, valid = batch(0, k=1)
    with pytest.raises(ValueError, match="2 ratings, but codes of 1 values"):
        LOSSES[name](z, y, valid)


@every_loss
def test_gradient(loss: Loss) -> None:
    z, y, valid = batch(10, m=6, replicas=2)
    valid[1, 4:] = False
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, y, valid), z)


@every_loss
def test_gradient_of_identical_codes_is_finite(loss: Loss) -> None:
    """All at 0, as a dead layer has them; all at one point; two alike among others."""
    z, y, valid = batch(11, m=6, replicas=3)
    z = z.float()
    z[0], z[1], z[2, 1] = 0.0, 1.5, z[2, 0]
    z.requires_grad_()
    found = loss(z, y.float(), valid)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("loss", [weighted_contrastive, max_margin])
def test_gradient_of_identical_codes_is_zero(loss: Callable[..., Tensor], sampled: bool) -> None:
    y = torch.tensor([[0.0, 0.5, 1.0, 0.1]])
    z = torch.full((1, 4, 3), 0.7, requires_grad=True)
    pairs = torch.tensor([list(combinations(range(4), 2))]) if sampled else None
    found = loss(z, y, torch.ones(1, 4, dtype=torch.bool), BINS, 1.0, pairs)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert float(found.detach()) > 0
    assert (gradient == 0).all()


@every_loss
def test_padding_has_no_part(loss: Loss) -> None:
    """Whatever it holds; and the takes that are left give what they give alone."""
    z, y, valid = batch(12, m=7)
    padded = torch.cat([z[:, :3], torch.full((1, 2, 3), torch.nan), z[:, 3:]], dim=1)
    labels = torch.cat([y[:, :3], torch.full((1, 2), torch.nan), y[:, 3:]], dim=1)
    mask = torch.ones(1, 9, dtype=torch.bool)
    mask[0, 3:5] = False
    padded.requires_grad_()
    found = loss(padded, labels, mask)
    torch.testing.assert_close(found, loss(z, y, valid))
    (gradient,) = torch.autograd.grad(found.sum(), padded)
    assert (gradient[0, 3:5] == 0).all()
    assert torch.isfinite(gradient).all()


@every_loss
def test_replicas_do_not_mix(loss: Loss) -> None:
    """To the last bit, in values and gradients, whichever others are in the batch."""
    z, y, valid = batch(13, m=11, replicas=4)
    valid[2, 8:] = False
    z.requires_grad_()
    found = loss(z, y, valid)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    for b in range(4):
        alone = z.detach()[b : b + 1].requires_grad_()
        one = loss(alone, y[b : b + 1], valid[b : b + 1])
        assert torch.equal(one, found[b : b + 1])
        assert torch.equal(torch.autograd.grad(one.sum(), alone)[0], gradient[b : b + 1])


def test_parameters_of_each_replica() -> None:
    """A sweep in one batch is its points one by one."""
    z, y, valid = batch(14, replicas=3)
    bins, margin, temperature = torch.tensor([3, 5, 10]), torch.tensor([0.5, 1.0, 2.0]), (0.1, 1, 2)
    calls: dict[str, Callable[..., Tensor]] = {
        "bins": lambda b, i: weighted_contrastive(*b, bins[i], margin[i]),
        "margin": lambda b, i: max_margin(*b, bins[i], margin[i]),
        "n_pairs": lambda b, i: n_pairs(*b, bins[i], torch.tensor(temperature)[i]),
        "info_nce": lambda b, i: info_nce_continuous(*b, bins[i], torch.tensor(temperature)[i]),
        "rnc": lambda b, i: rank_n_contrast(*b, torch.tensor(temperature)[i]),
        "ar_vae": lambda b, i: ar_vae(b[0], b[1][..., None], b[2], margin[i]),
    }
    for name, call in calls.items():
        together = call((z, y, valid), slice(None))
        assert len(set(together.tolist())) == 3, name
        for i in range(3):
            part = slice(i, i + 1)
            alone = call((z[part], y[part], valid[part]), part)
            torch.testing.assert_close(alone, together[part], rtol=1e-12, atol=0)
    plain = weighted_contrastive(z[1:2], y[1:2], valid[1:2], 5, 1.0)
    torch.testing.assert_close(
        plain, weighted_contrastive(z[1:2], y[1:2], valid[1:2], bins[1:2], margin[1:2])
    )


@every_loss
def test_the_order_of_the_batch_does_not_matter(loss: Loss) -> None:
    z, y, valid = batch(15)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(z[:, order], y[:, order], valid), loss(z, y, valid))


@every_contrast
@pytest.mark.parametrize("counted", [0, 1])
def test_nothing_to_compare_is_zero(name: str, counted: int) -> None:
    z, y, valid = batch(16, m=3)
    valid[0, counted:] = False
    z.requires_grad_()
    found = LOSSES[name](z, y, valid)
    assert found.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert (gradient == 0).all()


def test_one_bin_has_no_negatives() -> None:
    """All rated alike: drawn together by pairs, nothing to contrast with by N pairs."""
    z, y, valid = batch(17)
    y = torch.full_like(y, 0.5)
    apart = [float((a - b).square().sum()) for a, b in combinations(z[0], 2)]
    found = weighted_contrastive(z, y, valid, BINS, 1.0)
    assert float(found) == pytest.approx(np.mean(apart) / 2)
    assert n_pairs(z, y, valid, BINS, 0.1).tolist() == [0.0]


@every_contrast
def test_learning_puts_codes_in_the_order_of_bins(name: str) -> None:
    """Free codes learn: takes of one bin come nearer to one another than to the others."""
    torch.manual_seed(3)
    y = (torch.arange(12) // 4)[None] / 3 + 0.1
    z = torch.randn(1, 12, 2, requires_grad=True)
    adam = torch.optim.Adam([z], lr=0.05)
    valid, contrast = torch.ones(1, 12, dtype=torch.bool), LOSSES[name]
    before = float(contrast(z.detach(), y, valid))
    for _ in range(200):
        adam.zero_grad()
        contrast(z, y, valid).sum().backward()
        adam.step()
    code = z.detach()[0] if name in ("weighted", "max_margin", "rnc") else None
    code = torch.nn.functional.normalize(z.detach()[0], dim=1) if code is None else code
    same = y[0][:, None] == y[0][None]
    apart = torch.cdist(code, code)
    assert apart[same].mean() < 0.5 * apart[~same].mean()
    assert float(contrast(z.detach(), y, valid)) < before


def test_margins_in_proportion_give_distances_in_proportion() -> None:
    """What eq. 3 is for, and a fixed margin does not do: far ratings are farther apart.

    From codes that are close: both losses push no pair that is beyond its margin.
    """
    found = {}
    y = (torch.arange(15) // 3)[None] / 5 + 0.1
    for loss in (weighted_contrastive, max_margin):
        torch.manual_seed(4)
        z = (0.1 * torch.randn(1, 15, 4)).requires_grad_()
        adam = torch.optim.Adam([z], lr=0.05)
        for _ in range(400):
            adam.zero_grad()
            loss(z, y, torch.ones(1, 15, dtype=torch.bool), 5, 1.0).sum().backward()
            adam.step()
        centre = z.detach()[0].reshape(5, 3, 4).mean(dim=1)
        found[loss] = torch.cdist(centre, centre)
    ideal = (torch.arange(5.0)[:, None] - torch.arange(5.0)).abs()
    assert (found[weighted_contrastive] >= 0.95 * ideal).all()
    assert found[max_margin].max() < 2.5


@given(st.integers(0, 1000))
def test_of_two_bins_both_margins_are_the_same(seed: int) -> None:
    z, y, valid = batch(seed, m=5)
    assert torch.equal(weighted_contrastive(z, y, valid, 2, 1.3), max_margin(z, y, valid, 2, 1.3))


def test_margins_bound_distances_from_below_alone() -> None:
    """Neighbouring bins may lie farther apart than the ends of the scale, at no cost."""
    corners = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 4.0]])
    y, valid = torch.tensor([[0.0, 0.2, 0.9]]), torch.ones(1, 3, dtype=torch.bool)
    assert weighted_contrastive(corners[None], y, valid, 5, 1.0).tolist() == [0.0]
