"""Comparisons, controls, diagnostics: numbers set by hand reach the page, in the right place."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from beside_cases import CONTROLS, MODELS, make_diagnostics, make_full_report
from hypothesis import given
from hypothesis import strategies as st
from page_structure import Structure
from report_cases import DIMENSIONS, SCHEMES, make_report, make_results

from pianoeval.errors import CorruptDataError
from pianoeval.report import CorpusReport, metrics_summary, select, words, write_plot_tables
from pianoeval.report.calibration import calibration, pair_accuracy, slopes
from pianoeval.report.comparisons import _better_first, _pair, comparisons
from pianoeval.report.controls import control_table, resampling
from pianoeval.report.diagnostics import (
    best_model,
    confusions,
    error_correlation,
    group_tables,
    residual_table,
)
from pianoeval.report.figures import forest_rows
from pianoeval.report.html import render
from pianoeval.report.latent import _fifths, latent_maps, neighbours
from pianoeval.report.learning import learning_curves
from pianoeval.report.markdown import markdown_table
from pianoeval.report.prose import interval_methods
from pianoeval.report.scores import metric_table
from pianoeval.report.tables import full_table

SECTIONS = ("comparisons", "controls", "resampling", "diagnostics", "learning", "latent")


@pytest.fixture(scope="module")
def full() -> CorpusReport:
    return make_full_report(n_clips=240)


@pytest.fixture(scope="module")
def full_page(full: CorpusReport) -> str:
    return render([full])


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Structure(page).text))


def test_the_page_is_sound_and_lists_its_sections(full_page: str) -> None:
    structure = Structure(full_page)
    assert structure.open == []
    ids = [attrs["id"] for _, attrs in structure.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {a.get("href") for a in structure.all("a")}
    for section in SECTIONS:
        assert f"c1-{section}" in ids
        assert f"#c1-{section}" in links
    assert len(structure.all("table")) == len(structure.all("caption"))
    assert all(head["scope"] in ("col", "row") for head in structure.all("th"))
    words_shown = set(" ".join(structure.text).split())
    assert not {"nan", "None", "NaN", "inf", "undefined"} & words_shown


def test_every_figure_has_a_title_and_a_description(full: CorpusReport) -> None:
    drawn = [
        *calibration(full, "movement", "p"),
        *pair_accuracy(full, "movement", "p"),
        *learning_curves(full, "p"),
        *(f for m in latent_maps(full, "p") for f in m.figures),
    ]
    assert len(drawn) == 3 + 3 + 2 + 4
    for figure in drawn:
        root = ET.fromstring(figure.svg.render())
        for tag in ("title", "desc"):
            found = root.find(tag)
            assert found is not None
            assert found.text


def test_kinds_of_rows() -> None:
    assert words.kind("mel:shuffled_labels") == "control"
    assert words.kind("symbolic:swapped_pieces") == "control"
    assert words.kind("symbolic:train_25") == "curve"
    assert words.kind("symbolic") == "symbolic"
    assert words.row_name("mel:shuffled_labels", "ridge") == "ridge on mel, shuffled labels"


@pytest.mark.parametrize(
    ("features", "twin"),
    [
        ("transkun_random", "transkun"),
        ("transkun_random-4", "transkun-4"),
        ("transkun-random", "transkun"),
        ("random_transkun", "transkun"),
        ("transkun", None),
        ("randomised", None),
        ("random", None),
    ],
)
def test_a_random_encoder_has_a_pretrained_twin(features: str, twin: str | None) -> None:
    assert words.pretrained_twin(features) == twin


def test_a_control_never_wins(full: CorpusReport) -> None:
    """Even if it scored highest, a control is no best model, no column, no metric."""
    results = full.results.copy()
    control = results["features"].str.contains(":")
    results.loc[control, "value"] = 0.99
    report = replace(full, results=results)
    for line in select.headline(report, "r2_pooled"):
        assert ":" not in line.best.key
        assert line.baseline is None or ":" not in line.baseline.key
    assert "0.99" not in json.dumps(metrics_summary([report]))
    page = render([report])
    heat = "".join(re.findall(r'<table class="heat">.*?</table>', page, re.S))
    assert ":" not in re.sub(r"<[^>]*>|\{[^}]*\}", "", heat)


def test_forests_put_controls_last_and_curves_nowhere(full: CorpusReport) -> None:
    models, baselines, controls = forest_rows(metric_table(full, "r2_pooled").scores("movement"))
    assert {s.features for s in controls} == {f"transkun-4:{name}" for name in CONTROLS}
    assert not [s for s in (*models, *baselines) if ":" in s.features]
    names = {name for names, _, _ in full_table(full).rows for name in names}
    assert "transkun-4:shuffled_labels" in names
    assert not [name for name in names if "train_" in name]


def test_controls_beside_the_same_model(full: CorpusReport) -> None:
    table = control_table(full)
    assert table is not None
    assert table.heads == ["own labels", "shuffled labels", "swapped pieces", "random weights"]
    rows = {scheme: cells for scheme, view, cells in table.rows if view == "transkun-4"}
    assert set(rows) == set(SCHEMES)
    own, shuffled, swapped, random = rows["movement"]
    assert own is not None
    assert shuffled is not None
    assert swapped is not None
    assert random is not None
    assert (own.model, shuffled.value, swapped.value) == ("ridge", -0.21, 0.08)
    assert random.value == pytest.approx(own.value - 0.3)
    assert control_table(make_report(n_clips=4)) is None


def test_comparisons_of_the_headline_scheme(full: CorpusReport, full_page: str) -> None:
    r2, pairs = comparisons(full)
    assert (r2.metric, r2.subset) == ("r2_pooled", "all")
    assert (pairs.metric, pairs.subset) == ("pairwise_005", "human")
    assert [what for what, _ in r2.verdicts] == [
        "Best audio and best symbolic model of the first views", "Best model and best baseline",
        "Best audio and best baseline",
    ]  # fmt: skip
    assert r2.verdicts[0][1] == "symbolic/ensemble against transkun-4/ridge: +0.256."
    # The best of symbolic, mel and transkun, and the best baseline: six pairs, largest first.
    assert len(r2.few) == 6
    assert (r2.few[0].a, r2.few[0].b) == ("ensemble on symbolic features", "mlp on mel")
    assert r2.few[0].difference == "+0.381"
    assert r2.few[0].clear
    assert not r2.few[-1].clear
    # All 15 pairs of six but the one of two baselines.
    assert len(r2.every) == 14
    assert all(len(pair.tests) == len(r2.heads) == 12 for pair in r2.every)
    assert "Best model and best baseline. symbolic/ensemble against lookup" in text_of(full_page)


@given(st.floats(-1, 1), st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_the_better_one_stands_first(gap: float, below: float, above: float) -> None:
    row = {
        "a": "mel/mlp", "b": "mel/ridge", "value_a": gap, "value_b": 0.0, "difference": gap,
        "ci_low": gap - below, "ci_high": gap + above, "p_permutation": 0.01,
        "q_permutation": 0.02, "unit": "movement", "n_units": 4.0, "n_units_ahead": 1.0,
        "n_units_behind": 2.0,
    }  # fmt: skip
    pair = _pair(_better_first(row), ())
    assert not pair.difference.startswith(words.MINUS)
    assert pair.clear == (gap - below > 0 or gap + above < 0)
    assert pair.a == ("mlp on mel" if gap >= 0 else "ridge on mel")
    assert pair.ahead == ("2 of 4 movements" if gap < 0 else "1 of 4 movements")  # one is level
    low, high = (gap - below, gap + above) if gap >= 0 else (-gap - above, -gap + below)
    assert pair.span == words.interval(low, high)


def test_intervals_by_what_is_resampled(full: CorpusReport) -> None:
    figure = resampling(full, "p")
    assert figure is not None
    drawn = str(figure.svg.render())
    assert "content and player 0.020 to 0.300, content alone 0.060 to 0.270" in drawn
    assert resampling(make_report(n_clips=4), "p") is None


def test_calibration_lines_and_slopes(full: CorpusReport) -> None:
    drawn = calibration(full, "movement", "p")
    assert [figure.aside for figure in drawn] == [
        "slope 0.93 (0.73 to 1.13)", "slope 0.31 (0.11 to 0.51)", "slope 0.52 (0.32 to 0.72)",
    ]  # fmt: skip
    assert str(drawn[0].svg.render()).count("<circle") == 10
    table = slopes(full)
    assert table is not None
    assert [name for name, _ in table.rows] == ["symbolic", "mel", "transkun"]
    assert table.rows[2][1][0] == ("0.52", "0.32 to 0.72", "ridge, transkun-4")


def test_residuals_mark_what_excludes_zero(full: CorpusReport, full_page: str) -> None:
    table = residual_table(full, "movement")
    assert table is not None
    assert table.heads[:2] == ["duration: way", "duration: size"]
    name, cells = table.rows[0]
    assert name == "ensemble on symbolic features"
    assert [cell.clear for cell in cells] == [True, True, False, True, False, True]
    assert [cell.negative for cell in cells[:2]] == [False, True]
    assert (cells[0].text, cells[0].shade, cells[0].span) == ("0.31", 31, "0.10 to 0.50")
    assert "<b>0.31</b> ●" in full_page
    by_dimension = residual_table(full, "movement", model=MODELS[0])
    assert by_dimension is not None
    assert [n for n, _ in by_dimension.rows] == ["mean", *(words.plain(d) for d in DIMENSIONS)]


def test_shared_errors(full: CorpusReport) -> None:
    table = error_correlation(full, "movement")
    block = make_diagnostics()["schemes"]["movement"]["error_correlation"]
    assert table is not None
    cell = table.rows[0][1][1]
    assert cell.text == words.number(block["matrix"][0][1], 2)
    assert cell.aside == f"{words.number(block['beyond_noise'][0][1], 2)} beyond noise"
    assert table.rows[1][1][1].text == words.ABSENT


def test_confusion_is_a_share_of_its_row(full: CorpusReport) -> None:
    first = confusions(full, "movement")[0]
    assert [[c.text for c in cells] for _, cells in first.rows] == [
        ["60 %", "30 %", "10 %"], ["25 %", "50 %", "25 %"], ["10 %", "30 %", "60 %"],
    ]  # fmt: skip
    assert [[c.clear for c in cells] for _, cells in first.rows] == np.eye(3, dtype=bool).tolist()


def test_groups_of_the_best_model(full: CorpusReport) -> None:
    best = best_model(full, "movement")
    assert best == "symbolic/ensemble"
    tables = {t.column: t for t in group_tables(full, "movement", best)}
    assert (len(tables["movement"].rows), len(tables["player"].rows)) == (4, 31)
    assert tables["movement"].rows[0] == (
        "m0", ["40", "0.550", "0.580", "+0.030", "0.110", words.ABSENT],
    )  # fmt: skip


def test_maps_and_neighbours(full: CorpusReport) -> None:
    maps = latent_maps(full, "p")
    assert [m.view for m in maps] == ["symbolic", "transkun-4"]
    assert maps[0].about == "1,202 clips, components explain 31 % and 12 %"
    by_movement, by_rating = (str(f.svg.render()) for f in maps[0].figures)
    assert len(re.findall(r"M[\d. ]+h0", by_rating)) == 240 + 5
    # Four movements, four shapes, each once more in the legend.
    assert len(re.findall(r"M[\d. ]+[hm]", by_movement)) == 240 + 4
    table = neighbours(full)
    assert table is not None
    assert table.rows[0][1][1] == ("9 %", ["chance 3 %", "movement alone 5 %"])
    assert [view for view, _ in table.rows] == ["symbolic", "transkun-4"]


def test_maps_need_the_clips(full: CorpusReport) -> None:
    page = render([replace(full, manifest=None, labels=None, predictions={})])
    assert Structure(page).open == []
    assert "the maps cannot be drawn here" in page
    assert "movement alone 5 %" in page


def test_many_movements_keep_distinct_marks(full: CorpusReport) -> None:
    assert full.manifest is not None
    many = full.manifest.assign(movement=[f"m{i % 9}" for i in range(len(full.manifest))])
    drawn = str(latent_maps(replace(full, manifest=many), "p")[0].figures[0].svg.render())
    assert drawn.count("key-mark") == 5
    assert ">others<" in drawn


@given(st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=5, max_size=60, unique=True))
def test_fifths_are_in_order_and_even(values: list[float]) -> None:
    found = _fifths(np.array([*values, np.nan]))
    assert found[-1] is None
    order = [found[i] for i in np.argsort(values)]
    assert order == sorted(order, key=lambda v: -1 if v is None else v)
    counts = [order.count(k) for k in range(5)]
    assert max(counts) - min(counts) <= 1


def test_learning_curves_go_with_the_clips(full: CorpusReport) -> None:
    drawn = learning_curves(full, "p")
    assert [figure.caption for figure in drawn] == ["content", "movement"]
    assert "mel from 0.050 at 225 to 0.200 at 900" in str(drawn[0].svg.render())
    # A logarithmic axis: doublings are equally far apart.
    marks = re.findall(r'd="M([\d.]+) [\d.]+m[^"]*" class="mark audio"', str(drawn[0].svg.render()))
    a, b, c = (float(x) for x in marks)
    assert c - b == pytest.approx(b - a, abs=0.2)


def test_methods_of_intervals_are_named_where_they_differ(full: CorpusReport) -> None:
    assert interval_methods(full) == ""
    results = full.results.copy()
    results.loc[results["metric"] == "spearman", "interval"] = "jackknife"
    text = interval_methods(replace(full, results=results))
    assert text.startswith("Intervals by content×player: R² pooled, ")
    assert text.endswith("; by jackknife: Spearman ρ.")


def test_markdown_leaves_controls_out_unless_asked(full: CorpusReport) -> None:
    plain = markdown_table(full.results)
    assert ":" not in plain
    assert "transkun-4:shuffled_labels" in markdown_table(full.results, controls=True)


def test_plot_tables_of_the_diagnostics(full: CorpusReport, tmp_path: Path) -> None:
    found = {p.name: pd.read_csv(p) for p in write_plot_tables([full], tmp_path)}
    assert len(found["learning.csv"]) == 2 * 3
    assert len(found["calibration.csv"]) == 3 * 10
    assert set(found["calibration.csv"]["scheme"]) == {"movement"}
    assert len(found["residuals.csv"]) == 3 * 3
    assert not found["r2.csv"]["features"].str.contains(":").any()


def test_hostile_names_are_escaped() -> None:
    hostile = "<script>alert('x')</script>&\""
    report = make_full_report(n_clips=20)
    assert report.beside.comparisons is not None
    assert report.beside.latent is not None
    table = report.beside.comparisons.assign(verdict=hostile, unit=hostile, n_units=4.0,
                                             n_units_ahead=2.0)  # fmt: skip
    for side in ("a", "b"):
        table[side] = table[side].str.replace("/", f"/{hostile}")
    text = json.dumps(make_diagnostics()).replace("symbolic", hostile.replace('"', '\\"'))
    latent = report.beside.latent.assign(view=hostile)
    beside = replace(report.beside, comparisons=table, latent=latent, diagnostics=json.loads(text))
    page = render([replace(report, beside=beside)])
    structure = Structure(page)
    assert structure.open == []
    assert len(structure.all("script")) == 1


def test_same_input_same_bytes(full: CorpusReport, full_page: str) -> None:
    assert render([make_full_report(n_clips=240)]) == full_page


def test_results_without_the_column_interval_are_refused() -> None:
    with pytest.raises(CorruptDataError, match="column interval missing"):
        CorpusReport("percepiano", make_results().drop(columns="interval"), {})
