"""LDS and FDS: counts of numpy and filters of scipy; statistics bin by bin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from pianoeval.losses.imbalance import FeatureSmoothing, lds_weights
from pianoeval.losses.ordinal import edges, levels

NARROW = 1e-3  # a Gaussian that reaches no other bin


def every(labels: Tensor) -> Tensor:
    return torch.ones(labels.shape, dtype=torch.bool)


# Label distribution smoothing --------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])
def test_weights_are_inverse_smoothed_counts(sigma: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(200, 3)) ** 3
    found = lds_weights(torch.tensor(labels), 20, sigma).numpy()
    for d in range(3):
        counts, borders = np.histogram(labels[:, d], 20)
        smooth = gaussian_filter1d(counts.astype(float), sigma, mode="constant", truncate=60)
        weights = 1 / smooth[np.digitize(labels[:, d], borders[1:-1], right=True)]
        np.testing.assert_allclose(found[:, d], weights / weights.mean(), rtol=1e-9)


def test_without_smoothing_every_bin_weighs_alike() -> None:
    """By hand: three labels at one end, one at the other, of four bins."""
    labels = torch.tensor([[0.0], [0.1], [0.2], [4.0]])
    found = lds_weights(labels, 4, NARROW).flatten().tolist()
    assert found == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_neighbours_teach_too() -> None:
    """A rare label weighs less next to frequent ones than alone."""
    crowd = [0.0] * 10 + [0.05] * 10
    labels = torch.tensor([*crowd, 0.2, 1.0])[:, None]
    weights = lds_weights(labels, 10, 1.0).flatten()
    assert weights[0] < weights[-2] < weights[-1]
    assert float(weights.mean()) == pytest.approx(1.0)


def test_labels_that_do_not_vary_weigh_one() -> None:
    varied = torch.randn(30, dtype=torch.float64)
    labels = torch.stack([torch.full_like(varied, 0.4), varied], dim=1)
    found = lds_weights(labels, 10, 2.0)
    torch.testing.assert_close(found[:, 0], torch.ones(30, dtype=torch.float64))
    assert found[:, 1].std() > 0.05
    assert lds_weights(labels[:1], 10, 2.0).tolist() == [[1.0, 1.0]]


# Feature distribution smoothing ------------------------------------------------------------------


def sample(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two replicas of 40 codes of 3 values that move with a label."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.rand(2, 40, generator=draw, dtype=torch.float64) * torch.tensor([[1.0], [9.0]])
    noise = torch.randn(2, 40, 3, generator=draw, dtype=torch.float64)
    return noise * (1 + labels[..., None]) + labels[..., None], labels


def smoothing(labels: Tensor, sigma: float, momentum: float = 0.9) -> FeatureSmoothing:
    return FeatureSmoothing(edges(labels[..., None], 5)[:, 0], 2, 3, sigma, momentum)


def test_statistics_are_those_of_the_bins() -> None:
    codes, labels = sample()
    fds = smoothing(labels, NARROW)
    fds.update(codes, labels, every(labels))
    binned = levels(labels[..., None], edges(labels[..., None], 5))[..., 0]
    for b in range(2):
        for k in range(5):
            members = codes[b][binned[b] == k].numpy()
            assert len(members) > 1
            np.testing.assert_allclose(fds.mean[b, k], members.mean(axis=0), rtol=1e-10)
            np.testing.assert_allclose(fds.variance[b, k], members.var(axis=0), rtol=1e-10)


def test_smoothed_over_bins_and_calibrated_literally() -> None:
    codes, labels = sample()
    fds = smoothing(labels, 1.0)
    fds.update(codes, labels, every(labels))
    kernel = np.exp(-((np.arange(5)[:, None] - np.arange(5)) ** 2) / 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    found = fds.calibrate(codes, labels)
    binned = levels(labels[..., None], edges(labels[..., None], 5))[..., 0]
    for b in range(2):
        mean, variance = fds.mean[b].numpy(), fds.variance[b].numpy()
        smooth_mean, smooth_variance = kernel @ mean, kernel @ variance
        np.testing.assert_allclose(fds.smooth_mean[b], smooth_mean, rtol=1e-10)
        for i in range(40):
            k = binned[b, i]
            stretch = np.sqrt(np.clip(smooth_variance[k] / variance[k], 0.1, 10))
            expected = (codes[b, i].numpy() - mean[k]) * stretch + smooth_mean[k]
            np.testing.assert_allclose(found[b, i], expected, rtol=1e-10)


def test_without_smoothing_codes_stay() -> None:
    codes, labels = sample()
    fds = smoothing(labels, NARROW)
    torch.testing.assert_close(fds.calibrate(codes, labels), codes)  # before the first epoch
    fds.update(codes, labels, every(labels))
    torch.testing.assert_close(fds.calibrate(codes, labels), codes)


def test_momentum() -> None:
    """First epoch: as it is. Then nine parts of the former to one of the new."""
    codes, labels = sample()
    fds = smoothing(labels, 1.0)
    fds.update(codes, labels, every(labels))
    mean, variance = fds.mean, fds.variance
    fds.update(2 * codes + 1, labels, every(labels))
    torch.testing.assert_close(fds.mean, 0.9 * mean + 0.1 * (2 * mean + 1))
    torch.testing.assert_close(fds.variance, 0.9 * variance + 0.1 * 4 * variance)


def test_bins_that_are_not_met() -> None:
    """They keep what they had; one met late starts afresh; none is smoothed in unseen."""
    codes, labels = sample()
    fds = smoothing(labels, 2.0)
    low = labels < labels.amax(dim=1, keepdim=True) / 2
    fds.update(codes, labels, low)
    before = fds.mean
    assert (before[:, -1] == 0).all()
    seen = fds.smooth_mean[:, 0]
    assert (seen >= before[:, :3].amin(dim=1)).all()
    assert (seen <= before[:, :3].amax(dim=1)).all()
    high = labels > labels.amax(dim=1, keepdim=True) * 0.85
    torch.testing.assert_close(fds.calibrate(codes, labels)[high], codes[high])
    fds.update(codes + 5, labels, high)
    torch.testing.assert_close(fds.mean[:, :2], before[:, :2])
    for b in range(2):
        torch.testing.assert_close(fds.mean[b, -1], (codes[b][high[b]] + 5).mean(dim=0))


def test_padding_is_not_read() -> None:
    codes, labels = sample()
    valid = every(labels)
    valid[0, 30:] = False
    filled, odd = codes.clone(), labels.clone()
    filled[0, 30:], odd[0, 30:] = torch.nan, torch.nan
    both = []
    for one in ((codes, labels), (filled, odd)):
        fds = smoothing(labels, 1.0)
        fds.update(*one, valid)
        both.append(fds.smooth_variance)
    assert torch.equal(*both)
    assert torch.isfinite(both[1]).all()


def test_replicas_do_not_mix() -> None:
    codes, labels = sample()
    together = smoothing(labels, 1.0)
    together.update(codes, labels, every(labels))
    alone = FeatureSmoothing(edges(labels[1:, :, None], 5)[:, 0], 1, 3, 1.0)
    alone.update(codes[1:], labels[1:], every(labels[1:]))
    torch.testing.assert_close(
        together.calibrate(codes, labels)[1:], alone.calibrate(codes[1:], labels[1:])
    )


def test_one_take_a_bin_is_moved_not_stretched() -> None:
    """A variance of 0 has no square root to divide by."""
    labels = torch.arange(5.0).expand(2, 5)
    codes = torch.randn(2, 5, 3)
    fds = smoothing(labels, 1.0)
    fds.update(codes, labels, every(labels))
    found = fds.calibrate(codes, labels)
    torch.testing.assert_close(found, fds.smooth_mean)
    assert torch.isfinite(fds.calibrate(codes + 100, labels)).all()


def test_it_goes_on_from_its_state() -> None:
    """Kept between batches by who trains: another object goes on as the first would."""
    codes, labels = sample()
    first, other = smoothing(labels, 1.0), smoothing(labels, 1.0)
    first.update(codes, labels, labels < 0.5)
    other.load(first.state())
    for fds in (first, other):
        fds.update(codes + 1, labels, every(labels))
    for name, value in first.state().items():
        assert torch.equal(value, other.state()[name])
    assert torch.equal(first.calibrate(codes, labels), other.calibrate(codes, labels))


def test_gradients_flow_through_codes_and_not_into_statistics() -> None:
    codes, labels = sample()
    fds = smoothing(labels, 1.0)
    leaf = codes.clone().requires_grad_()
    fds.update(leaf, labels, every(labels))
    assert not fds.mean.requires_grad
    assert torch.autograd.gradcheck(lambda z: fds.calibrate(z, labels), leaf)
