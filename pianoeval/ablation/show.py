"""The table of a grid for a terminal, as Markdown and as JSON; and what to type next."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.table import Table

from pianoeval.ablation.experiments import Encoded, Experiment
from pianoeval.ablation.findings import BETTER, FEW, NONE, SAME, WORSE, Found, Row
from pianoeval.ablation.grids import Grid
from pianoeval.compare.verdict import number, probability, signed
from pianoeval.report.words import ABSENT, joined, metric_name, scheme_name

_LEFT = ("point", "verdict")


def heading(found: Found) -> str:
    """What was varied, and of what the numbers are."""
    target, subset = found.grid.target, "" if found.subset == "all" else f", {found.subset} clips"
    return (
        f"{found.grid.name} on {target.corpus}: {found.grid.first.row}{subset}; "
        f"{metric_name(found.metric)}, mean over dimensions; {found.n_draws:,} draws; "
        f"differences from '{found.grid.baseline}'"
    )


def _groups(found: Found) -> list[tuple[str, list[Row]]]:
    """Rows of one table each: a scheme, or all where points are schemes."""
    if found.grid.first.scheme:
        return [("", found.rows)]
    return [(name, list(rows)) for name, rows in groupby(found.rows, key=lambda row: row.scheme)]


def _title(scheme: str, rows: Sequence[Row]) -> str:
    """The scheme with what a number must beat and can reach."""
    if not scheme:
        return "schemes"
    row, parts = rows[0], []
    if math.isfinite(row.lookup):
        parts.append(f"best lookup {number(row.lookup)}")
    if math.isfinite(row.ceiling):
        parts.append(f"ceiling {number(row.ceiling)}")
    size = f"{row.n_clips:,} clips in {row.n_clusters} content groups"
    return f"{scheme_name(scheme)} folds ({', '.join([*parts, size])})"


def _columns(found: Found) -> list[str]:
    beside = ["best lookup", "ceiling"] if found.grid.first.scheme else []
    value = "R²" if found.metric == "r2_pooled" else "accuracy"
    return ["point", value, *beside, "difference", f"{100 * found.confidence:g} %", "p", "q",
            "verdict"]  # fmt: skip


def _cells(found: Found, row: Row) -> list[str]:
    beside = [number(row.lookup), number(row.ceiling)] if found.grid.first.scheme else []
    differs = math.isfinite(row.difference) and row.verdict != SAME
    limits = f"{number(row.ci_low)} to {number(row.ci_high)}"
    return [
        row.label, number(row.value), *beside, signed(row.difference) if differs else ABSENT,
        limits if differs and math.isfinite(row.ci_low) else ABSENT,
        _p(row.p) if differs else ABSENT, _p(row.q), row.verdict,
    ]  # fmt: skip


def _p(value: float) -> str:
    if not math.isfinite(value):
        return ABSENT
    return probability("p", value).removeprefix("p").removeprefix(" =").strip()


def as_tables(found: Found) -> list[tuple[str, Table]]:
    """One table a scheme, with its title."""
    tables = []
    for scheme, rows in _groups(found):
        table = Table(box=None, header_style="bold")
        for name in _columns(found):
            table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
        for row in rows:
            style = "bold" if row.verdict in (BETTER, WORSE) else None
            table.add_row(*_cells(found, row), style=style)
        tables.append((_title(scheme, rows), table))
    return tables


def as_markdown(found: Found) -> str:
    """For an issue, a pull request or a notebook."""
    lines = [heading(found)]
    columns = _columns(found)
    for scheme, rows in _groups(found):
        lines += ["", f"**{_title(scheme, rows)}**", "", f"| {' | '.join(columns)} |"]
        lines.append("|" + "|".join("---" if name in _LEFT else "--:" for name in columns) + "|")
        lines += [f"| {' | '.join(_cells(found, row))} |" for row in rows]
    return "\n".join([*lines, "", *(f"* {text}" for text in words(found))])


def words(found: Found) -> list[str]:
    """A sentence a table, then the notes."""
    lines = [_sentence(scheme, rows, found) for scheme, rows in _groups(found)]
    n = max(len(rows) for _, rows in _groups(found)) - 1
    if n > 1:
        lines.append(
            f"q adjusts for {n} points; that the best of them is that good is not shown: it was "
            "chosen on the folds it is reported on."
        )
    return [*lines, *found.notes]


def _sentence(scheme: str, rows: Sequence[Row], found: Found) -> str:
    on = f"On {scheme_name(scheme)} folds" if scheme else "Between schemes"
    parts = []
    for verdict in (BETTER, WORSE):
        of = [f"{row.label} ({signed(row.difference)})" for row in rows if row.verdict == verdict]
        if of:
            parts.append(f"{joined(of)} {'is' if len(of) == 1 else 'are'} {verdict}")
    for verdict, text in (
        (NONE, f"no difference from '{found.grid.baseline}' is shown for"),
        (FEW, "there are too few content groups to tell for"),
        (SAME, "the predictions are the same for"),
    ):
        if of := [row.label for row in rows if row.verdict == verdict]:
            parts.append(f"{text} {joined(of)}")
    return f"{on}: {'; '.join(parts)}."


def as_json(
    grid: Grid, wanted: Sequence[Experiment], there: set[str], found: Found | None,
    encoded: dict[str, Any] | None,
) -> str:  # fmt: skip
    """Everything, for scripts; what is undefined is null."""
    document: dict[str, Any] = {
        "grid": grid.name, "target": asdict(grid.target), "baseline": grid.baseline,
        "points": [
            {"label": one.point.label, "experiment": one.name, "row": one.point.row,
             "overrides": one.point.overrides, "command": one.line, "run": one.name in there}
            for one in wanted
        ],
    }  # fmt: skip
    if encoded is not None:
        document["encoded"] = encoded
    if found is not None:
        document |= {
            "metric": found.metric, "subset": found.subset, "confidence": found.confidence,
            "n_draws": found.n_draws, "notes": words(found),
            "rows": [{k: _plain(v) for k, v in asdict(row).items()} for row in found.rows],
        }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def commands(wanted: Sequence[Experiment], there: set[str]) -> str:
    """What to type: one line an experiment that has not been run."""
    lines = [f"# {one.name}: run already" if one.name in there else one.line for one in wanted]
    return "\n".join(lines)


def counted(before: Encoded, after: Encoded) -> dict[str, Any]:
    """Items of audio, contours and embeddings that came while the grid ran."""
    return {
        "clips": len(after.items - before.items), "items_before": len(before.items),
        "items_after": len(after.items),
    }  # fmt: skip


def next_steps(found: Found, names: Sequence[str]) -> list[str]:
    """How DVC shows, compares and removes these experiments; three columns fit 120 characters."""
    there = list(dict.fromkeys(row.scheme for row in found.rows))
    usual = [name for name in ("segment", "player", "movement") if name in there]
    schemes = "|".join((usual or there)[:3])
    keep = rf"Experiment|{found.grid.target.corpus}\.({schemes})\.r2_pooled"
    return [
        "dvc exp show --no-pager --hide-workspace --drop '.*' --keep " + shlex.quote(keep),
        f"dvc exp diff {names[0]} {names[-1]}",
        f"dvc exp remove {' '.join(names)}",
    ]
