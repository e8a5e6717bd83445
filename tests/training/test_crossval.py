"""Nested cross-validation: complete, honest about the reported fold, explicit about gaps."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pianoeval.errors import BadInputError, ConfigError
from pianoeval.evaluate.protocol.splits import make_folds, train_test
from pianoeval.features.views import View
from pianoeval.params import FoldParams, ModelName, ProbeParams, RunParams
from pianoeval.training.crossval import (
    PREDICTION_COLUMNS,
    Labels,
    Study,
    make_scheme,
    nested_cross_validation,
)

ALL: list[ModelName] = ["ridge", "mlp", "extra_trees", "boosting"]
PROBE = ProbeParams.model_validate(
    {
        "ridge": {"lambdas": [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0], "inner_folds": 3},
        "mlp": {"hidden": 8, "learning_rate": 1e-3, "max_epochs": 30, "patience": 5},
        "extra_trees": {"n_estimators": 5},
        "boosting": {"n_estimators": 5},
        "ensemble": ["ridge", "extra_trees"],
    }
)
SCHEMES = ["segment", "content", "player", "movement", "movement_player"]
DIMENSIONS = ["timing", "pedal"]


@pytest.fixture(scope="module")
def manifest() -> pd.DataFrame:
    """Three movements of four segments, four players, one take each."""
    rows = [
        {
            "clip": f"m{m}_s{s}_p{p}", "parent": None, "sha256": f"{m}{s}{p}",
            "is_score_render": False, "composition": "c", "movement": f"m{m}",
            "segment": f"m{m}_s{s}", "content_group": f"m{m}_g{s // 2}", "player": f"p{p}",
            "take": "1",
        }
        for m in range(3) for s in range(4) for p in range(4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def folds(manifest: pd.DataFrame) -> pd.DataFrame:
    params = FoldParams(schemes=SCHEMES, n_folds=3)
    return make_folds(manifest, params)


@pytest.fixture
def study(manifest: pd.DataFrame) -> Study:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(manifest), 12)).astype(np.float32)
    y = 0.5 + 0.1 * x[:, :2] + 0.1 * rng.normal(size=(len(manifest), 2))
    view = View(x, manifest["clip"].tolist(), "toy")
    return Study(view, Labels(y, DIMENSIONS), manifest, PROBE, RunParams(workers=1))


def test_every_clip_is_predicted_once_by_every_model(study: Study, folds: pd.DataFrame) -> None:
    table = nested_cross_validation(study, folds, ALL, "toy").predictions
    assert tuple(table.columns) == PREDICTION_COLUMNS
    assert table["prediction"].dtype == np.float32
    assert np.isfinite(table["prediction"]).all()
    assert len(table) == len(SCHEMES) * len(ALL) * 48 * 2
    assert not table.duplicated(["clip", "scheme", "model", "dimension"]).any()
    home = folds.set_index(["scheme", "clip"])["fold"]
    pairs = list(zip(table["scheme"], table["clip"], strict=True))
    assert (home.loc[pairs].to_numpy() == table["fold"].to_numpy()).all()
    assert set(table.loc[table["model"] == "mlp", "seed"]) == {42}


def test_folds_hold_what_the_splits_say(study: Study, folds: pd.DataFrame) -> None:
    clips = np.array(study.view.clips)
    for scheme in SCHEMES:
        for fold in make_scheme(study, folds, scheme):
            number = int(fold.name.split("/")[1])
            train, test = train_test(folds, study.manifest, scheme, number)
            assert clips[fold.train].tolist() == train.tolist()
            assert clips[fold.test].tolist() == test.tolist()
            np.testing.assert_array_equal(fold.y, study.labels.values[fold.train])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_selection_never_sees_the_reported_fold(
    study: Study, folds: pd.DataFrame, scheme: str
) -> None:
    """A feature equal to the label in the test fold only, and labels permuted there: no effect.

    The first column is noise on the training side and gives the answer away on the test side. If
    λ or the epoch were chosen on the reported fold, permuting its labels would move the choice.
    """
    fold = make_scheme(study, folds, scheme)[0]
    x, y = study.view.x.copy(), study.labels.values
    x[fold.test, 0] = 10 * y[fold.test, 0]
    cheat = replace(study, view=replace(study.view, x=x))
    shuffled = y.copy()
    shuffled[fold.test] = np.random.default_rng(1).permutation(y[fold.test])
    assert np.abs(shuffled - y).max() > 0.01
    permuted = replace(cheat, labels=Labels(shuffled, DIMENSIONS))
    subset = folds[folds["scheme"] == scheme]
    outcomes = [
        nested_cross_validation(s, subset, ["ridge", "mlp", "boosting"], "toy")
        for s in (cheat, permuted)
    ]
    chosen, predicted = (
        [table[table["fold"] == 0].reset_index(drop=True) for table in tables]
        for tables in (
            [outcome.selection for outcome in outcomes],
            [outcome.predictions for outcome in outcomes],
        )
    )
    assert set(chosen[0]["parameter"]) == {"lambda", "epoch", "validation_r2"}
    pd.testing.assert_frame_equal(chosen[0], chosen[1])
    pd.testing.assert_frame_equal(predicted[0], predicted[1])


def test_clips_without_label_or_features_are_not_used(study: Study, folds: pd.DataFrame) -> None:
    values = study.labels.values.copy()
    values[3] = np.nan
    without_label = replace(study, labels=Labels(values, DIMENSIONS))
    clip = study.view.clips[3]
    subset = folds[folds["scheme"] == "segment"]
    a = nested_cross_validation(without_label, subset, ["ridge"], "toy").predictions
    kept = [i for i in range(48) if i != 3]
    view = View(study.view.x[kept], [study.view.clips[i] for i in kept], "toy", [clip])
    absent = replace(study, view=view, labels=Labels(study.labels.values[kept], DIMENSIONS))
    b = nested_cross_validation(absent, subset, ["ridge"], "toy").predictions
    assert clip not in set(a["clip"])
    pd.testing.assert_frame_equal(a, b)


def test_a_partly_labelled_clip_is_refused(study: Study, folds: pd.DataFrame) -> None:
    values = study.labels.values.copy()
    values[3, 1] = np.nan
    broken = replace(study, labels=Labels(values, DIMENSIONS))
    with pytest.raises(BadInputError, match="lacks pedal") as error:
        nested_cross_validation(broken, folds, ["ridge"], "toy")
    assert error.value.where == study.view.clips[3]


def test_no_labels_and_no_fold_are_refused(study: Study, folds: pd.DataFrame) -> None:
    nothing = replace(study, labels=Labels(np.full((48, 2), np.nan), DIMENSIONS))
    with pytest.raises(BadInputError, match="no clip"):
        nested_cross_validation(nothing, folds, ["ridge"], "toy")
    with pytest.raises(BadInputError, match=r"no fold has a labelled clip.*\n  next: label clips"):
        nested_cross_validation(study, folds.iloc[:0], ["ridge"], "toy")


def test_what_was_chosen_is_logged(
    study: Study, folds: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    subset = folds[folds["scheme"] == "segment"]
    with caplog.at_level(logging.DEBUG, logger="pianoeval.training.crossval"):
        nested_cross_validation(study, subset, ["ridge"], "toy")
    assert "toy ridge segment/0 chose {'lambda': [" in caplog.text


def few(study: Study, kept: list[str]) -> Study:
    """The study with labels of some clips only."""
    values = study.labels.values.copy()
    values[~np.isin(study.view.clips, kept)] = np.nan
    return replace(study, labels=Labels(values, DIMENSIONS))


def test_a_small_corpus_grows_its_validation_group(study: Study, folds: pd.DataFrame) -> None:
    """Five labelled clips of five segments: a single one would be held, and have no R²."""
    small = few(study, [f"m{m}_s{s}_p{s}" for m, s in ((0, 0), (0, 1), (1, 2), (1, 3), (2, 0))])
    subset = folds[folds["scheme"] == "segment"]
    for fold in make_scheme(small, subset, "segment"):
        if len(fold.train) >= 4:
            assert fold.validation is not None
            assert len(fold.validation[1]) == 2
    whole = few(study, [f"m{m}_s{s}_p0" for m in range(3) for s in range(3)])
    table = nested_cross_validation(whole, subset, ["mlp"], "toy").predictions
    assert set(table["clip"]) == {f"m{m}_s{s}_p0" for m in range(3) for s in range(3)}


def test_a_corpus_too_small_for_the_perceptron_serves_the_others(
    study: Study, folds: pd.DataFrame
) -> None:
    tiny = few(study, ["m0_s0_p0", "m1_s0_p0", "m2_s0_p0"])
    subset = folds[folds["scheme"] == "movement"]
    table = nested_cross_validation(tiny, subset, ["ridge"], "toy").predictions
    assert table["clip"].nunique() == 3
    with pytest.raises(
        ConfigError, match=r"no validation group.*\n  next: remove mlp and layer_mlp"
    ):
        nested_cross_validation(tiny, subset, ["mlp"], "toy")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (["m0_s0_p0", "m1_s0_p0"], "has 1 labelled clips"),
        (["m0_s0_p0", "m0_s1_p0"], "has 0 labelled clips"),
    ],
)
def test_too_few_labelled_clips_name_the_scheme(
    study: Study, folds: pd.DataFrame, kept: list[str], words: str
) -> None:
    subset = folds[folds["scheme"] == "movement"]
    with pytest.raises(BadInputError, match=words + r"(.|\n)*remove movement from folds.schemes"):
        nested_cross_validation(few(study, kept), subset, ["ridge"], "toy")


def test_labels_must_fit_the_view(study: Study, folds: pd.DataFrame) -> None:
    short = replace(study, labels=Labels(study.labels.values[1:], DIMENSIONS))
    with pytest.raises(ConfigError, match="shape"):
        nested_cross_validation(short, folds, ["ridge"], "toy")
