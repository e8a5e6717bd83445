"""Layers when features are read: chosen by the parser that encoders, which lie below, use too."""

from __future__ import annotations

from typing import NamedTuple

from pianoeval.encoders.layers import layer_text, parse_layers

__all__ = ["Layering", "layer_text", "parse_layers"]


class Layering(NamedTuple):
    """Columns of a view: layer after layer, ``width`` values each, then what belongs to none."""

    n_layers: int
    width: int
