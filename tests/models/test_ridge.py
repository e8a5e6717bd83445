"""Closed-form ridge against scikit-learn, in both forms, and its choice of λ."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_data import make_fold
from pydantic import ValidationError
from sklearn.linear_model import Ridge

from pianoeval.errors import ConfigError
from pianoeval.models.base import Fold
from pianoeval.models.ridge import predict_ridge, predict_ridge_fold
from pianoeval.params import RidgeParams

GRID = [0.1, 1.0, 10.0, 100.0, 1000.0]


def literal_errors(fold: Fold) -> np.ndarray:
    """Inner squared errors (grid, outputs), one scikit-learn fit for each point."""
    z = fold.standardised()[: fold.n_train]
    errors = np.zeros((len(GRID), fold.y.shape[1]))
    for fit, held in fold.inner:
        for i, penalty in enumerate(GRID):
            model = Ridge(alpha=penalty, solver="svd").fit(z[fit], fold.y[fit])
            errors[i] += ((fold.y[held] - model.predict(z[held])) ** 2).sum(axis=0)
    return errors


@settings(max_examples=20, deadline=None)
@given(n_features=st.sampled_from([1, 7, 44, 45, 46, 300]), penalty=st.sampled_from(GRID))
def test_parity_with_scikit_learn(n_features: int, penalty: float) -> None:
    fold = make_fold(n_features=n_features)
    z = fold.standardised()
    model = Ridge(alpha=penalty, solver="svd").fit(z[: fold.n_train], fold.y)
    ours = predict_ridge_fold(fold, RidgeParams(lambdas=[penalty])).values
    np.testing.assert_allclose(ours, model.predict(z[fold.n_train :]), atol=1e-9)


@pytest.mark.parametrize("n_features", [7, 300])
@pytest.mark.parametrize("per_output", [True, False])
def test_choice_of_penalty_equals_exhaustive_search(n_features: int, per_output: bool) -> None:
    fold = make_fold(n_features=n_features)
    errors = literal_errors(fold)
    expected = np.array(GRID)[errors.argmin(axis=0)]
    if not per_output:
        shared = (errors / fold.y.var(axis=0)).sum(axis=1).argmin()
        expected = np.full(3, GRID[shared])
    params = RidgeParams(lambdas=GRID[::-1], per_output=per_output)
    assert predict_ridge_fold(fold, params).selection["lambda"] == expected.tolist()


def test_edge_of_the_grid_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        predict_ridge([make_fold()], RidgeParams(lambdas=[1e5, 1e6]))
    assert "smallest of probe.ridge.lambdas" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        predict_ridge([make_fold()], RidgeParams(lambdas=[1e-6, *GRID]))
    assert "largest" not in caplog.text


def test_a_constant_output_is_predicted_exactly() -> None:
    fold = make_fold()
    y = fold.y.copy()
    y[:, 1] = 0.25
    result = predict_ridge_fold(replace(fold, y=y), RidgeParams(lambdas=GRID))
    np.testing.assert_allclose(result.values[:, 1], 0.25, atol=1e-12)


def test_refusals() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        RidgeParams(lambdas=[0.0, 1.0])
    with pytest.raises(ConfigError, match="no inner folds"):
        predict_ridge_fold(replace(make_fold(), inner=[]), RidgeParams(lambdas=[1.0, 2.0]))
