"""The page as a whole: well formed, self-contained, escaped, the same bytes every time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from page_structure import Structure
from report_cases import DIMENSIONS, SCHEMES, make_report, make_results, make_summary

from pianoeval.errors import PianoevalError
from pianoeval.report import CorpusReport, write_report
from pianoeval.report.html import render

HOSTILE = '<script>alert("x")</script>&\'"'


@pytest.fixture(scope="module")
def structure(page: str) -> Structure:
    return Structure(page)


def test_tags_balance(structure: Structure) -> None:
    assert structure.open == []


def test_ids_are_unique_and_references_resolve(structure: Structure) -> None:
    ids = [attrs["id"] for _, attrs in structure.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    known = set(ids)
    for _, attrs in structure.tags:
        for name in attrs.get("aria-labelledby", "").split():
            assert name in known
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in known


def test_nothing_is_loaded(page: str, structure: Structure) -> None:
    assert not re.search(r"https?://", page)
    assert not re.search(r"url\(|@import|<img|<iframe|<object|<embed|<base", page)
    for tag, attrs in structure.tags:
        assert "src" not in attrs or (tag == "audio" and attrs["src"].startswith("data:")), tag
        assert not [name for name in attrs if name.startswith("on")]
        href = attrs.get("href", "")
        if tag == "link":
            assert href == "data:,"
        else:
            assert not href or href.startswith("#") or href.endswith(("/results.csv", "/leaks.csv"))
    policy = [a["content"] for a in structure.all("meta") if "http-equiv" in a]
    assert policy
    assert policy[0].startswith("default-src 'none'")


def test_head_landmarks_and_tables(structure: Structure) -> None:
    assert structure.all("html")[0]["lang"] == "en"
    assert any(a.get("name") == "viewport" for a in structure.all("meta"))
    assert len(structure.all("h1")) == 1
    assert structure.all("a")[0]["class"] == "skip"
    assert len(structure.all("main")) == 1
    assert len(structure.all("table")) == len(structure.all("caption"))
    for head in structure.all("th"):
        assert head["scope"] in ("col", "row")
    for figure in (a for a in structure.all("svg") if a.get("role") == "img"):
        assert len(figure["aria-labelledby"].split()) == 2
    for region in (a for _, a in structure.tags if a.get("role") == "region"):
        assert region["tabindex"] == "0"
        assert region["aria-label"]


def test_every_figure_is_there(structure: Structure, page: str) -> None:
    ids = {attrs["id"] for _, attrs in structure.tags if "id" in attrs}
    for corpus in ("c1", "c2"):
        for i in range(len(SCHEMES)):
            for name in ("r2_pooled", "pairwise_005", "strip-r2_pooled", "strip-pairwise_005"):
                assert f"{corpus}-{name}-{i}-t" in ids
        for metric in ("r2_pooled", "pairwise_005"):
            assert f"{corpus}-l0{metric}-t" in ids
            assert f"{corpus}-d{metric}-t" in ids
        for i in range(len(DIMENSIONS)):
            assert f"{corpus}-s{i}-t" in ids
        for section in ("headline", "r2", "pairs", "layers", "dimensions", "scatter", "limits",
                        "all", "provenance"):  # fmt: skip
            assert f"{corpus}-{section}" in ids
    assert page.count('class="heat"') == 2 * len(SCHEMES)


def test_no_missing_value_shows(structure: Structure) -> None:
    words = " ".join(structure.text).split()
    assert not {"nan", "None", "NaN", "inf", "undefined", "<NA>"} & set(words)


def test_known_numbers_stand_in_the_text(structure: Structure) -> None:
    text = re.sub(r"\s+", " ", " ".join(structure.text))
    assert "explains 17 % of the variance: R² 0.171" in text
    assert "training mean reaches −0.133" in text
    assert "difference of +0.304 (0.151 to 0.482) is clear of zero" in text
    assert "Rater reliability allows 0.717: 36 % of the way" in text
    assert "Exact labels allow 1.000" in text
    assert "not run: only three compositions" in text
    assert "clip_9999 no notes" in text
    assert (
        "(ridge on transkun-4) stands at −0.085, the best symbolic one (ensemble on symbolic "
        "features) at 0.171; the paired difference of −0.256 (−0.400 to 0.012) does not exclude "
        "zero." in text
    )
    for wanted in ("a1b2c3d4e5f6", "3f9c2a71bb04", "e672299", "ICC(1,k)", "stable → unstable"):
        assert wanted in text


def test_simulated_data_says_so(studio: CorpusReport, percepiano: CorpusReport) -> None:
    assert "<strong>Simulated data:</strong>" in render([studio])
    assert "Simulated data" not in render([percepiano])


def test_the_table_needs_no_script(page: str, percepiano: CorpusReport) -> None:
    table = page[page.rindex('<table class="full') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    results = percepiano.results
    means = results[(results["dimension"] == "mean") & (results["features"] != "ceiling")]
    keys = ["scheme", "subset", "features", "model"]
    ceilings = results[(results["dimension"] == "mean") & (results["features"] == "ceiling")]
    expected = len(means[keys].drop_duplicates()) + len(ceilings[keys].drop_duplicates())
    assert body.count("<tr") == expected


def test_small_enough(page_path: Path) -> None:
    assert page_path.stat().st_size < 2_000_000


def test_same_input_same_bytes_whatever_the_row_order(tmp_path: Path) -> None:
    first = make_report(n_clips=60)
    shuffled = CorpusReport(
        first.corpus,
        make_results().sample(frac=1, random_state=1),
        first.summary,
        first.manifest,
        first.labels,
        {k: v.sample(frac=1, random_state=2) for k, v in first.predictions.items()},
    )
    write_report([first], tmp_path / "a.html")
    write_report([shuffled], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_hostile_names_are_escaped() -> None:
    def spoil(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
        frame = frame.copy()
        for column in columns:
            frame[column] = HOSTILE + frame[column].astype(str)
        return frame

    clean = make_report(n_clips=40)
    assert clean.manifest is not None
    assert clean.labels is not None
    results = spoil(clean.results, ["corpus", "commit", "config_hash"])
    models = ~results["features"].isin(["none", "lookup", "ceiling"])
    for column in ("model", "features"):
        results.loc[models, column] = HOSTILE + results.loc[models, column]
    results.loc[results["dimension"] != "mean", "dimension"] += HOSTILE
    results["scheme"] = results["scheme"] + HOSTILE
    summary = {**make_summary(), "notes": [HOSTILE], "skipped": {HOSTILE: HOSTILE},
               "quarantined": {HOSTILE: HOSTILE},
               "leaks": {HOSTILE: {HOSTILE: 0.5}}}  # fmt: skip
    hostile = CorpusReport(
        HOSTILE + "percepiano",
        results,
        summary,
        spoil(clean.manifest, ["clip", "licence", "corpus_version"]),
        spoil(clean.labels, ["clip", "low_pole", "high_pole"]),
    )
    page = render([hostile])
    parsed = Structure(page)
    assert parsed.open == []
    assert len(parsed.all("script")) == 1
    assert "alert(" in " ".join(parsed.text)


def test_a_corpus_without_its_clips(percepiano: CorpusReport) -> None:
    bare = replace(percepiano, manifest=None, labels=None, predictions={})
    page = render([bare])
    assert Structure(page).open == []
    assert "not in this workspace" in page
    assert 'id="c1-scatter"' not in page
    assert "<b>1,202</b> clips" in page


def test_a_corpus_with_one_scheme_one_model_and_no_ceiling() -> None:
    results = make_results(ceilings=False)
    keep = (results["scheme"] == "segment") & (results["features"] == "mel")
    keep &= (results["metric"] == "r2_pooled") & (results["model"] == "ridge")
    page = render([CorpusReport("percepiano", results[keep], {})])
    assert Structure(page).open == []
    assert "No ceiling is known" in page
    assert 'id="c1-layers"' not in page
    assert 'id="c1-pairs"' not in page


def test_nothing_left_out_has_no_table(percepiano: CorpusReport) -> None:
    full = render([percepiano])
    assert '<th scope="row">clip_9999</th><td>no notes</td>' in full
    summary = {k: v for k, v in percepiano.summary.items() if k != "quarantined"}
    assert "Left out" not in render([replace(percepiano, summary=summary)])


def test_a_corpus_of_recordings_only() -> None:
    results = make_results()
    found = results[~results["features"].str.startswith("symbolic")]
    page = render([CorpusReport("percepiano", found, make_summary())])
    assert Structure(page).open == []
    assert "The best audio view" not in page


def test_two_intervals_do_not_compare_two_models(percepiano: CorpusReport) -> None:
    """Without the paired difference, or with that of other models, the page is silent."""
    assert "The best audio view" in render([percepiano])
    silent = replace(percepiano, summary={**percepiano.summary, "headlines": {}})
    assert "The best audio view" not in render([silent])
    results = percepiano.results
    others = results[results["features"] != "transkun-4"]
    assert "The best audio view" not in render([replace(percepiano, results=others)])


def test_only_baselines(percepiano: CorpusReport) -> None:
    results = percepiano.results
    page = render([CorpusReport("percepiano", results[results["features"] == "lookup"], {})])
    assert Structure(page).open == []


def test_nothing_or_twice_the_same_is_refused(percepiano: CorpusReport, tmp_path: Path) -> None:
    for corpora in ([], [percepiano, percepiano]):
        with pytest.raises(PianoevalError, match="corpus"):
            write_report(corpora, tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()
