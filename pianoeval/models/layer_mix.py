r"""A weighted sum of an encoder's layers, learned with the perceptron behind it.

Yang et al., "SUPERB", Interspeech 2021, section 2.2: :math:`x = \sum_l \omega_l x_l`, with weights
that are positive and sum to one; here :math:`\omega = \mathrm{softmax}(a)`, a = 0 at first. Unlike
there, each layer's values are standardised before the sum, as all inputs of the perceptron are:
layers differ in scale, and the weights shall tell what a layer is worth.

Every tensor carries a leading fold axis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pianoeval.features.layers import Layering


def mix(a: Tensor, z: Tensor, layering: Layering) -> Tensor:
    """The sum, with the columns that belong to no layer behind it.

    Parameters
    ----------
    a : (folds, 1, layers)
        Logits of the weights.
    z : (folds, rows, layers · width + rest)

    Returns
    -------
    Tensor, shape (folds, rows, width + rest)
    """
    end = layering.n_layers * layering.width
    shares = a.softmax(-1)
    total = shares[:, :, :1] * z[..., : layering.width]
    for layer in range(1, layering.n_layers):
        begin = layer * layering.width
        total += shares[:, :, layer : layer + 1] * z[..., begin : begin + layering.width]
    return torch.cat([total, z[..., end:]], -1)


def write_mix_gradient(
    gradient: Tensor, a: Tensor, z: Tensor, back: Tensor, layering: Layering
) -> None:
    """Gradient of the logits, by hand and into a given buffer.

    Parameters
    ----------
    gradient, a : (folds, 1, layers)
    z : (folds, rows, layers · width + rest)
    back : (folds, rows, width)
        Gradient of the loss by the sum.
    """
    by_share = torch.empty_like(a)
    for layer in range(layering.n_layers):
        part = z[..., layer * layering.width : (layer + 1) * layering.width]
        by_share[:, 0, layer] = (back * part).sum(dim=(1, 2))
    shares = a.softmax(-1)
    mean = (shares * by_share).sum(-1, keepdim=True)
    torch.mul(shares, by_share - mean, out=gradient)
