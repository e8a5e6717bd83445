"""Choosing layers when features are read; encoders, which lie below, choose by the same parser."""

from __future__ import annotations

from pianoeval.encoders.layers import parse_layers

__all__ = ["parse_layers"]
