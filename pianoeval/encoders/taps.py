"""Layers taken from a network while it runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pianoeval.encoders.base import EncoderSpec

Tap = Callable[[int, Tensor], None]
"""``tap(layer, state)``: called by a network with each of its states, (batch, frames, dim)."""


class Taps:
    """The wanted ones of numbered layers.

    Attributes
    ----------
    depth : int
        The last wanted layer; those after it need not be run.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        self._spec = spec
        self._columns = {int(layer): i for i, layer in enumerate(spec.layer_names)}
        self.depth = max(self._columns)

    def open(self, chunks: Tensor) -> tuple[Tap, Tensor]:
        """A tap, and what it fills: (batch, frames, layers, dim), float32, for ``chunks``."""
        frames = self._spec.n_frames(chunks.shape[1])
        shape = (len(chunks), frames, len(self._columns), self._spec.dim)
        out = torch.empty(shape, device=chunks.device)

        def tap(layer: int, state: Tensor) -> None:
            if (column := self._columns.get(layer)) is not None:
                out[:, :, column] = state

        return tap, out
