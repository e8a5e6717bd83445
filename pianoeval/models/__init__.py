"""Probes: regressors on frozen features, trained fold by fold."""
