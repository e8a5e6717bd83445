"""Figures of one corpus as inline SVG: forests, layer curves, the strip of the headline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.select import SchemeLine, Score
from pianoeval.report.svg import Scale, Svg, domain

_ROW = 23.0
_LABEL, _PLOT, _VALUE = 168.0, 210.0, 46.0


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption; ``name`` is unique within a corpus and serves as file name."""

    name: str
    caption: str
    svg: Svg


def reference(metric: str) -> tuple[float, str]:
    """The value of a model that knows nothing, and its name."""
    return (0.5, "chance") if metric.startswith("pairwise") else (0.0, "0")


def metric_domain(table: pd.DataFrame, metric: str) -> tuple[float, float]:
    """Range of an axis that all schemes share; intervals far below are cut and marked."""
    means = table.loc[table["dimension"] == "mean"]
    values = [*means["value"], *means["ci_low"], *means["ci_high"], reference(metric)[0]]
    floor = 0.3 if metric.startswith("pairwise") else -0.5
    return domain([float(v) for v in values], floor=floor, ceiling=1.0)


def _axis(svg: Svg, scale: Scale, top: float, bottom: float, metric: str) -> None:
    reference = reference(metric)[0]
    for tick in scale.ticks():
        cls = "zero" if abs(tick - reference) < 1e-9 else "grid"
        svg.line(scale(tick), top, scale(tick), bottom, cls)
        text = words.number(tick, 1 if abs(tick * 10 - round(tick * 10)) < 1e-9 else 2)
        svg.text(scale(tick), bottom + 15, text, "t-muted t-small", anchor="middle")


def _interval(svg: Svg, scale: Scale, y: float, score: Score) -> None:
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return
    svg.line(scale(score.low), y, scale(score.high), y, f"ci {score.kind}")
    for edge, sign in ((score.low, -1), (score.high, 1)):
        if not scale.inside(edge):
            x = scale(edge)
            d = f"M{x - 5 * sign:.1f} {y - 4:.1f}l{5 * sign} 4l{-5 * sign} 4"
            svg.add("path", d=d, cls=f"curve {score.kind}")


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def forest_rows(found: Sequence[Score]) -> tuple[list[Score], list[Score]]:
    """Rows of a forest: the best model of every view, then all baselines, each best first."""
    return select.best_by_features(found), [s for s in found if s.kind in select.BASELINE_KINDS]


def _forest_row(svg: Svg, scale: Scale, y: float, score: Score) -> None:
    tip = f"{score.name}: {words.number(score.value)}"
    if span := words.interval(score.low, score.high):
        tip += f", interval {span}"
    if score.kind in select.MODEL_KINDS:
        strong = _clipped(score.features, 16)
        muted = _clipped(words.plain(score.model) + score.seed, 26 - len(strong))
    else:
        strong, muted = "", _clipped(score.name, 27)
    svg.two_tone(_LABEL - 12, y + 4, strong, muted, anchor="end")
    _interval(svg, scale, y, score)
    if scale.inside(score.value):
        svg.mark(scale(score.value), y, score.kind, tip)
    strength = "t-strong" if score.kind in select.MODEL_KINDS else "t-muted"
    right = _LABEL + _PLOT + _VALUE
    svg.text(right, y + 4, words.number(score.value), strength, anchor="end")


def forest(
    table: pd.DataFrame, metric: str, scheme: str, limits: tuple[float, float], ident: str
) -> Figure | None:
    """Values with intervals on one scheme, beside the baselines and the ceiling.

    The band reaches from the best baseline to the ceiling: the room in which listening can show.
    None if no model was evaluated on the scheme.
    """
    found = select.scores(table, scheme)
    models, baselines = forest_rows(found)
    if not models:
        return None
    top, gap = 24.0, 10.0 if baselines else 0.0
    bottom = top + _ROW * (len(models) + len(baselines)) + gap
    name, measure = words.scheme_name(scheme), words.metric_name(metric)
    best = models[0]
    summary = f"Best: {best.name}, {words.number(best.value)}."
    if baselines:
        summary += f" Best without listening: {baselines[0].name}, "
        summary += f"{words.number(baselines[0].value)}."
    svg = Svg(
        _LABEL + _PLOT + _VALUE + 4, bottom + 22, ident=ident,
        title=f"{measure}, {name} folds", description=summary,
    )  # fmt: skip
    scale = Scale(*limits, _LABEL, _LABEL + _PLOT)
    top_value = select.ceiling(table, scheme)
    if top_value is not None:
        start = baselines[0].value if baselines else reference(metric)[0]
        if top_value.value > start:
            width = scale(top_value.value) - scale(start)
            svg.add("rect", x=scale(start), y=top, width=width, height=bottom - top, cls="band")
    _axis(svg, scale, top, bottom, metric)
    if top_value is not None:
        x = scale(top_value.value)
        svg.line(x, top - 4, x, bottom, "ceil")
        label = f"ceiling {words.number(top_value.value)}"
        svg.text(min(x, _LABEL + _PLOT), top - 9, label, "t-ceiling t-small", anchor="middle")
    for i, score in enumerate([*models, *baselines]):
        y = top + _ROW * (i + 0.5) + (gap if i >= len(models) else 0)
        _forest_row(svg, scale, y, score)
    return Figure(f"{metric}-{scheme}", name, svg)


def forests(report: CorpusReport, metric: str, prefix: str) -> list[Figure]:
    """One forest a scheme on a shared axis, from the leakiest to the strictest."""
    table = select.rows_of(report, metric)
    if table.empty:
        return []
    limits = metric_domain(table, metric)
    drawn = (
        forest(table, metric, scheme, limits, f"{prefix}-{metric}-{i}")
        for i, scheme in enumerate(select.schemes(report))
    )
    return [figure for figure in drawn if figure is not None]


def strip(line: SchemeLine, limits: tuple[float, float], ident: str) -> Svg:
    """The headline of one scheme as a line: baseline, symbolic, best model, ceiling."""
    best = line.best
    svg = Svg(
        200, 26, ident=ident, title=f"{words.scheme_name(line.scheme)} folds, drawn",
        description=f"{best.name} {words.number(best.value)}",
    )  # fmt: skip
    scale = Scale(*limits, 8, 192)
    svg.line(8, 13, 192, 13, "track")
    if line.baseline is not None and line.ceiling is not None:
        left, right = scale(line.baseline.value), scale(line.ceiling.value)
        if right > left:
            svg.add("rect", x=left, y=4, width=right - left, height=18, cls="band")
    if line.ceiling is not None:
        svg.line(scale(line.ceiling.value), 3, scale(line.ceiling.value), 23, "ceil")
    _interval(svg, scale, 13, best)
    for score in (line.baseline, line.symbolic, best):
        if score is not None and scale.inside(score.value):
            svg.mark(scale(score.value), 13, score.kind, f"{score.name} {words.number(score.value)}")
    return svg
