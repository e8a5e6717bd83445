"""Clips that the best model judged best and worst, to see and hear."""

from __future__ import annotations

from typing import Any

import numpy as np

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.statistics.metrics import Array

N_EXAMPLES = 3


def examples(human: Judged) -> list[dict[str, Any]]:
    """Human clips with the smallest and the largest RMSE over dimensions, at most one a segment.

    No clip is both: of fewer than six clips at most half are shown as best.

    Returns
    -------
    list of dict
        ``clip, segment, kind`` ("best", "worst"), ``model, rmse, rated, predicted`` (by
        dimension; a dimension that was not rated is absent); best first, then the worst.
    """
    if not human.models:
        return []
    model, p = next(iter(human.models.items()))
    rmse = clip_rmse(human.y, p)
    clips = human.manifest["clip"].astype(str).to_numpy()
    order = np.lexsort((clips, rmse))
    backwards = np.lexsort((clips, -rmse))
    wanted = min(N_EXAMPLES, (len(rmse) + 1) // 2)
    best = _one_a_segment(order, human.design.segment, wanted)
    others = backwards[~np.isin(backwards, best)]
    out = []
    for kind, chosen in (
        ("best", best),
        ("worst", _one_a_segment(others, human.design.segment, wanted)),
    ):
        for i in chosen:
            out.append(
                {
                    "clip": str(clips[i]),
                    "segment": str(human.manifest["segment"].iloc[i]),
                    "kind": kind,
                    "model": model,
                    "rmse": number(float(rmse[i])),
                    "rated": _by_dimension(human, human.y[i], human.y[i]),
                    "predicted": _by_dimension(human, p[i], human.y[i]),
                }
            )
    return out


def clip_rmse(y: Array, p: Array) -> Array:
    """Root mean squared error of each clip over its rated dimensions, (n, D) -> (n,)."""
    rated = np.isfinite(y)
    squares = np.where(rated, (y - p) ** 2, 0.0).sum(axis=1)
    out: Array = np.sqrt(squares / rated.sum(axis=1))
    return out


def _one_a_segment(ranked: Any, segment: Any, wanted: int) -> list[int]:
    chosen: dict[int, int] = {}
    for i in ranked:
        chosen.setdefault(int(segment[i]), int(i))
    return list(chosen.values())[:wanted]


def _by_dimension(human: Judged, values: Array, rated: Array) -> dict[str, float | None]:
    return {
        name: number(float(value))
        for name, value, y in zip(human.dimensions, values, rated, strict=True)
        if np.isfinite(y)
    }
