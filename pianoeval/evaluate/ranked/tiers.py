"""Takes whose order is known: versions that were degraded to neighbouring tiers.

Where a manifest has tiers (0 = as played, then by how much was added), two takes of one segment
whose tiers differ by one have a true order in ``overall``. Two subsets: versions of one take
(``adjacent_tiers_same_take``), where only the tier differs, and of different takes
(``adjacent_tiers_other_take``), where players and takes differ too; ``adjacent_tiers`` is both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.protocol.groups import families
from pianoeval.evaluate.ranked.contest import Contest

OVERALL = "overall"
ADJACENT = "adjacent_tiers"


def adjacent_tiers(
    contest: Contest, manifest: pd.DataFrame, labels: pd.DataFrame, dimensions: list[str]
) -> list[Contest]:
    """Contests between neighbouring tiers in ``overall``; none where there are no tiers."""
    if OVERALL not in dimensions:
        return []
    column = dimensions.index(OVERALL)
    rows = manifest.set_index("clip").loc[list(contest.design.clips)]
    tier = rows["tier"].to_numpy(np.int64)
    first, second = contest.design.pairs.T
    adjacent = np.abs(tier[first] - tier[second]) == 1
    root = families(manifest).loc[list(contest.design.clips)].to_numpy(dtype=object)
    same = root[first] == root[second]
    truth = (tier if _higher_is_worse(labels) else -tier).astype(np.float64)[:, None]
    parts = {
        ADJACENT: adjacent,
        f"{ADJACENT}_same_take": adjacent & same,
        f"{ADJACENT}_other_take": adjacent & ~same,
    }
    return [_part(contest, name, rows, column, truth) for name, rows in parts.items() if rows.any()]


def _higher_is_worse(labels: pd.DataFrame) -> bool:
    """Whether high values of ``overall`` are bad; where it is not said, they are good."""
    told = labels.loc[labels["dimension"] == OVERALL, "higher_is_better"].dropna()
    return bool(len(told)) and not bool(told.iloc[0])


def _part(
    contest: Contest, subset: str, pairs: NDArray[np.bool_], column: int, truth: NDArray[np.float64]
) -> Contest:
    margins = {e: m[pairs][:, [column]] for e, m in contest.margins.items()}
    scores = {e: s[:, [column]] for e, s in contest.scores.items()}
    design = replace(contest.design, pairs=contest.design.pairs[pairs])
    return Contest(contest.scheme, subset, design, truth, margins, scores)
