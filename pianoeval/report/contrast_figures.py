"""Figures of heads on frames: box plots over seeds, bars, surfaces of classes, maps, sweeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.report import words
from pianoeval.report.figures import Figure
from pianoeval.report.svg import Scale, Svg, domain

_ROW, _LABEL, _PLOT, _VALUE = 26.0, 128.0, 196.0, 46.0
_SIDE, _CELL, _PAD = 236.0, 34.0, 9.0
SHADES = 5


@dataclass(frozen=True)
class Spread:
    """Values of one head, one a seed; ``kind`` is how it is drawn."""

    name: str
    kind: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    def quartiles(self) -> tuple[float, float, float]:
        """Linear between order statistics, as box plots are usually drawn."""
        low, middle, high = np.quantile(self.values, (0.25, 0.5, 0.75))
        return float(low), float(middle), float(high)


def boxes(
    rows: Sequence[Spread], caption: str, ident: str, limits: tuple[float, float], *,
    baseline: float | None = None, ceiling: float | None = None,
) -> Figure:  # fmt: skip
    """Box plots of R² over seeds, a row a head: quartiles, median, extremes, and every seed."""
    top, bottom = 16.0, 16.0 + _ROW * len(rows)
    told = "; ".join(f"{row.name} {words.number(row.mean)}" for row in rows)
    svg = Svg(
        _LABEL + _PLOT + _VALUE + 4, bottom + 22, ident=ident, title=f"R² of {caption} by head",
        description=f"Means over seeds: {told}.",
    )  # fmt: skip
    scale = Scale(*limits, _LABEL, _LABEL + _PLOT)
    _grid(svg, scale, top, bottom)
    if baseline is not None and scale.inside(baseline):
        svg.line(scale(baseline), top - 2, scale(baseline), bottom, "lookup")
        tip = f"best without listening: {words.number(baseline)}"
        svg.mark(scale(baseline), top - 6, "lookup", tip)
    if ceiling is not None and scale.inside(ceiling):
        svg.line(scale(ceiling), top - 4, scale(ceiling), bottom, "ceil")
        text = f"ceiling {words.number(ceiling, 2)}"
        svg.text(scale(ceiling), top - 6, text, "t-ceiling t-small", anchor="middle")
    for i, row in enumerate(rows):
        _box(svg, scale, top + _ROW * (i + 0.5), row)
    return Figure(f"heads-{ident}", caption, svg)


def _grid(svg: Svg, scale: Scale, top: float, bottom: float) -> None:
    for tick in scale.ticks(4):
        svg.line(scale(tick), top, scale(tick), bottom, "zero" if abs(tick) < 1e-9 else "grid")
        svg.text(scale(tick), bottom + 15, words.tick(tick), "t-muted t-small", anchor="middle")


def _label(svg: Svg, y: float, name: str) -> None:
    text = name if len(name) <= 19 else name[:18] + "…"
    svg.text(_LABEL - 10, y + 4, text, anchor="end")


def _box(svg: Svg, scale: Scale, y: float, row: Spread) -> None:
    """What lies beyond the axis is drawn at its edge; the number is always right."""
    _label(svg, y, row.name)
    low, middle, high = row.quartiles()
    svg.line(scale(min(row.values)), y, scale(max(row.values)), y, f"ci {row.kind}")
    if len(row.values) > 1:
        width = max(scale(high) - scale(low), 1.0)
        svg.add("rect", x=scale(low), y=y - 7, width=width, height=14, cls=f"box {row.kind}")
    svg.line(scale(middle), y - 7, scale(middle), y + 7, f"median {row.kind}")
    for value in row.values:
        svg.dot(scale(value), y, f"seed {row.kind}", f"{row.name}: {words.number(value)}")
    right = _LABEL + _PLOT + _VALUE
    svg.text(right, y + 4, words.number(row.mean), "t-strong", anchor="end")


def shared_limits(rows: Sequence[Spread], others: Sequence[float | None]) -> tuple[float, float]:
    """Range of an axis for several panels; what is far below 0 is cut."""
    values = [value for row in rows for value in row.values]
    return domain([0.0, *values, *(v for v in others if v is not None)], floor=-0.5, ceiling=1.0)


def bars(rows: Sequence[Spread], caption: str, ident: str, top_value: float) -> Figure:
    """Means over seeds as bars from 0, with a line from the lowest seed to the highest."""
    bottom = 6.0 + _ROW * len(rows)
    svg = Svg(
        _LABEL + _PLOT + _VALUE + 4, bottom + 22, ident=ident,
        title=f"Davies-Bouldin index of {caption} by head",
        description="; ".join(f"{row.name} {words.number(row.mean, 2)}" for row in rows) + ".",
    )  # fmt: skip
    scale = Scale(0.0, top_value, _LABEL, _LABEL + _PLOT)
    _grid(svg, scale, 6.0, bottom)
    for i, row in enumerate(rows):
        y = 6.0 + _ROW * (i + 0.5)
        _label(svg, y, row.name)
        width = max(scale(row.mean) - scale(0.0), 1.0)
        svg.add("rect", x=_LABEL, y=y - 7, width=width, height=14, cls=f"bar {row.kind}")
        svg.line(scale(min(row.values)), y, scale(max(row.values)), y, f"ci {row.kind}")
        right = _LABEL + _PLOT + _VALUE
        svg.text(right, y + 4, words.number(row.mean, 2), "t-strong", anchor="end")
    return Figure(f"index-{ident}", caption, svg)


def heat(
    values: NDArray[np.float64], columns: Sequence[str], rows: Sequence[str], caption: str,
    ident: str, *, aside: str = "", below: NDArray[np.float64] | None = None,
    axes: tuple[str, str] = ("", ""), limits: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    """A table of numbers in cells that are darker the larger the value; NaN is an empty cell.

    Parameters
    ----------
    values : float64, shape (rows, columns)
    below : float64, same shape, optional
        Shares, written below the values.
    axes : (str, str)
        What columns and rows are.
    limits : (float, float), optional
        Of the shades; those of the values if left out.
    """
    wide = 1.45 * _CELL
    left, top = 46.0, 34.0
    high = len(rows) * _CELL
    svg = Svg(
        left + wide * len(columns) + 2, top + high + 4, ident=ident, title=caption,
        description=_told(values, columns, rows, axes),
    )  # fmt: skip
    known = values[np.isfinite(values)]
    low, most = limits or ((float(known.min()), float(known.max())) if len(known) else (0.0, 1.0))
    svg.text(left + wide * len(columns) / 2, 11, axes[0], "t-muted t-small", anchor="middle")
    svg.text(2, top - 8, axes[1], "t-muted t-small")
    for j, name in enumerate(columns):
        svg.text(left + wide * (j + 0.5), top - 8, name, "t-small", anchor="middle")
    for i, name in enumerate(rows):
        y = top + _CELL * i
        svg.text(left - 8, y + _CELL / 2 + 4, name, "t-small", anchor="end")
        for j, value in enumerate(values[i]):
            share = None if below is None else float(below[i, j])
            _heat_cell(svg, left + wide * j, y, float(value), share, (low, most))
    return Figure(f"surface-{ident}", caption, svg, aside)


def _told(
    values: NDArray[np.float64], columns: Sequence[str], rows: Sequence[str],
    axes: tuple[str, str],
) -> str:  # fmt: skip
    cells = [
        f"{axes[1]} {row}, {axes[0]} {column}: {words.number(float(values[i, j]), 2)}"
        for i, row in enumerate(rows) for j, column in enumerate(columns)
        if math.isfinite(values[i, j])
    ]  # fmt: skip
    return "; ".join(cells) + "."


def _heat_cell(
    svg: Svg, x: float, y: float, value: float, share: float | None, limits: tuple[float, float]
) -> None:
    wide = 1.45 * _CELL
    if not math.isfinite(value):
        svg.add("rect", x=x + 1, y=y + 1, width=wide - 2, height=_CELL - 2, cls="none")
        return
    span = limits[1] - limits[0]
    depth = (value - limits[0]) / span if span > 0 else 0.0
    # Half of the ink at most: the number stays legible in both themes.
    opacity = f"{0.04 + 0.5 * min(max(depth, 0.0), 1.0):.3f}"
    svg.add(
        "rect", x=x + 1, y=y + 1, width=wide - 2, height=_CELL - 2, cls="cell",
        fill_opacity=opacity,
    )  # fmt: skip
    middle = y + _CELL / 2 + (4 if share is None else -1)
    svg.text(x + wide / 2, middle, words.number(value, 2), anchor="middle")
    if share is not None:
        text = words.percent(share)
        svg.text(x + wide / 2, y + _CELL - 6, text, "t-muted t-small", anchor="middle")


def class_map(points: pd.DataFrame, bins: int, caption: str, ident: str, aside: str) -> Figure:
    """Codes on a plane, darker and larger the higher the class."""
    x, y = (points[name].to_numpy(np.float64) for name in ("x", "y"))
    svg = Svg(
        _SIDE, _SIDE + 26, ident=ident, title=f"Map of codes, {caption}",
        description="Clips of low classes are light and small, of high classes dark and large.",
    )  # fmt: skip
    svg.add("rect", x=1, y=1, width=_SIDE - 2, height=_SIDE - 2, cls="frame")
    half = max(float(np.ptp(x)), float(np.ptp(y)), 1e-9) / 2 * 1.02
    across, up = (
        Scale(c - half, c + half, *ends)
        for c, ends in (
            ((x.min() + x.max()) / 2, (_PAD, _SIDE - _PAD)),
            ((y.min() + y.max()) / 2, (_SIDE - _PAD, _PAD)),
        )
    )
    shade = shades(points["class"].to_numpy(np.int64), bins)
    for one in range(SHADES):
        at = np.flatnonzero(shade == one)
        path = "".join(f"M{across(x[i]):.1f} {up(y[i]):.1f}h0" for i in at)
        svg.add("path", d=path, cls=f"pt r{one}")
    for one in sorted(set(shade.tolist())):
        svg.add("path", d=f"M{74 + 17 * one} {_SIDE + 15:.1f}h0", cls=f"pt r{one} key-mark")
    svg.text(62, _SIDE + 19, "low class", "t-small t-muted", anchor="end")
    svg.text(158, _SIDE + 19, "high", "t-small t-muted")
    return Figure(f"tsne-{ident}", caption, svg, aside)


def shades(classes: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Shade of each class: the lowest class has the first, the highest the last."""
    if bins < 2:
        return np.zeros(len(classes), np.int64)
    return np.rint(classes * (SHADES - 1) / (bins - 1)).astype(np.int64)


def matrix(cells: Mapping[tuple[float, float], float], rows: Sequence[float],
           columns: Sequence[float]) -> NDArray[np.float64]:  # fmt: skip
    """Values by (row, column) as an array; NaN where there is none."""
    return np.array([[cells.get((r, c), math.nan) for c in columns] for r in rows])
