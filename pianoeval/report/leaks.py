"""Tables of the summary: what the sides of a split share, how far raters agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pianoeval.report import words
from pianoeval.report.data import CorpusReport

_COLUMNS = (
    "segment", "content_group", "music", "movement", "composition", "player", "sha256",
    "performance", "take", "family",
)  # fmt: skip
_HEADS = {
    "content_group": "same content group",
    "family": "version of the same take",
    "music": "same notes",
    "performance": "same performance, by its notes",
    "sha256": "same file",
    "take": "same take, rendered again",
}
_PARTS = {
    "train-test": "training and test",
    "train-validation": "fitting and validation",
    "validation-test": "validation and test",
}


@dataclass(frozen=True)
class LeakTable:
    """Share of clips, per scheme and group, whose group is also on the other side.

    The first cell of a row says which two sides; the share is of clips of the second.
    """

    heads: list[str]
    rows: list[tuple[str, list[str]]]


def leak_table(report: CorpusReport) -> LeakTable | None:
    """Table of what the two sides of each division share.

    Read from ``summary["leak_audit"]``, a mapping part → scheme → group → share of clips (0 to 1)
    or None where nothing was checked; where that is absent from ``summary["leaks"]``, which is its
    part ``train-test``.
    """
    found = _shares(report)
    groups = {str(g) for schemes in found.values() for row in schemes.values() for g in row}
    if not groups:
        return None
    columns = [c for c in _COLUMNS if c in groups] + sorted(groups - set(_COLUMNS))
    parts = [p for p in _PARTS if p in found] + sorted(set(found) - set(_PARTS))
    schemes = {scheme for part in found.values() for scheme in part}
    rows = [
        (scheme, [_PARTS.get(part, words.plain(part)), *_cells(found[part][scheme], columns)])
        for scheme in sorted(schemes, key=words.scheme_rank)
        for part in parts
        if scheme in found[part]
    ]
    return LeakTable(["sides", *(_HEADS.get(c, f"same {words.plain(c)}") for c in columns)], rows)


def _shares(report: CorpusReport) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Part → scheme → group → share; what has another shape is left out."""
    found = report.summary.get("leak_audit")
    if not isinstance(found, Mapping):
        found = {"train-test": report.summary.get("leaks")}
    return {
        str(part): {str(s): row for s, row in schemes.items() if isinstance(row, Mapping)}
        for part, schemes in found.items()
        if isinstance(schemes, Mapping)
    }


def _cells(row: Mapping[str, Any], columns: list[str]) -> list[str]:
    return [_share(row[c]) if c in row else words.ABSENT for c in columns]


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
    if value is None:
        return "not checked"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return "none" if value == 0 else words.percent(float(value))
