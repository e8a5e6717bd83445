"""Shapes, scales, and the files that are written beside the page."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import DIMENSIONS, make_report

from pianoeval.report import CorpusReport, tables, write_plot_tables
from pianoeval.report.curves import spread
from pianoeval.report.dimensions import predicted_and_rated, scatter
from pianoeval.report.figures import _interval
from pianoeval.report.html import corpus_figures
from pianoeval.report.scores import Score, metric_table
from pianoeval.report.svg import Scale, Svg, coordinate, domain

finite = st.floats(-1e4, 1e4)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.25, "1.2"), (-0.01, "0"), (100.0, "100"), (0.96, "1")]
)
def test_coordinates_are_short(value: float, text: str) -> None:
    assert coordinate(value) == text


def test_a_coordinate_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        coordinate(math.nan)


@given(st.lists(st.floats(-3, 3), max_size=9))
def test_domain_holds_its_values_between_its_bounds(values: list[float]) -> None:
    low, high = domain([*values, math.nan], floor=-0.5, ceiling=1.0)
    assert low < high
    for value in values:
        if -0.5 <= value <= 1.0:
            assert low <= value <= high


@given(st.floats(-2, 2), st.floats(0.05, 3))
def test_ticks_are_inside_even_and_few(low: float, width: float) -> None:
    scale = Scale(low, low + width, 0, 100)
    ticks = scale.ticks()
    assert all(low - 1e-6 <= t <= low + width + 1e-6 for t in ticks)
    assert 2 <= len(ticks) <= 7
    gaps = [b - a for a, b in pairwise(ticks)]
    assert max(gaps) - min(gaps) < 1e-8


@given(finite)
def test_a_scale_never_leaves_its_range(value: float) -> None:
    assert 10 <= Scale(-0.5, 1.0, 10, 90)(value) <= 90


@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_labels_do_not_overlap(positions: list[float]) -> None:
    placed = sorted(spread(positions, 14, 200))
    assert all(b - a >= 14 - 1e-9 for a, b in pairwise(placed))
    assert placed[-1] <= 200


@pytest.mark.parametrize(
    ("low", "high", "arrows"), [(-3, -2, 1), (-3, 0.2, 1), (-3, 3, 2), (0.1, 0.3, 0)]
)
def test_an_interval_beyond_the_axis_gets_an_arrow(low: float, high: float, arrows: int) -> None:
    svg = Svg(10, 10, ident="x", title="t", description="d")
    score = Score("mel", "ridge", (low + high) / 2, low, high)
    _interval(svg, Scale(-0.5, 1.0, 0, 100), 5, score)
    assert str(svg.render()).count('class="curve audio"') == arrows


def test_text_and_attributes_are_escaped() -> None:
    svg = Svg(10, 10, ident="x", title="<b>&", description='"')
    svg.text(1, 1, "</text><script>")
    svg.two_tone(1, 1, "<", ">", anchor="end")
    svg.mark(1, 1, "audio", "<&>")
    root = ET.fromstring(svg.render())
    assert not [e for e in root.iter() if e.tag.endswith("script")]


def test_figures_are_well_formed(percepiano: CorpusReport) -> None:
    drawn = [f for group in corpus_figures(percepiano).values() for f in group]
    assert len(drawn) == 5 + 5 + 2 + 2
    for figure in drawn:
        root = ET.fromstring(figure.svg.render())
        assert root.tag == "svg"
        assert root.find("title") is not None
    again = [f for group in corpus_figures(percepiano).values() for f in group]
    assert [f.svg.render() for f in drawn] == [f.svg.render() for f in again]


def test_plot_tables(percepiano: CorpusReport, tmp_path: Path) -> None:
    written = {p.name: pd.read_csv(p) for p in write_plot_tables([percepiano], tmp_path)}
    assert set(written) == {
        "r2.csv", "pairwise.csv", "layers.csv", "predicted.csv", "learning.csv", "calibration.csv",
        "residuals.csv",
    }  # fmt: skip
    for name in ("learning.csv", "calibration.csv", "residuals.csv"):
        assert written[name].empty
    r2 = written["r2.csv"].set_index(["scheme", "features"])["value"]
    assert r2["movement", "symbolic"] == pytest.approx(0.171)
    assert r2["movement", "ceiling"] == pytest.approx(0.717)
    layers = written["layers.csv"]
    assert set(layers["encoder"]) == {"transkun"}
    assert set(layers["layer"]) == {"1", "2", "3", "4", "5", "6", "ctx"}
    predicted = written["predicted.csv"]
    assert len(predicted) == 1202 * len(DIMENSIONS)
    assert list(predicted) == ["corpus", "dimension", "clip", "rated", "predicted"]


def test_plot_tables_without_predictions(tmp_path: Path) -> None:
    full = make_report(n_clips=10)
    write_plot_tables([CorpusReport(full.corpus, full.results, full.summary)], tmp_path)
    assert (tmp_path / "predicted.csv").read_text() == "corpus,dimension,clip,rated,predicted\n"


def test_predictions_of_several_seeds_are_averaged() -> None:
    report = make_report(n_clips=6)
    table = report.predictions["symbolic"]
    other = table.assign(seed=43, prediction=table["prediction"] + 0.2)
    report = CorpusReport(
        report.corpus, report.results, report.summary, report.manifest, report.labels,
        {"symbolic": pd.concat([table, other])},
    )  # fmt: skip
    best = metric_table(report, "r2_pooled").scores("movement")[0]
    both = predicted_and_rated(report, "movement", best)
    assert both is not None
    assert len(both) == 6 * len(DIMENSIONS)
    first = both[both["dimension"] == "pace"].set_index("clip")["predicted"]
    expected = table[table["dimension"] == "pace"].set_index("clip")["prediction"] + 0.1
    pd.testing.assert_series_equal(first, expected.astype("float64"), check_names=False, rtol=1e-5)


def test_a_crowded_scatter_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report(n_clips=100)
    monkeypatch.setattr("pianoeval.report.dimensions._MAX_POINTS", 100 * len(DIMENSIONS) // 4)
    found = scatter(report, "movement", "p")
    assert found is not None
    assert found.every == 4
    assert found.n_clips == 100
    assert str(found.panels[0].svg.render()).count("h0") <= 25


def test_a_full_table_that_is_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report(n_clips=4)
    monkeypatch.setattr(tables, "_MAX_CELLS", 60)
    table = tables.full_table(report)
    assert len(table.rows) == 60 // len(table.metrics)
    assert table.n_rows > len(table.rows)
