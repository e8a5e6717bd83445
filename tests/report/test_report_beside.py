"""Files beside the results: read where they are, named where they are broken, else left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from beside_cases import make_comparisons, make_diagnostics, make_latent
from page_structure import Structure
from report_cases import make_report, make_results, make_summary

from pianoeval.errors import CorruptDataError
from pianoeval.paths import CorpusPaths
from pianoeval.report import load_corpus_report
from pianoeval.report.extras import COMPARISON_COLUMNS, floats, read_beside
from pianoeval.report.html import environment, render
from pianoeval.report.layer_weights import layer_tables
from pianoeval.report.learning import learning_curves
from pianoeval.report.sections import sections

LEAKS = pd.DataFrame({
    "scheme": ["movement"] * 3, "part": ["train-test", "train-test", "validation-test"],
    "column": ["player", "music", "player"], "declared": [True, False, True],
    "overlap": [0.7, 0.0, None], "worst_fold": [0.9, 0.0, None], "example": ["p1", None, None],
    "kept": ["movement"] * 3,
})  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``reports/percepiano`` with every file."""
    folder = tmp_path / "reports" / "percepiano"
    folder.mkdir(parents=True)
    make_results().to_csv(folder / "results.csv", index=False)
    (folder / "summary.json").write_text(json.dumps(make_summary()), encoding="utf-8")
    make_comparisons().to_csv(folder / "comparisons.csv", index=False)
    make_latent(["a", "b"], ("symbolic",)).to_csv(folder / "latent.csv", index=False)
    (folder / "diagnostics.json").write_text(json.dumps(make_diagnostics()), encoding="utf-8")
    LEAKS.to_csv(folder / "leaks.csv", index=False)
    return folder


def test_what_is_written_is_read(folder: Path) -> None:
    found = read_beside(folder, "percepiano")
    assert found.comparisons is not None
    expected = make_comparisons()
    counts = ["n_clips", "n_clusters"]
    pd.testing.assert_frame_equal(
        found.comparisons.drop(columns=counts), expected.drop(columns=counts), check_dtype=False
    )
    assert found.diagnostics == make_diagnostics()
    assert found.latent is not None
    assert list(found.latent["clip"]) == ["a", "b"]
    assert found.latent["x"].dtype == "float64"


def test_names_that_look_like_numbers_or_missing_values_survive(folder: Path) -> None:
    table = pd.DataFrame({"view": "NA", "clip": ["007", "1e5"], "x": [1, 2], "y": ["", 4]})
    table.to_csv(folder / "latent.csv", index=False)
    found = read_beside(folder, "percepiano").latent
    assert found is not None
    assert list(found["clip"]) == ["007", "1e5"]
    assert list(found["view"]) == ["NA", "NA"]
    assert found["y"].isna().tolist() == [True, False]


@pytest.mark.parametrize("name", ["comparisons.csv", "diagnostics.json", "latent.csv", "leaks.csv"])
def test_an_absent_file_is_none(folder: Path, name: str) -> None:
    (folder / name).unlink()
    found = read_beside(folder, "percepiano")
    others = {  # of other stages
        "ranking", "rank_comparisons", "disentanglement", "contrastive", "contrast_comparisons",
        "class_distances", "tsne", "contours",
    }  # fmt: skip
    absent = [n for n in vars(found) if getattr(found, n) is None and n not in others]
    assert absent == [name.partition(".")[0]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("comparisons.csv", "scheme,subset\n", "columns metric"),
        ("comparisons.csv", "", "not a table"),
        ("comparisons.csv", ",".join(COMPARISON_COLUMNS) + "\n" + "x," * 12 + "y\n", "not numeric"),
        ("diagnostics.json", "{", "not JSON"),
        ("diagnostics.json", "[]", "not a JSON object"),
        ("latent.csv", "view,clip,x\n", "column y missing"),
        ("leaks.csv", "scheme,part,column,overlap\na,b,c,much\n", "overlap is not numeric"),
    ],
)
def test_a_broken_file_names_the_command(
    folder: Path, name: str, content: str, message: str
) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorruptDataError, match=message) as caught:
        read_beside(folder, "percepiano")
    stage = "audit" if name == "leaks.csv" else "evaluate"
    assert caught.value.next_step == f"dvc repro {stage}@percepiano"


def test_the_audit_of_the_file_stands_on_the_page(folder: Path) -> None:
    paths = CorpusPaths("percepiano", workspace=folder.parent.parent)
    page = render([load_corpus_report(paths, [], results_only=True)])
    assert 'href="percepiano/leaks.csv"' in page
    table = page[page.index('<table class="leaks audit">') :]
    table = table[: table.index("</table>")]
    assert table.count("<tr>") == 1 + 2
    for cell in ("validation and test", "70 %", ">none<", "not checked"):
        assert cell in table


def test_without_the_files_the_page_says_what_makes_them() -> None:
    page = render([make_report(n_clips=20)])
    assert Structure(page).open == []
    for command in ("dvc repro evaluate@percepiano", "dvc repro audit@percepiano"):
        assert f"<code>{command}</code>" in page
    for section in ("comparisons", "controls", "diagnostics", "learning", "latent", "resampling"):
        assert f'id="c1-{section}"' not in page
        assert f'href="#c1-{section}"' not in page


def test_diagnostics_of_an_older_version_leave_parts_out() -> None:
    """Keys that are missing, or of another kind, cost their part and nothing else."""
    report = make_report(n_clips=20)
    whole = make_diagnostics()
    block = whole["schemes"]["movement"]
    spoilt = [{}, {"schemes": []}, {"schemes": {"movement": None}}, {"learning": {}, "latent": 3}]
    for key in block:
        spoilt.append({"schemes": {"movement": {k: v for k, v in block.items() if k != key}}})
        if key not in ("best", "n_clips", "n_clusters"):
            spoilt.append({"schemes": {"movement": {**block, key: None}}})
    for diagnostics in spoilt:
        beside = replace(report.beside, diagnostics=diagnostics)
        page = environment().get_template("diagnostics.html.j2")
        spoilt_report = replace(report, beside=beside)
        context = {
            **sections(spoilt_report, "c1"), "id": "c1", "name": "x", "main": "movement",
            "simulated": False,
            "has_clips": True, "figures": {"learning": learning_curves(spoilt_report, "c1")},
            "layer_weights": layer_tables(spoilt_report),
        }  # fmt: skip
        assert Structure(page.render(c=context)).open == []


def test_null_in_a_list_is_no_number() -> None:
    assert floats([1, None, 2.5, True, "x"]) == [1.0, None, 2.5, None, None]
    assert floats(None) == []
