"""Latent maps: where the clips lie in the first two components of a view, and who is near whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.report import words
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import floats, mapping, records
from pianoeval.report.figures import Figure
from pianoeval.report.svg import Scale, Svg

_SIDE, _PAD = 300.0, 8.0
_MAX_MAPS, _MAX_POINTS, _MAX_GROUPS, _SHADES = 4, 1_500, 5, 5
#: Marks told apart without colour: dot, square, triangle, cross, bar; others are small dots.
_SHAPES = (
    "h0", "m-1.7-1.7h3.4v3.4h-3.4z", "m0-2.3l2.2 4h-4.4z", "m-1.9-1.9l3.8 3.8m0-3.8l-3.8 3.8",
    "m-2.2 0h4.4",
)  # fmt: skip


@dataclass(frozen=True)
class LatentMap:
    """Two drawings of one view: by movement, and by mean rating."""

    view: str
    about: str
    figures: list[Figure]


@dataclass(frozen=True)
class Neighbours:
    """A row a view: whose clips are near; ``heads`` and cells as (value, aside)."""

    k: str
    heads: list[str]
    rows: list[tuple[str, list[tuple[str, list[str]]]]]


def latent_maps(report: CorpusReport, prefix: str) -> list[LatentMap]:
    """Maps of the first few views; empty without ``latent.csv`` or without the clips."""
    table, manifest = report.beside.latent, report.manifest
    if table is None or manifest is None or table.empty:
        return []
    described = {str(row.get("view")): row for row in records(_block(report))}
    views = [v for v in described if v in set(table["view"])] or sorted(set(table["view"]))
    groups = _movements(manifest)
    rated = _mean_rating(report)
    return [
        _map(view, table.loc[table["view"] == view], groups, rated, described.get(view, {}),
             f"{prefix}-map{i}")
        for i, view in enumerate(views[:_MAX_MAPS])
    ]  # fmt: skip


def _block(report: CorpusReport) -> Any:
    return mapping(report.beside.diagnostics).get("latent")


def _movements(manifest: pd.DataFrame) -> pd.Series[Any]:
    """Movement by clip; the rarest are one group, so that marks stay distinct."""
    if "movement" not in manifest.columns:
        return pd.Series("all clips", index=manifest["clip"].astype(str))
    groups = manifest.set_index(manifest["clip"].astype(str))["movement"].astype(str)
    counts = groups.value_counts()
    order = sorted(counts.index, key=lambda name: (-int(counts[name]), name))
    if len(order) > _MAX_GROUPS:
        groups = groups.where(groups.isin(order[: _MAX_GROUPS - 1]), "others")
    return groups


def _mean_rating(report: CorpusReport) -> pd.Series[Any] | None:
    if report.labels is None:
        return None
    labels = report.labels.loc[report.labels["task"] == report.task]
    return labels.groupby(labels["clip"].astype(str))["value"].mean()


def _map(
    view: str,
    points: pd.DataFrame,
    groups: pd.Series[Any],
    rated: pd.Series[Any] | None,
    described: Any,
    ident: str,
) -> LatentMap:
    every = -(-len(points) // _MAX_POINTS)
    points = points.iloc[::every].dropna(subset=["x", "y"])
    at, height = _placed(points)
    about = f"{words.count(len(points) if every > 1 else described.get('n_clips') or len(points))}"
    about += " clips drawn" if every > 1 else " clips"
    if explained := [v for v in floats(described.get("explained")) if v is not None]:
        about += ", components explain " + words.joined([words.percent(v) for v in explained])
    clips = points["clip"].astype(str)
    by_group = [str(name) for name in groups.reindex(clips).fillna("others")]
    names = sorted(set(by_group), key=lambda name: (name == "others", name))
    figures = [_by_movement(at, height, by_group, names, view, f"{ident}m")]
    if rated is not None:
        shades = _fifths(rated.reindex(clips).to_numpy(dtype=float))
        figures.append(_by_rating(at, height, shades, view, f"{ident}r"))
    return LatentMap(view, about, figures)


def _placed(points: pd.DataFrame) -> tuple[list[str], float]:
    """``x y`` of every clip, and the height of the frame.

    Both axes have one scale, or distances would mean nothing; a few outliers lie on the frame.
    """
    x, y = points["x"].to_numpy(dtype=float), points["y"].to_numpy(dtype=float)
    bounds = [np.quantile(v, (0.003, 0.997)) if len(v) else (0.0, 0.0) for v in (x, y)]
    halves = [max((high - low) / 2 * 1.04, 1e-9) for low, high in bounds]
    height = _SIDE * min(max(halves[1] / halves[0], 0.5), 1.2)
    half = max(halves[0], halves[1] * (_SIDE - 2 * _PAD) / (height - 2 * _PAD))
    tall = half * (height - 2 * _PAD) / (_SIDE - 2 * _PAD)
    centres = [float(low + high) / 2 for low, high in bounds]
    across = Scale(centres[0] - half, centres[0] + half, _PAD, _SIDE - _PAD)
    up = Scale(centres[1] - tall, centres[1] + tall, height - _PAD, _PAD)
    return [f"{across(a):.1f} {up(b):.1f}" for a, b in zip(x, y, strict=True)], height


def _fifths(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[int | None]:
    """Fifth of the mean rating that each clip lies in; None without a rating."""
    known = np.isfinite(values)
    edges = np.quantile(values[known], [0.2, 0.4, 0.6, 0.8]) if known.any() else np.zeros(4)
    return [
        int(np.searchsorted(edges, value, side="right")) if ok else None
        for value, ok in zip(values, known, strict=True)
    ]


def _canvas(ident: str, height: float, title: str, description: str, legend: int) -> Svg:
    svg = Svg(_SIDE, height + 10 + 17 * legend, ident=ident, title=title, description=description)
    svg.add("rect", x=1, y=1, width=_SIDE - 2, height=height - 2, cls="frame")
    return svg


def _by_movement(
    at: Sequence[str],
    height: float,
    groups: Sequence[str],
    names: Sequence[str],
    view: str,
    ident: str,
) -> Figure:
    svg = _canvas(ident, height, f"{view} by movement", ", ".join(names), len(names))
    for i, name in enumerate(names):
        shape = _SHAPES[i % len(_SHAPES)] if name != "others" else _SHAPES[0]
        cls = f"pt g{i % len(_SHAPES)}" if name != "others" else "pt rest"
        path = [
            f"M{place}{shape}" for place, group in zip(at, groups, strict=True) if group == name
        ]
        svg.add("path", d="".join(path), cls=cls)
        y = height + 17 * (i + 1)
        svg.add("path", d=f"M7 {y - 4:.1f}{shape}", cls=f"{cls} key-mark")
        svg.text(18, y, words.plain(name)[:44], "t-small")
    return Figure(f"latent-{view}-movement", "by movement", svg)


def _by_rating(
    at: Sequence[str], height: float, fifths: Sequence[int | None], view: str, ident: str
) -> Figure:
    svg = _canvas(
        ident, height, f"{view} by mean rating", "Larger and darker marks are rated higher.", 1
    )
    for shade in range(_SHADES):
        path = [f"M{place}h0" for place, own in zip(at, fifths, strict=True) if own == shade]
        svg.add("path", d="".join(path), cls=f"pt r{shade}")
        svg.add("path", d=f"M{70 + 16 * shade} {height + 13:.1f}h0", cls=f"pt r{shade} key-mark")
    svg.text(58, height + 17, "rated low", "t-small t-muted", anchor="end")
    svg.text(148, height + 17, "high, in fifths", "t-small t-muted")
    return Figure(f"latent-{view}-rating", "by mean rating", svg)


def neighbours(report: CorpusReport) -> Neighbours | None:
    """Share of the nearest clips that share a group, beside what chance gives."""
    rows = []
    k = ""
    for entry in records(_block(report)):
        near = mapping(entry.get("neighbours"))
        if not near:
            continue
        k = str(near.get("k") or k)
        cells = [_share(mapping(near.get(name))) for name in ("movement", "player", "segment")]
        rating = mapping(near.get("rating"))
        cells.append((words.number(rating.get("spearman"), 2), []))
        cells.append((words.number(rating.get("spearman_in_segments"), 2), []))
        rows.append((str(entry.get("view")), cells))
    heads = ["same movement", "same player", "same segment", "distance and rating, ρ",
             "the same within segments, ρ"]  # fmt: skip
    return Neighbours(k, heads, rows) if rows else None


def _share(block: Any) -> tuple[str, list[str]]:
    """``34 %``, and below it ``chance 12 %`` and ``movement alone 31 %``."""
    aside = []
    if (chance := block.get("chance")) is not None:
        aside.append(f"chance {words.percent(chance)}")
    if (given := block.get("chance_given_movement")) is not None:
        aside.append(f"movement alone {words.percent(given)}")
    return words.percent(block.get("share")), aside
