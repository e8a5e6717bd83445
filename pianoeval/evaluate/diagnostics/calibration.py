"""Whether predictions are as far apart as the ratings they stand for.

Ratings regressed on predictions: y = intercept + slope · p (Mincer & Zarnowitz 1969). A slope
below 1 means predictions are spread too far (overconfident), above 1 that they are flattened.
Noise of the ratings does not bias the slope, because it is in y alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import row_adder
from pianoeval.evaluate.statistics.ranking import jackknife_interval

N_BINS = 10
_FLAT = "the predictions do not vary"


def calibration(judged: Judged, confidence: float) -> dict[str, Any]:
    """Slope, intercept and deciles of every model.

    Returns
    -------
    dict
        By model: ``slope, slope_ci``, one slope common to all dimensions, each with an intercept
        of its own, so that a shift of a dimension is no slope; ``intercept``, their mean where
        both sides are taken about the dimension's mean rating; ``centre``, the mean of these
        means; ``by_dimension`` in raw units; ``bins``, deciles of the predictions of all
        dimensions about their mean ratings (mean ``predicted``, mean ``rated``, ``n``).
    """
    return {name: _of_model(judged, p, confidence) for name, p in judged.models.items()}


def _of_model(judged: Judged, p: Array, confidence: float) -> dict[str, Any]:
    y = judged.y
    rated = np.isfinite(y)
    n_rated = rated.sum(axis=0)
    centre = np.where(rated, y, 0.0).sum(axis=0) / np.maximum(n_rated, 1)
    y0, p0 = np.where(rated, y - centre, 0.0), np.where(rated, p - centre, 0.0)
    add = row_adder(judged.design.cluster, judged.design.n_clusters)
    parts = (rated.astype(np.float64), y0, p0, p0**2, y0 * p0)
    sums = np.stack([add @ part for part in parts])  # (5, C, D)
    total = sums.sum(axis=1)
    slope, offset = _line(total)
    common = _common_slope(total)
    left = _common_slope(total[:, None] - sums)
    low, high = jackknife_interval(common, left, confidence, "none")
    out: dict[str, Any] = {
        "slope": number(float(common)),
        "intercept": number(float(-common * p0.sum() / n_rated.sum())),
        "slope_ci": [number(float(low)), number(float(high))],
        "centre": number(float(centre[n_rated > 0].mean())),
        "by_dimension": {
            name: _entry(slope[d], offset[d] + centre[d] * (1.0 - slope[d]))
            for d, name in enumerate(judged.dimensions)
        },
        "bins": _bins(y0[rated], p0[rated]),
    }
    return out if np.isfinite(common) else out | {"reason": _FLAT}


def _entry(slope: float, intercept: float) -> dict[str, Any]:
    entry: dict[str, Any] = {"slope": number(slope), "intercept": number(intercept)}
    return entry if np.isfinite(slope) else entry | {"reason": _FLAT}


def _line(sums: Array) -> tuple[Array, Array]:
    """Least squares from (n, Σy, Σp, Σp², Σyp), on the first axis; NaN where p is constant."""
    n, y, p, _, _ = sums
    spread, product = _about_means(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope: Array = product / np.where(spread > 0, spread, np.nan)
        intercept: Array = (y - slope * p) / n
    return slope, intercept


def _common_slope(sums: Array) -> Array:
    """One slope for all dimensions (the last axis), an intercept for each."""
    spread, product = (part.sum(axis=-1) for part in _about_means(sums))
    slope: Array = product / np.where(spread > 0, spread, np.nan)
    return slope


def _about_means(sums: Array) -> tuple[Array, Array]:
    """Σ(p−p̄)² and Σ(y−ȳ)(p−p̄); 0 where p varies by rounding alone, or nothing was rated."""
    n, y, p, pp, yp = sums
    mean = p / np.maximum(n, 1.0)
    spread = pp - mean * p
    varies = spread > 1e-12 * np.maximum(pp, 1e-12)
    return np.where(varies, spread, 0.0), np.where(varies, yp - mean * y, 0.0)


def _bins(y: Array, p: Array) -> list[dict[str, Any]]:
    """Equally full bins of the predictions, from low to high; fewer where there are few."""
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(N_BINS, len(order)))
    return [
        {"predicted": number(float(p[i].mean())), "rated": number(float(y[i].mean())), "n": len(i)}
        for i in parts
    ]
