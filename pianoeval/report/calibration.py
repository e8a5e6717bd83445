"""Lines of the diagnostics: predictions against ratings by decile, pairs in order by distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import floats, mapping, part, records
from pianoeval.report.figures import Figure
from pianoeval.report.svg import Scale, Svg

_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 226.0, 10.0, 190.0


@dataclass(frozen=True)
class Slopes:
    """Slope of rated on predicted: a row a source of features, a column a scheme.

    Cells are (slope, interval, model), since the best model of a source depends on the scheme.
    """

    schemes: list[str]
    rows: list[tuple[str, list[tuple[str, str, str]]]]


def bin_rows(block: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """(predicted, rated, clips) of every decile that has both."""
    out = []
    for row in records(block.get("bins")):
        predicted, rated, n = floats([row.get("predicted"), row.get("rated"), row.get("n")])
        if predicted is not None and rated is not None:
            out.append((predicted, rated, n or 0.0))
    return out


def calibration(report: CorpusReport, scheme: str, prefix: str) -> list[Figure]:
    """One panel a model: mean rating of each tenth of the predictions, on a shared range."""
    found = mapping(part(report.beside.diagnostics, scheme, "calibration"))
    bins = {str(model): bin_rows(mapping(block)) for model, block in found.items()}
    bins = {model: rows for model, rows in bins.items() if rows}
    if not bins:
        return []
    reach = max(abs(v) for rows in bins.values() for row in rows for v in row[:2])
    limit = max(math.ceil(reach * 20 + 0.1) / 20, 0.05)
    return [
        _panel(model, rows, mapping(found[model]), limit, f"{prefix}-cal{i}")
        for i, (model, rows) in enumerate(bins.items())
    ]


def _frame(svg: Svg, x: Scale, y: Scale, ticks: tuple[Sequence[float], Sequence[float]]) -> None:
    for tick in ticks[1]:
        svg.line(x.start, y(tick), x.stop, y(tick), "grid")
        svg.text(x.start - 6, y(tick) + 4, words.tick(tick), "t-muted t-small", anchor="end")
    for tick in ticks[0]:
        svg.text(x(tick), y.start + 15, words.tick(tick), "t-muted t-small", anchor="middle")


def _panel(
    model: str,
    rows: Sequence[tuple[float, float, float]],
    block: Mapping[str, Any],
    limit: float,
    ident: str,
) -> Figure:
    slope = words.number(block.get("slope"), 2)
    kind = words.kind(words.features_of(model))
    svg = Svg(
        240, 226, ident=ident, title=f"Calibration of {words.named(model)}",
        description=f"Slope {slope}; " + ", ".join(
            f"{words.number(p, 2)} rated {words.number(r, 2)}" for p, r, _ in rows
        ),
    )  # fmt: skip
    x, y = Scale(-limit, limit, _LEFT, _RIGHT), Scale(-limit, limit, _BOTTOM, _TOP)
    ticks = x.ticks(4)
    _frame(svg, x, y, (ticks, ticks))
    svg.line(x(-limit), y(-limit), x(limit), y(limit), "zero")
    points = [f"{x(p):.1f} {y(r):.1f}" for p, r, _ in rows]
    svg.add("path", d="M" + "L".join(points), cls=f"curve {kind}")
    for p, r, n in rows:
        tip = f"predicted {words.signed(p)}, rated {words.signed(r)}, {words.count(n)} ratings"
        svg.dot(x(p), y(r), kind, tip)
    svg.text((_LEFT + _RIGHT) / 2, _BOTTOM + 31, "predicted", "t-muted t-small", anchor="middle")
    svg.text(_LEFT + 6, _TOP + 10, "rated ↑", "t-muted t-small")
    low, high = _pair(block.get("slope_ci"))
    span = words.interval(low, high, 2)
    aside = f"slope {slope}" + (f" ({span})" if span else "")
    return Figure(f"calibration-{model}", words.named(model), svg, aside)


def _pair(value: Any) -> tuple[float | None, float | None]:
    found = floats(value)
    return (found[0], found[1]) if len(found) == 2 else (None, None)


def slopes(report: CorpusReport) -> Slopes | None:
    """Calibration slopes over the schemes; None where none was computed."""
    schemes = select.schemes(report)
    cells: dict[str, dict[str, tuple[str, str, str]]] = {}
    for scheme in schemes:
        found = mapping(part(report.beside.diagnostics, scheme, "calibration"))
        for model, block in found.items():
            slope = mapping(block).get("slope")
            if slope is not None:
                span = words.interval(*_pair(mapping(block).get("slope_ci")), digits=2)
                view = words.features_of(str(model))
                source = words.source_of(view)
                name = words.plain(str(model).partition("/")[2])
                cell = (words.number(slope, 2), span, name if view == source else f"{name}, {view}")
                cells.setdefault(source, {})[scheme] = cell
    if not cells:
        return None
    absent = (words.ABSENT, "", "")
    rows = [(source, [row.get(s, absent) for s in schemes]) for source, row in cells.items()]
    return Slopes(schemes, rows)


def pair_accuracy(report: CorpusReport, scheme: str, prefix: str) -> list[Figure]:
    """One panel a model: share of pairs in the rated order, by how far apart they are rated."""
    found = mapping(part(report.beside.diagnostics, scheme, "pairs"))
    out = []
    for i, (model, block) in enumerate(found.items()):
        shares = floats(mapping(block).get("share_right"))
        names = [str(name) for name in mapping(block).get("rated_bins") or []]
        if len(names) == len(shares) and any(v is not None for v in shares):
            out.append(_accuracy(str(model), mapping(block), names, shares, f"{prefix}-acc{i}"))
    return out


def _accuracy(
    model: str,
    block: Mapping[str, Any],
    names: Sequence[str],
    shares: Sequence[float | None],
    ident: str,
) -> Figure:
    kind = words.kind(words.features_of(model))
    blank: list[float | None] = [None] * len(names)
    tops = floats(block.get("ceiling")) or blank
    lows, highs = (floats(block.get(key)) or blank for key in ("ci_low", "ci_high"))
    svg = Svg(
        300, 226, ident=ident, title=f"Pairs in order by distance, {words.named(model)}",
        description=", ".join(
            f"{name}: {words.number(share, 2)}, ceiling {words.number(top, 2)}"
            for name, share, top in zip(names, shares, tops, strict=True)
        ),
    )  # fmt: skip
    x, y = Scale(-0.5, len(names) - 0.5, _LEFT, 296), Scale(0.4, 1.0, _BOTTOM, _TOP)
    _frame(svg, x, y, ((), y.ticks(6)))
    svg.line(x.start, y(0.5), x.stop, y(0.5), "zero")
    line = [f"{x(i):.1f} {y(s):.1f}" for i, s in enumerate(shares) if s is not None]
    svg.add("path", d="M" + "L".join(line), cls=f"curve {kind}")
    for i, (name, share, top) in enumerate(zip(names, shares, tops, strict=True)):
        svg.text(x(i), _BOTTOM + 15, name.replace("0.", "."), "t-muted t-small", anchor="middle")
        low, high = lows[i], highs[i]
        if low is not None and high is not None:
            svg.line(x(i), y(low), x(i), y(high), f"ci {kind}")
        if top is not None:
            svg.line(x(i) - 14, y(top), x(i) + 14, y(top), "ceil")
        if share is not None:
            svg.mark(x(i), y(share), kind, f"|Δ| {name}: {words.percent(share)} in order")
    svg.text(168, _BOTTOM + 31, "rated distance |Δ|", "t-muted t-small", anchor="middle")
    compared = block.get("n_compared")
    aside = f"{words.count(compared)} comparisons" if isinstance(compared, (int, float)) else ""
    return Figure(f"pairs-{model}", words.named(model), svg, aside)
