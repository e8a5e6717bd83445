"""Who played it better: the section of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from beside_cases import make_full_report
from page_structure import Structure

from pianoeval.errors import CorruptDataError
from pianoeval.report import CorpusReport
from pianoeval.report.extras import read_beside
from pianoeval.report.html import render
from pianoeval.report.ranking import ranking_section

ROWS = [  # kind, features, model, seeds, > .05, log loss
    ("ranker", "symbolic+mel", "siamese", 4, 0.72, 0.61),
    ("ranker", "symbolic", "difference", 1, 0.664, 0.66),
    ("point", "symbolic+mel", "siamese:temperature=0.1", 4, 0.79, None),
    ("model", "symbolic", "ensemble", 1, 0.685, None),
    ("model", "symbolic", "ridge", 1, 0.68, None),
    ("model", "mel", "mlp", 1, 0.567, None),
    ("model", "fusion", "average", 1, 0.68, None),
    ("baseline", "lookup", "content_mean", 1, 0.5, None),
    ("baseline", "none", "training_mean", 1, 0.5, None),
    ("ceiling", "ceiling", "within_segment", None, 0.79, None),
]
VERDICT = "rank/siamese is better than symbolic/ensemble by .035."


def make_ranking() -> pd.DataFrame:
    rows = []
    for scheme in ("movement", "player"):
        for kind, features, model, seeds, right, loss in ROWS:
            base = {
                "scheme": scheme, "subset": "human", "kind": kind, "features": features,
                "model": model, "dimension": "mean", "n_pairs": 5623.0, "n_seeds": seeds,
                "ci_low": right - 0.02, "ci_high": right + 0.03, "seed": "0",
            }  # fmt: skip
            rows.append({**base, "metric": "pairwise_005", "value": right, "chance": 0.5})
            rows.append({**base, "metric": "pairwise_005", "value": 0.99, "chance": 0.5,
                         "dimension": "timing"})  # fmt: skip
            if loss:
                rows.append({**base, "metric": "log_loss", "value": loss, "chance": 0.693})
            if kind == "point":
                rows.append({**base, "metric": "chosen_share", "value": 0.75})
            if kind == "ranker" and scheme == "player":
                tiers = {**base, "subset": "adjacent_tiers", "dimension": "overall"}
                rows.append({**tiers, "metric": "pairwise_0", "value": 0.955})
    return pd.DataFrame(rows)


def make_codes() -> pd.DataFrame:
    rows = [
        ("siamese", "shared", "piece_accuracy", 0.04, 0.01, 0.05, 0.4),
        ("siamese", "shared", "player_accuracy", 0.31, 0.02, 0.06, 0.005),
        ("symbolic/ridge", "prediction", "piece_accuracy", 0.61, 0.01, 0.05, 0.005),
    ]
    columns = ["ranker", "branch", "measure", "value", "chance_low", "chance_high", "p"]
    return pd.DataFrame(rows, columns=columns).assign(scheme="movement", chance_mean=0.03)


@pytest.fixture(scope="module")
def report() -> CorpusReport:
    full = make_full_report(n_clips=60)
    compared = pd.DataFrame(
        [("movement", "rank/siamese", "symbolic/ensemble", VERDICT),
         ("movement", "rank/siamese", "rank/difference", "Between rankers."),
         ("movement", "rank/difference", "symbolic/ensemble", "Of another ranker.")],
        columns=["scheme", "a", "b", "verdict"],
    )  # fmt: skip
    beside = replace(
        full.beside, ranking=make_ranking(), rank_comparisons=compared,
        disentanglement=make_codes(),
    )  # fmt: skip
    return replace(full, beside=beside)


def test_rankers_stand_first_and_of_the_others_the_best(report: CorpusReport) -> None:
    section = ranking_section(report)
    assert section is not None
    assert [t.scheme for t in section.tables] == ["player", "movement"]
    table = section.tables[1]
    assert [row.name for row in table.rows] == [
        "siamese on symbolic and mel, 4 networks", "difference on symbolic",
        "average on fusion", "ensemble on symbolic features", "mlp on mel", "training mean",
        "ceiling", "cannot tell",
    ]  # fmt: skip
    assert [row.best for row in table.rows] == [True] + [False] * 7
    assert table.heads == ["|Δ| > 0.05", "log loss"]
    assert table.rows[0].cells == [("0.720", "0.700 to 0.750"), ("0.610", "")]
    assert table.rows[-1].cells == [("0.500", ""), ("0.693", "")]
    assert table.rows[3].cells[1] == ("–", "")
    assert table.verdicts == [VERDICT]
    assert section.tables[0].verdicts == []
    [point] = table.points
    assert point.name == "siamese:temperature=0.1"
    assert [value for value, _ in point.cells] == ["0.790", "75 %"]


def test_codes_and_tiers(report: CorpusReport) -> None:
    section = ranking_section(report)
    assert section is not None
    assert [(s, row.name, row.cells[-1][0]) for s, row in section.tiers] == [
        ("player", "difference on symbolic", "0.955"),
        ("player", "siamese on symbolic and mel, 4 networks", "0.955"),
    ]
    (_, branch, shared), (_, control, own) = section.codes
    assert (branch, control) == ("shared", "prediction")
    assert shared.cells[0] == ("0.04", "0.01 to 0.05")
    assert shared.cells[3] == ("0.31 ●", "0.02 to 0.06")
    assert shared.cells[5] == ("–", "")
    assert own.cells[0][0] == "0.61 ●"
    assert own.kind == "control"


def test_what_is_below_chance_is_marked_of_pieces_alone(report: CorpusReport) -> None:
    codes = make_codes().assign(value=0.001, chance_low=0.01, p=1.0)
    codes.loc[0, "branch"] = "features"
    beside = replace(report.beside, disentanglement=codes)
    section = ranking_section(replace(report, beside=beside))
    assert section is not None
    by_branch = {branch: row for _, branch, row in section.codes}
    assert by_branch["features"].kind == "control"
    assert by_branch["features"].cells[0] == ("0.00 ○", "0.01 to 0.05")
    assert by_branch["shared"].kind == "ranker"
    assert by_branch["shared"].cells[3] == ("0.00", "0.01 to 0.06")


def test_seeds_of_a_model_are_not_mixed(report: CorpusReport) -> None:
    ranking = make_ranking()
    tiers = ranking[ranking["subset"] == "adjacent_tiers"].head(1)
    of_seeds = [
        tiers.assign(
            kind="model", features="mel", model="mlp", seed=seed, subset=f"adjacent_tiers{part}",
            value=value,
        )
        for seed, value in (("1", 0.9), ("2", 0.6))
        for part in ("", "_same_take")
    ]  # fmt: skip
    beside = replace(report.beside, ranking=pd.concat([ranking, *of_seeds], ignore_index=True))
    section = ranking_section(replace(report, beside=beside))
    assert section is not None
    [model] = [row for _, row in section.tiers if row.kind == "audio"]
    assert [value for value, _ in model.cells] == ["0.900", "–", "0.900"]


def test_the_page_shows_them_once(report: CorpusReport) -> None:
    page = render([report])
    structure = Structure(page)
    assert structure.open == []
    assert [a.get("id") for _, a in structure.tags].count("c1-ranking") == 1
    assert "#c1-ranking" in {a.get("href") for a in structure.all("a")}
    text = " ".join(" ".join(structure.text).split())
    assert "Who played it better" in text
    assert VERDICT in text
    assert "Of another ranker" not in text
    assert "Neighbouring tiers" in text


def test_without_rankers_there_is_no_section(report: CorpusReport) -> None:
    plain = make_full_report(n_clips=60)
    assert ranking_section(plain) is None
    empty = replace(plain.beside, ranking=make_ranking().head(0))
    assert ranking_section(replace(plain, beside=empty)) is None
    page = render([plain])
    assert "c1-ranking" not in page
    assert "Who played it better" not in page


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    make_ranking().to_csv(tmp_path / "ranking.csv", index=False)
    found = read_beside(tmp_path, "toy").ranking
    assert found is not None
    assert found["value"].dtype == float
    assert read_beside(tmp_path, "toy").disentanglement is None
    make_ranking().drop(columns="kind").to_csv(tmp_path / "ranking.csv", index=False)
    with pytest.raises(CorruptDataError, match="column kind missing") as caught:
        read_beside(tmp_path, "toy")
    assert "evaluate_rank@toy" in str(caught.value.next_step)
    make_ranking().assign(value="x").to_csv(tmp_path / "ranking.csv", index=False)
    with pytest.raises(CorruptDataError, match="not numeric"):
        read_beside(tmp_path, "toy")
