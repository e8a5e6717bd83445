"""Heads on frames beside baselines, and how their codes are ordered."""
