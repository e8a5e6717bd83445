"""A vision transformer over spectrogram patches, with the parameter names of timm.

Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021: square patches, a class token,
blocks that normalise before attention and before the two layers with GELU. In the masked
autoencoder of He et al. (CVPR 2022), and in Audio-MAE after it, positions are fixed sines and
cosines of the patch's two coordinates.

Precision: in bfloat16, the matrix products (patches, attention, both layers of a block) take
bfloat16 weights and inputs. The residual stream, layer norms, positions and the input stay
float32; softmax is accumulated in float32 by the attention kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16
_EPS = 1e-6


@dataclass(frozen=True)
class VitConfig:
    """Shape of the network; the image is time by mel bands."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    image: tuple[int, int] = (1024, 128)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along time and along frequency."""
        return self.image[0] // PATCH, self.image[1] // PATCH

    @property
    def hidden(self) -> int:
        """Values between the two layers of a block."""
        return int(self.dim * self.mlp_ratio)


class _PatchEmbed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, PATCH, PATCH)

    def forward(self, image: Tensor) -> Tensor:
        """Image (batch, time, mels) to tokens (batch, patches, dim), time first.

        A convolution whose stride is its size is one matrix product.
        """
        batch, time, mels = image.shape
        grid = image.view(batch, time // PATCH, PATCH, mels // PATCH, PATCH).transpose(2, 3)
        patches = grid.reshape(batch, -1, PATCH * PATCH)
        weight = self.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias).float()


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        heard = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.proj(heard.transpose(1, 2).reshape(batch, tokens, dim))
        return out


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=_EPS)
        self.attn = _Attention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=_EPS)
        self.mlp = _Mlp(config.dim, config.hidden)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        dtype = self.attn.qkv.weight.dtype
        x = x + self.attn(self.norm1(x).to(dtype), mask).float()
        x = x + self.mlp(self.norm2(x).to(dtype)).float()
        return x


class VitNet(nn.Module):
    """Image to residual streams.

    Parameters
    ----------
    config : VitConfig
    depth : int
        Blocks to have; those after them are neither kept nor run.
    final_norm : bool
        Whether the last block's output passes a layer norm, as it does for the decoder of a
        masked autoencoder. Only with all blocks.
    """

    def __init__(self, config: VitConfig, depth: int, *, final_norm: bool) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.patch_embed = _PatchEmbed(config.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns + 1, config.dim))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(depth))
        if final_norm:
            self.norm = nn.LayerNorm(config.dim, eps=_EPS)
        self.final_norm = final_norm

    def cast(self, dtype: torch.dtype) -> None:
        """Matrix products in ``dtype``; the rest stays float32."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(dtype)

    def forward(
        self, image: Tensor, rows: Tensor | None, tap: Callable[[int, Tensor], None]
    ) -> None:
        """Show ``tap(i, tokens)`` the input of the first block (0) and every block's output.

        Parameters
        ----------
        image : Tensor, shape (batch, time, mels)
            Float32. ``time`` is a multiple of 16, at most that of the configuration; a shorter
            image has the positions of the full one's beginning.
        rows : Tensor, shape (batch,), or None
            Patches along time that are real, where items differ: the others are not attended to.
        tap : callable
            Tokens (batch, patches, dim) without the class token, float32, time first.
        """
        tokens = self.patch_embed(image)
        length = tokens.shape[1]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        x = torch.cat([cls, tokens + self.pos_embed[:, 1 : length + 1]], 1)
        mask = None
        if rows is not None:
            place = torch.arange(length + 1, device=x.device)
            mask = (place <= rows[:, None] * self.config.grid[1])[:, None, None]
        tap(0, x[:, 1:])
        for i, block in enumerate(self.blocks, 1):
            x = block(x, mask)
            last = self.final_norm and i == len(self.blocks)
            tap(i, self.norm(x[:, 1:]) if last else x[:, 1:])


def sincos_positions(config: VitConfig) -> Tensor:
    """Fixed positions (1, 1 + patches, dim), float32; those of the class token are 0.

    The first half of the values belongs to the patch's place along frequency, the second to its
    place along time; each half is ``sin(p w_k)`` then ``cos(p w_k)``, ``w_k = 10000^(-4 k / dim)``
    for ``k < dim / 4`` (Audio-MAE, ``util/pos_embed.py``).
    """
    rows, columns = config.grid
    quarter = config.dim // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)

    def halves(place: Tensor) -> Tensor:
        phase = place.double()[:, None] * omega
        return torch.cat([phase.sin(), phase.cos()], 1)

    place = torch.arange(rows * columns)
    patches = torch.cat([halves(place % columns), halves(place // columns)], 1)
    return torch.cat([torch.zeros(1, config.dim), patches.float()])[None]


def random_state(config: VitConfig, depth: int, seed: int) -> Mapping[str, Tensor]:
    """Weights of ``depth`` blocks as Audio-MAE draws them before training.

    Glorot uniform for every matrix (patches as one matrix), biases 0, layer norms 1 and 0, class
    token N(0, 0.02^2), the patches' bias uniform in +-1/16 (PyTorch's default), positions as in
    :func:`sincos_positions`. Drawn in the order of the network from one generator on the CPU, so
    fewer blocks have the same values.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(shape: tuple[int, ...], bound: float) -> Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1) * bound

    def glorot(out: int, into: int) -> Tensor:
        return uniform((out, into), math.sqrt(6 / (out + into)))

    dim, hidden = config.dim, config.hidden
    state = {
        "patch_embed.proj.weight": glorot(dim, PATCH**2).view(dim, 1, PATCH, PATCH),
        "patch_embed.proj.bias": uniform((dim,), 1 / PATCH),
        "cls_token": 0.02 * torch.randn(1, 1, dim, generator=generator),
        "pos_embed": sincos_positions(config),
    }
    layers = {
        "attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim),
        "mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden),
    }  # fmt: skip
    for i in range(depth):
        for name, (out, into) in layers.items():
            state[f"blocks.{i}.{name}.weight"] = glorot(out, into)
            state[f"blocks.{i}.{name}.bias"] = torch.zeros(out)
    for name in [f"blocks.{i}.norm{k}" for i in range(depth) for k in (1, 2)] + ["norm"]:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(dim), torch.zeros(dim)
    return state
