"""Transkun 2.0 before training: the control that has the architecture and has learned nothing.

Every tensor is drawn as the authors' modules draw it when they are created (package transkun
2.0.0, ``LayersTransformer.py`` and ``Util.py``): linear layers and convolutions by PyTorch's
default, U(±1/√fan-in) (He et al. 2015, with a = √5); queries, keys and values U(±√(6/(fan-in +
fan-out))) (Glorot & Bengio 2010); Fourier features of positions N(0, 1) with phases U(±π);
LayerScale 0.01; norms 1 and 0; Gaussian windows equally spaced. The mel matrix and the Hann window
are no weights; they are computed as published. So the published file is not needed.

LayerScale 0.01 means that the first blocks add little to the stem: their output is mostly random
convolutions of log-mel spectra, normalised per clip, with positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pianoeval.encoders.transkun.net import DIM, N_LAYERS, N_MELS, PATCH, SAMPLE_RATE_HZ, WINDOW

# Part of the embedding key: raised when other weights come of the same seed.
VERSION = 1
_FRONT = "framewiseFeatureExtractor."
_BASE = 64
_N_GAUSSIAN = 5
_MEL_HZ = (30.0, 8000.0)
_LAYER_SCALE = 0.01
_STEM = ((1, _BASE, 128), (5, 128, DIM), (9, DIM, DIM), (13, DIM, DIM))


def random_state(seed: int) -> dict[str, Tensor]:
    """A state dict in the published layout, drawn from ``seed``; heads are left out."""
    draw = _Draw(seed)
    state = _front()
    state |= draw.position("backbone.posEmbedBuilder.", _BASE, 1)
    state |= draw.layer("backbone.inputConv.", (_BASE, 1 + _N_GAUSSIAN, 3, 3))
    for place, before, after in _STEM:
        state |= draw.layer(f"backbone.downConv.{place}.", (after, before, 3, 3))
        norm = f"backbone.downConv.{place + 1}."
        state |= {norm + "weight": torch.ones(after), norm + "bias": torch.zeros(after)}
    # PyTorch counts the second axis of a transposed convolution as its input.
    state |= draw.layer("backbone.upConv1dSkip.", (DIM, DIM, PATCH))
    for tokens in ("TF", "TE"):
        state |= draw.position(f"backbone.posEmbedBuilderAttn{tokens}.", DIM, 2)
    for number in range(N_LAYERS):
        for axis in "FT":
            state |= draw.block(f"backbone.encoderLayers.{number}.", axis)
    return state


class _Draw:
    """Tensors from one generator, in a fixed order."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, shape: tuple[int, ...], bound: float) -> Tensor:
        return (2 * torch.rand(shape, generator=self.generator) - 1) * bound

    def layer(self, name: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Weight and bias of a linear layer or a convolution, by PyTorch's default."""
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        weight = self.uniform(shape, bound)
        return {name + "weight": weight, name + "bias": self.uniform(shape[:1], bound)}

    def position(self, name: str, dim: int, n_coordinates: int) -> dict[str, Tensor]:
        """Fourier features of coordinates, then two linear layers."""
        frequencies = torch.randn((dim, n_coordinates), generator=self.generator)
        state = {
            name + "proj.weight": frequencies,
            name + "proj.bias": self.uniform((dim,), math.pi),
        }
        state |= self.layer(name + "mlp.0.", (4 * dim, dim))
        return state | self.layer(name + "mlp.3.", (dim, 4 * dim))

    def block(self, name: str, axis: str) -> dict[str, Tensor]:
        """Attention along one axis and its feed-forward layer."""
        attention, feed = f"{name}mhaBlock{axis}.", f"{name}fnnBlock{axis}."
        bound = math.sqrt(6 / (DIM + DIM))
        state = {
            f"{attention}module.{part}_proj_weight": self.uniform((DIM, DIM), bound)
            for part in "qkv"
        }
        state |= self.layer(attention + "module.out_proj.", (DIM, DIM))
        state |= self.layer(feed + "module.0.", (4 * DIM, DIM))
        state |= self.layer(feed + "module.3.", (DIM, 4 * DIM))
        return state | {
            part + "scale": torch.full((DIM,), _LAYER_SCALE) for part in (attention, feed)
        }


def _front() -> dict[str, Tensor]:
    """Mel matrix, Hann window, and centres and widths of the Gaussian windows."""
    spectrum = _FRONT + "spectrogramExtractor."
    place = torch.arange(1, _N_GAUSSIAN + 1) / (_N_GAUSSIAN + 1)
    return {
        _FRONT + "freq2mels": _mel_matrix(),
        spectrum + "win": torch.hann_window(WINDOW),
        spectrum + "winGen.sigma": -torch.ones(_N_GAUSSIAN),
        spectrum + "winGen.center": torch.logit(place),
    }


def _mel_matrix() -> Tensor:
    """Triangles on the scale 2595 log10(1 + f/700), peak 1: (bins, mels) float32.

    That is O'Shaughnessy (1987), as in HTK and torchaudio.
    """
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in _MEL_HZ)
    corners = torch.linspace(low, high, N_MELS + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (corners / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE_HZ // 2, WINDOW // 2 + 1, dtype=torch.float64)[:, None]
    width = hertz.diff()
    rise = (bins - hertz[:-2]) / width[:-1]
    fall = (hertz[2:] - bins) / width[1:]
    return torch.minimum(rise, fall).clamp_min(0).float()
