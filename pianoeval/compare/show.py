"""A comparison as text, table, Markdown or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from rich.table import Table

from pianoeval.compare.findings import Findings
from pianoeval.compare.paired import Comparison
from pianoeval.compare.verdict import limits, number, probability, signed
from pianoeval.errors import printable
from pianoeval.report.markdown import cell
from pianoeval.report.words import ABSENT, metric_name, scheme_name

MAX_CHANGES = 20


def as_json(found: Findings) -> str:
    """Everything, for scripts; what is undefined is null. Differences are B − A."""
    document = asdict(found) | {
        "changed": [{"name": name, "a": a, "b": b} for name, a, b in found.changed],
        "rows": [{k: _plain(v) for k, v in asdict(row).items()} for row in found.rows],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def heading(found: Findings) -> list[str]:
    """What is compared, which parameters differ, and what a reader must know."""
    subset = "" if found.subset == "all" else f", {found.subset} clips"
    lines = [
        f"A  {found.a}",
        f"B  {found.b}",
        f"{metric_name(found.metric)} on {found.corpus}{subset}, mean over dimensions; "
        f"{found.n_draws:,} draws; differences are B − A",
    ]
    if found.changed:
        lines += ["Parameters that differ, A → B:"]
        lines += [printable(f"  {name}: {a} → {b}") for name, a, b in found.changed[:MAX_CHANGES]]
        if len(found.changed) > MAX_CHANGES:
            lines.append(f"  … and {len(found.changed) - MAX_CHANGES} more (all with --json)")
    return lines


def listed(found: Findings) -> list[Comparison]:
    """Rows worth a line: of several, those that changed; the verdict counts the others."""
    several = len({row.a for row in found.rows}) > 1
    return [row for row in found.rows if not (several and row.same)]


def _columns(found: Findings) -> list[str]:
    several = any(math.isfinite(row.q_permutation) for row in found.rows)
    rows = len({row.a for row in found.rows}) > 1
    percent = f"{100 * found.confidence:g} %"
    return [
        "scheme", *(["row"] if rows else []), "A", "B", "B − A", percent, "p",
        *(["q"] if several else []), "clips", "groups",
    ]  # fmt: skip


def _cells(row: Comparison, columns: list[str], confidence: float) -> list[str]:
    interval = limits(row, confidence).removeprefix(f"{100 * confidence:g} % ")
    cells = {
        "scheme": scheme_name(row.scheme),
        "row": row.a,
        "A": number(row.value_a),
        "B": number(row.value_b),
        "B − A": "same" if row.same else signed(row.difference),
        f"{100 * confidence:g} %": ABSENT if row.same else interval,
        "p": ABSENT if row.same else _p(row.p_permutation),
        "q": _p(row.q_permutation),
        "clips": str(row.n_clips),
        "groups": str(row.n_clusters),
    }
    return [cells[name] for name in columns]


def _p(value: float) -> str:
    if not math.isfinite(value):
        return ABSENT
    return probability("p", value).removeprefix("p").removeprefix(" =").strip()


def as_table(found: Findings) -> Table:
    """The comparisons for a terminal."""
    table, columns = Table(box=None, header_style="bold"), _columns(found)
    for name in columns:
        left = name in ("scheme", "row")
        table.add_column(name, justify="left" if left else "right", no_wrap=not left)
    for row in listed(found):
        table.add_row(*_cells(row, columns, found.confidence))
    return table


def as_markdown(found: Findings) -> str:
    """For an issue, a pull request or a notebook."""
    columns = _columns(found)
    lines = [
        *(f"* {line}" for line in heading(found)[:3]), "",
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---" if name in ("scheme", "row") else "--:" for name in columns) + "|",
    ]  # fmt: skip
    lines += [
        "| " + " | ".join(cell(text) for text in _cells(r, columns, found.confidence)) + " |"
        for r in listed(found)
    ]
    lines += ["", *(f"* {text}" for text in found.verdicts.values())]
    if found.changed:
        lines += ["", "| parameter | A | B |", "|---|---|---|"]
        lines += [f"| {_code(name)} | {_code(a)} | {_code(b)} |" for name, a, b in found.changed]
    if found.notes:
        lines += ["", *(f"* {note}" for note in found.notes)]
    return "\n".join(lines)


def _code(value: object) -> str:
    """A value in the type of code, inside of a table."""
    flat = printable(" ".join(str(value).split()))
    return "`" + flat.replace("`", "'").replace("|", "\\|") + "`"


def as_text(found: Findings) -> list[str]:
    """What follows the table: the verdicts, then the notes."""
    lines = ["", *found.verdicts.values()]
    return [*lines, "", *found.notes] if found.notes else lines
