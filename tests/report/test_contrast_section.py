"""Heads on frames: the section of the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from beside_cases import make_full_report
from page_structure import Structure

from pianoeval.errors import CorruptDataError
from pianoeval.report import CorpusReport, metrics_summary
from pianoeval.report.contrast_figures import Spread, boxes, class_map, heat, shades
from pianoeval.report.contrast_study import settings
from pianoeval.report.contrastive import ContrastSection, contrast_section, head_order
from pianoeval.report.extras import read_beside
from pianoeval.report.html import render

SEEDS = (0, 1, 2, 3, 4)
HEADS = {  # approach, store, R² of each seed, Davies-Bouldin of each seed
    "joint": ("joint", "pyin", (0.50, 0.52, 0.54, 0.53, 0.51), (2.0, 2.1, 2.2, 2.1, 2.1)),
    "conv": ("pcconv", "pyin", (0.40, 0.42, 0.46, 0.44, 0.43), (3.0, 3.2, 3.1, 3.3, 3.4)),
    "line": ("contrastive", "skyline", (0.30, 0.28, -0.7, 0.31, 0.32), (1.5, 1.4, 1.6, 1.5, 1.5)),
    "stats": ("statistics", "pyin", (0.35, 0.35, 0.35, 0.35, 0.35), None),
}
POINTS = {
    "joint:margin=0.5,bins=3": (0.44, 0.1), "joint:margin=0.5,bins=5": (0.47, 0.2),
    "joint:margin=2,bins=3": (0.50, 0.0), "joint:margin=2,bins=5": (0.52, 0.7),
}  # fmt: skip
DIMENSIONS = ("note_accuracy", "musicality")
VERDICT = "joint is better than conv by .096 in R²."


def rows_of(head: str, scheme: str) -> list[dict[str, object]]:
    approach, store, r2, index = HEADS[head]
    rows: list[dict[str, object]] = []
    for dimension in (*DIMENSIONS, "mean"):
        base = {
            "scheme": scheme, "kind": "head", "head": head, "approach": approach, "store": store,
            "dimension": dimension, "n_clips": 261.0, "n_folds": 1.0,
        }  # fmt: skip
        for metric, values in (("r2_pooled", r2), ("davies_bouldin", index)):
            if values is None:
                continue
            own = {**base, "metric": metric}
            mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
            for seed, value in zip(SEEDS, values, strict=True):
                rows.append({**own, "statistic": "seed", "seed": float(seed), "value": value})
            rows.append({**own, "statistic": "mean", "value": mean, "ci_low": mean - 0.1,
                         "ci_high": mean + 0.1, "n_seeds": 5.0})  # fmt: skip
            rows.append({**own, "statistic": "sd", "value": sd, "n_seeds": 5.0})
        if index is not None:
            rows.append({**base, "metric": "surface_order", "statistic": "mean", "value": 0.9})
    return rows


def make_contrastive(schemes: tuple[str, ...] = ("player", "movement")) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for scheme in schemes:
        for head in HEADS:
            rows += rows_of(head, scheme)
        for name, (value, share) in POINTS.items():
            base = {"scheme": scheme, "kind": "point", "head": name, "approach": "joint",
                    "store": "pyin", "dimension": "mean"}  # fmt: skip
            rows.append({**base, "metric": "r2_pooled", "statistic": "mean", "value": value})
            rows.append({**base, "metric": "davies_bouldin", "statistic": "mean", "value": 2.5})
            rows.append({**base, "metric": "chosen_share", "statistic": "", "value": share})
        for kind, head, value in (
            ("baseline", "none/training_mean", -0.01), ("baseline", "lookup/player_mean", 0.05),
            ("ceiling", "ceiling/icc_1k", 0.83),
        ):  # fmt: skip
            for dimension in (*DIMENSIONS, "mean"):
                rows.append({"scheme": scheme, "kind": kind, "head": head, "approach": "",
                             "store": "", "dimension": dimension, "metric": "r2_pooled",
                             "statistic": "", "value": value})  # fmt: skip
    columns = ["ci_low", "ci_high", "n_clips", "n_folds", "seed", "n_seeds"]
    table = pd.DataFrame(rows)
    return table.assign(**{name: table[name].astype(float) for name in columns})


def make_compared() -> pd.DataFrame:
    columns = ["dimension", "a", "b", "difference", "ci_low", "ci_high", "q_permutation",
               "n_seeds_ahead", "verdict"]  # fmt: skip
    rows = [
        ("mean", "conv", "joint", -0.09, -0.14, -0.04, 0.01, 0, VERDICT),
        ("note_accuracy", "conv", "joint", -0.09, -0.2, 0.02, 0.01, 1, "Of one dimension."),
        ("mean", "conv", "line", 0.3, 0.1, 0.5, 0.2, 5, "conv and line."),
        ("mean", "joint", "stats", 0.17, 0.1, 0.2, 0.001, 5, "joint and stats."),
        ("mean", "joint", "lookup/player_mean", 0.5, 0.3, 0.7, 0.001, 5, "joint and lookup."),
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(scheme="player", p_permutation=0.01, n_seeds=5.0)


def make_distances() -> pd.DataFrame:
    rows = [
        ("player", head, "note_accuracy", 4.0, a, b, 3.0, far, 10.0, 12.0)
        for head in ("conv", "joint") for a, b, far in ((0, 1, 0.8), (1, 3, 2.1), (0, 3, 2.9))
    ]  # fmt: skip
    columns = ["scheme", "head", "dimension", "bins", "class_a", "class_b", "distance", "relative",
               "n_a", "n_b"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def make_maps() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        ("player", head, 0.0, 0.0, "note_accuracy", 5.0, 15.0, f"clip{i}", float(i % 5), *xy)
        for head in ("joint", "conv") for i, xy in enumerate(random.normal(size=(30, 2)))
    ]  # fmt: skip
    columns = ["scheme", "head", "fold", "seed", "dimension", "bins", "perplexity", "clip", "class",
               "x", "y"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def report() -> CorpusReport:
    full = make_full_report(n_clips=60)
    beside = replace(
        full.beside, contrastive=make_contrastive(), contrast_comparisons=make_compared(),
        class_distances=make_distances(), tsne=make_maps(),
    )  # fmt: skip
    return replace(full, beside=beside)


@pytest.fixture(scope="module")
def section(report: CorpusReport) -> ContrastSection:
    found = contrast_section(report, "c1")
    assert found is not None
    return found


def test_metrics_hold_the_heads_and_not_the_points_of_sweeps() -> None:
    report = make_full_report()
    assert "heads" not in str(metrics_summary([report]))
    beside = replace(report.beside, contrastive=make_contrastive())
    [found] = metrics_summary([replace(report, beside=beside)]).values()
    assert found["player"]["heads"] == {"joint": 0.52, "conv": 0.43, "line": 0.102, "stats": 0.35}
    alone = make_contrastive().query("dimension == 'musicality'")
    [found] = metrics_summary(
        [replace(report, beside=replace(report.beside, contrastive=alone))]
    ).values()
    assert found["movement"]["heads"]["conv"] == 0.43


def test_heads_stand_as_in_the_paper_and_the_best_is_marked(section: ContrastSection) -> None:
    player, movement = section.parts
    assert (player.scheme, movement.scheme) == ("player", "movement")
    assert player.about == "261 clips of 1 fold, 5 seeds"
    names = [row.name for row in player.rows]
    assert names == ["conv", "line", "joint", "stats", "lookup by player", "ceiling"]
    assert [row.best for row in player.rows] == [False, False, True, False, False, False]
    assert [row.kind for row in player.rows[:4]] == ["audio", "symbolic", "audio", "control"]
    joint = dict(zip(player.heads, player.rows[2].cells, strict=True))
    assert joint["R²"] == ("0.520", "0.420 to 0.620")
    assert joint["sd over seeds"] == ("0.016", "")
    assert joint["Davies-Bouldin"][0] == "2.100"
    assert joint["order of classes, ρ"][0] == "0.900"
    assert joint["MAE"][0] == "–"


def test_differences_are_from_the_baseline_of_the_paper(section: ContrastSection) -> None:
    player, movement = section.parts
    assert player.reference == "conv"
    assert player.gap_heads == ["mean over dimensions", "note accuracy", "musicality"]
    gaps = {row.name: row.cells for row in player.gaps}
    assert list(gaps) == ["line", "joint", "stats"]
    # Turned: the table has conv less joint.
    assert gaps["joint"][0] == ("+0.090 ●", "0.040 to 0.140; ahead in 5 of 5 seeds")
    assert gaps["joint"][1] == ("+0.090", f"{chr(8722)}0.020 to 0.200; ahead in 4 of 5 seeds")
    assert gaps["line"][0][0] == f"{chr(8722)}0.300"  # q is too large
    assert gaps["stats"] == [("–", "")] * 3
    assert {cell for row in movement.gaps for cell in row.cells} == {("–", "")}


def test_sentences_say_what_numbers_mean(section: ContrastSection) -> None:
    told = section.parts[0].sentences
    assert "R² 0.520" in told[0]
    assert "48 % of the variance" in told[0]
    assert "0.016 (sd)" in told[0]
    assert "the best of 4 on these clips flatters" in told[0]
    assert told[1:4] == [VERDICT, "joint and stats.", "joint and lookup."]
    assert told[4].startswith(
        "Of the heads with codes and an R² above 0, line parts the classes best"
    )
    assert "joint predicts better" in told[4]


def only(report: CorpusReport, **beside: pd.DataFrame | None) -> ContrastSection:
    found = contrast_section(replace(report, beside=replace(report.beside, **beside)), "c1")
    assert found is not None
    return found


def test_an_r2_below_zero_explains_nothing_and_a_ridge_has_no_seeds(report: CorpusReport) -> None:
    table = make_contrastive(("player",))
    below = table.assign(value=table["value"].where(table["metric"] != "r2_pooled", -0.2))
    told = only(report, contrastive=below).parts[0].sentences[0]
    assert "no better than to say the mean" in told
    assert "%" not in told
    told = only(report, contrastive=below, contrast_comparisons=None).parts[0].sentences
    assert len(told) == 1  # nor does it matter which of them has the clearest classes
    ridge = table[(table["head"] == "stats") | (table["kind"] != "head")]
    told = only(report, contrastive=ridge).parts[0].sentences[0]
    assert "Another seed" not in told
    assert "flatters" not in told  # it is the only one


def test_labels_that_do_not_vary_have_no_r2_and_a_section_all_the_same(
    report: CorpusReport,
) -> None:
    table = make_contrastive(("player",))
    error = table[(table["metric"] == "r2_pooled") & (table["kind"] == "head")]
    without = table[table["metric"] != "r2_pooled"].assign(n_clips=np.nan)
    told = pd.concat([without, error.assign(metric="mae")], ignore_index=True)
    [part] = only(report, contrastive=told, contrast_comparisons=None).parts
    assert part.about == "261 clips of 1 fold, 5 seeds"
    assert (part.boxes, part.sentences, part.gaps) == ([], [], [])
    assert part.rows[0].cells[0][0] == "–"


def test_box_plots_share_an_axis_and_keep_every_seed(section: ContrastSection) -> None:
    figures = section.parts[0].boxes
    assert [f.caption for f in figures] == ["mean over dimensions", "note accuracy", "musicality"]
    text = str(figures[0].svg.render())
    assert text.count("<circle") == 20
    assert f"line: {chr(8722)}0.700" in text  # beyond the axis, but told
    assert "ceiling 0.83" in text
    assert "joint 0.520" in text


def test_quartiles_are_those_of_numpy() -> None:
    spread = Spread("a", "audio", (0.1, 0.5, 0.2, 0.4, 0.3))
    assert spread.quartiles() == pytest.approx((0.2, 0.3, 0.4))
    one = boxes([Spread("a", "audio", (0.3,))], "x", "i", (0.0, 1.0))
    assert "<rect" not in str(one.svg.render())


def test_surfaces_are_symmetric_and_empty_where_a_class_is(section: ContrastSection) -> None:
    [(name, figures)] = section.surfaces
    assert name == "note accuracy, player folds"
    assert [f.caption for f in figures] == ["conv", "joint"]
    assert figures[0].aside == "order ρ 0.90"
    text = str(figures[0].svg.render())
    assert text.count('class="none"') == 16 - 4 - 6  # class 2 has no clips: only its own cell
    assert text.count(">2.90<") == 2
    assert "class 3, class 0: 2.90" in text


def test_the_largest_number_is_the_darkest_cell() -> None:
    values = np.array([[0.0, 1.0], [np.nan, 0.5]])
    text = str(heat(values, ["a", "b"], ["c", "d"], "t", "i").svg.render())
    depth = [float(v) for v in re.findall(r'fill-opacity="([\d.]+)"', text)]
    assert depth == pytest.approx([0.04, 0.54, 0.29])
    flat = str(heat(np.full((1, 2), 0.3), ["a", "b"], ["c"], "t", "i").svg.render())
    assert set(re.findall(r'fill-opacity="([\d.]+)"', flat)) == {"0.040"}


def test_maps_by_class(section: ContrastSection) -> None:
    assert [f.caption for f in section.maps] == ["conv, note accuracy", "joint, note accuracy"]
    assert section.maps[0].aside == "player fold 0, seed 0, perplexity 15"
    text = str(section.maps[0].svg.render())
    drawn = re.findall(r'<path d="([^"]*)" class="pt (r\d)"', text)
    assert [cls for _, cls in drawn] == [f"r{i}" for i in range(5)]
    assert [path.count("M") for path, _ in drawn] == [6] * 5


def test_shades_reach_from_the_lowest_class_to_the_highest() -> None:
    assert shades(np.arange(5), 5).tolist() == [0, 1, 2, 3, 4]
    assert shades(np.arange(3), 3).tolist() == [0, 2, 4]
    assert shades(np.arange(10), 10).tolist()[0::9] == [0, 4]
    assert shades(np.zeros(2, np.int64), 1).tolist() == [0, 0]


def test_codes_that_are_one_point_can_be_drawn() -> None:
    points = make_maps().head(4).assign(x=1.0, y=2.0)
    assert "nan" not in str(class_map(points, 5, "c", "i", "").svg.render())


def test_the_study_of_margins_and_bins(section: ContrastSection) -> None:
    player, movement = section.studies
    assert (player.head, player.scheme, movement.scheme) == ("joint", "player", "movement")
    r2, index = player.figures
    text = str(r2.svg.render())
    assert "bins C 5, margin s 2: 0.52" in text
    assert "70 %" in text
    assert "bins C 3, margin s 0.5: 2.50" in str(index.svg.render())
    assert "R² rises by 0.080" in player.sentence
    assert "margin=2,bins=5 was chosen most often" in player.sentence
    assert player.rows[0] == ("margin=0.5,bins=3", [("0.440", ""), ("2.50", ""), ("10 %", "")])


def test_other_sweeps_have_no_heat_map(report: CorpusReport) -> None:
    table = make_contrastive()
    table["head"] = table["head"].str.replace(",bins=", ",temperature=0.")
    one = replace(report, beside=replace(report.beside, contrastive=table))
    found = contrast_section(one, "c1")
    assert found is not None
    assert found.studies[0].figures == []
    assert len(found.studies[0].rows) == 4
    assert settings("joint:contrast=rnc") == {"contrast": "rnc"}


def test_order_of_heads() -> None:
    table = pd.DataFrame({
        "head": ["b", "a", "z", "s", "b"],
        "approach": ["joint", "joint", "pcconv", "statistics", "joint"],
    })  # fmt: skip
    assert head_order(table) == ["z", "a", "b", "s"]


def test_nothing_is_said_where_there_are_no_heads(report: CorpusReport) -> None:
    for table in (None, make_contrastive().head(0)):
        one = replace(report, beside=replace(report.beside, contrastive=table))
        assert contrast_section(one, "c1") is None
        assert "Heads on frames" not in render([one])


def test_the_page_holds_the_section(report: CorpusReport) -> None:
    text = render([report])
    page = Structure(text)
    assert not page.open
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {"href": "#c1-contrast"} in page.all("a")
    for name in ("contrastive", "contrast_comparisons", "class_distances", "tsne"):
        assert f'/{name}.csv"' in text


def test_one_dimension_is_drawn_once(report: CorpusReport) -> None:
    table = make_contrastive(("player",))
    table = table[table["dimension"] != "musicality"]
    one = replace(report, beside=replace(report.beside, contrastive=table))
    found = contrast_section(one, "c1")
    assert found is not None
    assert [f.caption for f in found.parts[0].boxes] == ["note accuracy"]
    # Its comparison is that of the mean over one dimension: the table has no other.
    mean = make_compared()[lambda rows: rows["dimension"] == "mean"]
    beside = replace(report.beside, contrastive=table, contrast_comparisons=mean)
    alone = contrast_section(replace(report, beside=beside), "c1")
    assert alone is not None
    gaps = {row.name: row.cells for row in alone.parts[0].gaps}
    assert gaps["joint"] == [("+0.090 ●", "0.040 to 0.140; ahead in 5 of 5 seeds")]
    assert alone.parts[0].gap_heads == ["note accuracy"]


def test_tables_are_read_as_numbers_or_refused(tmp_path: Path) -> None:
    tables = {
        "contrastive": make_contrastive(), "contrast_comparisons": make_compared(),
        "class_distances": make_distances(), "tsne": make_maps(),
    }  # fmt: skip
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    beside = read_beside(tmp_path, "toy")
    assert beside.contrastive is not None
    assert beside.contrastive["value"].dtype == np.float64
    assert beside.tsne is not None
    assert beside.tsne["class"].tolist() == make_maps()["class"].tolist()
    for name, table in tables.items():
        for bad in (table.drop(columns="scheme"), table.assign(**{table.columns[-2]: "x"})):
            if name == "contrast_comparisons" and "scheme" in bad:
                continue  # its last but one is text in any case
            bad.to_csv(tmp_path / f"{name}.csv", index=False)
            with pytest.raises(CorruptDataError) as raised:
                read_beside(tmp_path, "toy")
            assert raised.value.next_step == "dvc repro evaluate_contrast@toy"
        table.to_csv(tmp_path / f"{name}.csv", index=False)
