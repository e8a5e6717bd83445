"""Divisions inside a fold's training clips: inner folds for λ, a validation group for stopping.

Both keep the groups that the scheme itself keeps together (``evaluate.splits.inner_groups``), so
selection faces the same kind of novelty as the reported fold.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import ConfigError
from pianoeval.evaluate.splits import inner_folds

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def inner_splits(groups: NDArray[np.object_], n_folds: int) -> list[Split]:
    """Group k-fold over training clips; leave-one-group-out if there are fewer groups than folds.

    Returns
    -------
    list of (fit, held)
        Positions within ``groups``; every clip is held exactly once.
    """
    fold = inner_folds(groups, n_folds)
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise ConfigError("inner folds need at least two groups of training clips")
    return [(np.flatnonzero(fold != n), np.flatnonzero(fold == n)) for n in numbers]


def validation_split(groups: NDArray[np.object_], fraction: float, seed: int) -> Split:
    """Hold whole groups of at most ``fraction`` of the training clips.

    Groups are taken in a seeded random order, each if it still fits; where not even one fits
    (a movement can be half of a corpus), the smallest group is held.

    Returns
    -------
    (fit, held) : positions within ``groups``
    """
    sizes = pd.Series(groups).value_counts().sort_index()
    if len(sizes) < 2:
        raise ConfigError("a validation group needs at least two groups of training clips")
    room = fraction * len(groups)
    held: list[object] = []
    for position in np.random.default_rng(seed).permutation(len(sizes)):
        if sizes.iloc[position] <= room:
            held.append(sizes.index[position])
            room -= sizes.iloc[position]
    if not held:
        held = [sizes.sort_values(kind="stable").index[0]]
    inside = np.isin(groups.astype(str), np.array(held, dtype=str))
    return np.flatnonzero(~inside), np.flatnonzero(inside)
