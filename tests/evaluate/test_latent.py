"""Latent maps against scikit-learn, and on spaces that know one thing only."""

from __future__ import annotations

from typing import Any

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from pianoeval.evaluate.diagnostics.latent import principal_components, standardised
from pianoeval.evaluate.diagnostics.neighbours import K, neighbourhood


@pytest.fixture
def manifest() -> pd.DataFrame:
    return cases.manifest(n_movements=3, n_segments=4, n_players=5)


def codes(manifest: pd.DataFrame, column: str) -> np.ndarray[Any, Any]:
    return np.unique(manifest[column].astype(str), return_inverse=True)[1]


def spaced(code: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    """A space in which only this group places a clip."""
    centres = 10 * random.normal(size=(code.max() + 1, 6))
    return centres[code] + 0.1 * random.normal(size=(len(code), 6))


# --- principal components


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)], ids=["long", "wide"])
def test_components_are_those_of_scikit_learn(
    shape: tuple[int, int], random_state: np.random.Generator
) -> None:
    x = (random_state.normal(size=shape) @ np.diag(random_state.uniform(1, 9, shape[1]))).astype(
        np.float32
    )
    scores, share = principal_components(x, 5)
    oracle = PCA(5, svd_solver="full").fit(StandardScaler().fit_transform(x.astype(np.float64)))
    wanted = oracle.transform(StandardScaler().fit_transform(x.astype(np.float64)))
    np.testing.assert_allclose(np.abs(scores), np.abs(wanted), atol=1e-8)
    np.testing.assert_allclose(share, oracle.explained_variance_ratio_, rtol=1e-8)
    largest = np.abs(scores).argmax(axis=0)
    assert (scores[largest, np.arange(5)] > 0).all()


def test_wide_and_long_give_the_same_map(random_state: np.random.Generator) -> None:
    """Columns that repeat make a long matrix wide and change no direction."""
    x = random_state.normal(size=(30, 8)).astype(np.float32)
    long, long_share = principal_components(x, 4)
    wide, wide_share = principal_components(np.tile(x, (1, 9)), 4)
    np.testing.assert_allclose(wide / 3.0, long, atol=1e-9)  # nine columns for one
    np.testing.assert_allclose(wide_share, long_share, rtol=1e-9)


def test_gaps_become_medians_and_constants_go() -> None:
    x = np.array([[1, 5, np.nan], [2, 5, np.nan], [np.nan, 5, np.nan], [6, 5, np.nan]], np.float32)
    z = standardised(x)
    assert z.shape == (4, 1)
    filled = np.array([1.0, 2.0, 2.0, 6.0])
    np.testing.assert_allclose(z[:, 0], (filled - filled.mean()) / filled.std())


def test_what_does_not_vary_has_no_components() -> None:
    scores, share = principal_components(np.ones((6, 3), np.float32), 5)
    assert scores.shape == (6, 0)
    assert len(share) == 0
    line = np.arange(6, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    assert principal_components(line, 5)[0].shape == (6, 1)


# --- neighbours


def test_neighbours_by_brute_force(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    scores = random_state.normal(size=(len(manifest), 4))
    rating = random_state.normal(size=len(manifest))
    found = neighbourhood(scores, manifest, rating)
    near = NearestNeighbors(n_neighbors=K + 1).fit(scores).kneighbors(scores)[1][:, 1:]
    n = len(manifest)
    movement = codes(manifest, "movement")
    for column in ("movement", "player", "segment"):
        group = codes(manifest, column)
        assert found[column]["share"] == pytest.approx((group[near] == group[:, None]).mean())
        size = np.bincount(group)[group]
        assert found[column]["chance"] == pytest.approx(((size - 1) / (n - 1)).mean(), rel=1e-5)
        if column == "movement":
            continue
        given = []
        for i in range(n):
            for j in near[i]:
                others = [k for k in range(n) if k != i and movement[k] == movement[j]]
                given.append(np.mean(group[others] == group[i]))
        assert found[column]["chance_given_movement"] == pytest.approx(np.mean(given), rel=1e-5)
    for column, key in (("movement", "spearman"), ("segment", "spearman_in_segments")):
        group = codes(manifest, column)
        total = 0.0
        weights = 0
        for code in range(group.max() + 1):
            rows = np.flatnonzero(group == code)
            i, j = np.triu_indices(len(rows), 1)
            distance = np.linalg.norm(scores[rows[i]] - scores[rows[j]], axis=1)
            r = spearmanr(distance, np.abs(rating[rows[i]] - rating[rows[j]])).statistic
            total, weights = total + r * len(i), weights + len(i)
        assert found["rating"][key] == pytest.approx(total / weights, rel=1e-5)


def test_chance_is_what_shuffled_spaces_give(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    rating = np.zeros(len(manifest))
    found = [
        neighbourhood(random_state.normal(size=(len(manifest), 3)), manifest, rating)["player"]
        for _ in range(60)
    ]
    share = np.mean([f["share"] for f in found])
    assert share == pytest.approx(found[0]["chance"], abs=0.01)
    assert found[0]["chance"] == pytest.approx(11 / 59, rel=1e-5)


def test_a_space_that_knows_the_piece(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    found = neighbourhood(
        spaced(codes(manifest, "movement"), random_state), manifest, np.arange(len(manifest))
    )
    assert found["movement"]["share"] == 1.0
    assert found["movement"]["chance"] < 0.4
    # It seems to know segments, but no better than whoever knows the movement.
    segment = found["segment"]
    assert segment["share"] > 2 * segment["chance"]
    assert segment["share"] == pytest.approx(segment["chance_given_movement"], abs=0.06)


def test_a_space_that_knows_the_player(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    found = neighbourhood(
        spaced(codes(manifest, "player"), random_state), manifest, np.arange(len(manifest))
    )
    assert found["player"]["share"] == 1.0
    assert found["player"]["chance_given_movement"] < 0.25
    assert abs(found["movement"]["share"] - found["movement"]["chance"]) < 0.06


def test_a_space_that_hears_the_rating(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    rating = random_state.normal(size=len(manifest))
    found = neighbourhood(np.column_stack([rating, 0 * rating]), manifest, rating)["rating"]
    assert found["spearman"] == pytest.approx(1.0)
    assert found["spearman_in_segments"] == pytest.approx(1.0)
    assert neighbourhood(rating[:, None], manifest, np.zeros(len(manifest)))["rating"] == {
        "spearman": None, "spearman_in_segments": None,
    }  # fmt: skip


def test_versions_and_copies_are_no_neighbours(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    """Each take has a version and a byte-identical copy at its very place."""
    version = manifest.assign(clip=manifest["clip"] + "_v", parent=manifest["clip"],
                              sha256=manifest["sha256"] + "v")  # fmt: skip
    copy = manifest.assign(clip=manifest["clip"] + "_c", take="9")
    scores = random_state.normal(size=(len(manifest), 3))
    rating = np.zeros(3 * len(manifest))
    together = pd.concat([manifest, version, copy], ignore_index=True)
    found = neighbourhood(np.tile(scores, (3, 1)), together, rating)["segment"]
    # Nothing but chance is left, though two clips lie exactly where each clip does.
    assert found["share"] == pytest.approx(found["chance"], abs=0.05)


def test_too_few_clips_are_said(random_state: np.random.Generator) -> None:
    few = cases.manifest(n_movements=1, n_segments=2, n_players=5)
    found = neighbourhood(random_state.normal(size=(10, 2)), few, np.arange(10.0))
    assert found["movement"]["share"] is None
    assert found["player"]["chance"] is None
    assert str(K) in found["segment"]["reason"]


def test_unknown_players_have_no_share(
    manifest: pd.DataFrame, random_state: np.random.Generator
) -> None:
    manifest.loc[manifest["player"] == "p1", "player"] = "unknown"
    found = neighbourhood(
        spaced(codes(manifest, "movement"), random_state), manifest, np.arange(len(manifest))
    )
    assert found["player"]["share"] is None
    assert found["player"]["reason"] == "12 of 60 clips have no known player"
    assert found["movement"]["share"] == 1.0
