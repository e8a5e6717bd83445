"""Paired differences of two runs: intervals, permutation tests, adjustment for many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pianoeval.compare.align import Aligned
from pianoeval.errors import ConfigError
from pianoeval.evaluate.paired import Items, make_items
from pianoeval.evaluate.statistics.bootstrap import Resampled, draw_counts, resample
from pianoeval.evaluate.statistics.draws import Draws
from pianoeval.evaluate.statistics.metrics import Array, margin_name, sum_metrics
from pianoeval.evaluate.statistics.pairs import Index
from pianoeval.evaluate.statistics.significance import benjamini_hochberg, sign_flip, smallest_p
from pianoeval.evaluate.statistics.sums import cluster_sums
from pianoeval.params import EvaluateParams
from pianoeval.threads import one_thread

ALL_ROWS = "mean of the rows"


@dataclass(frozen=True)
class Comparison:
    """One row of A against one row of B under one scheme; means over dimensions.

    Attributes
    ----------
    difference, ci_low, ci_high : float
        B − A; NaN where there is no interval.
    interval : str
        What was resampled; empty where there is no interval.
    p_permutation, q_permutation : float
        A and B exchanged within whole content groups; adjusted over the rows of the scheme (NaN
        for a single pair, for the mean of the rows, and for rows that predict the same).
    smallest_p : float
        The least p that exchanging so few content groups can give.
    unit, n_units, n_units_ahead, n_units_behind, p_unit
        What the scheme holds out where that is coarser, in how many of them B is ahead and behind,
        and the same test over them.
    same : bool
        A and B predict the same.
    """

    scheme: str
    a: str
    b: str
    value_a: float
    value_b: float
    difference: float
    ci_low: float
    ci_high: float
    interval: str
    p_permutation: float
    q_permutation: float
    smallest_p: float
    n_clips: int
    n_clusters: int
    unit: str
    n_units: int
    n_units_ahead: int
    n_units_behind: int
    p_unit: float
    same: bool


@dataclass(frozen=True, eq=False)
class _Difference:
    """B − A of one pair of rows, the mean over dimensions.

    ``groups`` (C,) and ``units`` (U,) hold what each content group, and each unit that the scheme
    holds out, adds to it.
    """

    resampled: Resampled
    groups: Array
    units: Array


def comparable_metrics(margins: Sequence[float]) -> list[str]:
    """Metrics to which every content group adds its share, so that groups can be exchanged."""
    return ["r2_pooled", *(margin_name(margin) for margin in margins)]


def check_metric(metric: str, margins: Sequence[float]) -> None:
    """Raise ConfigError for a metric that cannot be compared."""
    known = comparable_metrics(margins)
    if metric not in known:
        raise ConfigError(
            f"'{metric}' cannot be compared here", where="--metric", allowed=", ".join(known),
            next_step="choose one of these; margins of pairs are set in evaluate.margins",
        )  # fmt: skip


@one_thread()
def compare_rows(
    aligned: Aligned, metric: str, settings: EvaluateParams, averaged: NDArray[np.bool_]
) -> list[Comparison]:
    """Every pair of rows of one scheme, and their mean where several differ.

    Parameters
    ----------
    averaged : bool, shape (D,)
        Dimensions that enter the mean of this metric.

    Returns
    -------
    list of Comparison
        In the order of ``aligned.predictions``; then ``ALL_ROWS``, over the rows that do not
        predict the same in both runs.
    """
    draws = draw_counts(aligned.design, settings.n_bootstrap, settings.seed)
    items = make_items(metric, aligned.design, aligned.y, averaged, settings.margins)
    rated = np.isfinite(aligned.y)
    rows: list[Comparison] = []
    changed: list[_Difference] = []
    for names, pair in aligned.predictions.items():
        same = np.array_equal(pair[0][rated], pair[1][rated])
        # One pair at a time: all pairs of clips of all rows at once would fill the memory.
        models = np.stack(pair[:1] if same else pair)
        drawn = _resampled(aligned, models, metric, settings, averaged, draws)
        one, other = drawn.of(0), drawn.of(len(models) - 1)
        difference = _Difference(
            other.minus(one),
            _gained(items, aligned.design.cluster, pair),
            np.zeros(0) if aligned.unit is None else _gained(items, aligned.unit[1], pair),
        )
        values = float(one.value[-1]), float(other.value[-1])
        rows.append(_row(aligned, settings, names, values, difference, same))
        if not same:
            changed.append(difference)
    if len(rows) > 1:
        rows = _adjusted(rows)
        if len(changed) > 1:
            rows.append(_mean(aligned, settings, [row for row in rows if not row.same], changed))
    return rows


def _resampled(
    aligned: Aligned,
    predictions: Array,
    metric: str,
    settings: EvaluateParams,
    averaged: NDArray[np.bool_],
    draws: Draws,
) -> Resampled:
    """The metric's mean over dimensions of each model (models, n, D), on the same draws."""
    margins = [margin for margin in settings.margins if margin_name(margin) == metric]
    function = sum_metrics(margins)[metric]
    sums = cluster_sums(aligned.design, aligned.y, predictions, margins)
    return resample(sums, {metric: function}, draws, {metric: averaged})[metric].mean_only()


def _gained(items: Items, code: Index, pair: tuple[Array, Array]) -> Array:
    """What each group adds to B − A; groups in which nothing is counted are left out."""
    present = items.present(code)
    gained: Array = (items.gains(pair[1], code) - items.gains(pair[0], code))[present]
    return gained


def _row(
    aligned: Aligned,
    settings: EvaluateParams,
    names: tuple[str, str],
    values: tuple[float, float],
    difference: _Difference,
    same: bool,
) -> Comparison:
    low, high = difference.resampled.interval(settings.confidence)
    groups, units = difference.groups, difference.units
    draws, seed = settings.n_bootstrap, settings.seed
    return Comparison(
        scheme=aligned.scheme,
        a=names[0],
        b=names[1],
        value_a=values[0],
        value_b=values[1],
        difference=float(difference.resampled.value[-1]),
        ci_low=float(low[-1]),
        ci_high=float(high[-1]),
        interval=difference.resampled.method if np.isfinite(low[-1]) else "",
        p_permutation=float(sign_flip(groups, draws, seed)),
        q_permutation=float("nan"),
        smallest_p=smallest_p(int((groups != 0.0).sum()), draws),
        n_clips=len(aligned.design.clips),
        n_clusters=len(groups),
        unit=aligned.unit[0] if aligned.unit is not None else "",
        n_units=len(units),
        n_units_ahead=int((units > 0).sum()),
        n_units_behind=int((units < 0).sum()),
        p_unit=float(sign_flip(units, draws, seed)) if len(units) else float("nan"),
        same=bool(same),
    )


def _adjusted(rows: Sequence[Comparison]) -> list[Comparison]:
    """With q; rows that predict the same in both runs were no hypothesis and do not count."""
    p = np.array([np.nan if row.same else row.p_permutation for row in rows])
    q = benjamini_hochberg(p)
    return [replace(row, q_permutation=float(v)) for row, v in zip(rows, q, strict=True)]


def _mean(
    aligned: Aligned,
    settings: EvaluateParams,
    rows: Sequence[Comparison],
    found: Sequence[_Difference],
) -> Comparison:
    """The mean over rows, with its own interval and test: rows are drawn together."""
    together = replace(
        found[0].resampled,
        value=np.mean([d.resampled.value for d in found], axis=0),
        draws=np.mean([d.resampled.draws for d in found], axis=0),
        jackknife=np.mean([d.resampled.jackknife for d in found], axis=0),
    )
    groups = np.mean([d.groups for d in found], axis=0)
    units = np.mean([d.units for d in found], axis=0)
    values = (
        float(np.mean([row.value_a for row in rows])),
        float(np.mean([row.value_b for row in rows])),
    )
    difference = _Difference(together, groups, units)
    return _row(aligned, settings, (ALL_ROWS, ALL_ROWS), values, difference, False)
