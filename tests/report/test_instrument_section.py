"""The table of instruments on the page."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from beside_cases import make_full_report
from page_structure import Structure

from pianoeval.report import CorpusReport, select, words
from pianoeval.report.figures import forest_rows
from pianoeval.report.html import render
from pianoeval.report.instruments import instrument_tables
from pianoeval.report.markdown import markdown_table
from pianoeval.report.scores import metric_table
from pianoeval.report.tables import full_table

VALUES = {
    "grand": {"on": 0.31, "without": 0.25, "only": 0.28},
    "worn_out": {"on": 0.27, "without": 0.11, "only": 0.20},
}


@pytest.fixture(scope="module")
def report() -> CorpusReport:
    full = make_full_report(n_clips=60)
    mean = full.results.query("features == 'mel' and model == 'mlp' and dimension == 'mean'")
    made = [
        mean.assign(features=f"mel:{how}_{piano}", value=value, ci_low=value - 0.2,
                    ci_high=value + 0.1)
        for piano, row in VALUES.items() for how, value in row.items()
    ]  # fmt: skip
    return replace(full, results=pd.concat([full.results, *made], ignore_index=True))


def test_values_stand_where_they_belong(report: CorpusReport) -> None:
    tables = instrument_tables(report)
    assert [t.scheme for t in tables] == metric_table(report, "r2_pooled").schemes
    for table in tables:
        assert (table.view, table.model) == ("mel", "mlp")
        assert table.own.features == "mel"
        assert [piano for piano, _ in table.rows] == ["grand", "worn_out"]
        for piano, scores in table.rows:
            assert [s.value for s in scores if s] == list(VALUES[piano].values())
        assert table.spread[1] == pytest.approx((0.18, 0.0989949), abs=1e-6)


def test_a_gap_is_no_mean(report: CorpusReport) -> None:
    results = report.results
    gone = results[results["features"] != "mel:without_grand"]
    [table, *_] = instrument_tables(replace(report, results=gone))
    assert table.rows[0][1][1] is None
    assert table.spread[1] is None
    assert table.spread[0] is not None


def test_the_page_shows_them_once(report: CorpusReport) -> None:
    page = render([report])
    structure = Structure(page)
    assert structure.open == []
    assert "c1-instruments" in [a.get("id") for _, a in structure.tags]
    assert "#c1-instruments" in {a.get("href") for a in structure.all("a")}
    text = " ".join(" ".join(structure.text).split())
    assert "0.180 ± 0.099" in text
    assert "0.110 −0.090 to 0.210" in text
    assert "worn out" in text


def test_without_rows_there_is_no_section() -> None:
    plain = make_full_report(n_clips=60)
    assert instrument_tables(plain) == []
    assert "c1-instruments" not in render([plain])


def test_rows_of_instruments_never_win(report: CorpusReport) -> None:
    results = report.results.copy()
    derived = results["features"].str.fullmatch(r"mel:(on|without|only)_.*")
    assert derived.any()
    results.loc[derived, "value"] = 0.99
    best = replace(report, results=results)
    for line in select.headline(best, "r2_pooled"):
        assert ":" not in line.best.key
    assert "without" not in str(full_table(best))
    assert "without" not in markdown_table(results)
    assert "mel:without_grand" in markdown_table(results, controls=True)
    assert words.kind("mel:without_grand") == "curve"
    groups = forest_rows(metric_table(best, "r2_pooled").scores("movement"))
    drawn = [score.features for group in groups for score in group]
    assert "mel" in drawn
    assert not any("without" in name for name in drawn)
