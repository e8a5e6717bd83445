"""Which rows are set side by side: best model, baselines, symbolic, audio, ceiling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pianoeval.evaluate.protocol.splits import most_telling
from pianoeval.report import words
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import (
    BASELINE_KINDS,
    MODEL_KINDS,
    MetricTable,
    Score,
    by_key,
    first,
    metric_table,
)

# With fewer content groups no exchange of models between them can give a two-sided p below .05, so
# no difference is called clear, whatever its interval.
_ENOUGH_CLUSTERS = 6


@dataclass(frozen=True)
class SchemeLine:
    """One line of the headline: what was reached on one scheme, and what it must beat.

    ``advantage`` is the paired difference (value, low, high) between best model and best baseline
    as `pianoeval.evaluate` resampled it, ``audio_lead`` that between best audio and best symbolic
    model; None if it did not.
    """

    scheme: str
    best: Score
    baseline: Score | None
    symbolic: Score | None
    audio: Score | None
    lookup: Score | None
    ceiling: Score | None
    advantage: tuple[float, float, float] | None = None
    audio_lead: tuple[float, float, float] | None = None
    fusion: Score | None = None

    @property
    def clear(self) -> bool | None:
        """Whether the paired interval lies above no advantage; None if it is not known."""
        return None if self.advantage is None else self.advantage[1] > 0

    @property
    def share(self) -> float | None:
        """Way covered from the best baseline (0) to the ceiling (1); None without them."""
        if self.baseline is None or self.ceiling is None:
            return None
        room = self.ceiling.value - self.baseline.value
        return (self.best.value - self.baseline.value) / room if room > 0 else None


def schemes(report: CorpusReport) -> list[str]:
    """Schemes with at least one model, from the leakiest to the strictest."""
    models = [f for f in report.results["features"].unique() if words.kind(f) in MODEL_KINDS]
    found = set(report.results.loc[report.results["features"].isin(models), "scheme"])
    return sorted(found, key=words.scheme_rank)


def headline_scheme(report: CorpusReport) -> str | None:
    """The most telling scheme that was run."""
    return most_telling(schemes(report))


def margin_metric(report: CorpusReport) -> str:
    """The pairwise metric of the headline: |Δ| > 0.05, else the first there is, else ''."""
    found = sorted(m for m in set(report.results["metric"]) if m.startswith("pairwise"))
    return "pairwise_005" if "pairwise_005" in found else (found[0] if found else "")


def scheme_line(
    table: MetricTable, scheme: str, summary: Mapping[str, Any] | None = None
) -> SchemeLine | None:
    """The line of one scheme; None if no model was evaluated on it."""
    found = table.scores(scheme)
    best, baseline = first(found, MODEL_KINDS), first(found, BASELINE_KINDS)
    if best is None:
        return None
    symbolic, audio = first(found, ("symbolic",)), first(found, ("audio",))
    told = _headline_entry(summary or {}, scheme, table)
    apart = told.get("audio_minus_symbolic") or {}
    return SchemeLine(
        scheme=scheme,
        best=best,
        baseline=baseline,
        symbolic=symbolic,
        audio=audio,
        lookup=first(found, ("lookup",)),
        ceiling=table.ceiling(scheme),
        advantage=_paired(
            told.get("advantage"), (told.get("best"), best), (told.get("baseline"), baseline)
        ),
        audio_lead=_paired(apart, (apart.get("audio"), audio), (apart.get("symbolic"), symbolic)),
        fusion=first(found, ("fusion",)),
    )


def _headline_entry(
    summary: Mapping[str, Any], scheme: str, table: MetricTable
) -> Mapping[str, Any]:
    found: Any = summary.get("headlines")
    for key in (scheme, table.subset, table.metric):
        found = found.get(key) if isinstance(found, Mapping) else None
    few = any(
        (size["scheme"], size["subset"]) == (scheme, table.subset)
        and size["clusters"] < _ENOUGH_CLUSTERS
        for size in summary.get("sizes") or []
    )
    return found if isinstance(found, Mapping) and not few else {}


def _paired(
    entry: Mapping[str, Any] | None, *compared: tuple[Mapping[str, Any] | None, Score | None]
) -> tuple[float, float, float] | None:
    """A paired difference of the summary, if it compares the two rows that are shown."""
    for named, shown in compared:
        if named is None or shown is None:
            return None
        if (named.get("features"), named.get("model")) != (shown.features, shown.model):
            return None
    entry = entry or {}
    value, low, high = (entry.get(name) for name in ("value", "ci_low", "ci_high"))
    if value is None or low is None or high is None:
        return None
    return float(value), float(low), float(high)


def headline(report: CorpusReport, metric: str) -> list[SchemeLine]:
    """One line a scheme, from the leakiest to the strictest."""
    table = metric_table(report, metric)
    lines = (scheme_line(table, scheme, report.summary) for scheme in table.schemes)
    return [line for line in lines if line is not None]


def metrics_summary(corpora: Sequence[CorpusReport]) -> dict[str, Any]:
    """The few numbers that ``dvc metrics diff`` compares.

    Returns
    -------
    dict
        corpus → scheme → ``best_model``, ``r2_pooled``, ``pairwise_005``, ``best_lookup``,
        ``ceiling``. The model is the best by pooled R²; ``pairwise_005`` is of that model;
        ``best_lookup`` and ``ceiling`` are of R². A value that does not exist is None.
        ``heads``, where there are any: R² of each head on frames, mean over seeds and dimensions.
    """
    return {report.corpus: _summary(report) for report in corpora}


def _summary(report: CorpusReport) -> dict[str, Any]:
    pairs = metric_table(report, "pairwise_005")
    out: dict[str, Any] = {}
    for line in headline(report, "r2_pooled"):
        of_best = by_key(pairs.scores(line.scheme)).get(line.best.key)
        out[line.scheme] = {
            "best_model": line.best.key,
            "r2_pooled": _rounded(line.best),
            "pairwise_005": _rounded(of_best),
            "best_lookup": _rounded(line.lookup),
            "ceiling": _rounded(line.ceiling),
        }
    for scheme, heads in _heads(report).items():
        out.setdefault(scheme, {})["heads"] = heads
    return out


def _heads(report: CorpusReport) -> dict[str, dict[str, float]]:
    """R² of heads on frames by scheme; points of sweeps are left to their table."""
    table = report.beside.contrastive
    if table is None:
        return {}
    rows = table[
        (table["kind"] == "head") & (table["metric"] == "r2_pooled") & table["value"].notna()
        & (table["statistic"] == "mean")
    ]  # fmt: skip
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows.to_dict("records"):
        of_head = found.setdefault(str(row["scheme"]), {}).setdefault(str(row["head"]), {})
        of_head[str(row["dimension"])] = float(row["value"])
    return {
        scheme: {
            head: round(of.get("mean", sum(of.values()) / len(of)), 4) for head, of in heads.items()
        }
        for scheme, heads in found.items()
    }


def _rounded(score: Score | None) -> float | None:
    return None if score is None or not math.isfinite(score.value) else round(score.value, 4)
