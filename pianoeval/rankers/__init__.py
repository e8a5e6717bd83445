"""Rankers: which of two takes of the same music was played better."""
