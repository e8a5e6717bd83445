"""Divisions inside a fold's training clips: inner folds for λ, a validation group for stopping.

Both keep the groups that the scheme itself keeps together (``splits.inner_groups``), so selection
faces the same kind of novelty as the reported fold. Training and the leak audit call the same
:func:`divide`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.errors import ConfigError
from pianoeval.evaluate.protocol.groups import Clips
from pianoeval.evaluate.protocol.splits import inner_folds, inner_groups
from pianoeval.params import ProbeParams

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Divisions:
    """How the training clips of one fold are divided again.

    Attributes
    ----------
    column : str
        What stays together: the scheme's own column, or the finer one it had to fall back to.
    inner : list of (fit, held)
        Positions within the training clips: the folds on which λ is chosen.
    validation : (fit, held) or None
        The group on which the MLP stops; None where none can be spared.
    groups : int64, shape (clips,), or None
        Number of each training clip's group of ``column``.
    """

    column: str
    inner: list[Split]
    validation: Split | None
    groups: NDArray[np.int64] | None = None


def divide(
    manifest: pd.DataFrame,
    scheme: str,
    clips: Clips,
    labels: NDArray[np.float64] | None,
    probe: ProbeParams,
) -> Divisions:
    """Divide the training clips of a fold for everything that is selected inside it.

    Parameters
    ----------
    clips : array of str
        Training clips that have labels and features.
    labels : float64, shape (clips, dimensions), or None
        Of these clips; see :func:`validation_split`.

    Raises
    ------
    CannotCutError
        All clips are one take.
    """
    column, groups = inner_groups(manifest, scheme, clips)
    mlp = probe.mlp
    return Divisions(
        column,
        inner_splits(groups, probe.ridge.inner_folds),
        validation_split(groups, mlp.validation_fraction, mlp.seed, labels),
        np.unique(groups.astype(str), return_inverse=True)[1].astype(np.int64),
    )


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


def validation_split(
    groups: NDArray[np.object_],
    fraction: float,
    seed: int,
    labels: NDArray[np.float64] | None = None,
) -> Split | None:
    """Hold whole groups of at most ``fraction`` of the training clips.

    Groups are taken in a seeded random order, each if it still fits; where not even one fits
    (a movement can be half of a corpus), the smallest group is held. In a small corpus that may be
    a single clip, or clips of equal labels, on which R² means nothing: then the smallest of the
    other groups are added until two clips of unequal labels are held.

    Parameters
    ----------
    labels : float64, shape (clips, dimensions), optional
        Of the training clips; at least one dimension must vary among the held ones.

    Returns
    -------
    (fit, held) : positions within ``groups``, or None where two clips to fit on do not remain.
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
    spare = [name for name in sizes.sort_values(kind="stable").index if name not in held]
    if not held:
        held.append(spare.pop(0))
    while True:
        inside = np.isin(groups.astype(str), np.array(held, dtype=str))
        fit_rows, held_rows = np.flatnonzero(~inside), np.flatnonzero(inside)
        if len(fit_rows) < 2:
            return None
        if len(held_rows) >= 2 and (labels is None or np.ptp(labels[held_rows], axis=0).any()):
            return fit_rows, held_rows
        if not spare:
            return None
        held.append(spare.pop(0))
