"""The rows of one metric, indexed: what was scored on which folds and dimension."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pianoeval.report import words
from pianoeval.report.data import CorpusReport

MODEL_KINDS = ("audio", "symbolic", "fusion")
BASELINE_KINDS = ("lookup", "mean")
#: Trained on labels that are not the clips' own: what such a row scores, no listening is behind.
CONTROL_KINDS = ("control",)
#: Where several ceilings are stated, the first of these; ICC(1,k) is the ceiling of R².
_CEILINGS = ("icc_1k", "within_segment", "split_half")


@dataclass(frozen=True)
class Score:
    """One value of the results with its interval."""

    features: str
    model: str
    value: float
    low: float = math.nan
    high: float = math.nan
    seed: str = ""

    @property
    def kind(self) -> str:
        return words.kind(self.features)

    @property
    def name(self) -> str:
        return words.row_name(self.features, self.model) + self.seed

    @property
    def key(self) -> str:
        """``features/model``, and the seed where there are several."""
        return f"{self.features}/{self.model}{self.seed}"

    @property
    def is_finite(self) -> bool:
        """Whether it has an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, eq=False)
class MetricTable:
    """Scores of one metric, task and subset.

    Attributes
    ----------
    metric, subset : str
    cells : dict
        (scheme, dimension) → scores, best first; of equal values the training mean, then by name.
    exact : bool
        Labels without noise: a perfect listener would score 1, which is then the ceiling.
    """

    metric: str
    subset: str
    cells: dict[tuple[str, str], list[Score]]
    exact: bool = False

    @property
    def schemes(self) -> list[str]:
        """Schemes with a model, from the leakiest to the strictest."""
        found = {
            scheme
            for (scheme, _), scores in self.cells.items()
            if any(score.kind in MODEL_KINDS for score in scores)
        }
        return sorted(found, key=words.scheme_rank)

    @property
    def dimensions(self) -> list[str]:
        """Dimensions by name, without the mean."""
        return sorted({dimension for _, dimension in self.cells} - {"mean", ""})

    def scores(self, scheme: str, dimension: str = "mean") -> list[Score]:
        """Models and baselines, best first; no ceilings."""
        found = self.cells.get((scheme, dimension), [])
        return [score for score in found if score.kind != "ceiling"]

    def ceiling(self, scheme: str, dimension: str = "mean") -> Score | None:
        """What rater reliability allows on these folds; None if that is not known.

        Of several ceilings ICC(1,k) or the within-segment one is taken, else the lowest, so that
        no model is flattered by a choice.
        """
        cell = self.cells.get((scheme, dimension), [])
        found = [score for score in cell if score.kind == "ceiling"]
        if not found:
            exact = self.exact and bool(cell)
            return Score("ceiling", "exact_labels", 1.0) if exact else None
        preferred = [s for name in _CEILINGS for s in found if s.model == name]
        return (preferred or sorted(found, key=lambda s: (s.value, s.model)))[0]


def subset_for(report: CorpusReport, metric: str) -> str:
    """Pairs are counted on human clips, everything else on all, where the corpus has both."""
    found = set(report.results.loc[report.results["metric"] == metric, "subset"])
    wanted = "human" if metric.startswith("pairwise") else "all"
    return wanted if wanted in found or not found else min(found)


@lru_cache(maxsize=8)
def metric_table(report: CorpusReport, metric: str) -> MetricTable:
    """Scores of the headline task for one metric, on the subset that suits it.

    Kept for the last few reports, which never change: almost every part of the page asks.
    """
    results, subset = report.results, subset_for(report, metric)
    keep = (results["task"] == report.task) & (results["metric"] == metric)
    part = results.loc[keep & (results["subset"] == subset) & results["value"].notna()]
    cells: dict[tuple[str, str], list[Score]] = {}
    columns = ["scheme", "dimension", "features", "model", "value", "ci_low", "ci_high", "seed"]
    for scheme, dimension, features, model, value, low, high, seed in zip(
        *(part[column].tolist() for column in columns), strict=True
    ):
        score = Score(features, model, value, low, high, f" (seed {seed})")
        cells.setdefault((scheme, dimension), []).append(score)
    exact = report.simulated and metric.startswith(("r2", "pairwise"))
    ordered = {place: _ordered(scores) for place, scores in cells.items()}
    return MetricTable(metric, subset, ordered, exact)


def _ordered(scores: Sequence[Score]) -> list[Score]:
    """Best first; the seed is named only where it tells two rows apart."""
    times = Counter((score.features, score.model) for score in scores)
    named = [
        s if not s.seed or times[s.features, s.model] > 1 else replace(s, seed="") for s in scores
    ]
    # A lookup of groups that are all unseen is the training mean, and not named instead of it.
    return sorted(named, key=lambda s: (-s.value, s.kind != "mean", s.features, s.model, s.seed))


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


def by_key(found: Sequence[Score]) -> dict[str, Score]:
    """Scores by ``features/model``."""
    return {score.key: score for score in found}
