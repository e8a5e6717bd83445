"""Frozen audio encoders: contract, chunk placement, extraction."""
