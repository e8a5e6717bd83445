"""Tables from runs: values, tests and words against slow literal twins of them."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pianoeval.ablation.findings import BETTER, SAME, WORSE
from pianoeval.compare.findings import compare_runs
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.paper import show, transfer
from pianoeval.paper.found import ABSENT, Found, Line, _stand_ins
from pianoeval.paper.published import categories, published
from pianoeval.paper.recipes import Choice
from pianoeval.paper.runs import figures_of, files_of, make_table
from pianoeval.transfer import difficulty, performers, shift
from tests.paper import paper_cases as cases

AUDIO, HAN, PLAIN = "transkun-mean/mlp", "notes/han", "symbolic/ensemble"
GONE = "fusion-audio-symbolic/stacked"
NOISE = {AUDIO: 0.02, "transkun-mean/ridge": 0.02, HAN: 0.08, PLAIN: 0.11}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("table1") / "run"
    cases.write_run(where, cases.recipe("table1"), NOISE, drop=[GONE])
    return where


@pytest.fixture(scope="module")
def table1(folder: Path) -> Found:
    return make_table(cases.recipe("table1"), str(folder))


def line(found: Found, label: str, scheme: str = "movement") -> Line:
    (one,) = [line for line in found.lines if (line.label, line.scheme) == (label, scheme)]
    return one


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_values_are_those_of_the_run(table1: Found, folder: Path, scheme: str) -> None:
    """R² by hand, mean over dimensions; one that was not made has none."""
    paths = cases.CorpusPaths(cases.CORPUS, folder)
    made = [one for one in table1.lines if one.scheme == scheme and one.verdict != ABSENT]
    assert len(made) >= 8
    for one in made:
        assert one.value == pytest.approx(
            cases.r2(*cases.matrix(paths, one.ours, scheme)).mean(), abs=1e-5
        )
        assert one.low <= one.value <= one.high
    results = pd.read_csv(paths.results / "results.csv")
    part = results[(results["scheme"] == scheme) & (results["dimension"] == "mean")]
    part = part[(part["metric"] == "r2_pooled") & (part["subset"] == "all")].set_index("features")
    (heading,) = [one for one in table1.headings if one.scheme == scheme]
    assert heading.lookup == part.loc[["lookup", "none"], "value"].max()
    ceilings = part[part["model"] == "icc_1k"]["value"]
    assert heading.ceiling == ceilings.iloc[0]
    assert (heading.n_clips, heading.n_clusters) == (84, 6)


def test_differences_are_those_of_compare(table1: Found, folder: Path) -> None:
    """As ``pianoeval compare`` finds them for the same rows; q over the pairs of a scheme."""
    for label, other in (("MuQ L9–12", HAN), ("symbolic features, three models", AUDIO)):
        one = line(table1, label)
        (alone,) = compare_runs(
            f"{folder}:{other}", f"{folder}:{one.ours}", schemes=["movement"]
        ).rows
        assert (one.difference, one.ci_low, one.ci_high) == (
            alone.difference, alone.ci_low, alone.ci_high,
        )  # fmt: skip
        assert one.p == alone.p_permutation
        assert (one.n_units, one.n_units_ahead) == (alone.n_units, alone.n_units_ahead)
    for scheme in ("segment", "movement"):
        tested = [one for one in table1.lines if one.scheme == scheme and math.isfinite(one.p)]
        pairs = {(one.ours, one.against): (one.p, one.q) for one in tested}
        p, q = zip(*pairs.values(), strict=True)
        np.testing.assert_allclose(q, stats.false_discovery_control(p, method="bh"))


def test_verdicts(table1: Found) -> None:
    assert line(table1, "MuQ L9–12").verdict == BETTER
    assert line(table1, "symbolic features, three models").verdict == WORSE
    assert line(table1, "MuQ L9–12, ridge").verdict == SAME
    assert line(table1, "MuQ + symbolic, stacked").verdict == ABSENT
    assert math.isnan(line(table1, "MuQ + symbolic, stacked").value)
    assert line(table1, "Symbolic (HAN)").verdict == ""


def test_the_papers_number_stands_beside(table1: Found) -> None:
    one = line(table1, "MuQ L9–12")
    assert one.paper is not None
    assert (one.paper.value, one.paper.low, one.paper.high) == (0.533, 0.514, 0.560)
    assert ".533 [.514, .560]" in show.as_markdown(table1).replace("\\", "")  # markup is escaped
    assert "stands where the paper has MuQ" in " ".join(show.words(table1))
    assert any("stops training by R² on the fold" in text for text in show.words(table1))


def test_what_is_missing_is_named_with_its_command(table1: Found) -> None:
    by_label = {text.partition(":")[0]: text for text in table1.missing}
    assert set(by_label) == {"MERT L7–12", "MuQ + MERT, gated", "MuQ + symbolic, stacked"}
    assert "pianoeval encoder get mert" in by_label["MERT L7–12"]
    own = by_label["MuQ + symbolic, stacked"]
    assert f"'{GONE}'" in own
    assert own.endswith(
        "pianoeval paper table1 --corpus studio --instrument grand --instrument upright "
        "--instrument worn_out --run"
    )
    assert f"Missing: {own}." in show.words(table1)


def test_clips_as_independent_stand_beside_groups(table1: Found, folder: Path) -> None:
    """t over clips by scipy; the paper's own numbers are in the note."""
    (sheet,) = table1.beside
    paths = cases.CorpusPaths(cases.CORPUS, folder)
    for row in sheet.rows:
        cells = dict(zip(sheet.columns, row, strict=True))
        y, audio = cases.matrix(paths, AUDIO, str(cells["scheme"]))
        _, han = cases.matrix(paths, HAN, str(cells["scheme"]))
        worse, better = (((y - p) ** 2).mean(axis=1) for p in (han, audio))
        t, p = stats.ttest_rel(worse, better)
        assert cells["t (clips)"] == pytest.approx(t)
        assert cells["p (clips)"] == pytest.approx(p)
        assert float(cells["t (clips)"]) > 0  # audio errs less here
    assert "10.71" in sheet.notes[0]


def test_a_view_of_another_making_is_told(folder: Path, table1: Found) -> None:
    assert not any("is another one" in text for text in table1.notes)
    made = cases.recipe("table1")
    views = {**made.views, "transkun": {**made.views["transkun"]}}
    views["transkun"]["transkun-mean"] = {**views["transkun"]["transkun-mean"], "layers": "2"}
    found = make_table(replace(made, views=views), str(folder))
    assert any("View transkun-mean of this run is another one than the table's: layers 4, here 2"
               in text for text in found.notes)  # fmt: skip


def test_a_run_without_any_row_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match="none of the rows of losses") as error:
        make_table(
            replace(cases.recipe("losses"), rows=cases.recipe("losses").rows[1:]), str(folder)
        )
    assert "pianoeval paper losses" in str(error.value.next_step)
    (tmp_path / "params.yaml").write_text((folder / "params.yaml").read_text("utf-8"), "utf-8")
    with pytest.raises(MissingAssetError) as error:
        make_table(cases.recipe("table1"), str(tmp_path))
    assert "--run" in str(error.value.next_step)


def test_instruments_are_averaged_with_their_spread(tmp_path: Path) -> None:
    made = cases.recipe("soundfonts")
    noise = {f"transkun-renders:without_{name}/ridge": 0.03 + 0.02 * i
             for i, name in enumerate(cases.CHOICE.instruments)}  # fmt: skip
    cases.write_run(tmp_path / "run", made, noise)
    found = make_table(made, str(tmp_path / "run"))
    one = line(found, "trained on the others, mean", "segment")
    values = [line(found, f"{name}, trained on the others", "segment").value
              for name in cases.CHOICE.instruments]  # fmt: skip
    assert one.value == pytest.approx(np.mean(values))
    assert one.sd == pytest.approx(np.std(values, ddof=1))
    assert one.paper == published()["soundfonts.without"]
    assert ".534 ± .075" in show.as_markdown(found)
    assert line(found, "grand, trained on the others").against == "grand, trained on all"


def test_errors_of_members_are_correlated(tmp_path: Path) -> None:
    """Pearson r by numpy, a dimension at a time; the paper's r beside audio and HAN."""
    made = cases.recipe("fusion")
    noise = {"notes/han": 0.03, "symbolic/ensemble": 0.07}
    fused = [row.ours for row in made.rows if row.ours.startswith("fusion")]
    paths = cases.write_run(tmp_path / "run", made, noise, drop=fused[1:])
    (sheet,) = make_table(made, str(tmp_path / "run")).beside
    assert len(sheet.rows) == 2 * 3  # of three members, none of their fusions
    for row in sheet.rows:
        cells = dict(zip(sheet.columns, row, strict=True))
        errors = []
        for name in ("one", "other"):
            y, p = cases.matrix(paths, str(cells[name]), str(cells["scheme"]))
            errors.append(y - p)
        r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*(e.T for e in errors), strict=True)])
        assert cells["r"] == pytest.approx(r, abs=1e-6)
        assert float(cells["noise alone"]) >= 0
        of_paper = {cells["one"], cells["other"]} == {"transkun-mean/ridge", "notes/han"}
        assert (cells["paper"] == 0.738) == of_paper


@pytest.fixture(scope="module")
def dimensions(tmp_path_factory: pytest.TempPathFactory) -> cases.CorpusPaths:
    where = tmp_path_factory.mktemp("dimensions") / "run"
    return cases.write_run(where, cases.recipe("dimensions"), {AUDIO: 0.03, "notes/han": 0.07})


def test_gains_by_dimension_and_category(dimensions: cases.CorpusPaths) -> None:
    """By hand; a category is the mean of its dimensions; each has a test of its own."""
    paths, made = dimensions, cases.recipe("dimensions")
    found = make_table(made, str(paths.workspace))
    sheets = {sheet.name: sheet for sheet in found.beside}
    assert set(sheets) == {f"{kind}-{row}" for kind in ("dimension", "category")
                           for row in ("notes-han", "symbolic-ensemble")}  # fmt: skip
    for scheme in ("segment", "movement"):
        gain = cases.r2(*cases.matrix(paths, AUDIO, scheme))
        gain = gain - cases.r2(*cases.matrix(paths, "notes/han", scheme))
        by_name = dict(zip(cases.DIMENSIONS, gain, strict=True))
        rows = [row for row in sheets["dimension-notes-han"].rows if row[0] == scheme]
        assert {row[1] for row in rows} == set(cases.DIMENSIONS)
        for row in rows:
            assert row[4] == pytest.approx(by_name[str(row[1])])
            assert row[5] <= row[4] <= row[6]
        q = [float(row[8]) for row in rows]
        expected = stats.false_discovery_control([float(row[7]) for row in rows], method="bh")
        np.testing.assert_allclose(q, expected)
        for row in sheets["category-notes-han"].rows:
            if row[0] == scheme:
                own = [by_name[n] for n in categories()[str(row[1])] if n in by_name]
                assert row[4] == pytest.approx(np.mean(own))
    printed = {row[1]: row[10] for row in sheets["dimension-notes-han"].rows}
    assert (printed["timing"], printed["pedal_clarity"]) == (0.368, 0.279)
    assert math.isnan(float(printed["timbre_depth"]))
    plain = sheets["dimension-symbolic-ensemble"]
    assert all(math.isnan(float(row[10])) for row in plain.rows)  # the paper had another baseline


def test_figures_are_whole_documents(dimensions: cases.CorpusPaths) -> None:
    found = make_table(cases.recipe("dimensions"), str(dimensions.workspace))
    figures = figures_of(found)
    rows, schemes = ("notes-han", "symbolic-ensemble"), ("segment", "movement")
    assert set(figures) == {f"figure3-{row}-{name}.svg" for row in rows for name in schemes}
    for text in figures.values():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.get("width", "0")) > 100
        marks = [one for one in root.iter() if (one.get("class") or "").startswith("mark")]
        assert len(marks) == 2 * 3 + 2  # two a category of the toy's dimensions, and the key


# Corpora that nobody rated -----------------------------------------------------------------------


def written(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    (folder / "reports" / "asap").mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "reports" / "asap" / name, index=False)


def difficulty_rows() -> list[dict[str, object]]:
    return [
        {
            "row": row, "dimension": name, "rho": rho, "low": rho - 0.1, "high": rho + 0.1,
            "partial": rho / 2, "partial_low": None, "partial_high": None, "pieces": 120,
            "works": 80,
        }
        for row in ("symbolic/ensemble", "transkun-mean/ridge")
        for name, rho in (("timing", -0.3), ("overall", 0.2), ("timbre_depth", 0.5))
    ]  # fmt: skip


def test_difficulty_stands_beside_the_papers(folder: Path) -> None:
    made = cases.recipe("difficulty")
    written(folder, "difficulty.csv", difficulty_rows())
    found = make_table(made, str(folder))
    assert [sheet.name for sheet in found.beside] == [
        "difficulty-symbolic-ensemble", "difficulty-transkun-mean-ridge",
    ]  # fmt: skip
    sheet = found.beside[1]
    rows = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    assert [row["dimension"] for row in rows] == ["overall", "timbre_depth", "timing"]
    assert [row["paper"] for row in rows] == [0.623, 0.580, 0.604]
    assert rows[1]["ρ given notes/s and tempo"] == 0.25
    figure = ElementTree.fromstring(figures_of(found)["figure4-transkun-mean-ridge.svg"])
    assert "Correlation with the difficulty" in "".join(figure.itertext())
    assert "508 pieces" in " ".join(show.words(found))
    assert "notes a second" in show.as_markdown(found)


def test_the_mean_of_all_where_a_dimension_is_called_overall(folder: Path) -> None:
    """The studio has such a dimension; the paper's number is of the mean."""
    rows = [
        row | {"dimension": {"overall": "mean_of_all", "timing": "overall"}.get(name, name)}
        for row in difficulty_rows() if (name := str(row["dimension"]))
    ]  # fmt: skip
    written(folder, "difficulty.csv", rows)
    found = make_table(cases.recipe("difficulty"), str(folder))
    sheet = found.beside[1]
    shown = {row[0]: row[-1] for row in sheet.rows}
    assert sheet.rows[0][0] == "mean_of_all"
    assert shown["mean_of_all"] == 0.623
    assert math.isnan(float(shown["overall"]))
    assert "'mean_of_all' is the mean" in " ".join(show.words(found))


def test_instruments_other_than_six_are_told() -> None:
    three = cases.CHOICE.instruments
    assert any(" and ".join(three) in text for text in _stand_ins(cases.recipe("table1")))
    six = cases.recipe("table1", Choice(corpus="studio"))
    assert not any("six instruments" in text for text in _stand_ins(six))


def test_difficulty_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    made = cases.recipe("difficulty")
    (tmp_path / "params.yaml").write_text((folder / "params.yaml").read_text("utf-8"), "utf-8")
    with pytest.raises(MissingAssetError) as error:
        make_table(made, str(tmp_path))
    assert "pianoeval paper difficulty --corpus studio" in str(error.value.next_step)
    rows = [{k: v for k, v in row.items() if k != "rho"} for row in difficulty_rows()]
    written(tmp_path, "difficulty.csv", rows)
    with pytest.raises(CorruptDataError, match="column rho missing"):
        make_table(made, str(tmp_path))
    written(tmp_path, "difficulty.csv", difficulty_rows()[:3])
    assert make_table(made, str(tmp_path)).missing[0].startswith("transkun-mean/ridge: not in")


def test_the_papers_spread_stands_beside_the_mean_of_sds(folder: Path) -> None:
    names = ("timing", "overall", "mean_of_dimensions")
    rows = [
        dict.fromkeys(transfer._PERFORMERS) | {"row": "transkun-mean/ridge", "dimension": name,
        "intra_sd": 0.01 * i}
        for i, name in enumerate(names)
    ]  # fmt: skip
    written(folder, "performers.csv", rows)
    found = make_table(cases.recipe("performers"), str(folder))
    [sheet] = found.beside
    lines = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    paper = {str(line["dimension"]): line["paper"] for line in lines}
    assert (paper["mean_of_dimensions"], paper["timing"]) == (0.020, 0.022)
    assert math.isnan(float(str(paper["overall"])))
    assert [line["dimension"] for line in lines][-1] == "timing"
    assert "mean of each dimension's sd" in " ".join(show.words(found))


def test_shift_is_shown_as_it_stands(folder: Path) -> None:
    rows = [{"row": "transkun-mean/ridge", "part": "feature", "name": "auc", "value": 0.9,
             "empty": None}]  # fmt: skip
    written(folder, "shift.csv", rows)
    (sheet,) = make_table(cases.recipe("zero-shot"), str(folder)).beside
    assert sheet.columns == ("part", "name", "value")
    assert sheet.rows == [("feature", "auc", 0.9)]


def test_the_stage_writes_what_is_read() -> None:
    assert set(transfer._DIFFICULTY) | {"row"} <= set(difficulty.COLUMNS)
    assert set(transfer._PERFORMERS) | {"row"} <= set(performers.COLUMNS)
    assert {"row", "part", "name", "value"} <= set(shift.COLUMNS)


# As files and documents --------------------------------------------------------------------------


def test_files_hold_every_line(table1: Found) -> None:
    made = files_of(table1)
    assert set(made) == {"table1.md", "table1.csv", "table1-tests.csv"}
    table = pd.read_csv(StringIO(made["table1.csv"]))
    assert len(table) == len(table1.lines)
    for row, one in zip(table.to_dict("records"), table1.lines, strict=True):
        assert row["label"] == one.label
        assert row["value"] == pytest.approx(one.value, rel=1e-5, nan_ok=True)
        assert (row["paper"] == one.paper.value) if one.paper else math.isnan(row["paper"])
    grid = [text for text in made["table1.md"].splitlines() if text.startswith("|")]
    assert len(grid) == len(table1.lines) + 2 * 2 + 2 + 2


def test_json_is_strict_and_complete(table1: Found) -> None:
    text = show.as_json(show.as_document(table1))
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert len(document["lines"]) == len(table1.lines)
    gone = [one for one in document["lines"] if one["verdict"] == ABSENT]
    assert gone
    assert all(one["value"] is None for one in gone)
    assert document["missing"] == table1.missing
    assert document["beside"][0]["name"] == "tests"


def test_the_same_bytes_again(folder: Path, table1: Found) -> None:
    assert files_of(make_table(cases.recipe("table1"), str(folder))) == files_of(table1)
