"""The table of a grid: paired with the baseline, adjusted for the number of points, in words."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pianoeval.ablation import show
from pianoeval.ablation.experiments import Encoded, Experiment
from pianoeval.ablation.findings import BETTER, NONE, SAME, WORSE, Found, Row, find
from pianoeval.ablation.grids import Grid, Point, Target
from pianoeval.cache import ItemCache
from pianoeval.compare.findings import compare_runs
from pianoeval.errors import ConfigError, MissingAssetError
from tests.compare import run_cases as cases

TARGET = Target(cases.CORPUS, "mel", "mel", "ridge")
NOISE = {"base": 0.05, "good": 0.01, "bad": 0.15, "equal": 0.05}
BESIDE = {"movement": {"best_lookup": -0.1, "ceiling": 0.9}, "segment": {"best_lookup": 0.3}}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> list[Experiment]:
    """Folders in place of experiments: ``open_place`` takes both."""
    home = tmp_path_factory.mktemp("grid")
    found = []
    for label, noise in NOISE.items():
        cases.write_run(home / label, noise=noise)
        (home / label / "reports").mkdir()
        text = json.dumps({cases.CORPUS: BESIDE})
        (home / label / "reports" / "metrics.json").write_text(text, encoding="utf-8")
        found.append(Experiment(Point(label, (), "mel/ridge"), str(home / label)))
    return found


def grid(wanted: list[Experiment], baseline: str = "base") -> Grid:
    return Grid("toy", TARGET, tuple(one.point for one in wanted), baseline)


@pytest.fixture(scope="module")
def found(wanted: list[Experiment]) -> Found:
    return find(grid(wanted), wanted, {one.name for one in wanted})


def rows(found: Found, scheme: str) -> dict[str, Row]:
    return {row.label: row for row in found.rows if row.scheme == scheme}


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_every_point_is_what_compare_finds(
    found: Found, wanted: list[Experiment], scheme: str
) -> None:
    """Values, intervals and p as ``pianoeval compare`` gives them for the same two runs."""
    names = {one.point.label: one.name for one in wanted}
    for label, row in rows(found, scheme).items():
        (alone,) = compare_runs(f"{names['base']}:mel/ridge", names[label], schemes=[scheme]).rows
        assert row.value == alone.value_b
        assert (row.n_clips, row.n_clusters) == (alone.n_clips, alone.n_clusters)
        if label != "base":
            assert (row.difference, row.p) == (alone.difference, alone.p_permutation)
            assert (row.ci_low, row.ci_high) == (alone.ci_low, alone.ci_high)


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_q_is_adjusted_over_the_points_of_a_scheme(found: Found, scheme: str) -> None:
    tested = [row for row in rows(found, scheme).values() if math.isfinite(row.q)]
    assert [row.label for row in tested] == ["good", "bad"]  # the same predictions are no test
    expected = stats.false_discovery_control([row.p for row in tested], method="bh")
    np.testing.assert_allclose([row.q for row in tested], expected)


def test_verdicts(found: Found) -> None:
    for scheme in ("segment", "movement"):
        verdicts = {label: row.verdict for label, row in rows(found, scheme).items()}
        assert verdicts == {"base": "baseline", "good": BETTER, "bad": WORSE, "equal": SAME}
    assert [row.label for row in found.rows[:4]] == list(NOISE)  # as they were asked for
    assert rows(found, "movement")["good"].ceiling == 0.9
    assert math.isnan(rows(found, "segment")["good"].ceiling)


def test_better_needs_both_interval_and_q(wanted: list[Experiment], tmp_path: Path) -> None:
    """Two content groups cannot give a p below .5, however large the difference is."""
    tables = cases.corpus_tables(n_movements=1, n_segments=4)
    some = []
    for label, noise in (("base", 0.2), ("good", 0.001)):
        params = cases.raw_params(folds={"schemes": ["segment"]})
        cases.write_run(tmp_path / label, noise=noise, params=params, tables=tables)
        some.append(Experiment(Point(label, (), "mel/ridge"), str(tmp_path / label)))
    (_, row) = find(grid(some), some, {one.name for one in some}).rows
    assert row.difference > 0.1
    assert row.verdict == "too few groups to tell"


def test_another_row_of_the_same_run_may_be_a_point(wanted: list[Experiment]) -> None:
    mixed = [wanted[0], Experiment(Point("mix", (), "mel-1/ridge"), wanted[0].name)]
    found = find(grid(mixed), mixed, {wanted[0].name}, schemes=["segment"])
    (alone,) = compare_runs(
        f"{wanted[0].name}:mel/ridge", f"{wanted[0].name}:mel-1/ridge", schemes=["segment"]
    ).rows
    assert rows(found, "segment")["mix"].difference == alone.difference


def test_schemes_as_points_are_paired_on_the_same_clips(tmp_path: Path) -> None:
    """What a scheme flatters: R² of the same clips under two schemes, by hand."""
    some, tables = [], cases.corpus_tables()
    for scheme in ("movement", "segment"):
        params = cases.raw_params(folds={"schemes": [scheme]})
        cases.write_run(tmp_path / scheme, noise=0.02, params=params, tables=tables)
        point = Point(scheme, (), "mel/ridge", scheme)
        some.append(Experiment(point, str(tmp_path / scheme)))
    made = Grid("scheme", TARGET, tuple(one.point for one in some), "movement")
    found = find(made, some, {one.name for one in some})
    values = {row.scheme: row.value for row in found.rows}
    clips = sorted(tables[0]["clip"])
    y = cases.wide(tables[1], clips, "value")
    for scheme, value in values.items():
        p = cases.predicted(
            cases.CorpusPaths(cases.CORPUS, tmp_path / scheme), "mel", scheme, clips
        )
        r2 = 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
        assert value == pytest.approx(r2.mean())
    row = next(row for row in found.rows if row.scheme == "segment")
    assert row.difference == pytest.approx(values["segment"] - values["movement"])
    assert not any("folds differ" in note for note in found.notes)
    assert "best lookup" in show.as_markdown(found)


def test_what_has_not_been_run_is_named(wanted: list[Experiment]) -> None:
    there = {one.name for one in wanted[:2]}
    found = find(grid(wanted), wanted, there)
    assert {row.label for row in found.rows} == {"base", "good"}
    assert found.notes[:2] == ["Not run yet: bad.", "Not run yet: equal."]
    for there, message in (
        (set(), "the baseline 'base' has not been run"),
        ({wanted[0].name}, "only the baseline 'base' has been run"),
    ):
        with pytest.raises(MissingAssetError, match=message) as error:
            find(grid(wanted), wanted, there)
        assert "--run" in str(error.value.next_step)


def test_clips_that_a_point_lacks_are_left_out_by_number(
    wanted: list[Experiment], tmp_path: Path
) -> None:
    cases.write_run(tmp_path / "less", noise=0.02, drop=("m0_s0_p0_t0",))
    less = [wanted[0], Experiment(Point("less", (), "mel/ridge"), str(tmp_path / "less"))]
    found = find(grid(less), less, {one.name for one in less}, schemes=["segment"])
    assert len({row.n_clips for row in found.rows}) == 1
    assert any(note.startswith("less, segment: 1 of ") for note in found.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "spearman"}, "cannot be compared"),
        ({"subset": "robots"}, "unknown subset"),
        ({"schemes": ["random"]}, "no scheme of these runs"),
    ],
)
def test_what_cannot_be_asked(
    wanted: list[Experiment], options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find(grid(wanted), wanted, {one.name for one in wanted}, **options)  # type: ignore[arg-type]


def test_pairwise_accuracy(wanted: list[Experiment]) -> None:
    found = find(grid(wanted), wanted, {one.name for one in wanted}, "pairwise_005", "human")
    assert rows(found, "segment")["good"].difference > 0
    assert math.isnan(rows(found, "movement")["good"].ceiling)  # that of R² is no ceiling here
    assert "human clips" in show.heading(found)


# As it is shown ----------------------------------------------------------------------------------


def test_words(found: Found) -> None:
    first = show.words(found)[0]
    assert first.startswith("On segment folds: good (+")
    assert "is better; bad (−" in first
    assert first.endswith("the predictions are the same for equal.")
    assert any("chosen on the folds" in line for line in show.words(found))


def test_markdown_is_a_table_a_scheme(found: Found) -> None:
    text = show.as_markdown(found)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 * (2 + 4)
    assert len({line.count("|") for line in table}) == 1
    assert (
        "**movement folds (best lookup −.100, ceiling .900, 84 clips in 6 content groups)**" in text
    )


def test_json_is_complete_and_strict(found: Found, wanted: list[Experiment]) -> None:
    text = show.as_json(found.grid, wanted, {wanted[0].name}, found, {"clips": 0})
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert len(document["rows"]) == len(found.rows)
    assert [point["run"] for point in document["points"]] == [True, False, False, False]
    assert document["encoded"] == {"clips": 0}
    base = next(row for row in document["rows"] if row["label"] == "base")
    assert base["difference"] is None


def test_dvc_is_told_what_to_keep(found: Found) -> None:
    listing, diff, remove = show.next_steps(found, ["a-1", "b-2", "c-3"])
    keep = re.compile(shlex.split(listing)[-1])
    columns = ["Experiment", "Created", "toy.segment.r2_pooled", "toy.segment.best_model",
               "toy.movement.r2_pooled", "pool.stats"]  # fmt: skip
    assert [name for name in columns if keep.match(name)] == [columns[i] for i in (0, 2, 4)]
    assert diff == "dvc exp diff a-1 c-3"
    assert remove == "dvc exp remove a-1 b-2 c-3"


def test_counters_see_new_items(tmp_path: Path) -> None:
    cache = ItemCache(tmp_path / "items")
    assert Encoded.count(cache) == Encoded(frozenset())
    for step in ("audio", "contour", "embedding-mel", "embedding-muq"):
        before = Encoded.count(cache)
        cache.put(step, "ab" * 32, {"x": np.zeros(1)}, {})
        assert show.counted(before, Encoded.count(cache))["clips"] == 1
    before = Encoded.count(cache)
    cache.put("probe", "ab" * 32, {"x": np.zeros(1)}, {})
    os.utime(cache.path("audio", "ab" * 32), (1, 1))  # as a read does
    cache.path("contour", "ab" * 32).unlink()  # as 'cache gc' does
    assert show.counted(before, Encoded.count(cache)) == {
        "clips": 0, "items_before": 4, "items_after": 3,
    }  # fmt: skip
    before = Encoded.count(cache)
    cache.put("audio", "ab" * 32, {"x": np.zeros(1)}, {})  # made again
    assert show.counted(before, Encoded.count(cache))["clips"] == 1


def test_none_is_said_where_nothing_is_shown(tmp_path: Path) -> None:
    """Noise of the same size from another seed: a difference, but none that is shown."""
    cases.write_run(tmp_path, noise=0.04)  # as that of mel-1
    some = [
        Experiment(Point(label, (), f"{view}/ridge"), str(tmp_path))
        for label, view in (("base", "mel"), ("other", "mel-1"))
    ]
    found = find(grid(some), some, {str(tmp_path)}, schemes=["movement"])
    row = rows(found, "movement")["other"]
    assert row.difference != 0
    assert row.verdict == NONE
    assert "no difference from 'base' is shown for other" in show.words(found)[0]
