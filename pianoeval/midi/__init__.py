"""Symbolic performances: reading, features, alignment, rendering of scores, degradation."""
