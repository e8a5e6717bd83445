from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from pianoeval.errors import BadInputError, CorruptDataError
from pianoeval.evaluate.statistics.classification import (
    class_metrics,
    class_sums,
    metric_family,
    rank_statistics_multilabel,
)
from pianoeval.evaluate.statistics.pairs import Design, make_design


@pytest.fixture(scope="module")
def design() -> Design:
    manifest = cases.manifest(n_movements=3, n_segments=4, n_players=8)
    return make_design(manifest, pd.Series(0, index=manifest["clip"].to_numpy()))


@pytest.fixture
def ordinal(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Nine classes without the fourth, the second dimension three; predictions overshoot."""
    random = np.random.default_rng(0)
    n = len(design.clips)
    y = np.stack([random.choice([1, 2, 3, 5, 6, 7, 8, 9], n), random.integers(4, 7, n)], axis=1)
    y = y.astype(float)
    p = y + random.normal(0, 1.3, y.shape)
    y[random.random(y.shape) < 0.1] = np.nan
    return y, p


def found(family: str, sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    total = {name: values.sum(axis=0) for name, values in sums.items()}
    return {name: function(total) for name, function in class_metrics(family).items()}


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_ordinal_metrics_equal_equation_2_and_scikit_learn(design: Design, ordinal: tuple) -> None:
    y, p = ordinal
    values = found("ordinal", class_sums("ordinal", design, y, p))
    assert list(values) == ["acc_0", "acc_1", "accuracy", "f1_macro"]
    for d, (low, high) in enumerate([(1, 9), (4, 6)]):
        rated = np.isfinite(y[:, d])
        truth, guess = y[rated, d], np.clip(np.floor(p[rated, d] + 0.5), low, high)
        assert (p[rated, d] > high + 0.5).any()
        within = [np.mean(abs(guess[truth == c] - c) <= 1) for c in set(truth)]
        assert values["acc_0"][d] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
        assert values["acc_1"][d] == pytest.approx(np.mean(within))
        assert values["accuracy"][d] == pytest.approx(sk.accuracy_score(truth, guess))
        assert values["f1_macro"][d] == pytest.approx(sk.f1_score(truth, guess, average="macro"))


def test_a_half_is_rounded_up_and_classes_may_come_from_more_labels(design: Design) -> None:
    n = len(design.clips)
    y = np.where(np.arange(n) % 2, 2.0, 3.0)[:, None]
    p = np.where(np.arange(n) % 2, 1.5, 2.5)[:, None]
    assert found("ordinal", class_sums("ordinal", design, y, p))["accuracy"][0] == 1.0
    low = np.full_like(y, 0.7)
    near = class_sums("ordinal", design, y, low)
    more = class_sums("ordinal", design, y, low, np.array([[1.0], [3.0]]))
    assert found("ordinal", near)["acc_0"][0] == 0.5  # clipped to 2
    assert found("ordinal", more)["acc_0"][0] == 0.0
    assert found("ordinal", more)["acc_1"][0] == 0.5


def test_sums_add_up_over_clusters_and_can_be_bootstrapped(design: Design, ordinal: tuple) -> None:
    y, p = ordinal
    sums = class_sums("ordinal", design, y, p)
    assert {values.shape for values in sums.values()} == {(design.n_clusters, 2, 9)}
    counts = np.random.default_rng(0).integers(0, 3, design.n_clusters)
    drawn = {name: np.tensordot(counts, values, axes=(0, 0)) for name, values in sums.items()}
    rows = np.repeat(np.arange(len(y)), counts[design.cluster])
    for d in range(2):
        rated = rows[np.isfinite(y[rows, d])]
        guess = np.clip(np.floor(p[rated, d] + 0.5), np.nanmin(y[:, d]), np.nanmax(y[:, d]))
        expected = sk.f1_score(y[rated, d], guess, average="macro")
        assert class_metrics("ordinal")["f1_macro"](drawn)[d] == pytest.approx(expected)
    two = {name: np.stack([values.sum(axis=0)] * 2) for name, values in sums.items()}
    for name, function in class_metrics("ordinal").items():
        np.testing.assert_array_equal(function(two)[1], found("ordinal", sums)[name])


@pytest.fixture
def multilabel(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Labels of different frequency; scores with ties, some of them exactly at the threshold."""
    random = np.random.default_rng(2)
    y = (random.random((len(design.clips), 3)) < [0.5, 0.2, 0.08]).astype(float)
    p = np.round(0.3 * y + random.uniform(0.1, 0.8, y.shape), 1)
    y[random.random(y.shape) < 0.1] = np.nan
    return y, p


def test_multilabel_metrics_equal_scikit_learn(design: Design, multilabel: tuple) -> None:
    y, p = multilabel
    values = found("multilabel", class_sums("multilabel", design, y, p))
    ranked = rank_statistics_multilabel(y, p, design.cluster, design.n_clusters)
    assert (list(values), list(ranked)) == (["accuracy", "f1_macro"], ["auc", "average_precision"])
    for d in range(3):
        rated = np.isfinite(y[:, d])
        truth, score = y[rated, d], p[rated, d]
        guess = score >= 0.5
        assert values["accuracy"][d] == pytest.approx(sk.accuracy_score(truth, guess))
        assert values["f1_macro"][d] == pytest.approx(sk.f1_score(truth, guess))
        for c in (None, *range(design.n_clusters)):
            keep = rated if c is None else rated & (design.cluster != c)
            auc = sk.roc_auc_score(y[keep, d], p[keep, d])
            precision = sk.average_precision_score(y[keep, d], p[keep, d])
            part = (0, d) if c is None else (1, c, d)
            assert ranked["auc"][part[0]][part[1:]] == pytest.approx(auc)
            assert ranked["average_precision"][part[0]][part[1:]] == pytest.approx(precision)


def test_clusters_in_several_blocks_give_the_same(
    design: Design, multilabel: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rank_statistics_multilabel(*multilabel, design.cluster, design.n_clusters)
    monkeypatch.setattr(
        "pianoeval.evaluate.statistics.classification.BLOCK_NUMBERS", 2 * len(design.clips)
    )
    parts = rank_statistics_multilabel(*multilabel, design.cluster, design.n_clusters)
    for name in whole:
        for one, other in zip(whole[name], parts[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-13)


def test_what_is_undefined_is_nan(design: Design) -> None:
    n = len(design.clips)
    y = np.stack([np.zeros(n), np.ones(n), np.full(n, np.nan)], axis=1)
    y[:, 1][design.cluster != 0] = 0.0
    p = np.zeros_like(y)
    ranked = rank_statistics_multilabel(y, p, design.cluster, design.n_clusters)
    auc, precision = ranked["auc"], ranked["average_precision"]
    assert np.isnan(auc[0][[0, 2]]).all()
    assert np.isnan(precision[0][[0, 2]]).all()
    assert auc[0][1] == 0.5
    assert precision[0][1] == pytest.approx((design.cluster == 0).mean())
    assert np.isnan(auc[1][0, 1])  # the only cluster with the label is left out
    assert np.isnan(precision[1][0, 1])
    values = found("multilabel", class_sums("multilabel", design, y, p))
    assert np.isnan(values["f1_macro"][[0, 2]]).all()
    assert values["f1_macro"][1] == 0.0
    assert values["accuracy"][0] == 1.0
    assert np.isnan(values["accuracy"][2])


@pytest.mark.parametrize("family", ["ordinal", "multilabel"])
def test_a_labelled_clip_without_prediction_is_refused(design: Design, family: str) -> None:
    y = np.ones((len(design.clips), 1))
    p = np.where(np.arange(len(y)) == 4, np.nan, 1.0)[:, None]
    with pytest.raises(CorruptDataError, match="no prediction"):
        class_sums(family, design, y, p)
    with pytest.raises(CorruptDataError, match="no prediction"):
        rank_statistics_multilabel(y, p, design.cluster, design.n_clusters)


@pytest.mark.parametrize(
    ("task", "values", "family"),
    [
        ("rating", [0.1, 0.5], "regression"),
        ("rating", [1.0, 0.0], "regression"),
        ("placement", [1.0, 2.5], "regression"),
        ("difficulty", [1.0, 9.0, np.nan], "ordinal"),
        ("expertise", [0.0, 4.0], "ordinal"),
        ("technique", [0.0, 1.0, np.nan], "multilabel"),
    ],
)
def test_the_task_decides_the_family(task: str, values: list[float], family: str) -> None:
    assert metric_family(task, np.array(values)[:, None]) == family


@pytest.mark.parametrize(
    ("task", "values", "allowed"),
    [
        ("difficulty", [1.0, 2.5], "whole numbers"),
        ("expertise", [0.0, 5000.0], "at most 100 classes"),
        ("technique", [0.0, 2.0], "0 .absent. or 1 .present."),
    ],
)
def test_labels_of_another_kind_are_refused(task: str, values: list[float], allowed: str) -> None:
    with pytest.raises(BadInputError, match=allowed) as caught:
        metric_family(task, np.array(values))
    assert caught.value.next_step
