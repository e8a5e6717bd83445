"""Whether errors go with the length, loudness or note density of a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.orders import Side
from pianoeval.evaluate.statistics.ranking import jackknife_interval
from pianoeval.evaluate.tables import MEAN

_MIN_CLIPS = 3
UNDEFINED = "fewer than three clips, or a side that does not vary"


def residual_correlations(
    judged: Judged, covariates: Mapping[str, Array], confidence: float
) -> list[dict[str, Any]]:
    """Spearman correlation of residuals, and of their size, with each covariate.

    Residual = rated − predicted: a positive correlation means that the model underrates clips with
    more of the covariate. In dimension ``mean`` the residuals, or their sizes, are averaged.

    Parameters
    ----------
    judged : Judged
    covariates : mapping of float64, shape (n,)
        NaN = unknown for a clip, which is then left out.
    confidence : float

    Returns
    -------
    list of dict
        ``model, covariate, dimension, spearman, ci_low, ci_high, spearman_abs, abs_ci_low,
        abs_ci_high, n``; limits from leaving out content groups.
    """
    names = [*judged.dimensions, MEAN]
    ranks = _Ranks(covariates, judged.design.cluster)
    rows: list[dict[str, Any]] = []
    for model, p in judged.models.items():
        signed, size = _residuals(judged.y, p)
        for d, name in enumerate(names):
            spearman = ranks.correlations(signed[:, d], confidence)
            of_size = ranks.correlations(size[:, d], confidence)
            for covariate, x in covariates.items():
                row: dict[str, Any] = {"model": model, "covariate": covariate, "dimension": name}
                row |= _values("spearman", "ci", spearman[covariate])
                row |= _values("spearman_abs", "abs_ci", of_size[covariate])
                row["n"] = int((np.isfinite(x) & np.isfinite(signed[:, d])).sum())
                if row["spearman"] is None or row["spearman_abs"] is None:
                    row["reason"] = UNDEFINED
                rows.append(row)
    return rows


def _values(name: str, limits: str, found: tuple[float, float, float]) -> dict[str, Any]:
    keys = (name, f"{limits}_low", f"{limits}_high")
    return {key: number(value) for key, value in zip(keys, found, strict=True)}


def _residuals(y: Array, p: Array) -> tuple[Array, Array]:
    """Residuals and their sizes with the mean over rated dimensions, each (n, D + 1)."""
    out = []
    rated = np.isfinite(y)
    count = rated.sum(axis=1)
    for values in (y - p, np.abs(y - p)):
        total = np.where(rated, values, 0.0).sum(axis=1)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        out.append(np.concatenate([np.where(rated, values, np.nan), mean[:, None]], axis=1))
    return out[0], out[1]


class _Ranks:
    """Covariates ranked once for each set of clips, with and without each content group."""

    def __init__(self, covariates: Mapping[str, Array], cluster: NDArray[np.int64]) -> None:
        self.covariates = covariates
        self.cluster = cluster
        self._kept: dict[tuple[str, bytes], Array] = {}

    def correlations(
        self, values: Array, confidence: float
    ) -> dict[str, tuple[float, float, float]]:
        """Spearman's correlation of ``values`` (n,) with each covariate, and its limits."""
        out = {}
        found: dict[bytes, Array] = {}
        for name, x in self.covariates.items():
            rows = np.isfinite(x) & np.isfinite(values)
            key = rows.tobytes()
            if rows.sum() < _MIN_CLIPS:
                out[name] = (math.nan, math.nan, math.nan)
                continue
            if (name, key) not in self._kept:
                self._kept[name, key] = self._deviations(x, rows)
            if key not in found:
                found[key] = self._deviations(values, rows)
            r = _correlate(self._kept[name, key], found[key])
            low, high = jackknife_interval(r[-1], r[:-1], confidence, "fisher")
            out[name] = (float(r[-1]), float(low), float(high))
        return out

    def _deviations(self, values: Array, rows: NDArray[np.bool_]) -> Array:
        """Midranks less their mean: without each cluster, then of all; (rows, C + 1)."""
        cluster = np.unique(self.cluster[rows], return_inverse=True)[1]
        side = Side(values[rows], cluster, int(cluster.max()) + 1)
        return np.concatenate([side.deviations(*block) for block in side.blocks()], axis=1)


def _correlate(one: Array, other: Array) -> Array:
    """Correlation of each column, (m, C + 1) -> (C + 1,); NaN where a side is constant."""
    spread = np.einsum("ic,ic->c", one, one) * np.einsum("ic,ic->c", other, other)
    out: Array = np.full(len(spread), np.nan)
    np.divide(np.einsum("ic,ic->c", one, other), np.sqrt(spread), out=out, where=spread > 0)
    return out
