"""What a grid shows: every point against the baseline, clip by clip, adjusted for their number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pianoeval.ablation.experiments import Experiment
from pianoeval.ablation.grids import Grid
from pianoeval.compare.align import Ratings, Side, align
from pianoeval.compare.findings import SUBSETS, averaged_dimensions, scheme_notes
from pianoeval.compare.paired import Comparison, check_metric, compare_rows
from pianoeval.compare.places import Place, open_place, read_params
from pianoeval.compare.runs import Run, evaluate_settings, load_run
from pianoeval.errors import BadInputError, ConfigError, MissingAssetError
from pianoeval.evaluate.statistics.significance import benjamini_hochberg
from pianoeval.evaluate.verdicts import alpha_of
from pianoeval.params import EvaluateParams
from pianoeval.report.words import scheme_name, scheme_rank

METRICS = "reports/metrics.json"
BETTER, WORSE, SAME = "better", "worse", "same predictions"
NONE, FEW = "no difference shown", "too few groups to tell"


@dataclass(frozen=True)
class Row:
    """One point under one scheme; differences are point − baseline.

    Attributes
    ----------
    value : float
        Of the metric, the mean over dimensions, on the clips that point and baseline share.
    p, q : float
        Of the permutation test; adjusted over the points of the scheme (of the grid, where points
        are schemes). NaN for the baseline.
    lookup, ceiling : float
        What stands beside R² under this scheme; NaN where it is not known.
    """

    label: str
    experiment: str
    scheme: str
    value: float
    difference: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan
    q: float = math.nan
    smallest_p: float = math.nan
    verdict: str = "baseline"
    n_clips: int = 0
    n_clusters: int = 0
    lookup: float = math.nan
    ceiling: float = math.nan


@dataclass(frozen=True)
class Found:
    """The table of a grid and what a reader must know."""

    grid: Grid
    metric: str
    subset: str
    confidence: float
    n_draws: int
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Opened:
    corpus: str
    one: Experiment
    place: Place
    run: Run


def find(
    grid: Grid,
    wanted: Sequence[Experiment],
    there: set[str],
    metric: str = "r2_pooled",
    subset: str = "all",
    schemes: Sequence[str] = (),
) -> Found:
    """Compare the experiments that are there with the baseline's.

    Raises
    ------
    ConfigError
        The metric or subset is unknown, or no scheme of the runs was asked for.
    MissingAssetError
        The baseline, or everything else, has not been run.
    """
    if subset not in SUBSETS:
        raise ConfigError(f"unknown subset '{subset}'", where="--subset", allowed="all, human")
    base = next(one for one in wanted if one.point == grid.first)
    others = [one for one in wanted if one != base and one.name in there]
    if base.name not in there or not others:
        what = "the baseline" if base.name not in there else "only the baseline"
        raise MissingAssetError(
            f"{what} '{grid.baseline}' has {'not ' if base.name not in there else ''}been run",
            where=base.name, next_step="the same command with --run",
        )  # fmt: skip
    rows, notes = (
        [],
        [f"Not run yet: {one.point.label}." for one in wanted if one.name not in there],
    )
    with_ratings = metric.startswith("pairwise")
    with ExitStack() as stack:
        opened = _open(stack, base, grid.target.corpus, with_ratings)
        settings = evaluate_settings(read_params(opened.place), opened.place)
        check_metric(metric, settings.margins)
        for one in others:
            with ExitStack() as inner:
                other = _open(inner, one, grid.target.corpus, with_ratings)
                rows += _compare(opened, other, metric, subset, schemes, settings, notes)
    if not rows:
        raise ConfigError(
            "no scheme of these runs was asked for", where="--scheme",
            allowed=", ".join(opened.run.schemes), next_step="leave --scheme out",
        )  # fmt: skip
    return Found(
        grid, metric, subset, settings.confidence, settings.n_bootstrap,
        _judged(rows, settings.confidence, grid), list(dict.fromkeys(notes)),
    )  # fmt: skip


def _open(stack: ExitStack, one: Experiment, corpus: str, with_ratings: bool) -> _Opened:
    place = stack.enter_context(open_place(one.name))
    run = load_run(place, read_params(place), corpus, one.point.row, with_ratings)
    return _Opened(corpus, one, place, run)


def _compare(
    base: _Opened, other: _Opened, metric: str, subset: str, schemes: Sequence[str],
    settings: EvaluateParams, notes: list[str],
) -> list[Row]:  # fmt: skip
    """The point and, before it, the baseline as it is on the same clips, under every scheme."""
    pair = base.one.point.row, other.one.point.row
    ratings = Ratings(base.run, other.run)
    averaged = averaged_dimensions(base.run, ratings.dimensions, settings, metric, notes)
    side_a, side_b = (
        Side(opened.run, clips, ratings.dimensions, {row})
        for opened, clips, row in zip((base, other), ratings.clips, pair, strict=True)
    )
    beside = [_beside(opened, metric) for opened in (base, other)]
    rows: list[Row] = []
    for scheme_a, scheme_b in _schemes(base, other, schemes):
        try:
            aligned = align(
                side_a, side_b, ratings, scheme_a, [pair], subset, settings.min_players, scheme_b
            )
        except BadInputError as error:
            notes.append(f"{other.one.point.label}: {error.what}.")
            continue
        if aligned is None:
            notes.append(f"{other.one.point.label}: no predictions under {scheme_name(scheme_b)}.")
            continue
        (found,) = compare_rows(aligned, metric, settings, averaged)
        if scheme_a == scheme_b:  # else folds differ because that is the point
            notes += [f"{other.one.point.label}, {note}" for note in scheme_notes(aligned, 1)]
        rows += [
            _row(base.one, scheme_a, found.value_a, found, beside[0]),
            replace(
                _row(other.one, scheme_b, found.value_b, found, beside[1]),
                difference=found.difference, ci_low=found.ci_low, ci_high=found.ci_high,
                p=found.p_permutation, smallest_p=found.smallest_p,
                verdict=SAME if found.same else NONE,
            ),
        ]  # fmt: skip
    return rows


def _schemes(base: _Opened, other: _Opened, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of schemes that are compared: the points' own, else those that both runs have."""
    if base.one.point.scheme:
        return [(base.one.point.scheme, other.one.point.scheme)]
    shared = [name for name in base.run.schemes if name in other.run.schemes]
    return [(name, name) for name in shared if not wanted or name in wanted]


def _row(
    one: Experiment, scheme: str, value: float, found: Comparison, beside: Mapping[str, Any]
) -> Row:
    known = beside.get(scheme) or {}
    lookup, ceiling = (
        math.nan if known.get(name) is None else float(known[name])
        for name in ("best_lookup", "ceiling")
    )
    return Row(
        one.point.label, one.name, scheme, value, n_clips=found.n_clips,
        n_clusters=found.n_clusters, lookup=lookup, ceiling=ceiling,
    )  # fmt: skip


def _beside(opened: _Opened, metric: str) -> dict[str, Any]:
    """By scheme what the run's report gives beside R²; nothing for another metric."""
    if metric != "r2_pooled" or not opened.place.has(METRICS, "report"):
        return {}
    found = json.loads(opened.place.file(METRICS, "report").read_text(encoding="utf-8"))
    own: dict[str, Any] = found.get(opened.corpus) or {}
    return own


def _judged(rows: Sequence[Row], confidence: float, grid: Grid) -> list[Row]:
    """By scheme and point, one row of the baseline each, with q and a verdict."""
    unique = {(row.label, row.scheme): row for row in rows}
    one_family = bool(grid.first.scheme)
    families: dict[str, list[tuple[str, str]]] = {}
    for key, row in unique.items():
        if math.isfinite(row.p) and row.verdict != SAME:
            families.setdefault("" if one_family else row.scheme, []).append(key)
    for keys in families.values():
        adjusted = benjamini_hochberg(np.array([unique[key].p for key in keys]))
        for key, q in zip(keys, adjusted, strict=True):
            row = replace(unique[key], q=float(q))
            unique[key] = replace(row, verdict=verdict(row, confidence))
    order = [point.label for point in grid.points]
    return sorted(
        unique.values(), key=lambda row: (scheme_rank(row.scheme), order.index(row.label))
    )


class Tested(Protocol):
    """A difference with its interval and its p, adjusted for how many were tested."""

    @property
    def ci_low(self) -> float: ...
    @property
    def ci_high(self) -> float: ...
    @property
    def smallest_p(self) -> float: ...
    @property
    def q(self) -> float: ...


def verdict(row: Tested, confidence: float) -> str:
    """Better or worse only where the interval leaves out 0 and q bears it out."""
    if row.smallest_p > alpha_of(confidence):
        return FEW
    outside = (row.ci_low > 0) - (row.ci_high < 0)
    if row.q > alpha_of(confidence) or not outside:
        return NONE
    return BETTER if outside > 0 else WORSE
