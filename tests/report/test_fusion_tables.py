"""Fusions on the page: shared errors of members, weights, and their place among the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from beside_cases import make_full_report
from page_structure import Structure

from pianoeval.report.data import CorpusReport
from pianoeval.report.fusions import fusion_tables
from pianoeval.report.html import render
from pianoeval.report.scores import metric_table
from pianoeval.report.select import headline

MODELS = ["symbolic/ensemble", "mel/ridge", "fusion/average", "fusion/stacked"]
R = [[1.0, 0.8, 0.9, 0.9], [0.8, 1.0, 0.9, 0.8], [0.9, 0.9, 1.0, 0.97], [0.9, 0.8, 0.97, 1.0]]


def with_fusion(report: CorpusReport, value: float) -> CorpusReport:
    """The report with a fusion whose stacked row reaches ``value`` on movement folds."""
    block = {
        "members": 2, "models": MODELS, "matrix": R, "ci_low": R, "ci_high": R,
        "label_noise": R, "beyond_noise": [[0.5] * 4] * 4,
    }  # fmt: skip
    found: dict[str, Any] = {**(report.beside.diagnostics or {})}
    found["schemes"] = {
        name: {**part, "fusions": {"fusion": block}} for name, part in found["schemes"].items()
    }
    found["fusion_weights"] = [
        {"view": "fusion", "model": model, "scheme": scheme, "member": member, "mean": mean,
         "low": mean - 0.1, "high": mean + 0.1, "folds": 4}
        for scheme in ("content", "movement")
        for model, mean in (("average", 0.5), ("stacked", 0.41)) for member in MODELS[:2]
    ]  # fmt: skip
    rows = report.results[report.results["features"] == "mel"]
    rows = rows[rows["model"] == "ridge"].assign(features="fusion", model="stacked")
    rows.loc[rows["metric"] == "r2_pooled", ["value", "ci_low", "ci_high"]] = [value] * 3
    results = pd.concat([report.results, rows], ignore_index=True)
    return replace(report, results=results, beside=replace(report.beside, diagnostics=found))


@pytest.fixture(scope="module")
def fused() -> CorpusReport:
    return with_fusion(make_full_report(n_clips=60), 0.4)


def test_a_table_a_fusion_under_the_scheme(fused: CorpusReport) -> None:
    (table,) = fusion_tables(fused, "movement")
    assert table.view == "fusion"
    assert table.members == "ensemble on symbolic features and ridge on mel"
    assert table.errors is not None
    assert [cell.text for cell in table.errors.rows[0][1]] == ["–", "0.80", "0.90", "0.90"]
    assert table.errors.rows[0][1][1].aside == "0.50 beyond noise"
    assert table.weights == [
        ("stacked", "ensemble on symbolic features", "0.410", "0.310 to 0.510"),
        ("stacked", "ridge on mel", "0.410", "0.310 to 0.510"),
    ]
    assert table.folds == 4


def test_a_fusion_stands_beside_audio_and_symbolic(fused: CorpusReport) -> None:
    line = next(ln for ln in headline(fused, "r2_pooled") if ln.scheme == "movement")
    assert line.best.key == "fusion/stacked"
    assert line.fusion == line.best
    assert line.symbolic is not None
    assert line.symbolic.features == "symbolic"
    assert line.audio is not None
    assert line.audio.kind == "audio"
    kinds = {score.kind for score in metric_table(fused, "r2_pooled").scores("movement")}
    assert "fusion" in kinds


def test_the_page_shows_it(fused: CorpusReport) -> None:
    page = render([fused])
    assert Structure(page).open == []
    assert "<h4>Fusion: fusion</h4>" in page
    assert '<th scope="col">Best fusion</th>' in page
    assert 'class="mark fusion"' in page
    assert "0.310 to 0.510" in page


def test_a_page_without_fusions_has_none_of_it() -> None:
    page = render([make_full_report(n_clips=20)])
    assert "Best fusion" not in page
    assert "<h4>Fusion" not in page


@pytest.mark.parametrize("block", [None, {}, {"fusion": None}, {"fusion": {"models": ["a"]}}, 3])
def test_broken_parts_cost_themselves_alone(fused: CorpusReport, block: object) -> None:
    found = dict(fused.beside.diagnostics or {})
    found["schemes"] = {name: {**part, "fusions": block} for name, part in found["schemes"].items()}
    found["fusion_weights"] = None
    report = replace(fused, beside=replace(fused.beside, diagnostics=found))
    for table in fusion_tables(report, "movement"):
        assert table.errors is None
        assert table.weights == []
    assert Structure(render([report])).open == []
