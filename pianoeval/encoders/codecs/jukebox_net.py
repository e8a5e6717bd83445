"""Encoder of the top level of Jukebox's VQ-VAE (Dhariwal et al. 2020, sections 3 and A.1).

Each level of the VQ-VAE has an encoder of its own, from raw audio. The top one is three blocks of
strided convolutions (3, 2 and 2 of stride 2: 128 samples a frame), every one of which is followed
by residual units ``x + conv1(relu(conv3(relu(x))))`` with dilations 1, 3, 9 and 27; each block
ends in a projection to 64 values. Parameters carry the names of transformers' JukeboxVQVAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pianoeval.encoders.codecs.tiles import convolve, mask_tail, run_in_tiles
from pianoeval.encoders.settings import check_sizes, sub_block
from pianoeval.errors import ConfigError

LEVEL = 2  # of 0, 1, 2; the top, 345 Hz
TILE = {"cpu": 16_384, "cuda": 1 << 20}
_VECTORS_AT_ONCE = 4096  # x 2048 distances: 34 MB
_KERNEL = 3


@dataclass(frozen=True)
class JukeboxConfig:
    """What the encoder of the top level needs, under the names of ``JukeboxVQVAEConfig``.

    The defaults are the published values: a configuration that leaves a key out means them.
    """

    embed_dim: int = 64
    nb_discrete_codes: int = 2048
    res_conv_width: int = 32
    res_conv_depth: int = 4
    res_convolution_multiplier: int = 1
    res_dilation_growth_rate: int = 3
    res_dilation_cycle: int | None = None
    conv_res_scale: bool = False
    res_downs_t: tuple[int, ...] = (3, 2, 2)
    res_strides_t: tuple[int, ...] = (2, 2, 2)
    multipliers: tuple[int, ...] = (2, 1, 1)

    @property
    def width(self) -> int:
        return self.res_conv_width * self.multipliers[LEVEL]

    @property
    def depth(self) -> int:
        return self.res_conv_depth * self.multipliers[LEVEL]

    @property
    def hop(self) -> int:
        """Samples a frame."""
        hop = 1
        for stride, times in zip(self.res_strides_t, self.res_downs_t, strict=True):
            hop *= stride**times
        return hop

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of the residual units between two strided convolutions."""
        cycle = self.res_dilation_cycle or self.depth
        return tuple(self.res_dilation_growth_rate ** (i % cycle) for i in range(self.depth))


def read_net_config(found: Mapping[str, Any], where: str) -> JukeboxConfig:
    """From ``config.json`` of JukeboxModel or JukeboxVQVAE; ``{}`` is the published model.

    Raises
    ------
    ConfigError
        Another model, or a VQ-VAE that this module does not know.
    """
    values = sub_block(found, "vqvae_config", where) or found
    kind = found.get("model_type", "jukebox")
    known: dict[str, Any] = {
        name: tuple(values[name]) if isinstance(values[name], list) else values[name]
        for name in JukeboxConfig.__dataclass_fields__
        if name in values
    }
    free = ("conv_res_scale", "res_dilation_cycle")  # a flag; a size or null
    sizes = {key: value for key, value in known.items() if key not in free}
    check_sizes(sizes, vars(JukeboxConfig()), where)
    config = JukeboxConfig(**known)
    fixed = {"levels": 3, "conv_input_shape": 1, "act_fn": "relu"}
    other = {
        name: values[name] for name, value in fixed.items() if values.get(name, value) != value
    }
    lists = (config.res_downs_t, config.res_strides_t, config.multipliers)
    odd = any(stride % 2 for stride in config.res_strides_t) or {len(x) for x in lists} != {3}
    if kind not in ("jukebox", "jukebox_vqvae") or other or odd:
        raise ConfigError(
            f"the checkpoint is of type {kind}, {other or values}", where=where,
            allowed="Jukebox's VQ-VAE: three levels, mono, ReLU, even strides",
            next_step="edit 'model' in params.yaml",
        )  # fmt: skip
    return config


class _Unit(nn.Module):
    def __init__(self, config: JukeboxConfig, dilation: int) -> None:
        super().__init__()
        width, hidden = config.width, config.res_convolution_multiplier * config.width
        self.conv1d_1 = nn.Conv1d(width, hidden, _KERNEL, padding=dilation, dilation=dilation)
        self.conv1d_2 = nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor, scale: float) -> Tensor:
        inner = convolve(self.conv1d_1, x.relu())
        return x.add(convolve(self.conv1d_2, inner.relu_()), alpha=scale)


class _Units(nn.Module):
    def __init__(self, config: JukeboxConfig) -> None:
        super().__init__()
        self.scale = config.depth**-0.5 if config.conv_res_scale else 1.0
        self.resnet_block = nn.ModuleList(_Unit(config, d) for d in config.dilations)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        for unit in self.resnet_block:
            x = mask_tail(unit(x, self.scale), lengths)
        return x


class _Block(nn.Module):
    """Strided convolutions, each with its residual units; then the projection."""

    def __init__(self, config: JukeboxConfig, channels: int, number: int) -> None:
        super().__init__()
        self.stride = config.res_strides_t[number]
        self.reach = sum(config.dilations)
        layers: list[nn.Module] = []
        for i in range(config.res_downs_t[number]):
            before = channels if i == 0 else config.width
            stride = self.stride
            conv = nn.Conv1d(before, config.width, 2 * stride, stride, stride // 2)
            layers += [conv, _Units(config)]
        self.downsample_block = nn.ModuleList(layers)
        self.proj_out = nn.Conv1d(config.width, config.embed_dim, _KERNEL, padding=1)

    def forward(self, x: Tensor, lengths: Tensor | None, tile: int) -> tuple[Tensor, Tensor | None]:
        stride = self.stride
        for conv, units in zip(
            self.downsample_block[::2], self.downsample_block[1::2], strict=True
        ):

            def stage(
                x: Tensor, lengths: Tensor | None, conv: Any = conv, units: Any = units
            ) -> Tensor:
                inner = None if lengths is None else lengths // stride
                down: Tensor = units(mask_tail(convolve(conv, x), inner), inner)
                return down

            # Units come after the stride: their reach counts in frames of this stage.
            reach = stride * (self.reach + 1)
            x = run_in_tiles(stage, x, lengths, stride=stride, reach=reach, tile=tile)
            lengths = None if lengths is None else lengths // stride
        return mask_tail(convolve(self.proj_out, x), lengths), lengths


class _Level(nn.Module):
    def __init__(self, config: JukeboxConfig) -> None:
        super().__init__()
        channels = (1, config.embed_dim, config.embed_dim)
        self.level_blocks = nn.ModuleList(_Block(config, c, i) for i, c in enumerate(channels))


class _Codebook(nn.Module):
    def __init__(self, config: JukeboxConfig) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.empty(config.nb_discrete_codes, config.embed_dim))


class _Bottleneck(nn.Module):
    def __init__(self, config: JukeboxConfig) -> None:
        super().__init__()
        self.level_blocks = nn.ModuleDict({str(LEVEL): _Codebook(config)})


class JukeboxNet(nn.Module):
    """Encoder of the top level and, if wanted, its codebook. Parameters hold no values yet."""

    def __init__(self, config: JukeboxConfig, *, quantized: bool = True) -> None:
        super().__init__()
        with torch.device("meta"):  # every parameter is loaded or drawn
            self.encoders = nn.ModuleDict({str(LEVEL): _Level(config)})
            self.bottleneck = _Bottleneck(config) if quantized else None
        self.to_empty(device="cpu").requires_grad_(False)

    @property
    def codebook(self) -> Tensor:
        """Codes, (codes, dim) float32."""
        return self.get_parameter(f"bottleneck.level_blocks.{LEVEL}.codebook")

    def latent(self, x: Tensor, lengths: Tensor | None, tile: int) -> Tensor:
        """Encoder output (batch, dim, samples // hop) of audio (batch, 1, samples)."""
        level: Any = self.encoders[str(LEVEL)]
        for block in level.level_blocks:
            x, lengths = block(x, lengths, tile)
        return x


def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code at the smallest Euclidean distance; of equal ones the first.

    Parameters
    ----------
    vectors : Tensor, shape (n, dim)
    codebook : Tensor, shape (codes, dim)

    Notes
    -----
    ``|x - c|²`` is smallest where ``|c|² / 2 - x · c`` is. Always float32.
    """
    codes = codebook.float()
    half = codes.square().sum(1) / 2
    parts = [
        torch.addmm(half, part, codes.T, alpha=-1).argmin(1)
        for part in torch.split(vectors.float(), _VECTORS_AT_ONCE)
    ]
    return torch.cat(parts)


def quantize(latent: Tensor, codebook: Tensor) -> Tensor:
    """Replace every frame of (batch, dim, frames) by its nearest code, float32."""
    frames = latent.transpose(1, 2)
    codes = nearest_codes(frames.reshape(-1, frames.shape[2]), codebook)
    return F.embedding(codes, codebook.float()).view(frames.shape).transpose(1, 2)
