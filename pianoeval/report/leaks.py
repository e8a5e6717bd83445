"""Tables of the summary: what training shares with the test clips, how far raters agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pianoeval.report import words
from pianoeval.report.data import CorpusReport

_COLUMNS = (
    "segment", "content_group", "movement", "composition", "player", "sha256", "family",
)  # fmt: skip
_HEADS = {"sha256": "same file", "family": "same take", "content_group": "same notes"}


@dataclass(frozen=True)
class LeakTable:
    """Share of test clips, per scheme and group, whose group is also in training."""

    heads: list[str]
    rows: list[tuple[str, list[str]]]


def leak_table(report: CorpusReport) -> LeakTable | None:
    """Table of ``summary["leaks"]``, a mapping scheme → group → share of test clips (0 to 1)."""
    found = report.summary.get("leaks")
    if not isinstance(found, Mapping) or not found:
        return None
    groups: set[str] = {str(g) for row in found.values() for g in row}
    columns = [c for c in _COLUMNS if c in groups] + sorted(groups - set(_COLUMNS))
    rows = [
        (str(scheme), [_share(found[scheme].get(column)) for column in columns])
        for scheme in sorted(found, key=words.scheme_rank)
    ]
    return LeakTable([_HEADS.get(c, f"same {words.plain(c)}") for c in columns], rows)


@dataclass(frozen=True)
class ReliabilityTable:
    """Reliabilities of one subset, a row a dimension."""

    subset: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]


def reliability_table(report: CorpusReport) -> ReliabilityTable | None:
    """Table of ``summary["reliability"]``: subset → dimension → measure; human clips if any."""
    found = report.summary.get("reliability")
    if not isinstance(found, Mapping) or not found:
        return None
    subset = "human" if "human" in found else min(found)
    measures = list(dict.fromkeys(m for row in found[subset].values() for m in row))
    heads = [words.model_name("ceiling", measure) for measure in measures]
    rows = [
        (str(name), [words.number(row.get(measure)) for measure in measures])
        for name, row in found[subset].items()
    ]
    return ReliabilityTable(subset, heads, rows)


def _share(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return words.ABSENT if value is None else str(value)
    return "none" if value == 0 else words.percent(float(value))
