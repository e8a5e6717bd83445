"""Values and intervals of every head, as lines of ``contrastive.csv``.

A head is trained once a seed, so a metric has several values (column ``statistic``):

seed        of one seed, named in column ``seed``
mean, sd    of the values of all seeds; sd with n − 1, the spread of the published box plots
averaged    of the mean prediction over seeds, several networks taken as one

Intervals resample clips, by content group and player, and know nothing of seeds: that of ``mean``
is of the mean over these seeds. ``r2_pooled`` is eq. 4 of Seshadri & Lerch 2021 over the clips of
all tested folds; ``r2_fold_mean`` is the same of each fold by itself, averaged. A network that says
the same of all clips has no ``pearson``, and then neither has a mean with it, over dimensions or
seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.contrast.trial import Trial, is_point
from pianoeval.evaluate.statistics.bootstrap import Resampled, draw_counts, resample, with_mean
from pianoeval.evaluate.statistics.draws import Draws
from pianoeval.evaluate.statistics.metrics import Array, Metric, sum_metrics
from pianoeval.evaluate.statistics.sums import clip_sums
from pianoeval.evaluate.tables import MEAN, count_clips
from pianoeval.params import EvaluateParams

HEADLINE = "r2_pooled"
METRICS = (HEADLINE, "r2_fold_mean", "pearson", "mae")
CONTRASTIVE_COLUMNS = [
    "corpus", "task", "scheme", "kind", "head", "approach", "store", "dimension", "metric",
    "statistic", "value", "ci_low", "ci_high", "interval", "n_clips", "n_clusters", "n_folds",
    "seed", "n_seeds", "config_hash", "commit",
]  # fmt: skip

Statistic = Literal["seed", "mean", "sd", "averaged", ""]
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Line:
    """One metric of one head: dimensions, then their mean."""

    metric: str
    statistic: Statistic
    value: Array
    low: Array
    high: Array
    method: str
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Judged:
    """A trial and what was found.

    Attributes
    ----------
    trial : Trial
    lines : dict of list of Line, by head, baseline or what is known
    headline : dict of Resampled, by the same
        R², mean over seeds; points of sweeps are left out.
    of_seeds : dict of float64, shape (seeds or 1, D + 1)
        R² of each seed.
    """

    trial: Trial
    lines: dict[str, list[Line]] = field(default_factory=dict)
    headline: dict[str, Resampled] = field(default_factory=dict)
    of_seeds: dict[str, Array] = field(default_factory=dict)


def judge(trial: Trial, params: EvaluateParams) -> Judged:
    """All values of one trial; every head sees the same draws."""
    found = Judged(trial)
    draws = draw_counts(trial.design, params.n_bootstrap, params.seed)
    known = sum_metrics(())
    for name in [*trial.heads, *trial.baselines, *trial.known]:
        wanted = (HEADLINE,) if is_point(name) else METRICS
        metrics = {metric: known[metric] for metric in wanted}
        _add(found, name, metrics, draws, params.confidence)
    return found


def _add(
    found: Judged, name: str, metrics: Mapping[str, Metric], draws: Draws, confidence: float
) -> None:
    trial = found.trial
    each = trial.of(name)
    several, of_seeds = len(each), name in trial.heads
    models = np.concatenate([each, each.mean(axis=0)[None]]) if of_seeds else each
    everything = dict.fromkeys(metrics, np.ones(len(trial.dimensions), bool))
    sums = clip_sums(trial.design, trial.y, models)
    lines = found.lines.setdefault(name, [])
    for metric, drawn in resample(sums, metrics, draws, everything).items():
        drawn = _whole(drawn, trial.varied)
        own = _part(drawn, slice(0, several))
        mean = seed_mean(own)
        if metric == HEADLINE:
            found.of_seeds[name] = own.value
            if not is_point(name):
                found.headline[name] = mean
        if not of_seeds:
            lines.append(_line(metric, "", mean, confidence))
            continue
        for place, seed in enumerate(trial.seeds):
            lines.append(_line(metric, "seed", own.of(place), confidence, seed))
        lines.append(_line(metric, "mean", mean, confidence))
        if several > 1:
            nothing = np.full(own.value.shape[1], np.nan)
            spread = own.value.std(axis=0, ddof=1)
            lines.append(Line(metric, "sd", spread, nothing, nothing, ""))
        lines.append(_line(metric, "averaged", drawn.of(several), confidence))


def _part(drawn: Resampled, models: slice) -> Resampled:
    return replace(
        drawn, value=drawn.value[models], draws=drawn.draws[models],
        jackknife=drawn.jackknife[models],
    )  # fmt: skip


def _whole(drawn: Resampled, varied: NDArray[np.bool_]) -> Resampled:
    """No mean over dimensions where one of a model is undefined though its labels vary."""
    lacking = (~np.isfinite(drawn.value[:, :-1]) & varied).any(axis=1)
    if not lacking.any():
        return drawn
    value = drawn.value.copy()
    value[lacking, -1] = np.nan
    return replace(drawn, value=value)


def seed_mean(drawn: Resampled) -> Resampled:
    """The mean over models, resampled with them; what one of them lacks has no mean."""
    return replace(
        drawn, value=drawn.value.mean(axis=0), jackknife=drawn.jackknife.mean(axis=0),
        draws=drawn.draws.mean(axis=0, dtype=np.float64).astype(np.float32),
    )  # fmt: skip


def _line(
    metric: str, statistic: Statistic, drawn: Resampled, confidence: float, seed: int | None = None
) -> Line:
    low, high = drawn.interval(confidence)
    return Line(metric, statistic, drawn.value, low, high, drawn.method, seed)


def table_rows(
    judged: Judged, before: Mapping[str, Any], about: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    """Lines of the results; what is undefined has none.

    Parameters
    ----------
    before : mapping
        Cells of all rows: corpus and task.
    about : mapping
        By head or baseline: ``kind, head, approach, store, config_hash, commit``.
    """
    trial = judged.trial
    rows: list[Row] = []
    for name, lines in judged.lines.items():
        for line in lines:
            rows += line_rows(trial, line, {**before, **about[name]}, len(trial.of(name)))
    return rows


def line_rows(trial: Trial, line: Line, cells: Mapping[str, Any], n_seeds: int | None) -> list[Row]:
    """One row a dimension, and one of their mean."""
    n_clips, n_clusters = count_clips(trial.y, trial.design.cluster)
    several = line.statistic in ("mean", "sd", "averaged")
    rows = []
    for i, dimension in enumerate([*trial.dimensions, MEAN]):
        if not np.isfinite(line.value[i]):
            continue
        bounded = bool(np.isfinite(line.low[i]))
        rows.append({
            **cells, "scheme": trial.scheme, "dimension": dimension, "metric": line.metric,
            "statistic": line.statistic, "value": line.value[i], "ci_low": line.low[i],
            "ci_high": line.high[i], "interval": line.method if bounded else "",
            "n_clips": n_clips[i], "n_clusters": n_clusters[i], "n_folds": trial.n_folds,
            "seed": line.seed, "n_seeds": n_seeds if several else None,
        })  # fmt: skip
    return rows


def ceiling_line(trial: Trial, table: pd.DataFrame) -> Line:
    """What the agreement of raters allows in R²: ICC(1,k), and its mean if all have one."""
    values = table["icc_1k"].reindex(trial.dimensions).to_numpy(np.float64)
    nothing: NDArray[np.float64] = np.full(len(values) + 1, np.nan)
    all_known = np.full(len(values), bool(np.isfinite(values).all()))
    return Line(HEADLINE, "", with_mean(values, all_known), nothing, nothing, "")


def contrastive_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns ``CONTRASTIVE_COLUMNS``."""
    table = pd.DataFrame(list(rows), columns=CONTRASTIVE_COLUMNS)
    whole = dict.fromkeys(("n_clips", "n_clusters", "n_folds", "seed", "n_seeds"), "Int64")
    return table.astype(whole)
