"""One dimension at a time: dot plot, heat table, predicted against rated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.figures import Figure
from pianoeval.report.select import Score
from pianoeval.report.svg import Scale, Svg, domain

#: Points drawn over all panels of a scatter; above it every k-th clip is drawn, and said so.
_MAX_POINTS = 30_000
_ROW, _LABEL, _PLOT = 21.0, 150.0, 250.0


def dimension_order(report: CorpusReport, table: pd.DataFrame) -> list[str]:
    """Dimensions in the order of the labels, else of the results; without the mean."""
    found = [d for d in dict.fromkeys(table["dimension"]) if d not in ("mean", "")]
    if report.labels is None:
        return found
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


def dot_plot(report: CorpusReport, scheme: str, ident: str) -> Figure | None:
    """Pooled R² of every dimension: best symbolic and audio model, baseline and ceiling."""
    table = select.rows_of(report, "r2_pooled")
    names = dimension_order(report, table)
    line = select.scheme_line(table, scheme)
    if not names or line is None:
        return None
    chosen = [s for s in (line.baseline, line.symbolic, line.audio) if s is not None]
    values = {name: _values(table, scheme, name, chosen) for name in names}
    tops = {name: select.ceiling(table, scheme, name) for name in names}
    every = [s.value for found in values.values() for s in found]
    every += [c.value for c in tops.values() if c is not None]
    scale = Scale(*domain(every, floor=-0.5, ceiling=1.0), _LABEL, _LABEL + _PLOT)
    bottom = 8 + _ROW * len(names)
    svg = Svg(
        _LABEL + _PLOT + 12, bottom + 22, ident=ident,
        title=f"R² pooled by dimension, {words.scheme_name(scheme)} folds",
        description="; ".join(s.name for s in chosen) + "; ceiling where there is one.",
    )  # fmt: skip
    for tick in scale.ticks():
        svg.line(scale(tick), 8, scale(tick), bottom, "zero" if tick == 0 else "grid")
        svg.text(
            scale(tick), bottom + 15, words.number(tick, 1), "t-muted t-small", anchor="middle"
        )
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
    return Figure(f"dimensions-{scheme}", "; ".join(s.name for s in chosen), svg)


def _values(
    table: pd.DataFrame, scheme: str, dimension: str, chosen: Sequence[Score]
) -> list[Score]:
    wanted = {s.key: s.kind for s in chosen}
    return [s for s in select.scores(table, scheme, dimension) if s.key in wanted]


@dataclass(frozen=True)
class HeatTable:
    """Pooled R² of dimension × best model of every view, on one scheme."""

    scheme: str
    columns: list[Score]
    rows: list[tuple[str, tuple[str, str] | None, list[float | None]]]


def heat_table(report: CorpusReport, scheme: str) -> HeatTable | None:
    """Baseline, best model of every view (by the mean), and the ceiling, a row a dimension."""
    table = select.rows_of(report, "r2_pooled")
    names = dimension_order(report, table)
    found = select.scores(table, scheme)
    models = select.best_by_features(found)
    if not names or not models:
        return None
    baseline, top = select.first(found, select.BASELINE_KINDS), select.ceiling(table, scheme)
    columns = [*([baseline] if baseline else []), *models, *([top] if top else [])]
    ends = poles(report)
    rows: list[tuple[str, tuple[str, str] | None, list[float | None]]] = []
    for name in [*names, "mean"]:
        values = {s.key + s.seed: s.value for s in select.scores(table, scheme, name)}
        if limit := select.ceiling(table, scheme, name):
            values[limit.key + limit.seed] = limit.value
        rows.append((name, ends.get(name), [values.get(c.key + c.seed) for c in columns]))
    return HeatTable(scheme, columns, rows)


@dataclass(frozen=True)
class Scatter:
    """Predicted against rated for one model, one panel a dimension."""

    scheme: str
    score: Score
    panels: list[Figure]
    n_clips: int
    every: int


def predicted_and_rated(
    report: CorpusReport, scheme: str, score: Score
) -> pd.DataFrame | None:
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
    table = select.rows_of(report, "r2_pooled")
    best = select.first(select.scores(table, scheme), select.MODEL_KINDS)
    both = predicted_and_rated(report, scheme, best) if best else None
    if best is None or both is None or both.empty:
        return None
    limits = domain([*both["rated"], *both["predicted"]], floor=-1e9, ceiling=1e9)
    clips = sorted(set(both["clip"]))
    every = -(-len(both) // _MAX_POINTS)
    shown = set(clips[::every])
    names = dimension_order(report, both)
    panels = []
    for i, name in enumerate(names):
        part = both.loc[(both["dimension"] == name) & both["clip"].isin(shown)]
        values = {s.key + s.seed: s.value for s in select.scores(table, scheme, name)}
        value = values.get(best.key + best.seed)
        panels.append(_panel(part, name, value, limits, f"{prefix}-s{i}"))
    return Scatter(scheme, best, panels, len(clips), every)


def _panel(
    part: pd.DataFrame, name: str, value: float | None, limits: tuple[float, float], ident: str
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
    svg.add("path", d="".join(f"M{a:g} {b:g}h0" for a, b in sorted(pixels)), cls="dots audio")
    return Figure(f"scatter-{name}", f"{label} {words.number(value, 2)}", svg)
