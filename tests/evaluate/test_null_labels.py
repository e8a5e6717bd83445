"""The exact test of shuffled labels against enumeration, in honest corpora and in leaking ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.null_labels import null_p


def test_p_is_the_share_of_permutations(random_state: np.random.Generator) -> None:
    y, p = random_state.normal(size=(2, 6, 2))
    y /= y.std(axis=0)
    fit = [float((y[list(order)] * p).sum()) for order in permutations(range(6))]
    wanted = np.mean(np.array(fit) >= fit[0] - 1e-12)
    assert null_p(y, p, np.zeros(6, np.int64), 20_000, 0) == pytest.approx(wanted, abs=0.01)


def test_folds_are_corrected_for(random_state: np.random.Generator) -> None:
    """Means of folds differ in y and p alike; inside the folds nothing was predicted."""
    fold = np.repeat(np.arange(3), 20)
    y = random_state.normal(size=(60, 1)) + 5.0 * fold[:, None]
    assert null_p(y, 5.0 * fold[:, None] + 0.0 * y, fold, 99, 0) == 1.0
    assert null_p(y, y, fold, 99, 0) == pytest.approx(3 / 100)
    assert null_p(np.ones((60, 1)), y, fold, 99, 0) == 1.0  # constant labels


def test_honest_models_raise_no_alarm_more_often_than_asked_for() -> None:
    """Ridge on noise, two folds whose roles are exchanged: what a sum over folds gets wrong."""
    alarms = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        x, y = random.normal(size=(20, 8)), random.normal(size=(20, 1))
        fold = np.arange(20) % 2
        p = np.empty_like(y)
        for number in (0, 1):
            inside = fold != number
            found = Ridge(1.0).fit(x[inside], y[inside]).predict(x[~inside])
            p[~inside] = found.reshape(-1, 1)
        alarms += null_p(y, p, fold, 199, seed) <= 0.05
    assert alarms / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_labels_that_reach_the_models_are_found(random_state: np.random.Generator) -> None:
    y = random_state.normal(size=(40, 3))
    p = y + 2.0 * random_state.normal(size=y.shape)
    assert null_p(y, p, np.arange(40) % 4, 9999, 0) < 0.01


def test_gaps_are_refused() -> None:
    y = np.array([[1.0], [np.nan]])
    with pytest.raises(BadInputError, match="incomplete"):
        null_p(y, y, np.zeros(2, np.int64), 9, 0)
