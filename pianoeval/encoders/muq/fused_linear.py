"""A linear layer in the arithmetic that is wanted, through oneDNN on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pianoeval.encoders.linear import linear


class FusedLinear(nn.Module):
    """``x W' + b``, then SiLU if wanted, in the arithmetic of ``dtype``.

    Parameters
    ----------
    weight : Tensor, shape (out, in)
    bias : Tensor, shape (out,), optional
    onednn : bool
        False: PyTorch's default on a CPU, too.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, silu: bool = False,
        onednn: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.silu, self.onednn = silu, onednn
        self.register_buffer("weight", weight.detach().to(dtype).contiguous(), persistent=False)
        held = None if bias is None else bias.detach().to(dtype)
        self.register_buffer("bias", held, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        weight, bias = self.get_buffer("weight"), self._buffers["bias"]
        x = x.to(weight.dtype)
        return linear(x, weight, bias, then="silu" if self.silu else "none", onednn=self.onednn)
