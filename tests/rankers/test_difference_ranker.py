"""Ridge on differences of takes: what it solves, however wide, and what it chooses on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rank_toys import toy_fold
from sklearn.linear_model import Ridge

from pianoeval.errors import ConfigError
from pianoeval.params_rank import RankerParams
from pianoeval.rankers import difference
from pianoeval.rankers.base import RankFold
from pianoeval.rankers.difference import fit_fold, predict_fold, weights_at
from pianoeval.rankers.pairs import training_pairs


def params(**change: Any) -> RankerParams:
    given = {"views": ["toy"], "approach": "difference", "lambdas": [1.0, 10.0, 100.0]}
    return RankerParams.model_validate(given | change)


def wide_fold(columns: int, fold: RankFold | None = None) -> RankFold:
    """The toy fold with columns of noise beside its own."""
    fold = fold or toy_fold()
    noise = np.random.default_rng(1).normal(size=(len(fold.x), columns)).astype(np.float32)
    return replace(fold, x=np.column_stack([fold.x, noise]))


def test_weights_are_those_of_all_pairs() -> None:
    """A literal twin: scikit-learn on every pair, each by one over its segment's takes."""
    fold = wide_fold(3)
    rows = np.arange(len(fold.train))
    z = difference.within_scaler(fold).transform(fold.x[fold.train])
    segment = fold.segment[fold.train]
    size = np.bincount(segment)
    first, second = np.triu_indices(len(rows), 1)
    same = segment[first] == segment[second]
    first, second = first[same], second[same]
    weight = 1 / size[segment[first]]
    found = Ridge(alpha=7.0, fit_intercept=False).fit(
        z[first] - z[second], fold.y[first] - fold.y[second], sample_weight=weight
    )
    np.testing.assert_allclose(weights_at(fold, rows, 7.0), found.coef_.T, rtol=1e-7, atol=1e-10)


def test_wide_takes_are_solved_through_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = wide_fold(200)
    assert fold.x.shape[1] > len(fold.train)
    by_values = fit_fold(fold, params())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decomposed by its values")

    monkeypatch.setattr(difference, "_WIDE", 100)
    monkeypatch.setattr(np.linalg, "svd", never)
    by_products = fit_fold(fold, params())
    np.testing.assert_allclose(by_products.weights, by_values.weights, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(by_products.slope, by_values.slope, rtol=1e-6)
    assert (by_products.penalty, by_products.accuracy) == (by_values.penalty, by_values.accuracy)


def test_missing_and_constant_values_say_nothing() -> None:
    fold = toy_fold()
    plain = predict_fold(fold, params()).margins
    odd = np.full((len(fold.x), 3), np.nan, np.float32)
    odd[:, 1] = 3.0
    odd[:, 2] = fold.segment  # differs between segments alone
    found = predict_fold(replace(fold, x=np.column_stack([fold.x, odd])), params()).margins
    np.testing.assert_allclose(found, plain, rtol=1e-9, atol=1e-12)


def test_one_dimension_is_enough() -> None:
    fold = toy_fold()
    found = predict_fold(replace(fold, y=fold.y[:, :1], error=fold.error[:, :1]), params())
    assert found.margins.shape == (len(fold.pairs), 1)
    assert found.validation > 0.9


def test_without_inner_pairs_the_validation_split_stands_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Players who played each segment once, one player a fold: no inner fold holds a pair."""
    fold = toy_fold()
    n = len(fold.train)
    player = np.arange(n) % 5
    apart = replace(
        fold, segment=np.concatenate([np.arange(n) // 5, fold.segment[n:] + n]),
        inner=[(np.flatnonzero(player != p), np.flatnonzero(player == p)) for p in range(5)],
    )  # fmt: skip
    assert not sum(len(training_pairs(apart, held, params().pairs)) for _, held in apart.inner)
    found = predict_fold(apart, params())
    assert "no inner pairs" in caplog.text
    assert np.abs(found.margins).min(axis=0).max() > 0  # 0 of all would say nothing of any pair
    assert np.isfinite(found.validation)
    with pytest.raises(ConfigError, match="no pair of takes"):
        predict_fold(replace(apart, validation=None), params())


def test_a_difference_that_no_labels_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="differ by more than 50") as error:
        predict_fold(toy_fold(), params(pairs={"min_difference": 50.0}))
    assert error.value.next_step


@pytest.mark.parametrize("lambdas", [[0.0], [-1.0, 10.0], []])
def test_penalties_are_above_nothing(lambdas: list[float]) -> None:
    with pytest.raises(ValueError, match="lambdas"):
        params(lambdas=lambdas)
