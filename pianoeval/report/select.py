"""Which rows of the results are set side by side: best model, baselines, symbolic, ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pianoeval.report import words
from pianoeval.report.data import CorpusReport

MODEL_KINDS = ("audio", "symbolic")
BASELINE_KINDS = ("lookup", "mean")
#: From the most to the least telling: the first of these that was run carries the headline.
_HEADLINE_SCHEMES = ("movement", "movement_player", "composition", "player", "content", "segment")
#: Preferred where a corpus states several ceilings; percepiano's ceiling of R² is ICC(1,k).
_CEILINGS = ("icc_1k", "icc1k", "icc_1_k", "within_segment", "split_half")


@dataclass(frozen=True)
class Score:
    """One value of the results with its interval."""

    features: str
    model: str
    value: float
    low: float
    high: float
    n_clips: float
    n_clusters: float
    seed: str = ""

    @property
    def kind(self) -> str:
        return words.kind(self.features)

    @property
    def name(self) -> str:
        return words.row_name(self.features, self.model) + self.seed

    @property
    def key(self) -> str:
        """``features/model`` for scripts."""
        return f"{self.features}/{self.model}"


@dataclass(frozen=True)
class SchemeLine:
    """One line of the headline: what was reached on one scheme, and what it must beat.

    ``share`` is the way covered from the best baseline (0) to the ceiling (1), None without them.
    """

    scheme: str
    best: Score
    baseline: Score | None
    lookup: Score | None
    symbolic: Score | None
    audio: Score | None
    ceiling: Score | None

    @property
    def share(self) -> float | None:
        if self.baseline is None or self.ceiling is None:
            return None
        room = self.ceiling.value - self.baseline.value
        return (self.best.value - self.baseline.value) / room if room > 0 else None


def schemes(report: CorpusReport) -> list[str]:
    """Schemes with at least one model, from the leakiest to the strictest."""
    kinds = report.results["features"].map(words.kind)
    found = set(report.results.loc[kinds.isin(MODEL_KINDS), "scheme"])
    return sorted(found, key=words.scheme_rank)


def headline_scheme(report: CorpusReport) -> str | None:
    """The strictest telling scheme that was run."""
    found = schemes(report)
    return next((s for s in _HEADLINE_SCHEMES if s in found), found[0] if found else None)


def subset_for(report: CorpusReport, metric: str) -> str:
    """Pairs are counted on human clips, everything else on all, where the corpus has both."""
    found = set(report.results.loc[report.results["metric"] == metric, "subset"])
    wanted = "human" if metric.startswith("pairwise") else "all"
    return wanted if wanted in found or not found else min(found)


def margin_metric(report: CorpusReport) -> str:
    """The pairwise metric of the headline: |Δ| ≥ 0.05, else the first there is, else ''."""
    found = sorted(m for m in set(report.results["metric"]) if m.startswith("pairwise"))
    return "pairwise_005" if "pairwise_005" in found else (found[0] if found else "")


def rows_of(report: CorpusReport, metric: str, subset: str | None = None) -> pd.DataFrame:
    """Rows of the headline task for one metric and its subset, with a finite value."""
    table = report.results
    subset = subset_for(report, metric) if subset is None else subset
    keep = (table["task"] == report.task) & (table["metric"] == metric)
    keep &= (table["subset"] == subset) & table["value"].notna()
    return table.loc[keep]


def scores(table: pd.DataFrame, scheme: str, dimension: str = "mean") -> list[Score]:
    """Scores of one scheme, best first; equal values in the order of their names."""
    part = table.loc[(table["scheme"] == scheme) & (table["dimension"] == dimension)]
    return sorted(_scores(part), key=lambda s: (-s.value, s.features, s.model, s.seed))


def _scores(part: pd.DataFrame) -> list[Score]:
    repeated = part.duplicated(["features", "model"], keep=False)
    return [
        Score(
            features=row.features,
            model=row.model,
            value=float(row.value),
            low=float(row.ci_low),
            high=float(row.ci_high),
            n_clips=float(row.n_clips),
            n_clusters=float(row.n_clusters),
            seed=f" (seed {row.seed})" if again else "",
        )
        for row, again in zip(_tuples(part), repeated, strict=True)
    ]


def _tuples(frame: pd.DataFrame) -> Iterable[Any]:
    return frame.itertuples(index=False)


def first(found: Sequence[Score], kinds: Sequence[str]) -> Score | None:
    """Best score whose kind is wanted."""
    return next((score for score in found if score.kind in kinds), None)


def best_by_features(found: Sequence[Score]) -> list[Score]:
    """Best model of every view, best first."""
    seen: dict[str, Score] = {}
    for score in found:
        if score.kind in MODEL_KINDS:
            seen.setdefault(score.features, score)
    return list(seen.values())


def ceiling(table: pd.DataFrame, scheme: str, dimension: str = "mean") -> Score | None:
    """What rater reliability allows: the row of the scheme, else one that is of no scheme.

    Of several ceilings the one named first in this module is taken, else the lowest, so that no
    model is flattered by a choice.
    """
    part = table.loc[(table["features"] == "ceiling") & (table["dimension"] == dimension)]
    own = part.loc[part["scheme"] == scheme]
    with_models = set(table.loc[table["features"].map(words.kind).isin(MODEL_KINDS), "scheme"])
    general = part.loc[~part["scheme"].isin(with_models)]
    found = _scores(own if len(own) else general)
    preferred = [s for name in _CEILINGS for s in found if s.model == name]
    ranked = preferred or sorted(found, key=lambda s: (s.value, s.model))
    return ranked[0] if ranked else None


def scheme_line(table: pd.DataFrame, scheme: str) -> SchemeLine | None:
    """The line of one scheme; None if no model was evaluated on it."""
    found = scores(table, scheme)
    best = first(found, MODEL_KINDS)
    if best is None:
        return None
    return SchemeLine(
        scheme=scheme,
        best=best,
        baseline=first(found, BASELINE_KINDS),
        lookup=first(found, ("lookup",)),
        symbolic=first(found, ("symbolic",)),
        audio=first(found, ("audio",)),
        ceiling=ceiling(table, scheme),
    )


def headline(report: CorpusReport, metric: str) -> list[SchemeLine]:
    """One line a scheme, from the leakiest to the strictest."""
    table = rows_of(report, metric)
    lines = (scheme_line(table, scheme) for scheme in schemes(report))
    return [line for line in lines if line is not None]


def metrics_summary(corpora: Sequence[CorpusReport]) -> dict[str, Any]:
    """The few numbers that ``dvc metrics diff`` compares.

    Returns
    -------
    dict
        corpus → scheme → ``best_model``, ``r2_pooled``, ``pairwise_005``, ``best_lookup``,
        ``ceiling``. The model is the best by pooled R²; ``pairwise_005`` is of that model;
        ``best_lookup`` and ``ceiling`` are of R². A value that does not exist is None.
    """
    return {report.corpus: _summary(report) for report in corpora}


def _summary(report: CorpusReport) -> dict[str, Any]:
    pairs = rows_of(report, "pairwise_005")
    out: dict[str, Any] = {}
    for line in headline(report, "r2_pooled"):
        of_best = (
            s.value
            for s in scores(pairs, line.scheme)
            if (s.key, s.seed) == (line.best.key, line.best.seed)
        )
        out[line.scheme] = {
            "best_model": line.best.key,
            "r2_pooled": _rounded(line.best.value),
            "pairwise_005": _rounded(next(of_best, None)),
            "best_lookup": _rounded(line.lookup.value if line.lookup else None),
            "ceiling": _rounded(line.ceiling.value if line.ceiling else None),
        }
    return out


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
