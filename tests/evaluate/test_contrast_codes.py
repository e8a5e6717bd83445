"""Measures of codes stay within one network, and tables say what they were made of."""

from __future__ import annotations

import contrast_cases as cases
import evaluation_cases
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import davies_bouldin_score

from pianoeval.evaluate.contrast.codes import (
    DISTANCE_COLUMNS,
    MAP_COLUMNS,
    Codes,
    analyse_codes,
    cells,
    spread,
    unit_labels,
)
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.params import Params

NAMES = ["timing", "pedal"]
ONE = {"pcconv": 0.5}


@pytest.fixture(scope="module")
def params() -> Params:
    return cases.params()


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    """Spread over 0..1, so that every class has clips."""
    rated = evaluation_cases.labels(evaluation_cases.manifest(n_players=6))
    rank = rated.groupby("dimension")["value"].rank(pct=True)
    return rated.assign(value=rank - rank.min())


@pytest.fixture(scope="module")
def latents(labels: pd.DataFrame, params: Params) -> pd.DataFrame:
    manifest = evaluation_cases.manifest(n_players=6)
    folds = make_folds(manifest, params.folds)
    return cases.head_tables(manifest, labels, folds, ONE, schemes=("player",), seeds=(0, 1))[1]


@pytest.fixture(scope="module")
def found(latents: pd.DataFrame, labels: pd.DataFrame, params: Params) -> Codes:
    return analyse_codes(latents, NAMES, labels, params)


def index_of(codes: Codes, dimension: str = "timing") -> dict[object, float]:
    rows = pd.DataFrame(codes.rows)
    own = rows[(rows["metric"] == "davies_bouldin") & (rows["dimension"] == dimension)]
    return dict(
        zip(own["statistic"].where(own["seed"].isna(), own["seed"]), own["value"], strict=True)
    )


def by_hand(latents: pd.DataFrame, labels: pd.DataFrame, seed: int, dimension: str) -> float:
    """Mean over folds of scikit-learn's index; three classes."""
    rated = labels[labels["dimension"] == dimension].set_index("clip")["value"]
    own = latents[(latents["seed"] == seed) & (latents["dimension"] == dimension)]
    values = []
    for _, part in own.groupby("fold"):
        classes = np.minimum((rated.loc[part["clip"]].to_numpy() * 3).astype(int), 2)
        values.append(davies_bouldin_score(part.filter(regex="^v").to_numpy(float), classes))
    return float(np.mean(values))


def test_the_index_is_the_mean_over_folds_of_each_seed(
    found: Codes, latents: pd.DataFrame, labels: pd.DataFrame
) -> None:
    told = index_of(found)
    single = [by_hand(latents, labels, seed, "timing") for seed in (0, 1)]
    assert [told[0], told[1]] == pytest.approx(single)
    assert told["mean"] == pytest.approx(np.mean(single))
    assert told["sd"] == pytest.approx(np.std(single, ddof=1))
    assert index_of(found, "mean")[0] == pytest.approx(
        (single[0] + by_hand(latents, labels, 0, "pedal")) / 2
    )


def test_folds_have_codes_of_their_own(
    found: Codes, latents: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> None:
    """Codes of one network mean nothing beside those of another: a shift changes no number."""
    moved = latents.assign(v001=latents["v001"] + 64.0 * latents["fold"] - 32.0 * latents["seed"])
    again = analyse_codes(moved, NAMES, labels, params)
    for dimension in NAMES:
        assert index_of(again, dimension) == pytest.approx(index_of(found, dimension), rel=1e-4)
    assert again.distances["distance"].to_numpy() == pytest.approx(
        found.distances["distance"].to_numpy(), rel=1e-4
    )


def test_relative_distances_know_no_scale(
    found: Codes, latents: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> None:
    larger = latents.assign(**{f"v{i:03d}": 4.0 * latents[f"v{i:03d}"] for i in range(4)})
    again = analyse_codes(larger, NAMES, labels, params)
    assert again.distances["distance"].to_numpy() == pytest.approx(
        4 * found.distances["distance"].to_numpy(), rel=1e-5
    )
    assert again.distances["relative"].to_numpy() == pytest.approx(
        found.distances["relative"].to_numpy(), rel=1e-5
    )


def test_distances_name_classes_and_how_many_clips_they_have(
    found: Codes, latents: pd.DataFrame, labels: pd.DataFrame
) -> None:
    table = found.distances
    assert list(table.columns) == DISTANCE_COLUMNS
    own = table[table["dimension"] == "timing"]
    assert list(zip(own["class_a"], own["class_b"], strict=True)) == [(0, 1), (0, 2), (1, 2)]
    rated = labels.loc[labels["dimension"] == "timing", "value"]
    sizes = np.bincount(np.minimum((rated * 3).astype(int), 2))
    assert own["n_a"].tolist() == [sizes[0], sizes[0], sizes[1]]
    assert own["n_b"].tolist() == [sizes[1], sizes[2], sizes[2]]
    of_clip = labels[labels["dimension"] == "timing"].set_index("clip")["value"]
    folds = latents[["fold", "clip"]].drop_duplicates()
    classes = np.minimum((of_clip.loc[folds["clip"]].to_numpy() * 3).astype(int), 2)
    there = pd.crosstab(folds["fold"].to_numpy(), classes) > 0
    both = [int((there[a] & there[b]).sum()) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert own["n_surfaces"].tolist() == [2 * n for n in both]  # two seeds
    far = own.set_index(["class_a", "class_b"])["relative"]
    assert far[0, 2] > max(far[0, 1], far[1, 2])


def test_shorter_codes_end_where_their_values_do(labels: pd.DataFrame) -> None:
    rows = pd.DataFrame({
        "head": ["a", "a", "b", "b"], "scheme": "player", "fold": 0, "seed": 0,
        "dimension": "timing", "clip": ["m0_s0_p1_t0", "m0_s0_p2_t0"] * 2,
        "v000": np.float32([1, 2, 3, 4]), "v001": np.float32([1, 2, np.nan, np.nan]),
    })  # fmt: skip
    shapes = {cell.head: cell.codes.shape for cell in cells(rows, NAMES, labels, "rating")}
    assert shapes == {"a": (2, 2), "b": (2, 1)}


def test_a_code_that_collapsed_has_no_index_and_no_relative_distance(
    latents: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> None:
    flat = latents.assign(**{f"v{i:03d}": np.float32(0.5) for i in range(4)})
    again = analyse_codes(flat, NAMES, labels, params)
    measures = {row["metric"] for row in again.rows}
    assert "davies_bouldin" not in measures
    assert again.distances["relative"].isna().all()
    assert (again.distances["distance"] == 0).all()


def test_a_network_that_collapsed_in_one_fold_has_no_mean_of_the_others(
    latents: pd.DataFrame, labels: pd.DataFrame, params: Params, found: Codes
) -> None:
    one = (latents["seed"] == 1) & (latents["dimension"] == "timing") & (latents["fold"] == 0)
    broken = latents.copy()
    broken.loc[one, [f"v{i:03d}" for i in range(4)]] = np.float32(0.1)
    told = analyse_codes(broken, NAMES, labels, params)
    assert index_of(told) == {0: index_of(found)[0]}  # neither seed 1 nor mean nor sd
    assert index_of(told, "mean") == {0: index_of(found, "mean")[0]}
    assert index_of(told, "pedal") == index_of(found, "pedal")


def test_a_fold_without_two_classes_is_left_out_of_all(
    latents: pd.DataFrame, labels: pd.DataFrame, params: Params, found: Codes
) -> None:
    clips = sorted(set(latents.loc[latents["fold"] == 0, "clip"]))
    level = labels.copy()
    level.loc[level["clip"].isin(clips), "value"] = 0.5
    told = analyse_codes(latents, NAMES, level, params)
    left = latents[latents["fold"] != 0]
    wanted = [by_hand(left, labels, seed, "timing") for seed in (0, 1)]
    assert index_of(told)[0] == pytest.approx(wanted[0])
    assert index_of(told)["mean"] == pytest.approx(np.mean(wanted))
    n_folds = latents["fold"].nunique()
    for codes, number in ((found, n_folds), (told, n_folds - 1)):
        rows = pd.DataFrame(codes.rows)
        assert set(rows.loc[rows["metric"] == "davies_bouldin", "n_folds"]) == {number}


def test_regularised_heads_are_asked_for_their_values(
    latents: pd.DataFrame, labels: pd.DataFrame
) -> None:
    heads = {"pcconv": {"approach": "joint", "regularise": "ar_vae"}}
    base = cases.params()
    regular = cases.params(contrast={**base.contrast.model_dump(), "heads": heads})
    rated = labels.pivot(index="clip", columns="dimension", values="value")
    told = latents.assign(
        v000=rated["timing"].loc[latents["clip"]].to_numpy(np.float32),
        v001=rated["pedal"].loc[latents["clip"]].to_numpy(np.float32),
    )
    rows = pd.DataFrame(analyse_codes(told, NAMES, labels, regular).rows)
    own = rows[(rows["metric"] == "interpretability") & (rows["statistic"] == "mean")]
    assert (own["value"] > 0.3).all()
    assert len(own) == 3


def test_labels_on_another_scale_are_brought_into_the_unit_interval() -> None:
    def rated(values: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"dimension": ["a", "a", "b", "b"], "value": values})

    y = np.array([[1.0, 4.0], [7.0, 4.0]])
    assert unit_labels(rated([1, 7, 4, 4]), y, ["a", "b"]).tolist() == [[0, 0], [1, 0]]
    same = np.array([[0.2, 0.5], [0.4, 0.5]])
    assert unit_labels(rated([0.2, 0.4, 0.5, 0.5]), same, ["a", "b"]) is same


def test_spread_is_the_root_of_the_mean_squared_distance() -> None:
    codes = np.float32([[0, 0], [2, 0], [0, 2], [2, 2]])
    assert spread(codes) == pytest.approx(np.sqrt(2))


def test_maps_name_their_clips(found: Codes, latents: pd.DataFrame, labels: pd.DataFrame) -> None:
    assert list(found.maps.columns) == MAP_COLUMNS
    rated = labels.set_index(["dimension", "clip"])["value"]
    maps = found.maps
    assert set(maps["dimension"]) == set(NAMES)
    # Of one network a dimension: the first fold and seed.
    first = latents[(latents["fold"] == 0) & (latents["seed"] == 0)]
    assert maps.groupby("dimension")["clip"].apply(sorted).tolist() == [
        sorted(set(first["clip"]))
    ] * len(NAMES)
    assert (maps["fold"].unique().tolist(), maps["seed"].unique().tolist()) == ([0], [0])
    for line in maps.itertuples():
        wanted = min(int(rated[line.dimension, line.clip] * 3), 2)
        assert line[MAP_COLUMNS.index("class") + 1] == wanted


def test_few_clips_have_no_map(latents: pd.DataFrame, labels: pd.DataFrame, params: Params) -> None:
    few = latents[latents["clip"].isin(sorted(set(latents["clip"]))[:3])]
    assert analyse_codes(few, NAMES, labels, params).maps.empty


def test_nothing_is_said_of_nothing(
    latents: pd.DataFrame, labels: pd.DataFrame, params: Params
) -> None:
    empty = analyse_codes(latents.head(0), [], labels, params)
    assert empty.rows == []
    assert list(empty.distances.columns) == DISTANCE_COLUMNS
    assert len(empty.distances) == len(empty.maps) == 0
