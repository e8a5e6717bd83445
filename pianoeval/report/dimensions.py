"""One dimension at a time: dot plot, heat table, predicted against rated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.figures import Figure, reference
from pianoeval.report.scores import (
    BASELINE_KINDS,
    MODEL_KINDS,
    MetricTable,
    Score,
    best_by_features,
    by_key,
    first,
    metric_table,
)
from pianoeval.report.svg import Scale, Svg, domain

#: Points drawn over all panels of a scatter; above it every k-th clip is drawn, and said so.
_MAX_POINTS = 30_000
#: Below this many points in a panel they are drawn darker.
_FEW_POINTS = 400
_ROW, _LABEL, _PLOT = 21.0, 152.0, 214.0


def dimension_order(report: CorpusReport, found: Sequence[str]) -> list[str]:
    """Dimensions in the order of the labels; those without labels last."""
    if report.labels is None:
        return list(found)
    known = list(dict.fromkeys(report.labels["dimension"].astype(str)))
    return [d for d in known if d in found] + [d for d in found if d not in known]


def poles(report: CorpusReport) -> dict[str, tuple[str, str]]:
    """Low and high pole of every dimension that has them."""
    labels = report.labels
    if labels is None or not {"low_pole", "high_pole"} <= set(labels.columns):
        return {}
    once = labels.drop_duplicates("dimension")
    return {
        str(row.dimension): (str(row.low_pole), str(row.high_pole))
        for row in once.itertuples(index=False)
        if isinstance(row.low_pole, str) and isinstance(row.high_pole, str) and row.low_pole
    }


def dot_plot(report: CorpusReport, scheme: str, metric: str, ident: str) -> Figure | None:
    """Every dimension: best symbolic and audio model, best baseline, ceiling."""
    table = metric_table(report, metric)
    names = dimension_order(report, table.dimensions)
    line = select.scheme_line(table, scheme)
    if not names or line is None:
        return None
    chosen = [s for s in (line.baseline, line.symbolic, line.audio) if s is not None]
    values = {name: _values(table, scheme, name, chosen) for name in names}
    tops = {name: table.ceiling(scheme, name) for name in names}
    every = [s.value for found in values.values() for s in found]
    every += [c.value for c in tops.values() if c is not None]
    limits = domain([*every, reference(metric)], floor=-0.5, ceiling=1.0)
    scale = Scale(*limits, _LABEL, _LABEL + _PLOT)
    bottom = 8 + _ROW * len(names)
    svg = Svg(
        _LABEL + _PLOT + 12, bottom + 22, ident=ident,
        title=f"{words.metric_name(metric)} by dimension, {words.scheme_name(scheme)} folds",
        description="; ".join(s.name for s in chosen) + "; ceiling where there is one.",
    )  # fmt: skip
    for tick in scale.ticks():
        cls = "zero" if abs(tick - reference(metric)) < 1e-9 else "grid"
        svg.line(scale(tick), 8, scale(tick), bottom, cls)
        svg.text(scale(tick), bottom + 15, words.tick(tick), "t-muted t-small", anchor="middle")
    for i, name in enumerate(names):
        y = 8 + _ROW * (i + 0.5)
        svg.text(_LABEL - 12, y + 4, words.plain(name)[:24], anchor="end")
        found, top = values[name], tops[name]
        marks = [*found, *([top] if top is not None else [])]
        if len(marks) > 1:
            ends = [scale(s.value) for s in marks]
            svg.line(min(ends), y, max(ends), y, "track")
        for score in reversed(marks):
            tip = f"{words.plain(name)}, {score.name}: {words.number(score.value)}"
            if scale.inside(score.value):
                svg.mark(scale(score.value), y, score.kind, tip)
            else:
                x = scale(score.value)
                svg.add("path", d=f"M{x + 5:.1f} {y - 4:.1f}l-5 4l5 4", cls=f"curve {score.kind}")
    aside = "; ".join(s.name for s in chosen)
    return Figure(f"dimensions-{metric}-{scheme}", words.metric_name(metric), svg, aside)


def _values(
    table: MetricTable, scheme: str, dimension: str, chosen: Sequence[Score]
) -> list[Score]:
    found = by_key(table.scores(scheme, dimension))
    return [found[score.key] for score in chosen if score.key in found]


@dataclass(frozen=True)
class HeatTable:
    """Pooled R² of dimension × best model of every view, on one scheme."""

    scheme: str
    columns: list[Score]
    rows: list[tuple[str, tuple[str, str] | None, list[float | None]]]


def heat_table(report: CorpusReport, scheme: str) -> HeatTable | None:
    """Baseline, best model of every view (by the mean), and the ceiling, a row a dimension."""
    table = metric_table(report, "r2_pooled")
    names = dimension_order(report, table.dimensions)
    found = table.scores(scheme)
    models = best_by_features(found)
    if not names or not models:
        return None
    baseline, top = first(found, BASELINE_KINDS), table.ceiling(scheme)
    if top is not None and top.model == "exact_labels":
        # A column of ones would tell nothing.
        top = None
    columns = [*([top] if top else []), *([baseline] if baseline else []), *models]
    ends = poles(report)
    rows: list[tuple[str, tuple[str, str] | None, list[float | None]]] = []
    for name in [*names, "mean"]:
        limit = table.ceiling(scheme, name)
        known = by_key([*table.scores(scheme, name), *([limit] if limit else [])])
        values = [known[c.key].value if c.key in known else None for c in columns]
        rows.append((name, ends.get(name), values))
    return HeatTable(scheme, columns, rows)


@dataclass(frozen=True)
class Scatter:
    """Predicted against rated for one model, one panel a dimension."""

    scheme: str
    score: Score
    panels: list[Figure]
    n_clips: int
    every: int


def predicted_and_rated(report: CorpusReport, scheme: str, score: Score) -> pd.DataFrame | None:
    """``clip, dimension, rated, predicted`` (mean over seeds), or None without predictions."""
    if report.labels is None or score.features not in report.predictions:
        return None
    table = report.predictions[score.features]
    keep = (table["scheme"] == scheme) & (table["model"] == score.model)
    part = table.loc[keep & (table["task"] == report.task)]
    if part.empty:
        return None
    predicted = part.groupby(["clip", "dimension"], observed=True)["prediction"].mean()
    labels = report.labels.loc[report.labels["task"] == report.task]
    rated = labels.set_index(["clip", "dimension"])["value"]
    both = pd.concat({"rated": rated, "predicted": predicted.astype("float64")}, axis=1).dropna()
    return both.reset_index().sort_values(["dimension", "clip"], ignore_index=True)


def scatter(report: CorpusReport, scheme: str, prefix: str) -> Scatter | None:
    """Small multiples of the best model of a scheme that has predictions."""
    table = metric_table(report, "r2_pooled")
    best = first(table.scores(scheme), MODEL_KINDS)
    both = predicted_and_rated(report, scheme, best) if best else None
    if best is None or both is None or both.empty:
        return None
    # A few wild predictions must not squeeze all panels; they are drawn at the edge.
    usual = both["predicted"].quantile([0.002, 0.998])
    limits = domain([*both["rated"], *usual], floor=-1e9, ceiling=1e9)
    clips = sorted(set(both["clip"]))
    every = -(-len(both) // _MAX_POINTS)
    shown = set(clips[::every])
    names = dimension_order(report, sorted(set(both["dimension"])))
    panels = []
    for i, name in enumerate(names):
        part = both.loc[(both["dimension"] == name) & both["clip"].isin(shown)]
        score = by_key(table.scores(scheme, name)).get(best.key)
        value = score.value if score else None
        panels.append(_panel(part, name, best.kind, value, limits, f"{prefix}-s{i}"))
    return Scatter(scheme, best, panels, len(clips), every)


def _panel(
    part: pd.DataFrame,
    name: str,
    kind: str,
    value: float | None,
    limits: tuple[float, float],
    ident: str,
) -> Figure:
    side = 132.0
    label = words.plain(name)
    svg = Svg(
        side + 12, side + 12, ident=ident, title=f"{label}: predicted against rated",
        description=f"{len(part)} clips, R² pooled {words.number(value)}",
    )  # fmt: skip
    x, y = Scale(*limits, 6, 6 + side), Scale(*limits, 6 + side, 6)
    svg.add("rect", x=6, y=6, width=side, height=side, cls="frame")
    svg.line(x(limits[0]), y(limits[0]), x(limits[1]), y(limits[1]), "zero")
    pixels = {
        (round(x(r), 1), round(y(p), 1))
        for r, p in zip(part["rated"], part["predicted"], strict=True)
    }
    cls = f"dots {kind}" + (" few" if len(pixels) < _FEW_POINTS else "")
    svg.add("path", d="".join(f"M{a:g} {b:g}h0" for a, b in sorted(pixels)), cls=cls)
    return Figure(f"scatter-{name}", label, svg, words.number(value, 2))
