"""Exported rankers: the stored lines are those of ridge on takes less the mean of their segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from sklearn.linear_model import Ridge
from test_export import make_params, write_clips, write_results
from typer.testing import CliRunner

from pianoeval.cache import ItemCache
from pianoeval.cli import app
from pianoeval.corpora.manifest import read_manifest, write_labels
from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.groups import group_labels
from pianoeval.evaluate.protocol.splits import inner_folds, make_folds
from pianoeval.models.base import Standardiser
from pianoeval.params import Params
from pianoeval.params_file import parse_params
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from pianoeval.training.export import load_exported, save_exported
from pianoeval.training.final import train_final
from pianoeval.training.final_ranker import PARTS, exportable_ranker, train_ranker
from pianoeval.training.rank_quality import coin_toss, known_of_pairs, share_right
from pianoeval.training.ranker import load_ranker, save_ranker

DIMENSIONS = ["timing", "pedal", "noise"]
SHARE = {"timing": 1.0, "pedal": 0.7, "noise": 0.0}  # of a feature in the label


def ranker_params(**rankers: Any) -> Params:
    data = make_params().model_dump(mode="json")
    data["folds"]["schemes"] = ["segment", "movement"]
    data["rank"] = {
        "schemes": ["segment", "movement"],
        "rankers": {"line": {"views": ["symbolic"], "approach": "difference"}} | rankers,
    }
    return parse_params(data)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusPaths:
    """Every segment has a level of its own that features do not tell."""
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))
    paths = CorpusPaths("toy", tmp_path)
    clips = write_clips(paths)
    random = np.random.default_rng(3)
    x = random.normal(size=(len(clips), 5)) * [1, 10, 0.1, 1, 1]
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(5)], index=pd.Index(clips, name="clip"))
    paths.symbolic.parent.mkdir(parents=True, exist_ok=True)
    write_table(table.reset_index(), paths.symbolic)
    manifest = read_manifest(paths.manifest)
    level = {name: random.normal() for name in sorted(set(manifest["segment"]))}
    rows = []
    for number, clip in enumerate(clips):
        for name in DIMENSIONS:
            share = SHARE[name]
            told = share * x[number, 1] / 10 + (1 - share) * random.normal()
            value = told + 3 * level[clip.rsplit("_", 1)[0]]
            rows.append(
                {"clip": clip, "task": "rating", "dimension": name, "value": value,
                 "n_raters": 5, "sd": 0.1, "low_pole": "little", "high_pole": "much",
                 "higher_is_better": None}
            )  # fmt: skip
    write_labels(pd.DataFrame(rows), paths.labels)
    write_table(make_folds(manifest, ranker_params().folds), paths.folds)
    return paths


def centred(table: pd.DataFrame, segment: pd.Series) -> np.ndarray:
    return (table - table.groupby(segment.to_numpy()).transform("mean")).to_numpy()


def test_the_lines_are_ridge_on_takes_less_the_mean_of_their_segment(
    paths: CorpusPaths, tmp_path: Path
) -> None:
    trained = train_ranker(paths, ranker_params(), "line", ItemCache())
    save_ranker(trained, tmp_path / "out", "# card\n")
    model = load_ranker(tmp_path / "out")
    table = pd.read_parquet(paths.symbolic).set_index("clip")
    labels = pd.read_parquet(paths.labels).pivot(index="clip", columns="dimension", values="value")
    manifest = read_manifest(paths.manifest).set_index("clip")
    clips, dimensions = list(table.index), model.dimensions
    assert set(dimensions) == set(DIMENSIONS)
    x = table.to_numpy(np.float32)
    z = Standardiser.fit(x).transform(x)
    segment = manifest.loc[clips, "segment"]
    y = centred(labels.loc[clips, dimensions], segment)
    inside = centred(pd.DataFrame(z), segment)
    spread = np.sqrt((inside**2).mean(axis=0))  # the unit of a feature, within segments
    unit = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6)
    inside, z = inside * unit, z * unit
    told = model.config["difference"]
    ridge = Ridge(alpha=told["lambda"], fit_intercept=False)
    weights = ridge.fit(inside, y).coef_.T * told["slope"]
    np.testing.assert_allclose(model.weights, weights, atol=1e-8)
    scores, parts = model.scores(x)
    np.testing.assert_allclose(scores, z @ weights, atol=1e-6)
    groups = group_labels(manifest.reset_index(), "content_group").loc[clips]
    part = inner_folds(groups.to_numpy(dtype=object), PARTS)
    assert model.left_out.shape == (8, 5, 3)  # as many as there are content groups
    for number, found in enumerate(parts):
        kept = part != number
        line = ridge.fit(inside[kept], y[kept]).coef_.T * told["slope"]
        np.testing.assert_allclose(found, z @ line, atol=1e-5)
    assert told["chosen_on"] == "movement"


def test_what_was_known_out_of_fold_goes_along(paths: CorpusPaths) -> None:
    model = train_ranker(paths, ranker_params(), "line", ItemCache())
    known = model.config["quality"]
    assert known["scheme"] == "movement"
    found = known["dimensions"]
    assert found["timing"]["accuracy"] > 0.95
    assert found["timing"]["coin_toss"] < 1.0
    assert 0.5 < found["pedal"]["accuracy"] < found["timing"]["accuracy"]
    assert found["noise"]["coin_toss"] is None
    assert found["timing"]["pairs"] == 8 * 6
    mean = np.mean([one["accuracy"] for one in found.values()])
    assert known["mean"] == pytest.approx(mean, abs=1e-4)
    again = train_ranker(paths, ranker_params(), "line", ItemCache())
    np.testing.assert_array_equal(again.weights, model.weights)
    assert again.config == model.config


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("net", "'net' cannot be exported"),
        ("swept", "'swept' cannot be exported"),
        ("away", "'away' cannot be used: notes not on axes.features"),
        ("nobody", "no ranker 'nobody'"),
    ],
)
def test_what_is_no_matrix_of_weights_cannot_be_exported(name: str, what: str) -> None:
    data = ranker_params(
        net={"views": ["symbolic"], "approach": "siamese"},
        swept={"views": ["symbolic"], "approach": "difference",
               "sweep": {"approach": ["difference", "siamese"]}},
    ).model_dump(mode="json")  # fmt: skip
    data["views"]["notes"] = {"notes": {"models": ["ridge"]}}
    data["rank"]["rankers"]["away"] = {"views": ["notes"], "approach": "difference"}
    with pytest.raises(ConfigError, match=what) as error:
        exportable_ranker(parse_params(data), name)
    assert error.value.allowed == "line"


def test_a_single_take_of_each_segment_is_too_little(paths: CorpusPaths) -> None:
    labels = pd.read_parquet(paths.labels)
    write_labels(labels[labels["clip"].str.endswith("_p0")], paths.labels)
    with pytest.raises(BadInputError, match="no two takes of one segment"):
        train_ranker(paths, ranker_params(), "line", ItemCache())


def test_the_command_writes_ranker_and_card(
    paths: CorpusPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = ranker_params()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    monkeypatch.chdir(tmp_path)
    write_results(paths, params)
    done = CliRunner().invoke(app, ["export", "toy", "line", "--out", "made"],
                              catch_exceptions=False)  # fmt: skip
    assert done.exit_code == 0
    assert "pianoeval rank FILE FILE... --model made" in done.output
    model = load_ranker(tmp_path / "made")
    assert "Not for judging people" in model.config["quality"]["warning"]
    card = (tmp_path / "made" / "README.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in card.splitlines() if "|" in line}
    assert lines["noise"].rstrip(" |").endswith("everywhere")
    accuracy = model.config["quality"]["dimensions"]["timing"]["accuracy"]
    assert f"{accuracy:.3f}" in lines["timing"]
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"  # two licences
    with pytest.raises(ConfigError, match="names no model") as error:
        CliRunner().invoke(app, ["export", "toy", "nope", "--out", "x"], catch_exceptions=False)
    assert "line" in str(error.value.allowed)
    assert "net" not in str(error.value.allowed)  # it would be refused
    assert "nope/" not in str(error.value.next_step)
    save_exported(train_final(paths, params, "symbolic", "ridge"), tmp_path / "ridge", "")
    load_exported(tmp_path / "ridge")
    with pytest.raises(ConfigError, match="pianoeval-ridge") as error:
        load_ranker(tmp_path / "ridge")
    assert str(error.value.next_step).startswith("pianoeval score")


def test_the_interval_of_a_share_is_that_of_a_ratio_of_groups() -> None:
    right = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0.5])
    cluster = np.array([0, 0, 0, 5, 5, 7, 7, 7, 7])
    share, low, high = share_right(right, cluster)
    assert share == pytest.approx(6.5 / 9)
    residuals = [2 - 3 * share, 1 - 2 * share, 3.5 - 4 * share]
    error = np.sqrt(3 / 2 * sum(r**2 for r in residuals)) / 9
    reach = stats.t.ppf(0.975, 2) * error
    assert (low, high) == pytest.approx((share - reach, share + reach))
    assert np.isnan(share_right(right, np.zeros(9, int))[1])


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Pairs of a group are right together."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        chance = random.beta(14, 6, size=30)
        right = (random.uniform(size=(30, 20)) < chance[:, None]).astype(float)
        _, low, high = share_right(right.ravel(), np.repeat(np.arange(30), 20))
        held += low <= 0.7 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_a_coin_is_tossed_where_close_pairs_are_right_by_chance() -> None:
    random = np.random.default_rng(1)
    size = random.uniform(0, 2, 8000)
    cluster = random.integers(0, 40, 8000)
    chance = np.where(size < 1, 0.5, 0.95)
    right = (random.uniform(size=8000) < chance).astype(float)
    assert 0.9 <= coin_toss(size, right, cluster) <= 1.1
    assert coin_toss(size, np.ones(8000), cluster) == 0.0
    none = (random.uniform(size=8000) < 0.5).astype(float)
    assert coin_toss(size, none, cluster) is None
    assert coin_toss(size, np.ones(8000), np.zeros(8000, int)) is None
    assert coin_toss(size[:0], right[:0], cluster[:0]) is None


def test_pairs_of_equal_labels_are_left_out_and_a_margin_of_nothing_is_half() -> None:
    margins = np.array([[1.0], [-2.0], [0.0], [3.0]])
    differences = np.array([[0.2], [0.1], [0.3], [0.0]])
    (found,) = known_of_pairs(margins, differences, np.array([0, 1, 2, 2]), ["loud"]).values()
    assert found["pairs"] == 3
    assert found["accuracy"] == 0.5
    expected = np.mean([1 / (1 + np.exp(-m)) for m in (1, 2, 0)])
    assert found["expected"] == pytest.approx(expected, abs=1e-4)
