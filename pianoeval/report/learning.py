"""Learning curves: R² against the number of training clips, one line a view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pianoeval.report import words
from pianoeval.report.curves import spread
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import floats, mapping, records
from pianoeval.report.figures import Figure
from pianoeval.report.svg import Scale, Svg, domain

_DASHES = ("", "4 3", "1.5 3", "8 3 2 3")


@dataclass(frozen=True)
class Point:
    """One training size of one view."""

    n_train: float
    value: float
    low: float | None
    high: float | None


def _points(rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    found = []
    for row in rows:
        n, value, low, high = floats(
            [row.get(k) for k in ("n_train", "value", "ci_low", "ci_high")]
        )
        if n is not None and value is not None and n > 0 and math.isfinite(value):
            found.append(Point(n, value, low, high))
    return sorted(found, key=lambda point: point.n_train)


def learning_curves(report: CorpusReport, prefix: str) -> list[Figure]:
    """One panel a scheme, from the leakiest to the strictest; lines of at least two sizes."""
    rows = records(mapping(report.beside.diagnostics).get("learning"))
    places: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        views = places.setdefault(str(row.get("scheme")), {})
        views.setdefault(str(row.get("view")), []).append(row)
    curves = {
        scheme: {view: line for view, part in views.items() if len(line := _points(part)) > 1}
        for scheme, views in places.items()
    }
    curves = {scheme: views for scheme, views in curves.items() if views}
    if not curves:
        return []
    points = [p for views in curves.values() for line in views.values() for p in line]
    reach = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    limits = domain(reach, floor=-0.5, ceiling=1.0)
    sizes = math.log(min(p.n_train for p in points)), math.log(max(p.n_train for p in points))
    ordered = sorted(curves, key=words.scheme_rank)
    return [
        _panel(scheme, curves[scheme], limits, sizes, f"{prefix}-learn{i}")
        for i, scheme in enumerate(ordered)
    ]


def _panel(
    scheme: str,
    views: Mapping[str, Sequence[Point]],
    limits: tuple[float, float],
    sizes: tuple[float, float],
    ident: str,
) -> Figure:
    name = words.scheme_name(scheme)
    svg = Svg(
        420, 236, ident=ident, title=f"R² against training clips, {name} folds",
        description="; ".join(
            f"{view} from {words.number(line[0].value)} at {words.count(line[0].n_train)} "
            f"to {words.number(line[-1].value)} at {words.count(line[-1].n_train)}"
            for view, line in views.items()
        ),
    )  # fmt: skip
    # A scale with room at both ends, so that intervals of the first size do not touch the axis.
    pad = 0.06 * max(sizes[1] - sizes[0], 0.5)
    x = Scale(sizes[0] - pad, sizes[1] + pad, 40, 290)
    y = Scale(*limits, 196, 10)
    for tick in y.ticks():
        svg.line(40, y(tick), 290, y(tick), "zero" if abs(tick) < 1e-9 else "grid")
        svg.text(34, y(tick) + 4, words.tick(tick), "t-muted t-small", anchor="end")
    drawn: list[float] = []
    for n in sorted({p.n_train for line in views.values() for p in line}):
        at = x(math.log(n))
        svg.line(at, 196, at, 200, "grid")
        if all(abs(at - other) > 30 for other in drawn):
            svg.text(at, 213, words.count(n), "t-muted t-small", anchor="middle")
            drawn.append(at)
    svg.text(165, 230, "training clips, log scale", "t-muted t-small", anchor="middle")
    _lines(svg, views, x, y)
    return Figure(f"learning-{scheme}", name, svg)


def _lines(svg: Svg, views: Mapping[str, Sequence[Point]], x: Scale, y: Scale) -> None:
    ends = spread([y(line[-1].value) for line in views.values()], 14, y.start)
    for i, (view, line) in enumerate(views.items()):
        kind = words.kind(view)
        points = [f"{x(math.log(p.n_train)):.1f} {y(p.value):.1f}" for p in line]
        dash = _DASHES[i % len(_DASHES)]
        extra = {"stroke_dasharray": dash} if dash else {}
        svg.add("path", d="M" + "L".join(points), cls=f"curve {kind}", **extra)
        for p in line:
            at = x(math.log(p.n_train))
            if p.low is not None and p.high is not None:
                svg.line(at, y(p.low), at, y(p.high), f"ci thin {kind}")
            tip = f"{view}, {words.count(p.n_train)} clips: {words.number(p.value)}"
            svg.mark(at, y(p.value), kind, tip)
        svg.text(300, ends[i] + 4, view if len(view) <= 16 else view[:15] + "…", "t-small t-strong")
