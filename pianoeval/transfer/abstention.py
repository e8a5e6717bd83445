"""Does refusing distant clips help? Answered on the source, where labels are.

Clips of a movement are as far from the others as :func:`~pianoeval.transfer.shift.feature_shift`
says, and were predicted without it under the scheme ``movement``: error of what is kept, when the
farthest are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from pianoeval.evaluate.protocol.controls import MARK
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import read_table
from pianoeval.transfer.predict import Transferred
from pianoeval.transfer.shift import COLUMNS, held_distances

SCHEME = "movement"
KEPT = (0.25, 0.5, 0.75, 0.9, 1.0)


def abstention_table(found: Sequence[Transferred], source: CorpusPaths) -> pd.DataFrame:
    """Parts ``kept_error`` and ``kept_rank`` of the table of shift.

    ``kept_error``: mean absolute error over dimensions, of the nearest share ``name`` of the
    source's clips; ``error_with_distance``: Spearman's ρ of a clip's error with its distance, > 0
    where refusing helps. Without rows where a row has no predictions under ``movement``.
    """
    rows: list[tuple[str, str, str, float]] = []
    for one in found:
        path = source.predictions(one.row.source)
        if MARK in one.row.view or not path.is_file():
            continue
        table = read_table(path)
        mine = (table["features"] == one.row.view) & (table["model"] == one.row.model)
        table = table[mine & (table["scheme"] == SCHEME)]
        if table.empty:
            continue
        s = one.setting
        wide = table.pivot_table(index="clip", columns="dimension", values="prediction")
        wide = wide.reindex(index=s.source_clips, columns=s.dimensions)
        error = np.abs(wide.to_numpy(np.float64) - s.y).mean(axis=1)
        far = held_distances(s)
        both = np.isfinite(error) & np.isfinite(far)
        if both.sum() < 3:
            continue
        order = np.argsort(far[both], kind="stable")
        for share in KEPT:
            kept = order[: max(1, round(share * len(order)))]
            rows.append((one.row.name, "kept_error", f"{share:g}", float(error[both][kept].mean())))
        rho = float(spearmanr(far[both], error[both]).statistic)
        rows.append((one.row.name, "abstention", "error_with_distance", rho))
    return pd.DataFrame(rows, columns=list(COLUMNS))
