"""Values and intervals of every row of a contest, as lines of ``ranking.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.ranked.contest import Contest, Entry
from pianoeval.evaluate.ranked.metrics import (
    CHANCE,
    contest_sums,
    order_metrics,
    pair_metrics,
    probability_metrics,
    spread_metrics,
)
from pianoeval.evaluate.ranked.orders import random_gain
from pianoeval.evaluate.scoring import BATCH
from pianoeval.evaluate.statistics.bootstrap import (
    Resampled,
    draw_counts,
    resample,
    with_mean,
)
from pianoeval.evaluate.statistics.draws import Draws
from pianoeval.evaluate.statistics.metrics import Array, Metric, margin_name
from pianoeval.evaluate.statistics.pairs import MARGIN_TOLERANCE
from pianoeval.evaluate.tables import MEAN
from pianoeval.params import EvaluateParams

MEAN_ALL = "mean_all"  # with the dimensions that ``mean`` leaves out
RANKING_COLUMNS = [
    "corpus", "task", "scheme", "subset", "kind", "features", "model", "dimension", "metric",
    "margin", "value", "ci_low", "ci_high", "interval", "chance", "n_pairs", "n_clusters", "seed",
    "n_seeds", "config_hash", "commit",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Line:
    """One metric of one row: dimensions, their mean, and where it differs the mean of all."""

    metric: str
    value: Array
    low: Array
    high: Array
    method: str


@dataclass(frozen=True, eq=False)
class Judged:
    """A contest and what was found.

    Attributes
    ----------
    contest : Contest
    averaged : bool, shape (D,)
        Dimensions that enter ``mean``.
    lines : dict of list of Line, by entry
    means : dict of dict of Resampled, by entry and metric
        Accuracies; the last value is ``mean``.
    """

    contest: Contest
    averaged: NDArray[np.bool_]
    lines: dict[Entry, list[Line]] = field(default_factory=dict)
    means: dict[Entry, dict[str, Resampled]] = field(default_factory=dict)


def judge(contest: Contest, averaged: NDArray[np.bool_], params: EvaluateParams) -> Judged:
    """All values of one contest; all rows see the same draws."""
    found = Judged(contest, averaged)
    draws = draw_counts(contest.design, params.n_bootstrap, params.seed)
    for entries, metrics, probabilities in _groups(contest, params.margins):
        lists = any(metric.unit == "segments" for metric in metrics.values())
        sums = contest_sums(
            contest, entries, params.margins, lists=lists, probabilities=probabilities
        )
        masks = dict.fromkeys(metrics, averaged)
        for name, drawn in resample(sums, metrics, draws, masks).items():
            _add(found, name, drawn, entries, params)
    return found


def judge_pairs(contest: Contest, params: EvaluateParams, draws: Draws | None = None) -> Judged:
    """Accuracy at margin 0 alone, every dimension averaged."""
    everything = np.ones(contest.y.shape[1], bool)
    found = Judged(contest, everything)
    draws = draws or draw_counts(contest.design, params.n_bootstrap, params.seed)
    metrics = pair_metrics([0.0])
    for entries in _batches(list(contest.margins)):
        sums = contest_sums(contest, entries, [0.0], lists=False)
        for name, drawn in resample(
            sums, metrics, draws, dict.fromkeys(metrics, everything)
        ).items():
            _add(found, name, drawn, entries, params)
    return found


def _batches(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]


def _groups(
    contest: Contest, margins: Sequence[float]
) -> Iterator[tuple[Sequence[Entry], dict[str, Metric], bool]]:
    """Rows that have the same metrics, what these are, and whether margins are log-odds."""
    accuracies, orders = pair_metrics(margins), order_metrics()
    rankers = [entry for entry in contest.margins if entry.kind == "ranker"]
    additive = [entry for entry in rankers if contest.is_additive(entry)]
    cyclic = [entry for entry in rankers if entry not in additive]
    points = [entry for entry in contest.margins if entry.kind == "point"]
    told = accuracies | orders | probability_metrics()
    for entries, metrics, probabilities in (
        (list(contest.scores), accuracies | orders | spread_metrics(labels=True), False),
        (additive, told | spread_metrics(labels=False), True),
        (cyclic, told, True),
        (points, accuracies, False),
    ):
        for batch in _batches(entries):
            yield batch, metrics, probabilities


def _add(
    found: Judged, name: str, drawn: Resampled, entries: Sequence[Entry], params: EvaluateParams
) -> None:
    """Lines of one metric, with the mean of all dimensions where ``mean`` leaves some out."""
    low, high = drawn.interval(params.confidence)
    value = drawn.value
    if not found.averaged.all():
        whole = _mean_all(drawn)
        below, above = whole.interval(params.confidence)
        value, low, high = (
            np.concatenate(both, axis=1)
            for both in ((value, whole.value), (low, below), (high, above))
        )
    for i, entry in enumerate(entries):
        line = Line(name, value[i], low[i], high[i], drawn.method)
        found.lines.setdefault(entry, []).append(line)
        if name.startswith("pairwise"):
            found.means.setdefault(entry, {})[name] = drawn.of(i).mean_only()


def _mean_all(drawn: Resampled) -> Resampled:
    """The mean over every dimension that is defined, of the same draws."""
    known: NDArray[np.bool_] = np.array(np.isfinite(drawn.value[:, :-1]))

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        parts = [
            one[chosen].mean(axis=0) if chosen.any() else np.full(one.shape[1:], np.nan)
            for one, chosen in zip(values[:, :-1], known, strict=True)
        ]
        return np.array(parts, dtype=values.dtype)[:, None]

    return replace(
        drawn, value=mean(drawn.value), draws=mean(drawn.draws), jackknife=mean(drawn.jackknife)
    )


def chances(
    contest: Contest, averaged: NDArray[np.bool_], margins: Sequence[float]
) -> dict[str, Array]:
    """What one who cannot tell scores, by metric: dimensions, mean, mean of all."""
    n = len(averaged)
    flat = {**CHANCE, **{margin_name(m): 0.5 for m in margins}}
    found = {name: np.full(n + 2, value) for name, value in flat.items()}
    gain = random_gain(contest)
    whole = with_mean(gain, np.isfinite(gain))[-1:]
    found["ndcg"] = np.concatenate([with_mean(gain, averaged & np.isfinite(gain)), whole])
    return found


def table_rows(
    judged: Judged,
    names: Sequence[str],
    chance: Mapping[str, Array],
    before: Mapping[str, Any],
    after: Mapping[Entry, Mapping[str, Any]],
    *,
    means: bool = True,
) -> list[dict[str, Any]]:
    """Lines of the results; what is undefined has none.

    Parameters
    ----------
    names : sequence of str
        Of the dimensions; ``mean`` and ``mean_all`` are added.
    before, after : mapping
        Further cells, common to all and by entry.
    means : bool
        Whether there are rows of means.
    """
    contest = judged.contest
    named = [*names, MEAN, MEAN_ALL]
    counts: dict[float, tuple[list[int], list[int]]] = {}
    rows = []
    for entry, lines in judged.lines.items():
        who = {"kind": entry.kind, "features": entry.features, "model": entry.model}
        for line in lines:
            margin = margin_of(line.metric)
            key = 0.0 if margin is None else margin
            if key not in counts:
                counts[key] = count_pairs(contest, key, judged.averaged)
            level = chance.get(line.metric)
            for i, value in enumerate(line.value):
                if not np.isfinite(value) or (i >= len(names) and not means):
                    continue
                rows.append({
                    **before, "scheme": contest.scheme, "subset": contest.subset, **who,
                    "dimension": named[i], "metric": line.metric, "margin": margin,
                    "value": value, "ci_low": line.low[i], "ci_high": line.high[i],
                    "interval": line.method if np.isfinite(line.low[i]) else "",
                    "chance": np.nan if level is None else level[i],
                    "n_pairs": counts[key][0][i], "n_clusters": counts[key][1][i],
                    **after[entry],
                })  # fmt: skip
    return rows


def margin_of(metric: str) -> float | None:
    """The margin in the name of an accuracy; None of another metric."""
    digits = metric.removeprefix("pairwise_")
    return None if digits == metric else int(digits) / 10 ** (len(digits) - 1)


def count_pairs(
    contest: Contest, margin: float, averaged: NDArray[np.bool_]
) -> tuple[list[int], list[int]]:
    """Pairs beyond a margin and the content groups they lie in: dimensions, mean, mean of all."""
    counted = np.abs(contest.difference) > margin + MARGIN_TOLERANCE
    some = [counted[:, averaged].any(axis=1), counted.any(axis=1)]
    columns = [*counted.T, *some]
    group = contest.design.cluster[contest.design.pairs[:, 0]]
    return [int(c.sum()) for c in columns], [len(np.unique(group[c])) for c in columns]


def ranking_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the columns ``RANKING_COLUMNS``."""
    table = pd.DataFrame(list(rows), columns=RANKING_COLUMNS)
    return table.astype({"seed": "Int64", "n_seeds": "Int64"})
