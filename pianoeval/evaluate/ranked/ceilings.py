"""What one who knows the true order would score: rows of ``ranking.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pianoeval.evaluate.ranked.rows import MEAN_ALL, Judged, count_pairs, margin_of
from pianoeval.evaluate.ranked.setting import Setting
from pianoeval.evaluate.state import row_hashes
from pianoeval.evaluate.tables import MEAN

MODEL = "within_segment"


def ceiling_rows(
    setting: Setting, judged: Judged, before: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows ``ceiling/within_segment`` of each accuracy, a dimension each and means.

    A mean has a ceiling only where every dimension that rows average has one.
    """
    contest = judged.contest
    clips, pairs = contest.design.clips, contest.design.pairs
    found = setting.ceilings(contest.y, clips, pairs, contest.subset)
    config = row_hashes(setting.params, setting.corpus, [])["ceiling"]
    rows = []
    for metric, values in found.items():
        margin = margin_of(metric) or 0.0
        n_pairs, n_clusters = count_pairs(contest, margin, judged.averaged)
        counted = np.array(n_pairs[: len(values)]) > 0
        cells = dict(zip(setting.dimensions, values, strict=True))
        cells[MEAN] = _mean(values[judged.averaged & counted])
        if not judged.averaged.all():
            cells[MEAN_ALL] = _mean(values[counted])
        for i, (dimension, value) in enumerate(cells.items()):
            if np.isfinite(value):
                rows.append({
                    **before, "scheme": contest.scheme, "subset": contest.subset,
                    "kind": "ceiling", "features": "ceiling", "model": MODEL,
                    "dimension": dimension, "metric": metric, "margin": margin, "value": value,
                    "ci_low": np.nan, "ci_high": np.nan, "interval": "", "chance": np.nan,
                    "n_pairs": n_pairs[i], "n_clusters": n_clusters[i], "seed": None,
                    "n_seeds": None, "config_hash": config, "commit": setting.commit,
                })  # fmt: skip
    return rows


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) and np.isfinite(values).all() else float("nan")
