"""Weights of Transkun 2.0: loading, and laying out for our forward pass.

The weights (and the architecture they belong to) are used under this licence:

    MIT License

    Copyright (c) 2021 Yujia Yan

    Permission is hereby granted, free of charge, to any person obtaining a copy of this software
    and associated documentation files (the "Software"), to deal in the Software without
    restriction, including without limitation the rights to use, copy, modify, merge, publish,
    distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
    Software is furnished to do so, subject to the following conditions:

    The above copyright notice and this permission notice shall be included in all copies or
    substantial portions of the Software.

    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
    BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
    NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
    DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
    OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pianoeval.assets import asset_path
from pianoeval.encoders.transkun.net import N_LAYERS, WINDOW
from pianoeval.errors import CorruptDataError

ASSET = "transkun-2.0"
_FRONT = "framewiseFeatureExtractor."
_SPECTRUM = _FRONT + "spectrogramExtractor."
_HEADS = ("scorer.", "velocityPredictor.", "refinedOFPredictor.")  # transcription heads, unused


def load_state() -> dict[str, Tensor]:
    """Published state dict from the fetched asset: plain tensors only, no code is unpickled.

    Raises
    ------
    MissingAssetError
        Not fetched, or with another hash than the pinned one.
    """
    path = asset_path(ASSET)
    return dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published parameters to the names and fused matrices of ``TranskunNet``.

    Keys and values of both axes become one matrix, LayerScale is multiplied into the output
    projections, and the Gaussian windows are evaluated.

    Raises
    ------
    CorruptDataError
        A published parameter is missing, or one is unknown.
    """
    left = {name: value for name, value in state.items() if not name.startswith(_HEADS)}
    try:
        new = {"front.mel": left.pop(_FRONT + "freq2mels"), "front.windows": _windows(left)}
        for i in range(N_LAYERS):
            block = _block(left, f"backbone.encoderLayers.{i}.")
            new.update({f"encoderLayers.{i}.{name}": value for name, value in block.items()})
    except KeyError as error:
        raise CorruptDataError(f"weights lack the parameter {error}") from error
    for name in [name for name in left if name.startswith("backbone.")]:
        new[name.removeprefix("backbone.")] = left.pop(name)
    if left:
        raise CorruptDataError(f"weights hold unknown parameters: {', '.join(sorted(left))}")
    return new


def _windows(left: dict[str, Tensor]) -> Tensor:
    """Hann and Gaussian windows, (6, 4096), from their learned centres and widths."""
    sigma = torch.sigmoid(left.pop(_SPECTRUM + "winGen.sigma"))
    centre = torch.sigmoid(left.pop(_SPECTRUM + "winGen.center"))
    n = torch.arange(WINDOW)[:, None]
    gaussian = (-0.5 * ((n - WINDOW * centre) / (sigma * WINDOW / 2)) ** 2).exp()
    return torch.cat([left.pop(_SPECTRUM + "win")[None], gaussian.T])


def _block(left: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    new: dict[str, Tensor] = {}
    memory = []
    for axis, tag in (("freq", "F"), ("time", "T")):
        attention, feed = f"{prefix}mhaBlock{tag}.", f"{prefix}fnnBlock{tag}."
        memory += [left.pop(f"{attention}module.{name}_proj_weight").T for name in "kv"]
        new[f"{axis}.query.weight"] = left.pop(f"{attention}module.q_proj_weight").T.contiguous()
        for ours, scale, theirs in (
            ("out", left.pop(attention + "scale"), attention + "module.out_proj."),
            ("down", left.pop(feed + "scale"), feed + "module.3."),
        ):
            new[f"{axis}.{ours}.weight"] = left.pop(theirs + "weight") * scale[:, None]
            new[f"{axis}.{ours}.bias"] = left.pop(theirs + "bias") * scale
        for part in ("weight", "bias"):
            new[f"{axis}.up.{part}"] = left.pop(f"{feed}module.0.{part}")
    new["memory.weight"] = torch.cat(memory)
    return new
