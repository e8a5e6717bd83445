"""Kernel ridge within segments: against literal twins, and what it must not see."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_toys import accuracy, toy_fold, truth_of

from pianoeval.errors import ConfigError
from pianoeval.params import RunParams
from pianoeval.params_rank import KernelRankParams, RankerParams
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.kernel import (
    predict_fold,
    predict_kernel,
    take_kernel,
    within_segments,
    without_levels,
)
from pianoeval.rankers.registry import RANKERS


def params(pairs: dict[str, object] | None = None, **kernel: object) -> RankerParams:
    return RankerParams(
        views=["symbolic"], approach="kernel", pairs=pairs or {}, kernel=KernelRankParams(**kernel)
    )


def codes(fold: RankFold, seed: int = 0) -> RankFold:
    """The fold with players and movements; some takes have no known player."""
    rng = np.random.default_rng(seed)
    n = len(fold.x)
    return replace(fold, player=rng.integers(-1, 4, n), movement=fold.segment % 3)


def literal_scores(fold: RankFold, block: KernelRankParams, noise: np.ndarray) -> np.ndarray:
    """Generalised least squares with a level of each segment, one component, written out."""
    n = len(fold.train)
    kernel = take_kernel(fold, block)
    inside = kernel[:n, :n].copy()
    for i, a in enumerate(fold.train):
        for j, b in enumerate(fold.train):
            if fold.movement is not None and fold.movement[a] == fold.movement[b]:
                inside[i, j] += block.movement * kernel[i, j]
            if fold.player is not None and fold.player[a] == fold.player[b] >= 0:
                inside[i, j] += block.player
    segments = fold.segment[fold.train]
    design = (segments[:, None] == np.unique(segments)[None, :]).astype(float)
    covariance = inside + block.lambdas[0] * np.diag(noise)
    left = np.linalg.solve(covariance, np.concatenate([design, fold.y], axis=1))
    k = design.shape[1]
    levels = np.linalg.solve(design.T @ left[:, :k], design.T @ left[:, k:])
    return kernel[n:, :n] @ np.linalg.solve(covariance, fold.y - design @ levels)


@pytest.mark.parametrize("gamma", [0.0, 0.4])
@pytest.mark.parametrize("weights", ["equal", "agreement"])
def test_order_is_that_of_generalised_least_squares(gamma: float, weights: str) -> None:
    fold = codes(toy_fold(seed=1))
    rng = np.random.default_rng(5)
    fold = replace(fold, error=rng.uniform(0.05, 0.2, fold.y.shape))
    chosen = params(
        {"weights": weights}, gamma=gamma, lambdas=[0.3], output_power=0.0, player=0.5, movement=0.7
    )
    square = fold.error**2 / (fold.error**2).mean(axis=0)
    noise = 0.5 + 0.5 * np.clip(square.mean(axis=1), 0.25, 4.0)
    wanted = literal_scores(
        fold, chosen.kernel, noise if weights == "agreement" else np.ones(len(noise))
    )
    found = predict_fold(fold, chosen)
    slope = np.array(found.selection["slope"])
    first, second = fold.places.T
    assert (slope > 0).all()
    np.testing.assert_allclose(
        found.margins, (wanted[first] - wanted[second]) * slope, rtol=1e-6, atol=1e-8
    )


def test_inner_products_alone_are_ridge_on_centred_takes() -> None:
    fold = toy_fold(seed=2)
    chosen = params(lambdas=[2.0], output_power=0.0, player=0.0, movement=0.0, clip=1e6)
    z = within_segments(fold, slice(None), 1e6)
    n, p = len(fold.train), z.shape[1]
    weights = np.linalg.solve(z[:n].T @ z[:n] / p + 2.0 * np.eye(p), z[:n].T @ fold.y / p)
    scores = z[n:] @ weights
    found = predict_fold(fold, chosen)
    first, second = fold.places.T
    slope = np.array(found.selection["slope"])
    np.testing.assert_allclose(found.margins, (scores[first] - scores[second]) * slope, rtol=1e-7)


def test_learns_a_known_order_and_beats_chance_where_levels_are_large() -> None:
    fold = toy_fold(seed=3, spread=5.0)
    found = predict_fold(fold, params())
    assert accuracy(fold, found.margins, truth_of(fold)) > 0.9
    assert found.validation > 0.9


def test_levels_of_segments_change_nothing_and_pairs_turned_round_change_the_sign() -> None:
    fold = codes(toy_fold(seed=4))
    here = predict_fold(fold, params())
    level = 100.0 * np.random.default_rng(0).normal(size=fold.segment.max() + 1)
    moved = replace(fold, y=fold.y + level[fold.segment[fold.train]][:, None])
    np.testing.assert_allclose(predict_fold(moved, params()).margins, here.margins, rtol=1e-5)
    turned = predict_fold(replace(fold, pairs=fold.pairs[:, ::-1]), params())
    np.testing.assert_array_equal(turned.margins, -here.margins)


def test_players_and_movements_matter_and_unknown_ones_do_not() -> None:
    fold = codes(toy_fold(seed=5))
    plain = predict_fold(replace(fold, player=None, movement=None), params(lambdas=[1.0]))
    unknown = np.full(len(fold.x), -1)
    nobody = predict_fold(replace(fold, player=unknown, movement=unknown), params(lambdas=[1.0]))
    np.testing.assert_array_equal(plain.margins, nobody.margins)
    assert not np.array_equal(plain.margins, predict_fold(fold, params(lambdas=[1.0])).margins)


def test_penalty_is_that_of_the_least_squared_error_on_inner_folds() -> None:
    fold = codes(toy_fold(seed=6))
    rng = np.random.default_rng(1)
    fold = replace(fold, y=fold.y + rng.normal(size=fold.y.shape))
    grid = [0.01, 1.0, 100.0]
    errors = []
    for penalty in grid:
        total = 0.0
        for fit, held in fold.inner:
            block = KernelRankParams(lambdas=[penalty], output_power=0.0)
            kernel = take_kernel(fold, block)
            part = replace(fold, train=fold.train[fit], test=fold.train[held], y=fold.y[fit])
            # The twin on the same kernel: centring and spread are those of all training takes.
            part_kernel = kernel[np.ix_(np.r_[fit, held], np.r_[fit, held])]
            scores = _literal_from(part_kernel, part, block, penalty)
            groups = fold.segment[fold.train[held]]
            inside = fold.y - _means(fold.y, fold.segment[fold.train])
            spread = np.sqrt((inside**2).mean(axis=0))
            apart = scores - _means(scores, groups) - fold.y[held] + _means(fold.y[held], groups)
            total += float(((apart / spread) ** 2).sum())
        errors.append(total)
    found = predict_fold(fold, params(lambdas=grid, output_power=0.0))
    assert found.selection["lambda"] == [grid[int(np.argmin(errors))]]


def _means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.stack([values[groups == g].mean(axis=0) for g in groups])


def _literal_from(
    kernel: np.ndarray, part: RankFold, block: KernelRankParams, penalty: float
) -> np.ndarray:
    n = len(part.train)
    inside = kernel[:n, :n].copy()
    assert part.movement is not None
    assert part.player is not None
    for i, a in enumerate(part.train):
        for j, b in enumerate(part.train):
            inside[i, j] *= 1 + block.movement * float(part.movement[a] == part.movement[b])
            inside[i, j] += block.player * float(part.player[a] == part.player[b] >= 0)
    segments = part.segment[part.train]
    design = (segments[:, None] == np.unique(segments)[None, :]).astype(float)
    inverse = np.linalg.inv(inside + penalty * np.eye(n))
    levels = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ part.y)
    return kernel[n:, :n] @ inverse @ (part.y - design @ levels)


def test_views_count_by_their_shares() -> None:
    fold = toy_fold(seed=7)
    split = replace(fold, widths=(2, 4))
    alone = [
        take_kernel(replace(fold, x=fold.x[:, part]), KernelRankParams())
        for part in (slice(0, 2), slice(2, 6))
    ]
    found = take_kernel(split, KernelRankParams(shares=[1.0, 0.25]))
    np.testing.assert_allclose(found, alone[0] + 0.25 * alone[1], rtol=1e-12)


def test_radial_kernel_is_one_on_its_diagonal_and_positive_definite() -> None:
    found = take_kernel(toy_fold(seed=8), KernelRankParams(gamma=0.5))
    np.testing.assert_allclose(np.diag(found), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(found).min() > -1e-9


def test_takes_are_centred_on_their_own_side_and_cut_off() -> None:
    fold = toy_fold(seed=9)
    far = fold.x.copy()
    far[fold.train[5], 2] += 1e6
    z = within_segments(replace(fold, x=far), slice(None), 2.0)
    assert np.abs(z).max() <= 2.0
    plain = within_segments(fold, slice(None), 1e6)
    n = len(fold.train)
    for rows, side in ((plain[:n], fold.train), (plain[n:], fold.test)):
        for segment in np.unique(fold.segment[side]):
            mean = rows[fold.segment[side] == segment].mean(axis=0)
            np.testing.assert_allclose(mean, 0.0, atol=1e-9)
    np.testing.assert_allclose((plain[:n] ** 2).mean(axis=0), 1.0, rtol=1e-9)


def test_a_column_of_the_piece_alone_and_missing_values_do_no_harm() -> None:
    fold = toy_fold(seed=10)
    level = np.random.default_rng(2).normal(size=fold.segment.max() + 1)[fold.segment]
    wide = np.column_stack([fold.x, level, np.full(len(level), np.nan)]).astype(np.float32)
    z = within_segments(replace(fold, x=wide), slice(None), 5.0)
    # float32 levels are equal within a segment, so what is left of them is nothing.
    np.testing.assert_array_equal(z[:, 6:], 0.0)
    some = fold.x.copy()
    some[::7, 1] = np.nan
    assert np.isfinite(predict_fold(replace(fold, x=some), params()).margins).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 25))
def test_levels_are_projected_out(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    groups, weight = rng.integers(0, 5, n), rng.uniform(0.3, 3, n)
    values = rng.normal(size=(n, 3))
    design = (groups[:, None] == np.unique(groups)[None, :]) * weight[:, None]
    wanted = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(without_levels(values, weight, groups), wanted, atol=1e-10)


def test_repetition_is_bit_equal_and_points_stand_in_their_order() -> None:
    folds = [toy_fold(seed=11), toy_fold(seed=12)]
    points = [params(), params(gamma=0.3)]
    run = RunParams(workers=1, batch_size=1)
    one = predict_kernel(folds, points, run)
    other = RANKERS["kernel"](folds, points, run)
    assert [len(row) for row in one] == [2, 2]
    for a, b in zip(chain(*one), chain(*other), strict=True):
        np.testing.assert_array_equal(a.margins, b.margins)
    assert not np.array_equal(one[0][0].margins, one[1][0].margins)


def test_without_inner_pairs_the_penalty_is_the_middle_one_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fold = toy_fold(seed=14)
    singles = [np.flatnonzero(fold.segment[fold.train] == s)[:1] for s in range(4)]
    held = np.concatenate(singles)
    alone = replace(fold, inner=[(np.setdiff1d(np.arange(len(fold.train)), held), held)])
    found = predict_fold(alone, params(lambdas=[0.1, 1.0, 1e5]))
    assert found.selection["lambda"] == [1.0]
    assert np.isnan(found.validation)
    assert accuracy(fold, found.margins, truth_of(fold)) > 0.9
    assert "no inner pairs" in caplog.text


def test_refusals() -> None:
    fold = toy_fold(seed=13)
    with pytest.raises(ConfigError, match="no inner folds"):
        predict_fold(replace(fold, inner=[]), params())
    with pytest.raises(ConfigError, match="2 shares for 1 views"):
        predict_fold(fold, params(shares=[1.0, 1.0]))
    flat = replace(fold, x=np.ones_like(fold.x))
    with pytest.raises(ConfigError, match="no feature differs"):
        predict_fold(flat, params())
    for wrong in ({"lambdas": [0.0]}, {"shares": [-1.0]}, {"shares": [0.0]}, {"output_power": 2}):
        with pytest.raises(ValueError, match=r"above 0|no view counts|less than or equal"):
            KernelRankParams(**wrong)
