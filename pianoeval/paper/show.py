"""A table for a terminal, as Markdown, as JSON, and as files; and what it costs to make it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from rich.table import Table

from pianoeval.ablation.findings import BETTER, FEW, NONE, SAME, WORSE
from pianoeval.compare.verdict import number, probability, signed
from pianoeval.paper.found import Found, Heading, Line
from pianoeval.paper.sheets import Cell, Sheet
from pianoeval.report.markdown import cell
from pianoeval.report.words import ABSENT as DASH
from pianoeval.report.words import MINUS, joined, scheme_name

COLUMNS = ("row", "paper", "ours", "R²", "interval", "against", "Δ", "Δ interval", "q", "verdict")
_LEFT = {"row", "ours", "against", "verdict", "scheme", "dimension", "category", "one", "other",
         "piece", "composer", "this", "part", "name"}  # fmt: skip
_OF_PAPER = ("paper", "paper_where", "paper_low", "paper_high", "paper_sd")
_WHOLE = {"pieces", "works", "places", "clips", "rank", "ahead", "of"}


def title(found: Found) -> str:
    """Which table, and of what."""
    recipe = found.recipe
    return (
        f"{recipe.name}: {recipe.title} ({recipe.where} of the paper); {recipe.choice.corpus}, "
        f"{found.source}; pooled R², mean over dimensions; {100 * found.confidence:g} % intervals "
        f"of {found.n_draws:,} draws"
    )


def over(heading: Heading) -> str:
    """What stands over the lines of a scheme."""
    return (
        f"{scheme_name(heading.scheme)} folds (best lookup {number(heading.lookup)}, ceiling "
        f"{number(heading.ceiling)}, {heading.n_clips:,} clips in {heading.n_clusters} content "
        "groups)"
    )


def cells(line: Line) -> list[str]:
    """One line as text, in the order of ``COLUMNS``."""
    spread = f"± {number(line.sd)}" if math.isfinite(line.sd) else DASH
    q = probability("q", line.q).removeprefix("q").removeprefix(" =").strip()
    return [
        line.label, line.paper.text if line.paper else DASH, line.ours or DASH, number(line.value),
        _limits(line.low, line.high) or spread, line.against or DASH,
        signed(line.difference) if math.isfinite(line.difference) else DASH,
        _limits(line.ci_low, line.ci_high) or DASH, q if math.isfinite(line.q) else DASH,
        line.verdict or DASH,
    ]  # fmt: skip


def _limits(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else ""


def lines_of(found: Found, scheme: str) -> list[Line]:
    """Lines of one scheme."""
    return [line for line in found.lines if line.scheme == scheme]


def as_tables(found: Found) -> list[tuple[str, Table]]:
    """One table a scheme, then those beside them, each with its title."""
    out = []
    for heading in found.headings if found.lines else []:
        rows = [
            (cells(line), line.verdict in (BETTER, WORSE))
            for line in lines_of(found, heading.scheme)
        ]
        out.append((over(heading), _rich(COLUMNS, rows)))
    for sheet in found.beside:
        rows = [([_text(name, one) for name, one in zip(sheet.columns, row, strict=True)], False)
                for row in sheet.rows]  # fmt: skip
        out.append((sheet.title, _rich(sheet.columns, rows)))
    return out


def _rich(columns: Sequence[str], rows: Sequence[tuple[list[str], bool]]) -> Table:
    table = Table(box=None, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in _LEFT else "right", overflow="fold")
    for row, strong in rows:
        table.add_row(*row, style="bold" if strong else None)
    return table


def _text(column: str, value: Cell) -> str:
    """A plain cell: R and p as ever, counts whole, names as they are."""
    if isinstance(value, str):
        return value or DASH
    if not math.isfinite(value):
        return DASH
    if column in _WHOLE:
        return f"{value:,.0f}"
    if column in ("p", "q", "p (clips)", "Wilcoxon p"):
        return probability("p", value).removeprefix("p").removeprefix(" =").strip()
    return number(value) if abs(value) < 100 else f"{value:,.0f}".replace("-", MINUS)


def as_markdown(found: Found) -> str:
    """For an issue, a page or a paper."""
    parts = [f"**{cell(title(found))}**"]
    for heading in found.headings if found.lines else []:
        parts += [
            "",
            over(heading),
            "",
            *_grid(COLUMNS, [cells(o) for o in lines_of(found, heading.scheme)]),
        ]
    for sheet in found.beside:
        rows = [
            [_text(n, one) for n, one in zip(sheet.columns, row, strict=True)] for row in sheet.rows
        ]
        parts += ["", cell(sheet.title), "", *_grid(sheet.columns, rows)]
    return "\n".join([*parts, "", *(f"* {cell(text)}" for text in words(found)), ""])


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(cell, columns))} |"]
    lines.append("|" + "|".join("---" if name in _LEFT else "--:" for name in columns) + "|")
    return [*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)]


def words(found: Found) -> list[str]:
    """A sentence a scheme, what is missing, then where the paper did something else."""
    out = [_sentence(found, heading.scheme) for heading in found.headings if found.lines]
    out += [note for sheet in found.beside for note in sheet.notes]
    tested = sum(math.isfinite(line.q) for line in found.lines)
    if tested:
        out.append("q adjusts p for the rows of a scheme; a row is better or worse only where the "
                   "interval of Δ leaves out 0 too.")  # fmt: skip
    out += [f"Missing: {text}." for text in found.missing]
    return [text for text in [*out, *found.notes, *found.recipe.differs] if text]


def _sentence(found: Found, scheme: str) -> str:
    parts, lines = [], lines_of(found, scheme)
    for kind in (BETTER, WORSE):
        of = [
            f"{o.label} than {o.against} ({signed(o.difference)})"
            for o in lines
            if o.verdict == kind
        ]
        if of:
            parts.append(f"{kind}: {joined(of)}")
    for kind, text in ((NONE, "no difference is shown for"), (FEW, "too few groups to tell for"),
                       (SAME, "the predictions are the same for")):  # fmt: skip
        if of := [o.label for o in lines if o.verdict == kind]:
            parts.append(f"{text} {joined(of)}")
    return f"On {scheme_name(scheme)} folds: {'; '.join(parts)}." if parts else ""


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Plain numbers; what is not known is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [["" if value is None else value for value in map(_plain, row)] for row in rows]
    )
    return stream.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _flat(line: Line) -> dict[str, Any]:
    """A line with the paper's number beside it."""
    paper: dict[str, Any] = dict.fromkeys(_OF_PAPER)
    if line.paper:
        paper = dict(zip(_OF_PAPER, astuple(line.paper), strict=True))
    own = {key: value for key, value in asdict(line).items() if key != "paper"}
    return {key: _plain(value) for key, value in (own | paper).items()}


def files(found: Found) -> dict[str, str]:
    """What ``--out`` writes, by file name."""
    name = found.recipe.name
    out = {f"{name}.md": as_markdown(found)}
    if found.lines:
        flat = [_flat(line) for line in found.lines]
        out[f"{name}.csv"] = as_csv(list(flat[0]), [list(one.values()) for one in flat])
    for sheet in found.beside:
        out[f"{name}-{sheet.name}.csv"] = as_csv(sheet.columns, sheet.rows)
    return out


def as_document(found: Found) -> dict[str, Any]:
    """Everything, for scripts; what is undefined is null."""
    return {
        "table": found.recipe.name, "where": found.recipe.where,
        "corpus": found.recipe.choice.corpus, "source": found.source,
        "confidence": found.confidence, "n_draws": found.n_draws,
        "schemes": [{k: _plain(v) for k, v in asdict(one).items()} for one in found.headings],
        "lines": [_flat(line) for line in found.lines],
        "beside": [_sheet(sheet) for sheet in found.beside],
        "missing": found.missing, "notes": words(found),
    }  # fmt: skip


def _sheet(sheet: Sheet) -> dict[str, Any]:
    rows = [dict(zip(sheet.columns, map(_plain, row), strict=True)) for row in sheet.rows]
    return {"name": sheet.name, "title": sheet.title, "rows": rows}


def as_json(document: Any) -> str:
    """The text of a document."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
