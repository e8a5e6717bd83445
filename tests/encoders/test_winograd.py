"""Winograd's convolutions against PyTorch's in float64, and their matrices by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.encoders.muq.winograd import WinogradConv, matrices

TILES = [(1, 2), (1, 4), (2, 2), (2, 3)]


def test_f_2_3_is_that_of_lavin_and_gray() -> None:
    """Their equation (3) up to the free scale of each product."""
    a, g, b = matrices(2, 1)
    d, w = np.array([3.0, -1.0, 4.0, 2.0]), np.array([0.5, 2.0, -1.0])
    m1, m4 = (d[0] - d[2]) * w[0], (d[1] - d[3]) * w[2]
    m2, m3 = (d[1] + d[2]) * w.sum() / 2, (d[2] - d[1]) * (w[0] - w[1] + w[2]) / 2
    np.testing.assert_allclose(a @ ((g @ w) * (b @ d)), [m1 + m2 + m3, m2 - m3 - m4])
    assert set(np.abs(b).ravel()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize(("stride", "m"), TILES)
def test_products_and_one_dimension(stride: int, m: int) -> None:
    a, g, b = matrices(m, stride)
    assert len(g) == (m + 2 if stride == 1 else 2 * m + 1)
    generator = np.random.default_rng(0)
    d, w = generator.normal(size=b.shape[1]), generator.normal(size=3)
    want = [w @ d[stride * i : stride * i + 3] for i in range(m)]
    np.testing.assert_allclose(a @ ((g @ w) * (b @ d)), want, atol=1e-12)


@given(
    st.sampled_from([(1, 2), (1, 4), (2, 2)]), st.integers(1, 40), st.integers(1, 20),
    st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_equals_a_direct_convolution_at_every_size(
    tile: tuple[int, int], height: int, width: int, batch: int
) -> None:
    stride, m = tile
    generator = torch.Generator().manual_seed(height * 50 + width)
    x = torch.randn(batch, height, width, 5, generator=generator)
    weight, bias = torch.randn(7, 5, 3, 3, generator=generator), torch.randn(7, generator=generator)
    want = F.conv2d(x.permute(0, 3, 1, 2).double(), weight.double(), bias.double(), stride, 1)
    got = WinogradConv(weight, bias, stride, m, torch.float32)(x)
    assert got.shape == want.permute(0, 2, 3, 1).shape
    torch.testing.assert_close(got.double(), want.permute(0, 2, 3, 1), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("tile", "dtype", "most"),
    [
        ((1, 4), torch.float32, 2e-6), ((2, 2), torch.float32, 1e-6),
        ((1, 2), torch.bfloat16, 5e-3),
    ],
)  # fmt: skip
def test_rounding_with_as_many_channels_as_muq(
    tile: tuple[int, int], dtype: torch.dtype, most: float
) -> None:
    stride, m = tile
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 24, 24, 512, generator=generator).relu().to(dtype)
    weight = (torch.randn(64, 512, 3, 3, generator=generator) / 68).to(dtype)
    want = F.conv2d(x.permute(0, 3, 1, 2).double(), weight.double(), None, stride, 1)
    got = WinogradConv(weight.float(), torch.zeros(64), stride, m, dtype)(x).double()
    error = got - want.permute(0, 2, 3, 1)
    assert error.square().mean().sqrt() <= most * want.square().mean().sqrt()
