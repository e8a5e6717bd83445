"""Values and intervals of all models that are judged on the same clips by the same labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pianoeval.evaluate.statistics.bootstrap import Resampled, draw_counts, resample, with_mean
from pianoeval.evaluate.statistics.classification import (
    Family,
    class_metrics,
    rank_statistics_multilabel,
)
from pianoeval.evaluate.statistics.draws import Draws
from pianoeval.evaluate.statistics.metrics import Array, Metric, headline_pairs, sum_metrics
from pianoeval.evaluate.statistics.pairs import Design, row_adder
from pianoeval.evaluate.statistics.ranking import (
    LeftOut,
    Ranking,
    Transform,
    jackknife_interval,
    ndcg,
)
from pianoeval.evaluate.statistics.sums import cluster_sums
from pianoeval.evaluate.tables import ModelKey
from pianoeval.params import EvaluateParams

JACKKNIFE = "jackknife"
# Models that are resampled together: their replicates of every metric are in memory at once.
BATCH = 10
# Values that agree so far are equal; sums that are equal on paper differ by rounding.
TIE_DIGITS = 9
_CLASS_SUMS = ("class_rated", "class_predicted", "class_within_0", "class_within_1")

Kind = Literal["models", "control", "curve"]
Row = tuple[str, Array, Array, Array, str]  # metric, value, low, high (D + 1 each), method


@dataclass(frozen=True, eq=False)
class Problem:
    """Models to be judged on the same clips by the same labels.

    Attributes
    ----------
    scheme, subset : str
    design : Design
    y : float64, shape (n, D)
        Labels, those of a control exchanged; NaN = not rated.
    predictions : mapping of float64, shape (n, D)
    kind : {"models", "control", "curve"}
        Of a learning curve, and of rows of one instrument, the headline metrics alone.
    """

    scheme: str
    subset: str
    design: Design
    y: Array
    predictions: Mapping[ModelKey, Array]
    kind: Kind = "models"


@dataclass(frozen=True, eq=False)
class Scale:
    """What is the same for every problem of a corpus.

    Attributes
    ----------
    params : EvaluateParams
    family : {"regression", "ordinal", "multilabel"}
    classes : float64, shape (clips, D)
        All labels, which say what classes there are.
    ranked : bool, shape (D,)
        Dimensions that enter mean pairwise accuracy.
    """

    params: EvaluateParams
    family: Family
    classes: Array
    ranked: NDArray[np.bool_]

    def metrics(self, kind: Kind) -> dict[str, Metric]:
        """Functions of sums that are computed of this kind of problem."""
        found = sum_metrics(self.params.margins)
        if kind == "curve":
            headline = ("r2_pooled", headline_pairs(self.params.margins))
            return {name: metric for name, metric in found.items() if name in headline}
        found["ndcg"] = Metric(ndcg, ("ndcg", "ndcg_lists"), "segments")
        of_classes = class_metrics(self.family)
        return found | {n: Metric(f, _CLASS_SUMS, "clips") for n, f in of_classes.items()}

    def averaged(self, metric: str) -> NDArray[np.bool_]:
        """Dimensions that enter the mean of a metric."""
        return self.ranked if metric.startswith("pairwise") else np.ones(len(self.ranked), bool)


@dataclass(frozen=True, eq=False)
class Scored:
    """A problem and what was found.

    Attributes
    ----------
    problem : Problem
    rows : dict of list, by model
        Metric, value, lower and upper limit (D + 1 each), and how the limits were made.
    means : dict of dict of Resampled, by model and metric
        Mean over dimensions of pooled R² and the pairwise accuracies.
    one_way : dict of dict, by model and metric
        Limits when content groups or players alone are resampled (``only``).
    """

    problem: Problem
    rows: dict[ModelKey, list[Row]] = field(default_factory=dict)
    means: dict[ModelKey, dict[str, Resampled]] = field(default_factory=dict)
    one_way: dict[ModelKey, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    @property
    def design(self) -> Design:
        return self.problem.design

    @property
    def y(self) -> Array:
        return self.problem.y

    @property
    def predictions(self) -> Mapping[ModelKey, Array]:
        return self.problem.predictions


def score(problem: Problem, scale: Scale) -> Scored:
    """All values of one problem; depends on nothing else, so problems may be solved in parallel."""
    found = Scored(problem)
    metrics = scale.metrics(problem.kind)
    averaged = {name: scale.averaged(name) for name in metrics}
    draws = draw_counts(problem.design, scale.params.n_bootstrap, scale.params.seed)
    for keys in _batches(list(problem.predictions)):
        p = np.stack([problem.predictions[key] for key in keys])
        sums = cluster_sums(
            problem.design, problem.y, p, scale.params.margins, scale.family, scale.classes
        )
        for name, drawn in resample(sums, metrics, draws, averaged).items():
            low, high = drawn.interval(scale.params.confidence)
            for i, key in enumerate(keys):
                row = (name, drawn.value[i], low[i], high[i], drawn.method)
                found.rows.setdefault(key, []).append(row)
                if name == "r2_pooled" or name.startswith("pairwise"):
                    found.means.setdefault(key, {})[name] = drawn.of(i).mean_only()
    if problem.kind != "curve":
        _rank(found, scale)
    if problem.kind == "models":
        _resample_one_way(found, scale, draws)
    return found


def _batches(keys: Sequence[ModelKey]) -> Iterator[Sequence[ModelKey]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]


def _rank(found: Scored, scale: Scale) -> None:
    """Add what is no function of sums, with jackknife intervals over content groups."""
    design, y = found.design, found.y
    ranking = Ranking(y, design.cluster, design.n_clusters)
    everything = np.ones(y.shape[1], bool)
    held = row_adder(design.cluster, design.n_clusters) @ np.isfinite(y).astype(np.float64) > 0
    held = np.concatenate([held, held.any(axis=1, keepdims=True)], axis=1)
    for key, p in found.predictions.items():
        statistics: dict[str, tuple[LeftOut, Transform]] = {
            name: (one, "fisher") for name, one in ranking.statistics(p).items()
        }
        if scale.family == "multilabel":
            of_labels = rank_statistics_multilabel(y, p, design.cluster, design.n_clusters)
            statistics |= {name: (one, "logit") for name, one in of_labels.items()}
        for name, ((value, without), transform) in statistics.items():
            chosen = everything & np.isfinite(value)
            whole, left = with_mean(value, chosen), with_mean(without, chosen)
            low, high = jackknife_interval(whole, left, scale.params.confidence, transform, held)
            found.rows[key].append((name, whole, low, high, JACKKNIFE))


def best_of(means: Mapping[ModelKey, Mapping[str, Resampled]], metric: str) -> list[ModelKey]:
    """Models and baselines with a defined mean, best first; of equal ones the plainest, then names.

    A lookup of groups that are all unseen is the training mean, and must not be named instead of
    it.
    """
    value = {key: float(r[metric].value[0]) for key, r in means.items()}
    known = [key for key in value if np.isfinite(value[key])]
    return sorted(
        known, key=lambda key: (-round(value[key], TIE_DIGITS), key.features != "none", str(key))
    )


def _resample_one_way(found: Scored, scale: Scale, draws: Draws) -> None:
    """How the headline of the best model depends on what is resampled."""
    if len(draws.factors) < 2:
        return
    metrics = scale.metrics("curve")
    for name, metric in metrics.items():
        models = [key for key in best_of(found.means, name) if not key.is_baseline]
        for key in models[:1]:
            p = found.predictions[key]
            sums = cluster_sums(found.design, found.y, p, scale.params.margins)
            limits = {}
            for factor in draws.factors:
                averaged = {name: scale.averaged(name)}
                drawn = resample(sums, {name: metric}, draws.only(factor), averaged)[name]
                low, high = drawn.mean_only().interval(scale.params.confidence)
                limits[factor] = [float(low[0]), float(high[0])]
            found.one_way.setdefault(key, {})[name] = limits
