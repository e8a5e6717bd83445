"""Choosing layers when features are read; encoders, which lie below, choose by the same parser."""

from __future__ import annotations

from pianoeval.encoders.layers import layer_text, parse_layers

__all__ = ["layer_text", "parse_layers"]
