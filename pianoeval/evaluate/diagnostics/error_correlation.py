"""How alike the errors of two models are, and how much of that is the raters' noise.

Two residuals y − p share the noise of y, so they correlate even if the models have nothing in
common. With N = σ²_e · mean(1/k) the noise variance of a label (σ²_e of one rating, k raters) and
V the variances of two residuals, noise alone gives N / √(V₁V₂). Taken off, (cov − N) /
√((V₁ − N)(V₂ − N)) is the correlation of the models' own errors (Spearman's correction for
attenuation, 1904, for errors that are shared).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pianoeval.evaluate.diagnostics.jsonable import numbers
from pianoeval.evaluate.diagnostics.judged import Judged
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import row_adder
from pianoeval.evaluate.statistics.ranking import jackknife_interval


def error_correlation(judged: Judged, confidence: float) -> dict[str, Any]:
    """Pearson correlation of residuals between models, mean over dimensions.

    Returns
    -------
    dict
        ``models``; square lists ``matrix``, ``ci_low``, ``ci_high`` (leaving out content groups);
        ``label_noise``, what noise alone gives (on the diagonal: its share of the residual
        variance), and ``beyond_noise``, dimensions pooled; both None without raw ratings.
    """
    names = list(judged.models)
    rated = np.isfinite(judged.y)
    residuals = np.stack([np.where(rated, judged.y - judged.models[m], 0.0) for m in names])
    add = row_adder(judged.design.cluster, judged.design.n_clusters)
    n = np.asarray(add @ rated.astype(np.float64))
    sums = np.stack([add @ e for e in residuals])
    products = np.stack([[add @ (a * b) for b in residuals] for a in residuals])
    covariance = _covariance(n.sum(axis=0), sums.sum(axis=1), products.sum(axis=2))
    without = [
        _covariance(n.sum(axis=0) - n[c], sums.sum(axis=1) - sums[:, c],
                    products.sum(axis=2) - products[:, :, c])
        for c in range(judged.design.n_clusters)
    ]  # fmt: skip
    value = _correlations(covariance)
    defined = np.asarray(np.isfinite(value).all(axis=(0, 1)))
    mean = value[..., defined].mean(axis=-1) if defined.any() else np.full(value.shape[:2], np.nan)
    left = np.stack([_correlations(c)[..., defined].mean(axis=-1) for c in without])
    low, high = jackknife_interval(mean, left, confidence, "fisher")
    out = {"models": names, "matrix": numbers(mean), "ci_low": numbers(low),
           "ci_high": numbers(high), "label_noise": None, "beyond_noise": None}  # fmt: skip
    if not defined.all():
        lost = [d for d, known in zip(judged.dimensions, defined, strict=True) if not known]
        out["reason"] = f"some model's error does not vary on {', '.join(lost)}: left out"
    return out | _noise(judged, covariance)


def _covariance(n: Array, sums: Array, products: Array) -> Array:
    """Population covariance from sums over clips: (M, M, D)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / n
        out: Array = products / n - mean[:, None] * mean[None, :]
    return out


def _spread(covariance: Array) -> Array:
    """Product of standard deviations, (M, M, D); NaN where one is 0 or below."""
    variance = np.einsum("mmd->md", covariance)
    root = np.sqrt(np.where(variance > 1e-18, variance, np.nan))
    out: Array = root[:, None] * root[None, :]
    return out


def _correlations(covariance: Array) -> Array:
    r: Array = covariance / _spread(covariance)
    diagonal = np.arange(len(r))
    r[diagonal, diagonal] = np.where(np.isfinite(r[diagonal, diagonal]), 1.0, np.nan)
    return r


def _noise(judged: Judged, covariance: Array) -> dict[str, Any]:
    if judged.noise is None:
        return {}
    raters = judged.noise.raters
    rated = np.isfinite(judged.y) & (raters > 0)
    share = np.where(rated, 1.0 / np.maximum(raters, 1.0), 0.0).sum(axis=0)
    noise = judged.noise.error_variance * share / np.maximum(rated.sum(axis=0), 1)
    known = np.isfinite(noise) & (rated.sum(axis=0) > 0)
    if not known.any():
        return {}
    floor = (noise / _spread(covariance))[..., known]
    beyond = (covariance - noise)[..., known].sum(axis=-1, keepdims=True)
    return {
        "label_noise": numbers(floor.mean(axis=-1)),
        "beyond_noise": numbers((beyond / _spread(beyond))[..., 0]),
    }
