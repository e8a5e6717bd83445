"""The table of what two sides of a split share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from report_cases import make_summary

from pianoeval.report import CorpusReport
from pianoeval.report.leaks import leak_table
from pianoeval.report.words import ABSENT


def with_summary(report: CorpusReport, **changes: Any) -> CorpusReport:
    return replace(report, summary={**make_summary(), **changes})


def test_without_an_audit_training_and_test_are_shown(percepiano: CorpusReport) -> None:
    table = leak_table(with_summary(percepiano))
    assert table is not None
    assert table.heads == [
        "sides", "same segment", "same content group", "same movement", "same player",
    ]  # fmt: skip
    rows = dict(table.rows)
    assert next(iter(rows)) == "segment"
    assert rows["segment"][:2] == ["training and test", "none"]
    assert [cell.split()[0] for cell in rows["segment"][2:]] == ["41", "100", "100"]


def test_every_part_of_a_scheme_has_a_row(percepiano: CorpusReport) -> None:
    audit = {
        "train-test": {"content": {"segment": 0.0, "music": None}, "random": {"segment": 1.0}},
        "validation-test": {"content": {"segment": 0.25, "music": 0.0}},
    }
    table = leak_table(with_summary(percepiano, leak_audit=audit))
    assert table is not None
    assert table.heads == ["sides", "same segment", "same notes"]
    assert [(scheme, cells[0]) for scheme, cells in table.rows] == [
        ("random", "training and test"),
        ("content", "training and test"),
        ("content", "validation and test"),
    ]
    assert [cells[2] for _, cells in table.rows] == [ABSENT, "not checked", "none"]


@pytest.mark.parametrize("found", [None, {}, [], {"content": None}])
def test_no_audit_no_table(percepiano: CorpusReport, found: object) -> None:
    assert leak_table(with_summary(percepiano, leaks=found)) is None
