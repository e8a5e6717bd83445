"""Folds, leak audit, baselines, ceilings, metrics and intervals: numbers that can be trusted."""
