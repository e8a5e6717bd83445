"""Tables of the diagnostics: shared errors, residuals, groups, confusion of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pianoeval.report import words
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import floats, mapping, part, records

_COVARIATES = {
    "duration_s": "duration", "loudness_lufs": "loudness", "velocity_mean": "mean velocity",
    "note_density_hz": "notes a second",
}  # fmt: skip
_ORDERS = ("lower", "within the margin", "higher")


@dataclass(frozen=True)
class HeatCell:
    """A shaded value from -1 to 1.

    ``clear``: its interval excludes 0, which is marked by a sign as well as by weight.
    """

    text: str
    shade: int
    negative: bool
    clear: bool
    span: str
    aside: str = ""


@dataclass(frozen=True)
class HeatRows:
    """A heat table: heads, and rows of (name, cells)."""

    heads: list[str]
    rows: list[tuple[str, list[HeatCell]]]


def _cell(
    value: float | None, low: float | None = None, high: float | None = None, aside: str = ""
) -> HeatCell:
    if value is None or not math.isfinite(value):
        return HeatCell(words.ABSENT, 0, False, False, "", aside)
    clear = low is not None and high is not None and (low > 0 or high < 0)
    shade = round(100 * min(abs(value), 1))
    return HeatCell(
        words.number(value, 2), shade, value < 0, clear, words.interval(low, high, 2), aside
    )


def _at(matrix: Any, i: int, j: int) -> float | None:
    rows = matrix if isinstance(matrix, list) else []
    row = floats(rows[i]) if i < len(rows) else []
    return row[j] if j < len(row) else None


def error_correlation(report: CorpusReport, scheme: str) -> HeatRows | None:
    """Correlation of residuals between models; the aside is what is left without label noise."""
    return correlation_rows(part(report.beside.diagnostics, scheme, "error_correlation"))


def correlation_rows(found: Any) -> HeatRows | None:
    """A block of error correlations as a heat table; None of fewer than two models."""
    block = mapping(found)
    models = [str(model) for model in block.get("models") or []]
    if len(models) < 2:
        return None
    rows = []
    for i, model in enumerate(models):
        cells = []
        for j in range(len(models)):
            if i == j:
                cells.append(HeatCell(words.ABSENT, 0, False, False, ""))
                continue
            value = _at(block.get("matrix"), i, j)
            low, high = (_at(block.get(key), i, j) for key in ("ci_low", "ci_high"))
            beyond = _at(block.get("beyond_noise"), i, j)
            aside = "" if beyond is None else f"{words.number(beyond, 2)} beyond noise"
            # Errors of any two models go together; that an interval excludes 0 says nothing.
            cells.append(replace(_cell(value, low, high, aside), clear=False))
        rows.append((words.named(model), cells))
    return HeatRows([words.named(model) for model in models], rows)


def _residual_rows(report: CorpusReport, scheme: str) -> list[Mapping[str, Any]]:
    return records(part(report.beside.diagnostics, scheme, "residuals"))


def residual_table(
    report: CorpusReport, scheme: str, *, model: str | None = None
) -> HeatRows | None:
    """Spearman of residuals with covariates: a row a model, or a dimension of ``model``.

    Two columns a covariate: the residual (which way it errs) and its size (how far).
    """
    found = _residual_rows(report, scheme)
    if model is None:
        found = [row for row in found if row.get("dimension") == "mean"]
    else:
        found = [row for row in found if row.get("model") == model]
    by_place: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in found:
        name = str(row.get("model" if model is None else "dimension"))
        by_place.setdefault(name, {})[str(row.get("covariate"))] = row
    names = list(dict.fromkeys(str(row.get("covariate")) for row in found))
    if not names:
        return None
    heads = [f"{_COVARIATES.get(c, words.plain(c))}: {w}" for c in names for w in ("way", "size")]
    rows = []
    for name in sorted(by_place, key=lambda n: n != "mean") if model else by_place:
        cells = []
        for covariate in names:
            row = by_place[name].get(covariate, {})
            for keys in (
                ("spearman", "ci_low", "ci_high"),
                ("spearman_abs", "abs_ci_low", "abs_ci_high"),
            ):
                value, low, high = floats([row.get(key) for key in keys])
                cells.append(_cell(value, low, high))
        rows.append((words.plain(name) if model else words.named(name), cells))
    return HeatRows(heads, rows)


@dataclass(frozen=True)
class GroupTable:
    """Errors of one model by group of one column."""

    column: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]


def group_tables(report: CorpusReport, scheme: str, model: str) -> list[GroupTable]:
    """A table a column (movement, composition, player), a row a group, by name."""
    found = records(part(report.beside.diagnostics, scheme, "groups"))
    columns: dict[str, list[tuple[str, list[str]]]] = {}
    for row in found:
        if row.get("model") != model:
            continue
        n, rated, predicted, bias, rmse, r2 = floats(
            [row.get(k) for k in ("n", "mean_rated", "mean_predicted", "bias", "rmse", "r2")]
        )
        cells = [
            words.count(n or 0), words.number(rated), words.number(predicted),
            words.signed(bias), words.number(rmse), words.number(r2),
        ]  # fmt: skip
        columns.setdefault(str(row.get("column")), []).append((str(row.get("group")), cells))
    heads = ["clips", "mean rated", "mean predicted", "bias", "RMSE", "R²"]
    return [GroupTable(column, heads, sorted(rows)) for column, rows in columns.items()]


@dataclass(frozen=True)
class Confusion:
    """Rated order × predicted order of pairs, as shares of the rated order."""

    model: str
    margin: str
    n_pairs: str
    rows: list[tuple[str, list[HeatCell]]]


def confusions(report: CorpusReport, scheme: str) -> list[Confusion]:
    """One 3×3 table a model; a model whose predictions do not differ has none."""
    out = []
    for model, block in mapping(part(report.beside.diagnostics, scheme, "pairs")).items():
        matrix = mapping(block).get("confusion")
        counts = [floats(row) for row in matrix] if isinstance(matrix, list) else []
        if len(counts) != 3 or any(len(row) != 3 or None in row for row in counts):
            continue
        rows = [
            (name, _shares([v for v in row if v is not None], i))
            for i, (name, row) in enumerate(zip(_ORDERS, counts, strict=True))
        ]
        margin = words.number(mapping(block).get("margin"), 2)
        pairs = mapping(block).get("n_pairs")
        n_pairs = words.count(float(pairs)) if isinstance(pairs, (int, float)) else words.ABSENT
        out.append(Confusion(words.named(str(model)), margin, n_pairs, rows))
    return out


def _shares(row: Sequence[float], right: int) -> list[HeatCell]:
    total = sum(row)
    if not total:
        return [HeatCell(words.ABSENT, 0, False, False, "")] * 3
    return [
        HeatCell(words.percent(v / total), round(100 * v / total), False, j == right, "")
        for j, v in enumerate(row)
    ]


def best_model(report: CorpusReport, scheme: str) -> str | None:
    """The model whose groups and dimensions are shown: the best of those that were described."""
    best = part(report.beside.diagnostics, scheme, "best")
    models = part(report.beside.diagnostics, scheme, "models")
    first = models[0] if isinstance(models, list) and models else None
    chosen = best or first
    return str(chosen) if chosen else None


def sources(report: CorpusReport) -> list[str]:
    """Where each covariate comes from, in words; what could not be computed, and why."""
    out = []
    for name, block in mapping(mapping(report.beside.diagnostics).get("covariates")).items():
        about = mapping(block)
        where = about.get("source") or about.get("reason")
        if where:
            out.append(f"{_COVARIATES.get(str(name), words.plain(str(name)))}: {where}")
    return out
