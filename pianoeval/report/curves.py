"""Layer curves: how far each layer of an encoder gets, one line a scheme."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.figures import Figure, reference
from pianoeval.report.select import Score
from pianoeval.report.svg import Scale, Svg, domain


def layer_views(report: CorpusReport) -> dict[str, list[str]]:
    """Encoders with at least three single-layer views, and those views in order."""
    found: dict[str, list[str]] = {}
    for features in sorted(set(report.results["features"])):
        if part := words.layer_of(features):
            found.setdefault(part[0], []).append(features)

    def rank(features: str) -> tuple[int, int, str]:
        part = words.layer_of(features)
        return words.layer_rank(part[1] if part else features)

    return {e: sorted(views, key=rank) for e, views in found.items() if len(views) >= 3}


def layer_model(table: pd.DataFrame, views: Sequence[str]) -> str | None:
    """The model shown along the layers: one that has them all, best on average."""
    part = table.loc[table["features"].isin(views) & (table["dimension"] == "mean")]
    per_model = part.groupby("model")
    full = per_model["features"].nunique() == len(views)
    means = per_model["value"].mean()[full]
    ranked = sorted(means.items(), key=lambda item: (-float(item[1]), str(item[0])))
    return str(ranked[0][0]) if ranked else None


def _spread(positions: list[float], gap: float) -> list[float]:
    """Positions pushed down until no two are closer than ``gap``."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed, last = list(positions), -math.inf
    for i in order:
        placed[i] = last = max(positions[i], last + gap)
    return placed


def _area(found: Sequence[Score], xs: Sequence[float], y: Scale) -> str:
    upper = [f"{x:.1f} {y(s.high):.1f}" for x, s in zip(xs, found, strict=True)]
    lower = [f"{x:.1f} {y(s.low):.1f}" for x, s in zip(xs, found, strict=True)]
    return "M" + "L".join(upper + lower[::-1]) + "z"


def _draw_curves(svg: Svg, curves: dict[str, list[Score]], xs: list[float], y: Scale) -> None:
    ends = _spread([y(found[-1].value) for found in curves.values()], 14)
    for rank, (scheme, found) in enumerate(curves.items()):
        last = rank == len(curves) - 1
        if last and all(math.isfinite(v) for s in found for v in (s.low, s.high)):
            svg.add("path", d=_area(found, xs, y), cls="area audio")
        points = [f"{x:.1f} {y(s.value):.1f}" for x, s in zip(xs, found, strict=True)]
        shade = f"audio shade{round(4 * rank / max(len(curves) - 1, 1))}"
        svg.add("path", d="M" + "L".join(points), cls=f"curve {shade}")
        for x, score in zip(xs, found, strict=True):
            tip = f"{score.features}, {words.scheme_name(scheme)}: {words.number(score.value)}"
            svg.dot(x, y(score.value), shade, tip)
        label = words.scheme_name(scheme)
        svg.text(xs[-1] + 12, ends[rank] + 4, label, "t-small t-strong" if last else "t-small")


def layer_curve(
    report: CorpusReport, encoder: str, views: Sequence[str], metric: str, ident: str
) -> Figure | None:
    """One line a scheme over the layers of an encoder, all with the same model."""
    table = select.rows_of(report, metric)
    model = layer_model(table, views)
    if model is None:
        return None
    curves: dict[str, list[Score]] = {}
    for scheme in select.schemes(report):
        by_view = {s.features: s for s in select.scores(table, scheme) if s.model == model}
        if all(view in by_view for view in views):
            curves[scheme] = [by_view[view] for view in views]
    if not curves:
        return None
    values = [v for found in curves.values() for s in found for v in (s.value,)]
    values += [v for s in list(curves.values())[-1] for v in (s.low, s.high)]
    low, high = domain(values, floor=-0.5, ceiling=1.0)
    measure = words.metric_name(metric)
    svg = Svg(
        424, 262, ident=ident, title=f"{measure} by layer of {encoder}",
        description=f"{words.plain(model)} on each layer, one line a scheme.",
    )  # fmt: skip
    x, y = Scale(0, len(views) - 1, 44, 318), Scale(low, high, 224, 12)
    for tick in y.ticks():
        svg.line(34, y(tick), 328, y(tick), "zero" if tick == reference(metric)[0] else "grid")
        svg.text(28, y(tick) + 4, words.number(tick, 2), "t-muted t-small", anchor="end")
    xs = [x(i) for i in range(len(views))]
    for position, view in zip(xs, views, strict=True):
        layer = words.layer_of(view)
        svg.text(position, 244, layer[1] if layer else view, "t-muted t-small", anchor="middle")
    svg.text(181, 258, f"layer of {encoder}", "t-muted t-small", anchor="middle")
    _draw_curves(svg, curves, xs, y)
    caption = f"{measure}, {words.plain(model)}; the band is the interval on the last scheme"
    return Figure(f"layers-{encoder}-{metric}", caption, svg)
