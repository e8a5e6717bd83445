"""Metrics, each defined once as a function of sums over clips.

These depend on the data only through sums (of ratings, predictions, their products, hits among
pairs ...). A resampled corpus therefore costs a weighted sum instead of a second pass over the
clips, which is what makes 10,000 bootstrap draws cheap (``bootstrap``). Rank correlations are no
such functions (``ranking``).

Conventions: y = rating, p = out-of-fold prediction, both pooled over folds unless said otherwise.

r2_pooled       1 − Σ(y−p)² / Σ(y−ȳ)², ȳ over the evaluated clips (Kvålseth 1985, eq. 1)
r2_fold_mean    the same inside each fold (ȳ of the fold's test clips), averaged over folds; folds
                without variance are left out
mse, mae        mean squared / absolute error
pearson, ccc    correlation; concordance 2σ_yp / (σ_y² + σ_p² + (ȳ−p̄)²) (Lin 1989, eq. 1)
pairwise_XXX    among pairs of clips of the same segment **and the same fold** with |Δy| > margin:
                share whose predictions are in the rated order, a tie counting ½; byte-identical
                clips are no pair. Fold is part of the definition because predictions of models
                trained on different folds are not comparable: the training mean is low exactly
                where the held-out ratings are high, so even a constant would score below ½.
intra_segment_std   standard deviation (n − 1) of predictions within a segment, mean over segments
dispersion_ratio    within-segment standard deviation of p over that of y; below 1 = flattened

Sums have the shape (models, dimensions, draws), those named ``fold_*`` one of (folds, models,
dimensions, draws); where no model is involved there is one in place of the models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import ConfigError

Array = NDArray[np.float64]
Sums = Mapping[str, Array]
Unit = Literal["clips", "pairs", "segments"]
HEADLINE_PAIRS = "pairwise_005"


@dataclass(frozen=True)
class Metric:
    """A function of sums.

    Attributes
    ----------
    function : callable
    needs : tuple of str
        The sums it reads.
    unit : {"clips", "pairs", "segments"}
        What is added up. A segment is taken as a whole: its clips cannot be drawn one by one.
    """

    function: Callable[[Sums], Array]
    needs: tuple[str, ...]
    unit: Unit

    def __call__(self, sums: Sums) -> Array:
        return self.function(sums)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Elementwise quotient; NaN where the denominator is not positive."""
    out: Array = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _variation(total: Array, squares: Array, n: Array) -> Array:
    """Σ(x−x̄)² from Σx, Σx² and n, 0 where rounding leaves nothing."""
    spread = squares - _ratio(total**2, n)
    # Sums are taken about the grand mean, so a constant leaves no more than rounding error.
    return np.where(spread > 1e-10 * np.maximum(squares, 1e-12), spread, 0.0)


def r2_pooled(s: Sums) -> Array:
    """Coefficient of determination over all out-of-fold predictions."""
    return 1.0 - _ratio(s["sse"], _variation(s["y"], s["yy"], s["n"]))


def r2_fold_mean(s: Sums) -> Array:
    """Mean of the folds' own coefficients of determination."""
    spread = _variation(s["fold_y"], s["fold_yy"], s["fold_n"])
    known = spread > 0
    inverse = np.zeros_like(spread)
    np.divide(1.0, spread, out=inverse, where=known)
    share = np.zeros(np.broadcast_shapes(s["fold_sse"].shape, spread.shape)[1:])
    for error, weight in zip(s["fold_sse"], inverse, strict=True):
        share += error * weight
    n = known.sum(axis=0).astype(np.float64)
    return np.where(n > 0, 1.0 - share / np.maximum(n, 1.0), np.nan)


def mse(s: Sums) -> Array:
    """Mean squared error."""
    return _ratio(s["sse"], s["n"])


def mae(s: Sums) -> Array:
    """Mean absolute error."""
    return _ratio(s["sae"], s["n"])


def pearson(s: Sums) -> Array:
    """Product-moment correlation."""
    spread_y = _variation(s["y"], s["yy"], s["n"])
    spread_p = _variation(s["p"], s["pp"], s["n"])
    return _ratio(s["yp"] - _ratio(s["y"] * s["p"], s["n"]), np.sqrt(spread_y * spread_p))


def ccc(s: Sums) -> Array:
    """Concordance correlation coefficient."""
    spread_y = _variation(s["y"], s["yy"], s["n"])
    spread_p = _variation(s["p"], s["pp"], s["n"])
    shift = _ratio((s["y"] - s["p"]) ** 2, s["n"])
    return _ratio(2.0 * (s["yp"] - _ratio(s["y"] * s["p"], s["n"])), spread_y + spread_p + shift)


def intra_segment_std(s: Sums) -> Array:
    """Mean over segments of the predictions' standard deviation."""
    return _ratio(s["segment_std"], s["segments"])


def dispersion_ratio(s: Sums) -> Array:
    """Within-segment spread of predictions relative to that of ratings."""
    return np.sqrt(_ratio(s["within_pp"], s["within_yy"]))


def margin_name(margin: float) -> str:
    """``0.05`` → ``pairwise_005``, ``0.125`` → ``pairwise_0125``; 0 → ``pairwise_0``.

    The first digit is the whole part, so no two margins share a name.

    Raises
    ------
    ConfigError
        The margin is negative, 10 or more, or finer than thousandths.
    """
    thousandths = round(margin * 1000) if math.isfinite(margin) else -1
    if not 0 <= thousandths < 10_000 or abs(margin * 1000 - thousandths) > 1e-6:
        raise ConfigError(
            f"margin {margin:g}", where="evaluate.margins", allowed="0 to 9.999 in thousandths",
            next_step="edit 'evaluate' in params.yaml",
        )  # fmt: skip
    if thousandths == 0:
        return "pairwise_0"
    hundredths, rest = divmod(thousandths, 10)
    return f"pairwise_{thousandths:04d}" if rest else f"pairwise_{hundredths:03d}"


def _pairwise(name: str) -> Metric:
    hits, pairs = f"{name}_hits", f"{name}_pairs"

    def accuracy(s: Sums) -> Array:
        return _ratio(s[hits], s[pairs])

    return Metric(accuracy, (hits, pairs), "pairs")


def sum_metrics(margins: Sequence[float]) -> dict[str, Metric]:
    """Metrics of ratings and their predictions, by name, in the order of reporting."""
    spread = ("n", "y", "yy", "p", "pp", "yp")
    folds = ("fold_n", "fold_y", "fold_yy", "fold_sse")
    metrics = {
        "r2_pooled": Metric(r2_pooled, ("n", "y", "yy", "sse"), "clips"),
        "r2_fold_mean": Metric(r2_fold_mean, folds, "clips"),
        "mse": Metric(mse, ("n", "sse"), "clips"),
        "mae": Metric(mae, ("n", "sae"), "clips"),
        "pearson": Metric(pearson, spread, "clips"),
        "ccc": Metric(ccc, spread, "clips"),
        "intra_segment_std": Metric(intra_segment_std, ("segment_std", "segments"), "segments"),
        "dispersion_ratio": Metric(dispersion_ratio, ("within_pp", "within_yy"), "segments"),
    }
    return metrics | {margin_name(m): _pairwise(margin_name(m)) for m in margins}


def headline_pairs(margins: Sequence[float]) -> str | None:
    """The pairwise metric of headlines: ``pairwise_005``, else the first by name, else None."""
    names = sorted(margin_name(margin) for margin in margins)
    return HEADLINE_PAIRS if HEADLINE_PAIRS in names else next(iter(names), None)
