"""Reading: what is missing or broken is named, with the next command."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from report_cases import make_clips, make_results, make_summary

from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.paths import CorpusPaths
from pianoeval.report import CorpusReport, load_corpus_report
from pianoeval.report.data import RESULT_COLUMNS
from pianoeval.tablefile import write_table


@pytest.fixture
def paths(tmp_path: Path) -> CorpusPaths:
    """A workspace with everything a report reads."""
    paths = CorpusPaths("percepiano", workspace=tmp_path)
    manifest, labels, predictions = make_clips("percepiano", 20)
    for file in (paths.results / "x", paths.manifest, paths.predictions("symbolic")):
        file.parent.mkdir(parents=True, exist_ok=True)
    make_results().to_csv(paths.results / "results.csv", index=False)
    (paths.results / "summary.json").write_text(json.dumps(make_summary()), encoding="utf-8")
    write_table(manifest, paths.manifest)
    write_table(labels, paths.labels)
    write_table(predictions, paths.predictions("symbolic"))
    return paths


def test_what_is_written_is_read(paths: CorpusPaths) -> None:
    report = load_corpus_report(paths, ["symbolic"])
    written = CorpusReport("percepiano", make_results(), make_summary())
    pd.testing.assert_frame_equal(report.results, written.results)
    assert report.manifest is not None
    assert len(report.manifest) == 20
    assert set(report.predictions) == {"symbolic"}
    assert report.skipped == {"composition": "only three compositions"}
    assert not report.simulated


def test_a_file_may_hold_several_views(paths: CorpusPaths) -> None:
    table = pd.read_parquet(paths.predictions("symbolic"))
    both = pd.concat([table.assign(features="transkun-1"), table.assign(features="transkun-2")])
    write_table(both, paths.predictions("transkun"))
    report = load_corpus_report(paths, ["symbolic", "transkun"])
    assert set(report.predictions) == {"symbolic", "transkun-1", "transkun-2"}


def test_results_alone(paths: CorpusPaths) -> None:
    paths.manifest.unlink()
    assert load_corpus_report(paths, ["symbolic"], results_only=True).manifest is None


@pytest.mark.parametrize("name", ["results.csv", "summary.json", "manifest", "labels", "symbolic"])
def test_a_missing_file_names_the_next_command(paths: CorpusPaths, name: str) -> None:
    {
        "manifest": paths.manifest,
        "labels": paths.labels,
        "symbolic": paths.predictions("symbolic"),
    }.get(name, paths.results / name).unlink()
    with pytest.raises(MissingAssetError) as caught:
        load_corpus_report(paths, ["symbolic"])
    assert caught.value.next_step is not None
    assert caught.value.next_step.startswith("dvc repro")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.csv", ""),
        ("results.csv", "corpus,task\n"),
        ("results.csv", 'a,b\n1,2,3\n"'),
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", '{"notes": "one"}'),
        ("summary.json", '{"skipped": ["segment"]}'),
    ],
)
def test_a_broken_file_is_refused(paths: CorpusPaths, name: str, content: str) -> None:
    (paths.results / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorruptDataError) as caught:
        load_corpus_report(paths, ["symbolic"])
    assert caught.value.next_step


def test_a_truncated_parquet_is_refused(paths: CorpusPaths) -> None:
    file = paths.predictions("symbolic")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CorruptDataError, match="not the table that was written"):
        load_corpus_report(paths, ["symbolic"])


@pytest.mark.parametrize("column", RESULT_COLUMNS)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(CorruptDataError, match=f"column {column} missing"):
        CorpusReport("percepiano", make_results().drop(columns=column), {})


def test_empty_foreign_and_wordy_results_are_refused() -> None:
    results = make_results()
    with pytest.raises(CorruptDataError, match="no results"):
        CorpusReport("percepiano", results.iloc[:0], {})
    with pytest.raises(CorruptDataError, match="another corpus: percepiano"):
        CorpusReport("studio", results, {})
    with pytest.raises(CorruptDataError, match="value is not numeric"):
        CorpusReport("percepiano", results.astype({"value": str}).replace("nan", "?").assign(
            value="high"), {})  # fmt: skip
