"""Layer curves: how far each layer of an encoder gets, one line a scheme."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.figures import Figure, reference
from pianoeval.report.scores import MetricTable, Score, by_key, metric_table
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


def layer_model(table: MetricTable, views: Sequence[str]) -> str | None:
    """The model shown along the layers: one that has them all, best on average."""
    found: dict[str, list[Score]] = {}
    for scheme in table.schemes:
        for score in table.scores(scheme):
            if score.features in views:
                found.setdefault(score.model, []).append(score)
    full = {m: s for m, s in found.items() if {score.features for score in s} == set(views)}
    means = {m: sum(score.value for score in s) / len(s) for m, s in full.items()}
    return min(means, key=lambda m: (-means[m], m)) if means else None


def spread(positions: Sequence[float], gap: float, limit: float) -> list[float]:
    """Positions moved until no two are closer than ``gap``, the last at ``limit`` at most."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed, last = list(positions), -math.inf
    for i in order:
        placed[i] = last = max(positions[i], last + gap)
    for i in reversed(order):
        placed[i] = limit = min(placed[i], limit)
        limit -= gap
    return placed


def _area(found: Sequence[Score], xs: Sequence[float], y: Scale) -> str:
    upper = [f"{x:.1f} {y(s.high):.1f}" for x, s in zip(xs, found, strict=True)]
    lower = [f"{x:.1f} {y(s.low):.1f}" for x, s in zip(xs, found, strict=True)]
    return "M" + "L".join(upper + lower[::-1]) + "z"


def _draw_curves(
    svg: Svg, curves: dict[str, list[Score]], headline: str, xs: list[float], y: Scale
) -> None:
    ends = spread([y(found[-1].value) for found in curves.values()], 14, y.start)
    for rank, (scheme, found) in enumerate(curves.items()):
        main = scheme == headline
        if main and all(score.is_finite for score in found):
            svg.add("path", d=_area(found, xs, y), cls="area audio")
        points = [f"{x:.1f} {y(s.value):.1f}" for x, s in zip(xs, found, strict=True)]
        shade = f"audio shade{round(4 * rank / max(len(curves) - 1, 1))}"
        svg.add("path", d="M" + "L".join(points), cls=f"curve {shade}")
        for x, score in zip(xs, found, strict=True):
            tip = f"{score.features}, {words.scheme_name(scheme)}: {words.number(score.value)}"
            svg.dot(x, y(score.value), shade, tip)
        label = words.scheme_name(scheme)
        svg.text(xs[-1] + 12, ends[rank] + 4, label, "t-small t-strong" if main else "t-small")


def layer_curve(
    report: CorpusReport, encoder: str, views: Sequence[str], metric: str, ident: str
) -> Figure | None:
    """One line a scheme over the layers of an encoder, all with the same model."""
    table = metric_table(report, metric)
    model = layer_model(table, views)
    if model is None:
        return None
    curves: dict[str, list[Score]] = {}
    for scheme in table.schemes:
        found = by_key(table.scores(scheme))
        if all(f"{view}/{model}" in found for view in views):
            curves[scheme] = [found[f"{view}/{model}"] for view in views]
    if not curves:
        return None
    values = [s.value for found in curves.values() for s in found]
    main = select.headline_scheme(report)
    headline = main if main in curves else list(curves)[-1]
    values += [v for s in curves[headline] for v in (s.low, s.high)]
    low, high = domain(values, floor=-1.0, ceiling=1.0)
    measure = words.metric_name(metric)
    svg = Svg(
        410, 262, ident=ident, title=f"{measure} by layer of {encoder}",
        description=f"{words.plain(model)} on each layer, one line a scheme.",
    )  # fmt: skip
    x, y = Scale(0, len(views) - 1, 50, 282), Scale(low, high, 224, 12)
    for tick in y.ticks():
        svg.line(40, y(tick), 290, y(tick), "zero" if tick == reference(metric) else "grid")
        svg.text(34, y(tick) + 4, words.tick(tick), "t-muted t-small", anchor="end")
    xs = [x(i) for i in range(len(views))]
    for position, view in zip(xs, views, strict=True):
        layer = words.layer_of(view)
        svg.text(position, 244, layer[1] if layer else view, "t-muted t-small", anchor="middle")
    svg.text(166, 258, f"layer of {encoder}", "t-muted t-small", anchor="middle")
    _draw_curves(svg, curves, headline, xs, y)
    aside = f"{words.plain(model)}; band: interval on {words.scheme_name(headline)} folds"
    return Figure(f"layers-{encoder}-{metric}", measure, svg, aside)
