"""Figures of one corpus as inline SVG: forests, layer curves, the strip of the headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pianoeval.report import words
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import (
    BASELINE_KINDS,
    CONTROL_KINDS,
    MODEL_KINDS,
    MetricTable,
    Score,
    best_by_features,
    metric_table,
)
from pianoeval.report.select import SchemeLine
from pianoeval.report.svg import Scale, Svg, domain

_ROW = 23.0
_LABEL, _PLOT, _VALUE = 174.0, 166.0, 52.0


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption; ``name`` is unique within a corpus and serves as file name."""

    name: str
    caption: str
    svg: Svg
    aside: str = ""


def reference(metric: str) -> float:
    """The value of a model that knows nothing: chance, or the mean of all labels."""
    return 0.5 if metric.startswith("pairwise") else 0.0


def metric_domain(table: MetricTable) -> tuple[float, float]:
    """Range of an axis that all schemes share; intervals far below are cut and marked."""
    values = [reference(table.metric)]
    for scheme in table.schemes:
        rows = forest_rows(table.scores(scheme))
        top = table.ceiling(scheme)
        shown = [score for part in (*rows, [top] if top else []) for score in part]
        values += [v for s in shown for v in (s.value, s.low, s.high)]
    floor = 0.3 if table.metric.startswith("pairwise") else -0.5
    return domain(values, floor=floor, ceiling=1.0)


def _axis(svg: Svg, scale: Scale, top: float, bottom: float, metric: str) -> None:
    known_nothing = reference(metric)
    for tick in scale.ticks():
        cls = "zero" if abs(tick - known_nothing) < 1e-9 else "grid"
        svg.line(scale(tick), top, scale(tick), bottom, cls)
        svg.text(scale(tick), bottom + 15, words.tick(tick), "t-muted t-small", anchor="middle")


def _interval(svg: Svg, scale: Scale, y: float, score: Score) -> None:
    """The interval; an arrow at the edge of the plot where it, or the value, goes on beyond."""
    reach = [score.low, score.high] if score.is_finite else [score.value]
    if score.is_finite:
        svg.line(scale(score.low), y, scale(score.high), y, f"ci {score.kind}")
    for beyond, x, way in (
        (min(reach) < scale.low, scale.start, 5),
        (max(reach) > scale.high, scale.stop, -5),
    ):
        if beyond:
            d = f"M{x + way:.1f} {y - 4:.1f}l{-way} 4l{way} 4"
            svg.add("path", d=d, cls=f"curve {score.kind}")


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def forest_rows(found: Sequence[Score]) -> tuple[list[Score], list[Score], list[Score]]:
    """Rows of a forest, each best first: best model of every view, all baselines, all controls."""
    baselines = [s for s in found if s.kind in BASELINE_KINDS]
    return best_by_features(found), baselines, [s for s in found if s.kind in CONTROL_KINDS]


def _forest_row(svg: Svg, scale: Scale, y: float, score: Score) -> None:
    tip = f"{score.name}: {words.number(score.value)}"
    if span := words.interval(score.low, score.high):
        tip += f", interval {span}"
    if score.kind in MODEL_KINDS:
        strong = _clipped(score.features, 17)
        muted = _clipped(words.plain(score.model) + score.seed, max(23 - len(strong), 4))
    elif score.kind in CONTROL_KINDS:
        base = score.features.partition(":")[0]
        # "shuffled" for "shuffled labels": the whole name is in the tip and in the table.
        made = words.control_name(score.features).partition(" ")[0]
        strong, muted = "", f"{_clipped(base, 14)}, {_clipped(made, 10)}"
    else:
        # The mark already says that the row is a lookup.
        strong, muted = "", _clipped(words.model_name(score.features, score.model), 23)
    svg.two_tone(_LABEL - 12, y + 4, strong, muted, anchor="end")
    _interval(svg, scale, y, score)
    if scale.inside(score.value):
        svg.mark(scale(score.value), y, score.kind, tip)
    strength = "t-strong" if score.kind in MODEL_KINDS else "t-muted"
    right = _LABEL + _PLOT + _VALUE
    svg.text(right, y + 4, words.number(score.value), strength, anchor="end")


def forest(
    table: MetricTable, scheme: str, limits: tuple[float, float], ident: str
) -> Figure | None:
    """Values with intervals on one scheme, beside the baselines and the ceiling.

    The band reaches from the best baseline to the ceiling: the room in which listening can show.
    None if no model was evaluated on the scheme.
    """
    models, baselines, controls = forest_rows(table.scores(scheme))
    if not models:
        return None
    top, rows = 24.0, _row_tops(24.0, (models, baselines, controls))
    bottom = rows[-1][0] + _ROW
    name, measure = words.scheme_name(scheme), words.metric_name(table.metric)
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
    top_value = table.ceiling(scheme)
    if top_value is not None:
        start = baselines[0].value if baselines else reference(table.metric)
        if top_value.value > start:
            width = scale(top_value.value) - scale(start)
            svg.add("rect", x=scale(start), y=top, width=width, height=bottom - top, cls="band")
    _axis(svg, scale, top, bottom, table.metric)
    if top_value is not None:
        x = scale(top_value.value)
        svg.line(x, top - 4, x, bottom, "ceil")
        label = f"ceiling {words.number(top_value.value)}"
        svg.text(min(x, _LABEL + _PLOT), top - 9, label, "t-ceiling t-small", anchor="middle")
    for row, score in rows:
        _forest_row(svg, scale, row + _ROW / 2, score)
    return Figure(f"{table.metric}-{scheme}", name, svg)


def _row_tops(top: float, groups: Sequence[Sequence[Score]]) -> list[tuple[float, Score]]:
    """Where each row begins: groups stand apart."""
    placed: list[tuple[float, Score]] = []
    for group in groups:
        if group and placed:
            top += 10.0
        for score in group:
            placed.append((top, score))
            top += _ROW
    return placed


def forests(report: CorpusReport, metric: str, prefix: str) -> list[Figure]:
    """One forest a scheme on a shared axis, from the leakiest to the strictest."""
    table = metric_table(report, metric)
    limits = metric_domain(table)
    drawn = (
        forest(table, scheme, limits, f"{prefix}-{metric}-{i}")
        for i, scheme in enumerate(table.schemes)
    )
    return [figure for figure in drawn if figure is not None]


def strip(line: SchemeLine, limits: tuple[float, float], ident: str) -> Svg:
    """The headline of one scheme as a line: baseline, symbolic, audio, fusion, ceiling."""
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
    for score in (line.baseline, line.symbolic, line.audio, line.fusion):
        if score is not None and scale.inside(score.value):
            tip = f"{score.name} {words.number(score.value)}"
            svg.mark(scale(score.value), 13, score.kind, tip)
    return svg
