"""Extra trees and boosting: scikit-learn's numbers, whatever the number of workers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from probe_data import make_fold
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from pianoeval.models.trees import predict_boosting, predict_extra_trees, tree_inputs
from pianoeval.params import BoostingParams, RunParams, TreeParams

FOREST = TreeParams(n_estimators=20)
BOOST = BoostingParams(n_estimators=15)
ONE, TWO = RunParams(workers=1), RunParams(workers=2)


def test_forest_is_scikit_learns() -> None:
    fold = make_fold()
    train, test = tree_inputs(fold, FOREST)
    model = ExtraTreesRegressor(20, min_samples_leaf=2, max_features=0.4, random_state=42)
    expected = model.fit(train, fold.y).predict(test)
    np.testing.assert_array_equal(predict_extra_trees([fold], FOREST, ONE)[0].values, expected)


def test_boosting_is_scikit_learns_for_each_dimension() -> None:
    fold = make_fold()
    train, test = tree_inputs(fold, BOOST)
    model = HistGradientBoostingRegressor(
        max_iter=15, learning_rate=0.05, max_depth=3, min_samples_leaf=5, max_features=0.3,
        max_bins=64, early_stopping=False, random_state=42,
    )  # fmt: skip
    expected = model.fit(train, fold.y[:, 1]).predict(test)
    ours = predict_boosting([make_fold(seed=5), fold], BOOST, ONE)[1].values
    np.testing.assert_allclose(ours[:, 1], expected, atol=1e-12)


def test_workers_change_nothing() -> None:
    folds = [make_fold(seed=s) for s in range(2)]
    for predict, params in ((predict_extra_trees, FOREST), (predict_boosting, BOOST)):
        for a, b in zip(predict(folds, params, ONE), predict(folds, params, TWO), strict=True):
            np.testing.assert_array_equal(a.values, b.values)


def test_one_dimension_keeps_its_axis() -> None:
    fold = replace(make_fold(), y=make_fold().y[:, :1])
    assert predict_extra_trees([fold], FOREST, ONE)[0].values.shape == (15, 1)
    assert predict_boosting([fold], BOOST, ONE)[0].values.shape == (15, 1)


def test_wide_views_are_reduced_on_the_training_clips() -> None:
    wide = make_fold(n_features=600)
    train, test = tree_inputs(wide, TreeParams(pca_above=512, pca_components=10))
    assert train.shape == (45, 10)
    assert test.shape == (15, 10)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-4)
    assert tree_inputs(wide, TreeParams(pca_above=600))[0].shape == (45, 600)
    moved = wide.x.copy()
    moved[wide.test] += 50  # what the test clips look like must not move the components
    again, _ = tree_inputs(replace(wide, x=moved), TreeParams(pca_above=512, pca_components=10))
    np.testing.assert_allclose(train, again, atol=1e-4)
