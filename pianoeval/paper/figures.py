"""Figures 3 and 4 of the paper from our tables, as SVG files that stand alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pianoeval.report.svg import Scale, Svg, domain, figure_style
from pianoeval.report.words import number, plain, tick

_COLOURS = (
    "svg.fig{--ink:#1d1c1a;--muted:#67635b;--line:#e2ded6;--audio:#2c5f8a;--symbolic:#a4521f;"
    "--base:#7d786e;--ceiling:#3f7048;--band:#3f704817;--paper:#fdfcfa;background:#fdfcfa}"
)
_ROW, _LABEL, _PLOT, _TOP = 24.0, 190.0, 360.0, 44.0


@dataclass(frozen=True)
class Mark:
    """A point on a line of a figure: ``kind`` is its shape, as in the report's figures."""

    kind: str
    value: float
    low: float = math.nan
    high: float = math.nan


def dots(
    name: str, title: str, axis: str, rows: Sequence[tuple[str, Sequence[Mark]]],
    keys: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    """Rows of marks on one axis.

    Parameters
    ----------
    name : str
        Prefix of ids.
    rows : sequence of (label, marks)
        Marks that are not finite are left out.
    keys : sequence of (kind, what it is)

    Returns
    -------
    str
        A whole SVG document.
    """
    drawn = [(label, [m for m in marks if math.isfinite(m.value)]) for label, marks in rows]
    values = [0.0] + [
        v for _, marks in drawn for m in marks for v in (m.value, m.low, m.high) if math.isfinite(v)
    ]
    low, high = domain(values, floor=-1.0, ceiling=1.0)
    height = _TOP + _ROW * len(drawn) + 44.0
    said = "; ".join(
        f"{label}: {', '.join(f'{m.kind} {number(m.value)}' for m in marks)}"
        for label, marks in drawn
    )
    svg = Svg(_LABEL + _PLOT + 30, height, ident=name, title=title, description=said)
    scale = Scale(low, high, _LABEL, _LABEL + _PLOT)
    _frame(svg, scale, title, axis, height, keys)
    for i, (label, marks) in enumerate(drawn):
        y = _TOP + _ROW * (i + 0.5)
        svg.text(_LABEL - 12, y + 4, plain(label), anchor="end")
        for k, mark in enumerate(marks):
            at = y + (k - (len(marks) - 1) / 2) * 7.0
            if math.isfinite(mark.low) and math.isfinite(mark.high):
                svg.line(scale(mark.low), at, scale(mark.high), at, f"{mark.kind} ci")
            svg.mark(scale(mark.value), at, mark.kind, f"{label}: {number(mark.value)}")
    return _alone(svg)


def _frame(
    svg: Svg, scale: Scale, title: str, axis: str, height: float, keys: Sequence[tuple[str, str]]
) -> None:
    svg.text(12, 18, title, "t-strong")
    x = 12.0
    for kind, text in keys:
        svg.mark(x + 5, 33, kind)
        svg.text(x + 15, 37, text, "t-muted t-small")
        x += 28 + 6.2 * len(text)
    for value in scale.ticks():
        cls = "zero" if abs(value) < 1e-9 else "grid"
        svg.line(scale(value), _TOP, scale(value), height - 40, cls)
        svg.text(scale(value), height - 25, tick(value), "t-muted t-small", anchor="middle")
    svg.text(_LABEL + _PLOT / 2, height - 8, axis, "t-muted t-small", anchor="middle")


def _alone(svg: Svg) -> str:
    """The figure as a document: with its name space, its size and its colours."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{svg.width:g}" height="{svg.height:g}" '
        'class="fig" '
    )
    text = str(svg.render()).replace('<svg class="fig" ', head, 1)
    start = text.index(">") + 1
    return f"{text[:start]}<style>{_COLOURS}{figure_style()}</style>{text[start:]}\n"
