"""Heads on frames: R² over seeds, how classes lie in the codes, and what margins and bins do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pianoeval.report import words
from pianoeval.report.contrast_codes import maps, surfaces
from pianoeval.report.contrast_figures import Spread, bars, boxes, shared_limits
from pianoeval.report.contrast_study import Study, studies
from pianoeval.report.contrast_words import (
    APPROACHES,
    CONTROL,
    INDEX,
    MEAN,
    R2,
    REFERENCE,
    approach_of,
    sentences,
    value_of,
)
from pianoeval.report.data import CorpusReport
from pianoeval.report.figures import Figure

_SHOWN = 6  # dimensions that are drawn; the others lie folded
_COLUMNS = (  # metric, statistic, heading
    (R2, "mean", "R²"), (R2, "sd", "sd over seeds"), (R2, "averaged", "R² of all seeds as one"),
    ("r2_fold_mean", "mean", "R², mean of folds"), ("pearson", "mean", "r"), ("mae", "mean", "MAE"),
    (INDEX, "mean", "Davies-Bouldin"), ("surface_order", "mean", "order of classes, ρ"),
)  # fmt: skip
_LEVEL = 0.05
Cells = list[tuple[str, str]]


@dataclass(frozen=True)
class Line:
    """A row of a table: what it is, how it is drawn, its cells (value, what stands below)."""

    name: str
    kind: str
    cells: Cells
    best: bool = False


@dataclass(frozen=True)
class SchemePart:
    """What is said of one scheme."""

    scheme: str
    about: str
    sentences: list[str]
    boxes: list[Figure]
    more: list[Figure]
    heads: list[str]
    rows: list[Line]
    reference: str
    gap_heads: list[str]
    gaps: list[Line]
    index: list[Figure]


@dataclass(frozen=True)
class ContrastSection:
    """Everything of the section; lists are empty where nothing was computed."""

    parts: list[SchemePart]
    maps: list[Figure]
    surfaces: list[tuple[str, list[Figure]]]
    studies: list[Study]


def contrast_section(report: CorpusReport, prefix: str) -> ContrastSection | None:
    """The section; None where no head was evaluated."""
    table = report.beside.contrastive
    if table is None or not (table["kind"] == "head").any():
        return None
    known = table[table["value"].notna()]
    of_heads = known.loc[known["kind"] == "head"]
    schemes = sorted(set(of_heads["scheme"]), key=words.scheme_rank)
    compared = report.beside.contrast_comparisons
    parts = [
        _part(known[known["scheme"] == s], s, compared, f"{prefix}-h{i}")
        for i, s in enumerate(schemes)
    ]
    order = head_order(of_heads)
    return ContrastSection(
        parts, list(maps(report.beside.tsne, order, f"{prefix}-tsne")),
        list(surfaces(report.beside.class_distances, known, order, f"{prefix}-cls")),
        studies(known[known["kind"] == "point"], schemes, f"{prefix}-sweep"),
    )  # fmt: skip


def head_order(table: pd.DataFrame) -> list[str]:
    """Heads by approach, as the paper has them, then by name."""
    heads = table[["head", "approach"]].drop_duplicates("head").itertuples(index=False)

    def place(pair: tuple[str, str]) -> tuple[int, str]:
        name, approach = pair
        rank = APPROACHES.index(approach) if approach in APPROACHES else len(APPROACHES)
        return rank, name

    return [str(name) for name, _ in sorted(((str(h), str(a)) for h, a in heads), key=place)]


def _kind(line: pd.Series[Any]) -> str:
    if line["approach"] == CONTROL:
        return "control"
    return "symbolic" if line["store"] == "skyline" else "audio"


def _part(
    table: pd.DataFrame, scheme: str, compared: pd.DataFrame | None, ident: str
) -> SchemePart:
    heads = table[table["kind"] == "head"]
    order = head_order(heads)
    kinds = {name: _kind(heads[heads["head"] == name].iloc[0]) for name in order}
    names = [d for d in dict.fromkeys(heads["dimension"]) if d != MEAN]
    shown = [MEAN, *names] if len(names) > 1 else names
    own = _spreads(heads, R2, order, kinds)
    outside = {d: _outside(table, d) for d in shown}
    limits = shared_limits(
        [row for d in shown for row in own.get(d, [])],
        [v for pair in outside.values() for v in pair],
    )
    drawn = [
        boxes(own[d], _dimension(d), f"{ident}-{i}", limits, baseline=outside[d][0],
              ceiling=outside[d][1])
        for i, d in enumerate(shown) if own.get(d)
    ]  # fmt: skip
    about = heads[heads["n_clips"].notna()].iloc[0]  # not of codes
    clips, folds, seeds = about["n_clips"], about["n_folds"], _seeds(heads)
    told = [_several(n, noun) for n, noun in ((clips, "clip"), (folds, "fold"), (seeds, "seed"))]
    best = _best(heads)
    rows = compared[compared["scheme"] == scheme] if compared is not None else None
    reference = next((n for n in order if approach_of(heads, n) == REFERENCE), "")
    return SchemePart(
        scheme, f"{told[0]} of {told[1]}, {told[2]}",
        sentences(heads, rows, order, best, reference),
        drawn[: _SHOWN + 1], drawn[_SHOWN + 1 :], [head for _, _, head in _COLUMNS],
        list(_lines(table, order, kinds, best)), reference, [_dimension(d) for d in shown],
        list(_gaps(rows, order, kinds, reference, shown)),
        list(_index_bars(_spreads(heads, INDEX, order, kinds), shown, ident)),
    )  # fmt: skip


def _dimension(name: str) -> str:
    return "mean over dimensions" if name == MEAN else words.plain(name)


def _several(n: float, noun: str) -> str:
    return f"{words.count(n)} {noun}{'' if n == 1 else 's'}"


def _seeds(heads: pd.DataFrame) -> int:
    return int(heads.loc[heads["statistic"] == "seed", "seed"].nunique())


def _spreads(
    heads: pd.DataFrame, metric: str, order: Sequence[str], kinds: dict[str, str]
) -> dict[str, list[Spread]]:
    """Values of the seeds by dimension, a row a head."""
    own = heads[(heads["metric"] == metric) & (heads["statistic"] == "seed")]
    found: dict[str, list[Spread]] = {}
    for (dimension, name), part in own.groupby(["dimension", "head"], sort=False):
        values = tuple(part.sort_values("seed")["value"].tolist())
        found.setdefault(str(dimension), []).append(Spread(str(name), kinds[str(name)], values))
    for rows in found.values():
        rows.sort(key=lambda row: order.index(row.name))
    return found


def _outside(table: pd.DataFrame, dimension: str) -> tuple[float | None, float | None]:
    """R² of the best baseline, and the ceiling."""
    own = table[(table["metric"] == R2) & (table["dimension"] == dimension)]
    found = [own.loc[own["kind"] == kind, "value"] for kind in ("baseline", "ceiling")]
    baseline, ceiling = (float(v.max()) if len(v) else None for v in found)
    return baseline, ceiling


def _best(heads: pd.DataFrame) -> str:
    own = heads[(heads["metric"] == R2) & (heads["statistic"] == "mean")]
    means = own[own["dimension"] == MEAN].sort_values(["value", "head"], ascending=[False, True])
    return str(means["head"].iloc[0]) if len(means) else ""


def _lines(
    table: pd.DataFrame, order: Sequence[str], kinds: dict[str, str], best: str
) -> Iterator[Line]:
    """Heads, the best baseline, the ceiling."""
    for name in order:
        cells: Cells = []
        for metric, statistic, _ in _COLUMNS:
            line = value_of(table, name, metric, statistic)
            spanned = line is not None and metric == R2 and statistic != "sd"
            span = words.interval(line["ci_low"], line["ci_high"]) if line is not None else ""
            number = words.number(line["value"]) if line is not None else words.ABSENT
            cells.append((number, span if spanned else ""))
        yield Line(name, kinds[name], cells, name == best)
    means = table[(table["metric"] == R2) & (table["dimension"] == MEAN)]
    for kind, title in (("baseline", ""), ("ceiling", "ceiling")):
        own = means[means["kind"] == kind].sort_values("value", ascending=False, kind="stable")
        if len(own):
            line = own.iloc[0]
            span = words.interval(line["ci_low"], line["ci_high"])
            rest: Cells = [(words.ABSENT, "")] * (len(_COLUMNS) - 1)
            name = title or words.row_name(*str(line["head"]).split("/"))
            drawn = "ceiling" if title else words.kind(str(line["head"]).partition("/")[0])
            yield Line(name, drawn, [(words.number(line["value"]), span), *rest])


def _gaps(
    compared: pd.DataFrame | None, order: Sequence[str], kinds: dict[str, str], reference: str,
    shown: Sequence[str],
) -> Iterator[Line]:  # fmt: skip
    """Difference of each head from the reference, by dimension."""
    if compared is None or not reference:
        return
    # Of a single dimension there is the comparison of the mean, which is the same.
    mean_only = len(shown) == 1 or len(shown) > _SHOWN + 1
    for name in order:
        if name == reference:
            continue
        cells: Cells = []
        for dimension in [MEAN] if mean_only else shown:
            line = _pair(compared, name, reference, dimension)
            cells.append(("–", "") if line is None else _gap(line))
        yield Line(name, kinds[name], cells)


def _pair(compared: pd.DataFrame, a: str, b: str, dimension: str) -> dict[str, Any] | None:
    """The comparison of two heads, turned so that the difference is a − b."""
    own = compared[compared["dimension"] == dimension]
    for one, other, sign in ((a, b, 1), (b, a, -1)):
        found = own[(own["a"] == one) & (own["b"] == other)]
        if len(found):
            line = dict(found.iloc[0])
            if sign < 0:
                turned = {"ci_low": -line["ci_high"], "ci_high": -line["ci_low"]}
                ahead = line["n_seeds"] - line["n_seeds_ahead"]
                line |= {**turned, "difference": -line["difference"], "n_seeds_ahead": ahead}
            return line
    return None


def _gap(line: dict[str, Any]) -> tuple[str, str]:
    clear = line["ci_low"] > 0 or line["ci_high"] < 0
    mark = " ●" if clear and line["q_permutation"] <= _LEVEL else ""
    span = words.interval(line["ci_low"], line["ci_high"])
    seeds = f"ahead in {words.count(line['n_seeds_ahead'])} of {words.count(line['n_seeds'])} seeds"
    return words.signed(line["difference"]) + mark, f"{span}; {seeds}" if span else seeds


def _index_bars(
    found: dict[str, list[Spread]], shown: Sequence[str], ident: str
) -> Iterator[Figure]:
    known = [d for d in shown[: _SHOWN + 1] if found.get(d)]
    top = max((v for d in known for row in found[d] for v in row.values), default=1.0)
    for i, dimension in enumerate(known):
        yield bars(
            found[dimension], _dimension(dimension), f"{ident}-db{i}", math.ceil(top * 2) / 2
        )
