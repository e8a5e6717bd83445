from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import BadInputError
from pianoeval.evaluate.statistics.ceiling import (
    dimensions_of_unknown_reliability,
    pairwise_ceiling,
    rater_counts,
    reliability,
    unreliable_dimensions,
)

# Shrout & Fleiss (1979), table 2: six targets, four judges; table 4: ICC(1,1) .17, ICC(1,4) .44.
SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]


def _ratings(values: list[list[float]], dimension: str = "d") -> pd.DataFrame:
    rows = [
        (f"c{i}", f"r{j}", dimension, float(value))
        for i, row in enumerate(values)
        for j, value in enumerate(row)
        if np.isfinite(value)
    ]
    return pd.DataFrame(rows, columns=["clip", "rater", "dimension", "value"])


def _segments(n: int, size: int) -> pd.Series:
    return pd.Series({f"c{i}": f"s{i // size}" for i in range(n)})


def _simulated(
    within: float, noise: float, seed: int, size: int = 8, n: int = 400, raters: int = 6
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Ratings with unequal numbers of raters, the true values and the segments."""
    random = np.random.default_rng(seed)
    segment = np.arange(n) // size
    truth = random.normal(size=segment.max() + 1)[segment] + np.sqrt(within) * random.normal(size=n)
    values = truth[:, None] + np.sqrt(noise) * random.normal(size=(n, raters))
    values[random.random(values.shape) < 0.3] = np.nan
    values[:, :2] = truth[:, None] + np.sqrt(noise) * random.normal(size=(n, 2))
    return _ratings(values.tolist()), truth, segment


def test_icc_of_shrout_and_fleiss() -> None:
    found = reliability(_ratings(SHROUT_FLEISS), _segments(6, 3)).loc["d"]
    assert found["icc_11"] == pytest.approx(0.1657, abs=5e-5)
    assert found["icc_1k"] == pytest.approx(0.4428, abs=5e-5)
    assert found["k_harmonic"] == 4


def test_repeats_of_one_rater_are_one_rating() -> None:
    once = _ratings(SHROUT_FLEISS)
    twice = pd.concat([once, once.assign(value=once["value"] + 0.0)])
    pd.testing.assert_frame_equal(
        reliability(once, _segments(6, 3)), reliability(twice, _segments(6, 3))
    )
    assert rater_counts(twice, ["c0", "zz"], ["d"]).tolist() == [[4.0], [0.0]]


def test_simulated_truth_is_recovered() -> None:
    ratings, truth, _ = _simulated(within=0.5, noise=2.0, seed=0)
    found = reliability(ratings, _segments(len(truth), 8)).loc["d"]
    means = ratings.groupby("clip")["value"].mean().loc[[f"c{i}" for i in range(len(truth))]]
    r2 = 1 - ((means - truth) ** 2).sum() / ((means - means.mean()) ** 2).sum()
    assert found["icc_1k"] == pytest.approx(r2, abs=0.04)
    assert found["split_half"] == pytest.approx(found["icc_1k"], abs=0.05)
    assert found["error_variance"] == pytest.approx(2.0, rel=0.1)
    assert found["within_variance"] == pytest.approx(0.5, rel=0.3)
    inside = 1 - 2.0 / found["k_harmonic"] / (0.5 + 2.0 / found["k_harmonic"])
    assert found["within_reliability"] == pytest.approx(inside, abs=0.1)


def test_pairwise_ceiling_is_what_an_oracle_scores() -> None:
    ratings, truth, segment = _simulated(within=0.5, noise=2.0, seed=1, n=4000)
    table = reliability(ratings, _segments(len(truth), 8)).loc["d"]
    clips = [f"c{i}" for i in range(len(truth))]
    means = ratings.groupby("clip")["value"].mean().loc[clips].to_numpy()
    k = rater_counts(ratings, clips, ["d"])[:, 0]
    first, second = np.triu_indices(len(truth), 1)
    same = segment[first] == segment[second]
    first, second = first[same], second[same]
    error = table["error_variance"] * (1 / k[first] + 1 / k[second])
    chance = pairwise_ceiling(means[first] - means[second], error, table["within_variance"])
    hit = np.sign(means[first] - means[second]) == np.sign(truth[first] - truth[second])
    for margin in (0.0, 0.5, 1.0):
        counted = np.abs(means[first] - means[second]) > margin
        assert chance[counted].mean() == pytest.approx(hit[counted].mean(), abs=0.015)


def test_without_shared_differences_the_ceiling_is_a_coin() -> None:
    assert (pairwise_ceiling(np.array([0.1, 0.9]), np.array([1.0, 1.0]), 0.0) == 0.5).all()
    assert (pairwise_ceiling(np.array([0.1]), np.array([0.0]), 1.0) == 1.0).all()
    table = pd.DataFrame({"within_reliability": [0.3, 0.05, np.nan, -0.2]}, index=list("abcd"))
    assert unreliable_dimensions(table, 0.1) == ["b", "d"]
    assert dimensions_of_unknown_reliability(table) == ["c"]
    assert np.isnan(pairwise_ceiling(np.array([0.1]), np.array([1.0]), np.nan)).all()


def test_missing_answers_do_not_touch_other_dimensions() -> None:
    full = _ratings(SHROUT_FLEISS)
    holes = pd.concat([full, _ratings(SHROUT_FLEISS, "e").iloc[1:]])
    found = reliability(holes, _segments(6, 3))
    assert found.loc["d", "icc_11"] == pytest.approx(0.1657, abs=5e-5)
    assert found.loc["e", "n_ratings"] == 23


def test_ratings_that_are_not_numbers_are_refused() -> None:
    ratings = _ratings(SHROUT_FLEISS)
    ratings.loc[0, "value"] = np.nan
    with pytest.raises(BadInputError, match="not finite"):
        reliability(ratings, _segments(6, 3))
