"""Corpora: where recordings and labels come from, in one manifest schema."""
