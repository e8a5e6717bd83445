"""Ablations: ready-made grids of experiments, and what they show against a baseline."""
