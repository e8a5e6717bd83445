"""Latent spaces of heads: scikit-learn and scipy as oracles, and codes whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.manifold import TSNE
from sklearn.metrics import davies_bouldin_score, silhouette_samples

from pianoeval.evaluate.contrast.latent import (
    class_distances,
    classes_of,
    davies_bouldin,
    interpretability,
    is_collapsed,
    silhouette,
    surface_order,
    tsne_map,
    value_correlations,
)
from pianoeval.losses.continuous import bins_of


def random_codes(seed: int, n: int = 60, values: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Codes that know a little of their labels."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=n)
    codes = rng.normal(size=(n, values)) + 2 * y[:, None] * rng.normal(size=values)
    return codes.astype(np.float32), y


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(2, 30))
def test_classes_are_the_bins_of_the_losses(y: list[float], bins: int) -> None:
    labels = np.array(y)
    assert (
        classes_of(labels, bins).tolist() == bins_of(torch.tensor(labels)[None], bins)[0].tolist()
    )


def test_classes_by_hand() -> None:
    y = np.array([0.0, 0.1999, 0.2, 0.6, 3 * 0.2, 0.8, 0.999, 1.0])
    assert classes_of(y, 5).tolist() == [0, 0, 1, 3, 3, 4, 4, 4]
    # On a bound but for rounding: 0.7 of float32 times 10 is below 7, and so is 0.29 times 100.
    assert classes_of(np.float32([0.7]).astype(np.float64), 10).tolist() == [7]
    assert classes_of(np.array([0.29, 0.28]), 100).tolist() == [29, 28]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bins", [2, 5, 9])
def test_index_and_silhouette_are_those_of_sklearn(seed: int, bins: int) -> None:
    codes, y = random_codes(seed)
    y[y < 0.2] += 0.3  # a class without clips
    classes = (y * bins).astype(int)
    exact = codes.astype(np.float64)
    assert davies_bouldin(codes, y, bins) == pytest.approx(
        davies_bouldin_score(exact, classes), rel=1e-12
    )
    assert silhouette(codes, y, bins) == pytest.approx(
        silhouette_samples(exact, classes).mean(), rel=1e-12
    )


def test_index_by_hand() -> None:
    """Classes at 0 and 10, their codes 1 and 2 from their centroids: (1 + 2) / 10."""
    codes = np.array([[-1.0], [1.0], [8.0], [12.0]])
    assert davies_bouldin(codes, np.array([0.1, 0.1, 0.9, 0.9]), 5) == pytest.approx(0.3)


def test_index_of_one_clip_in_a_class() -> None:
    """Alone it has no spread: (1 + 0) / 5."""
    codes = np.array([[-1.0], [1.0], [5.0]])
    assert davies_bouldin(codes, np.array([0.1, 0.1, 0.9]), 5) == pytest.approx(0.2)


@pytest.mark.parametrize("measure", [davies_bouldin, silhouette])
@pytest.mark.parametrize(
    "y",
    [
        np.full(6, 0.5),  # one class
        np.arange(6) / 6 + 0.01,  # each alone in its class
        np.zeros(0),
    ],
)
def test_undefined_without_two_classes(measure: object, y: np.ndarray) -> None:
    codes = np.random.default_rng(0).normal(size=(len(y), 3))
    assert np.isnan(measure(codes, y, 6))  # type: ignore[operator]


@pytest.mark.parametrize("values", [0, 3])
def test_a_code_that_has_collapsed_is_not_the_best_clustering(values: int) -> None:
    """scikit-learn's index of it is 0, the best there is."""
    codes, y = np.full((10, values), 0.1, dtype=np.float32), np.linspace(0, 1, 10)
    if values:
        assert davies_bouldin_score(codes, classes_of(y, 5)) == 0
    assert np.isnan(davies_bouldin(codes, y, 5))
    assert np.isnan(silhouette(codes, y, 5))
    assert np.isnan(surface_order(class_distances(codes, y, 5)))
    # No value follows the dimension: none better than another.
    assert interpretability(codes, y[:, None]) == 0 if values else True


def test_what_is_left_of_a_collapsed_code_is_rounding() -> None:
    """One point averaged over chunks in float32: the last bits differ, and follow nothing."""
    rng = np.random.default_rng(10)
    y = rng.uniform(size=40)
    point = np.float32([0.1, 3.0, 0.0, 7e-4])
    codes = (point * (1 + 1.2e-7 * rng.integers(-1, 2, size=(40, 4)))).astype(np.float32)
    assert np.ptp(codes, axis=0).max() > 0
    assert is_collapsed(codes)
    assert np.isnan(davies_bouldin(codes, y, 5))
    assert np.isnan(silhouette(codes, y, 5))
    assert np.nanmax(class_distances(codes, y, 5)) == 0
    assert np.isnan(surface_order(class_distances(codes, y, 5)))
    assert interpretability(codes, y[:, None]) == 0
    alive = codes.copy()
    alive[:, 0] += 0.001 * y  # little beside the second value, but no rounding
    assert not is_collapsed(alive)
    assert value_correlations(alive, y[:, None])[0].tolist() == pytest.approx([1, 0, 0, 0])


def test_the_scale_of_codes_does_not_matter() -> None:
    codes, y = random_codes(3)
    for measure in (davies_bouldin, silhouette):
        assert measure(100 * codes + 7, y, 5) == pytest.approx(measure(codes, y, 5), rel=1e-4)
    order = surface_order(class_distances(codes, y, 5))
    assert surface_order(class_distances(8 * codes, y, 5)) == pytest.approx(order)


def test_class_distances_are_those_of_centroids() -> None:
    codes, y = random_codes(4)
    y[(y >= 0.4) & (y < 0.6)] = 0.1
    found = class_distances(codes, y, 5)
    present = [0, 1, 3, 4]
    centroids = [codes.astype(np.float64)[(y * 5).astype(int) == i].mean(axis=0) for i in present]
    np.testing.assert_allclose(
        found[np.ix_(present, present)], cdist(centroids, centroids), atol=1e-12
    )
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_order_of_surfaces() -> None:
    steps = np.abs(np.arange(5)[:, None] - np.arange(5)).astype(float)
    assert surface_order(steps) == pytest.approx(1.0)
    # Distances that are equal but for rounding stay equal; ordinary floats are not.
    line = 0.1 * np.arange(5)
    assert surface_order(np.abs(line[:, None] - line)) == pytest.approx(1.0)
    assert surface_order(5 - steps) == pytest.approx(-1.0)
    # A circle: the ends of the scale are neighbours.
    angle = np.exp(2j * np.pi * np.arange(5) / 5)
    assert surface_order(np.abs(angle[:, None] - angle)) == pytest.approx(
        spearmanr(np.round(np.abs(angle[:, None] - angle)[np.triu_indices(5, 1)], 9),
                  steps[np.triu_indices(5, 1)])[0]
    )  # fmt: skip


def test_order_of_surfaces_with_classes_missing() -> None:
    codes, y = random_codes(5)
    y[(y >= 0.4) & (y < 0.6)] = 0.1
    surface = class_distances(codes, y, 5)
    first, second = (side[np.isfinite(surface[np.triu_indices(5, 1)])]
                     for side in np.triu_indices(5, 1))  # fmt: skip
    expected = spearmanr(surface[first, second], second - first)[0]
    assert surface_order(surface) == pytest.approx(expected)
    two = np.full((5, 5), np.nan)
    two[:2, :2] = [[0, 1], [1, 0]]
    assert np.isnan(surface_order(two))
    assert np.isnan(surface_order(np.ones((4, 4))))


def test_correlations_of_values() -> None:
    rng = np.random.default_rng(6)
    codes, y = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 5, (40, 2)) / 4
    codes[:, 3] = 2.0
    found = value_correlations(codes, y)
    for r in range(2):
        expected = [abs(spearmanr(codes[:, v], y[:, r])[0]) for v in range(3)]
        np.testing.assert_allclose(found[r], [*expected, 0.0], atol=1e-12)


def test_interpretability_by_hand() -> None:
    """Value 0 is dimension 0, falling; nothing else knows it. Value 1 is no better than value 2."""
    rng = np.random.default_rng(7)
    y = rng.permuted(np.tile(np.arange(30.0), (2, 1)), axis=1).T
    noise = rng.normal(size=30)
    codes = np.column_stack([-(y[:, 0] ** 3), y[:, 1], np.exp(y[:, 1] / 10), noise])
    best_other = max(abs(spearmanr(codes[:, v], y[:, 0])[0]) for v in (1, 2, 3))
    assert interpretability(codes, y) == pytest.approx((1 - best_other + 0.0) / 2)
    # Dimensions swapped: their own values tell less of them than others do.
    assert interpretability(codes, y[:, ::-1]) < -0.5
    flat = np.column_stack([y[:, 0], np.full(30, 0.5)])
    assert interpretability(codes, flat) == pytest.approx(1 - best_other)


def test_interpretability_undefined() -> None:
    codes, y = random_codes(8)
    assert np.isnan(interpretability(codes[:, :1], y[:, None]))
    assert np.isnan(interpretability(codes, np.full((len(y), 2), 0.5)))


def groups(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    group = np.arange(n) % 3
    return rng.normal(scale=0.1, size=(n, 5)) + 10 * np.eye(3, 5)[group], group


def test_map_keeps_groups_and_repeats_to_the_last_bit() -> None:
    codes, group = groups(45)
    xy, perplexity = tsne_map(codes, [5.0, 10.0], seed=0)
    assert perplexity in (5.0, 10.0)
    apart = cdist(xy, xy) + np.diag(np.full(45, np.inf))
    assert (group[apart.argmin(axis=1)] == group).all()
    again, _ = tsne_map(codes, [10.0, 5.0], seed=0)
    np.testing.assert_array_equal(again, xy)


def test_perplexity_by_the_criterion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least 2 KL + ln(n) p / n; divergence alone would take the largest."""
    divergence = {2.0: 1.0, 8.0: 0.6, 14.0: 0.5}

    class Told(TSNE):
        def fit_transform(self, x: np.ndarray, y: object = None) -> np.ndarray:
            self.kl_divergence_ = divergence[self.perplexity]
            return np.full((len(x), 2), self.perplexity)

    monkeypatch.setattr("pianoeval.evaluate.contrast.latent.TSNE", Told)
    codes, _ = groups(45)
    costs = {p: 2 * kl + np.log(45) * p / 45 for p, kl in divergence.items()}
    xy, perplexity = tsne_map(codes, list(divergence), seed=0)
    assert perplexity == min(costs, key=costs.__getitem__) == 8.0
    assert (xy == 8.0).all()


def test_map_of_few_clips_and_of_codes_that_are_alike() -> None:
    codes, _ = groups(7)
    xy, perplexity = tsne_map(codes, [5.0, 30.0], seed=0)
    assert perplexity == 2.0  # a third of six others
    assert np.isfinite(xy).all()
    alike, _ = tsne_map(np.ones((12, 1), dtype=np.float32), [3.0], seed=0)
    assert np.isfinite(alike).all()
    for few in (np.ones((4, 3)), np.zeros((9, 0))):
        xy, perplexity = tsne_map(few, [5.0], seed=0)
        assert xy.shape == (len(few), 2)
        assert np.isnan(xy).all()
        assert np.isnan(perplexity)
