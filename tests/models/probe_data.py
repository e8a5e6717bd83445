"""A small fold with a known linear truth, for the tests of the probes."""

from __future__ import annotations

import numpy as np

from pianoeval.models.base import Fold


def make_fold(
    n_clips: int = 60, n_features: int = 7, n_outputs: int = 3, seed: int = 0, n_test: int = 15
) -> Fold:
    """Five groups of training clips, the last one is the validation group."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n_clips, n_features)) * 3 + 5).astype(np.float32)
    weights = rng.normal(size=(n_features, n_outputs)) / np.sqrt(n_features)
    y = 0.5 + 0.05 * (x - 5) @ weights + 0.05 * rng.normal(size=(n_clips, n_outputs))
    order = rng.permutation(n_clips)
    test, train = np.sort(order[:n_test]), np.sort(order[n_test:])
    group = np.arange(len(train)) % 5
    inner = [(np.flatnonzero(group != g), np.flatnonzero(group == g)) for g in range(5)]
    return Fold(f"toy/{seed}", x, train, test, y[train], inner, inner[-1])
