"""Standardising, Gram matrices and principal components against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from probe_data import make_fold
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from pianoeval.models.base import Fold, Standardiser, centre_gram


def test_standardiser_equals_scikit_learn() -> None:
    x = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    expected = StandardScaler().fit(x[:30].astype(float)).transform(x.astype(float))
    np.testing.assert_allclose(Standardiser.fit(x[:30]).transform(x), expected, atol=1e-12)


def test_missing_becomes_the_training_median() -> None:
    x = np.array([[1], [np.nan], [2], [9], [np.nan]], dtype=np.float32)
    scaler = Standardiser.fit(x[:4])
    z = scaler.transform(x)
    filled = np.array([1.0, 2.0, 2.0, 9.0])  # median of 1, 2, 9
    expected = (2.0 - filled.mean()) / filled.std()
    np.testing.assert_allclose(z[[1, 4], 0], expected)


def test_column_without_information_is_silent_on_the_test_side() -> None:
    x = np.array([[1, 0.1, np.nan], [2, 0.1, np.nan], [3, 7.0, 4.0]], dtype=np.float32)
    z = Standardiser.fit(x[:2]).transform(x)
    np.testing.assert_array_equal(z[:, 1:], 0.0)
    assert z[2, 0] == pytest.approx(3.0)


@pytest.mark.parametrize("n_features", [7, 200])
def test_gram_and_its_centring(n_features: int) -> None:
    fold = make_fold(n_features=n_features)
    z = fold.standardised()
    np.testing.assert_allclose(fold.gram, z @ z.T, atol=1e-9)
    fit, out = np.arange(3, 20), np.arange(15, 50)
    mean = z[fit].mean(axis=0)
    expected = (z[out] - mean) @ (z[fit] - mean).T
    np.testing.assert_allclose(centre_gram(fold.gram, fit, out), expected, atol=1e-9)


@pytest.mark.parametrize("n_features", [7, 200])
def test_principal_components_equal_scikit_learn(n_features: int) -> None:
    fold = make_fold(n_features=n_features)
    z = fold.standardised()
    pca = PCA(5, svd_solver="full").fit(z[: fold.n_train])
    ours = fold.principal_components(5)
    np.testing.assert_allclose(np.abs(ours), np.abs(pca.transform(z)), atol=1e-7)
    training = ours[: fold.n_train]
    assert (training[np.abs(training).argmax(axis=0), np.arange(5)] > 0).all()


def test_principal_components_stop_at_the_rank() -> None:
    assert make_fold(n_features=7).principal_components(64).shape == (60, 7)


def test_a_fold_holds_no_label_of_its_test_clips() -> None:
    fold = make_fold()
    assert len(fold.y) == fold.n_train
    assert not set(Fold.__dataclass_fields__) & {"y_test", "labels"}
