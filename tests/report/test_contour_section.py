"""The table of pitch contours on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from beside_cases import make_full_report
from page_structure import Structure

from pianoeval.errors import CorruptDataError
from pianoeval.report import CorpusReport
from pianoeval.report.contours import contour_table
from pianoeval.report.extras import read_beside
from pianoeval.report.html import render

NAN = float("nan")
ROWS = [
    ("clarinet", "raw_pitch_accuracy", 0.954, 0.94, 0.968, 925, 0),
    ("clarinet", "deviation_cents", 2.56, 2.5, 2.61, 925, 0),
    ("flute", "raw_pitch_accuracy", 0.8, NAN, NAN, 1, 12),
    ("flute", "deviation_cents", NAN, NAN, NAN, 0, 12),
    ("all", "raw_pitch_accuracy", 0.953, 0.94, 0.96, 926, 12),
]


@pytest.fixture(scope="module")
def audit() -> pd.DataFrame:
    columns = ["instrument", "measure", "value", "ci_low", "ci_high", "n_clips", "n_unknown"]
    return pd.DataFrame(ROWS, columns=columns)


@pytest.fixture(scope="module")
def report(audit: pd.DataFrame) -> CorpusReport:
    full = make_full_report(n_clips=60)
    return replace(full, beside=replace(full.beside, contours=audit))


def test_values_stand_under_their_heads(report: CorpusReport) -> None:
    table = contour_table(report)
    assert table is not None
    at = {head: number for number, head in enumerate(table.heads)}
    rows = {name: (clips, cells) for name, clips, cells in table.rows}
    assert list(rows) == ["clarinet", "flute", "all"]
    assert rows["clarinet"][0] == "925"
    assert rows["clarinet"][1][at["right pitch"]] == ("95 %", "94 % to 97 %")
    assert rows["clarinet"][1][at["deviation, cents"]] == ("2.6", "2.5 to 2.6")
    assert rows["clarinet"][1][at["voiced, found"]] == ("–", "")
    assert rows["flute"][1][at["right pitch"]] == ("80 %", "")
    assert rows["flute"][1][at["deviation, cents"]] == ("–", "")
    assert table.unknown.startswith("12 clips are recordings")


def test_the_page_shows_it_once(report: CorpusReport) -> None:
    structure = Structure(render([report]))
    assert structure.open == []
    ids = [a.get("id") for _, a in structure.tags]
    assert ids.count("c1-contours") == 1
    assert "#c1-contours" in {a.get("href") for a in structure.all("a")}
    assert "94 % to 97 %" in " ".join(" ".join(structure.text).split())


def test_nothing_where_nothing_is_known(report: CorpusReport, audit: pd.DataFrame) -> None:
    for none in (None, audit.assign(value=NAN)):
        bare = replace(report, beside=replace(report.beside, contours=none))
        assert contour_table(bare) is None
        assert "c1-contours" not in render([bare])


def test_the_file_is_read_and_checked(tmp_path: Path, audit: pd.DataFrame) -> None:
    audit.to_csv(tmp_path / "contours.csv", index=False)
    found = read_beside(tmp_path, "winds").contours
    pd.testing.assert_frame_equal(found, audit.astype({"n_clips": float, "n_unknown": float}))
    audit.assign(value="loud").to_csv(tmp_path / "contours.csv", index=False)
    with pytest.raises(CorruptDataError, match="column value is not numeric") as error:
        read_beside(tmp_path, "winds")
    assert error.value.next_step == "dvc repro contours@winds"
    audit.drop(columns="measure").to_csv(tmp_path / "contours.csv", index=False)
    with pytest.raises(CorruptDataError, match="measure"):
        read_beside(tmp_path, "winds")
