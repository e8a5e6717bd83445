"""Extraction in batches on one device, with threads around it."""
