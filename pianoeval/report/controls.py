"""What is left when the labels are not the clips' own, and when the encoder was never trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import mapping
from pianoeval.report.figures import Figure
from pianoeval.report.scores import CONTROL_KINDS, Score, metric_table, subset_for
from pianoeval.report.svg import Scale, Svg, domain

#: Controls in the order of the table; others follow by name.
_ORDER = ("shuffled_labels", "swapped_pieces")
_WAYS = ("content×player", "content", "player")


@dataclass(frozen=True)
class ControlTable:
    """Pooled R² of the same model on its own labels, on relabelled clips, on random weights."""

    heads: list[str]
    rows: list[tuple[str, str, list[Score | None]]]
    notes: list[str]


def control_table(report: CorpusReport) -> ControlTable | None:
    """A row a scheme and view; None if no control was run."""
    table = metric_table(report, "r2_pooled")
    scores = {scheme: table.scores(scheme) for scheme in table.schemes}
    found = {s.features for part in scores.values() for s in part if s.kind in CONTROL_KINDS}
    every = {s.features for part in scores.values() for s in part}
    twins = {t: f for f in sorted(every) if (t := words.pretrained_twin(f)) and t in every}
    views = sorted({f.partition(":")[0] for f in found} | set(twins))
    if not views:
        return None
    made = {f.partition(":")[2] for f in found}
    kinds = [k for k in _ORDER if k in made] + sorted(made - set(_ORDER))
    rows = []
    for scheme, part in scores.items():
        for view in views:
            cells = [_best(part, view)] + [_best(part, f"{view}:{k}") for k in kinds]
            model = next((s.model for s in cells[1:] if s), None)
            own = _best(part, view, model) or cells[0]
            random = _best(part, twins[view], own.model if own else None) if view in twins else None
            rows.append((scheme, view, [own, *cells[1:], *([random] if twins else [])]))
    heads = ["own labels", *(words.plain(k) for k in kinds), *(["random weights"] if twins else [])]
    return ControlTable(heads, rows, [])


def _best(found: list[Score], features: str, model: str | None = None) -> Score | None:
    wanted = (s for s in found if s.features == features and model in (None, s.model))
    return next(wanted, None)


def resampling(report: CorpusReport, prefix: str) -> Figure | None:
    """Intervals of the best model by what is resampled; None if only one way was computed."""
    found = _one_way(report)
    if not found:
        return None
    values = [v for _, ways in found for _, low, high in ways for v in (low, high)]
    values += [score for (_, score), _ in found]
    scale = Scale(*domain(values, floor=-1.0, ceiling=1.0), 264, 514)
    bottom = 12 + sum(18 * len(ways) + 12 for _, ways in found)
    svg = Svg(
        632, bottom + 22, ident=f"{prefix}-resampling", title="Intervals by what is resampled",
        description="; ".join(
            f"{words.scheme_name(scheme)}: "
            + ", ".join(f"{way} {words.interval(low, high)}" for way, low, high in ways)
            for (scheme, _), ways in found
        ),
    )  # fmt: skip
    for tick in scale.ticks():
        cls = "zero" if abs(tick) < 1e-9 else "grid"
        svg.line(scale(tick), 8, scale(tick), bottom, cls)
        svg.text(scale(tick), bottom + 15, words.tick(tick), "t-muted t-small", anchor="middle")
    y = 12.0
    for (scheme, value), ways in found:
        svg.text(0, y + 13, words.scheme_name(scheme), "t-strong")
        for i, (way, low, high) in enumerate(ways):
            middle = y + 18 * i + 9
            svg.text(252, middle + 4, way, "t-muted", anchor="end")
            svg.line(scale(low), middle, scale(high), middle, "ci audio" if i else "ci whole")
            svg.line(scale(value), middle - 5, scale(value), middle + 5, "tickmark")
            svg.text(628, middle + 4, words.interval(low, high, 2), "t-small", anchor="end")
        y += 18 * len(ways) + 12
    return Figure("resampling", "R² pooled, best model of each scheme", svg)


def _one_way(
    report: CorpusReport,
) -> list[tuple[tuple[str, float], list[tuple[str, float, float]]]]:
    """((scheme, value), [(what is resampled, low, high)]) of the best model of every scheme."""
    subset = subset_for(report, "r2_pooled")
    headlines = mapping(report.summary.get("headlines"))
    out = []
    for scheme in select.schemes(report):
        block: Any = mapping(mapping(headlines.get(scheme)).get(subset)).get("r2_pooled")
        best = mapping(mapping(block).get("best"))
        one_way = mapping(best.get("one_way"))
        if not one_way:
            continue
        method = str(best.get("interval") or "both")
        ways = [("content and player" if method in ("both", _WAYS[0]) else method, best)]
        ways += [(f"{words.plain(str(name))} alone", entry) for name, entry in one_way.items()]
        spans = [(way, *limits) for way, entry in ways if (limits := _limits(entry)) is not None]
        value = best.get("value")
        if isinstance(value, float) and len(spans) > 1:
            out.append(((scheme, value), spans))
    return out


def _limits(entry: Any) -> tuple[float, float] | None:
    pair = (
        [entry.get("ci_low"), entry.get("ci_high")] if isinstance(entry, Mapping) else list(entry)
    )
    low, high = (float(v) if v is not None else math.nan for v in pair)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
