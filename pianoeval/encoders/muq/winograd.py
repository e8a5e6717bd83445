"""3 x 3 convolutions with fewer multiplications (Winograd 1980; Lavin & Gray, CVPR 2016).

``m x m`` outputs of a channel cost ``n x n`` products instead of ``9 m^2``: the input tile and the
kernel are transformed, multiplied value by value (over all channels: ``n^2`` matrix products), and
transformed back. In one dimension, with the Toom-Cook matrices ``A, G, B`` over chosen points,

    y = A [(G g) * (B d)]

* stride 1: ``n = m + 2``. F(4, 3) over 0, ±1, 1/2, -2, ∞ needs a quarter of the products; these
  points round better than 0, ±1, ±2 (Barabasz et al., ACM TOMS 2020).
* stride 2: taps 0 and 2 see even inputs, F(m, 2) with ``m + 1`` products; tap 1 sees odd ones,
  ``m`` products. F(2) needs 25 products instead of 36.

In float32 the largest error is 1 to 5 times that of a direct convolution (3e-6 of the largest
value), at any level. In bfloat16 it would be 4 times with F(4, 3), and 1.4 times with F(2, 3),
whose transforms only add and subtract.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

F8 = NDArray[np.float64]
_POINTS = {3: (0.0, 1.0), 4: (0.0, 1.0, -1.0), 6: (0.0, 1.0, -1.0, 0.5, -2.0)}
_TILES = 160  # of one batch of matrix products: their inputs and outputs stay in the cache


def toom_cook(m: int, r: int) -> tuple[F8, F8, F8]:
    """``A (m, n), G (n, r), B (n, n)`` of ``m`` outputs of an ``r``-tap filter, n = m + r - 1.

    The transpose of polynomial multiplication by evaluation at ``n - 1`` points and infinity.
    """
    points = np.array(_POINTS[m + r - 1])

    def evaluate(size: int) -> F8:
        return np.vstack([np.vander(points, size, increasing=True), np.eye(size)[-1:]])

    inverse: F8 = np.linalg.inv(evaluate(m + r - 1)).astype(np.float64)
    return evaluate(m).T, evaluate(r), inverse.T


def matrices(m: int, stride: int) -> tuple[F8, F8, F8]:
    """``A, G, B`` of ``m`` outputs of a 3-tap filter that advances by ``stride`` (1 or 2)."""
    if stride == 1:
        return toom_cook(m, 3)
    a, g, b = toom_cook(m, 2)
    n = m + 1
    both, kernel = np.zeros((n + m, 2 * m + 1)), np.zeros((n + m, 3))
    both[:n, 0::2], both[n:, 1::2] = b, np.eye(m)
    kernel[:n, [0, 2]], kernel[n:, 1] = g, 1
    return np.hstack([a, np.eye(m)]), kernel, both


class WinogradConv:
    """3 x 3 convolution, zero padding 1, of images with channels last.

    Parameters
    ----------
    weight : Tensor, shape (out, in, 3, 3), float32
    bias : Tensor, shape (out,)
    stride : int
        1 or 2.
    m : int
        Outputs of a tile and axis.
    dtype : torch.dtype
        Of inputs, products and outputs.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, stride: int, m: int, dtype: torch.dtype
    ) -> None:
        a, g, b = matrices(m, stride)
        self.m, self.stride, (self.n, self.size) = m, stride, b.shape
        kernel = torch.from_numpy(g).to(weight.device)
        products = torch.einsum("ai,ocij,bj->abco", kernel, weight.double(), kernel)
        self.kernel = products.flatten(0, 1).to(dtype).contiguous()  # (n^2, in, out)
        self.into, self.back = _Both(b, dtype), _Both(a, dtype)
        self.bias = bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(batch, height, width, in) to (batch, ⌈height/stride⌉, ⌈width/stride⌉, out)."""
        height, width = (-(-length // self.stride) for length in x.shape[1:3])
        down, across = -(-height // self.m), -(-width // self.m)  # tiles
        channels = self.kernel.shape[2]
        out = x.new_empty(len(x), down * self.m, across * self.m, channels)
        rows = max(_TILES // across, 1)
        for image, done in zip(x, out, strict=True):
            for top in range(0, down, rows):
                n = min(rows, down - top)
                y = self._tiles(self._slab(image, top, n, across)).view(
                    self.m, self.m, n, across, channels
                )
                here = done[top * self.m : (top + n) * self.m]
                y = y.permute(2, 0, 3, 1, 4)
                torch.add(y, self.bias, out=here.view(n, self.m, across, self.m, channels))
        return out[:, :height, :width]

    def _slab(self, image: Tensor, top: int, n: int, across: int) -> Tensor:
        """Input tiles of ``n`` rows of them: (size, size, n * across, in)."""
        step = self.m * self.stride
        first, last = top * step - 1, (top + n - 1) * step - 1 + self.size
        right = (across - 1) * step - 1 + self.size - image.shape[1]
        part = image[max(first, 0) : last, : image.shape[1] + min(right, 0)]
        above = max(-first, 0)
        below = last - first - above - len(part)
        part = F.pad(part, (0, 0, 1, max(right, 0), above, below))
        tiles = part.unfold(0, self.size, step).unfold(1, self.size, step)
        return tiles.permute(3, 4, 0, 1, 2).reshape(self.size, self.size, n * across, -1)

    def _tiles(self, tiles: Tensor) -> Tensor:
        """Input tiles to output tiles (m, m, tiles, out)."""
        spread = self.into(tiles).view(self.n**2, tiles.shape[2], -1)
        done: Tensor = self.back(torch.bmm(spread, self.kernel).view(self.n, self.n, -1))
        return done


class _Both:
    """One matrix along both axes of tiles: in turn, or at once where each step would round."""

    def __init__(self, matrix: F8, dtype: torch.dtype) -> None:
        self.at_once = dtype != torch.float32
        used = np.kron(matrix, matrix) if self.at_once else matrix
        self.matrix = torch.from_numpy(used).to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(k, k, ...) to (n, n, values)."""
        if self.at_once:
            return torch.mm(self.matrix, x.reshape(x.shape[0] ** 2, -1))
        k = len(x)
        n = len(self.matrix)
        first = torch.mm(self.matrix, x.reshape(k, -1)).view(n, k, -1)
        return torch.matmul(self.matrix, first)
