"""Learning curves: smaller training sides, nested, tested on the same clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from study_cases import SCHEMES, make_manifest, make_study, r2_pooled

from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.params import FoldParams
from pianoeval.training.crossval import (
    PREDICTION_COLUMNS,
    Labels,
    Part,
    Study,
    make_scheme,
    nested_cross_validation,
)
from pianoeval.training.curves import predict_part

PERCENTS = (12, 25, 50)


@pytest.fixture(scope="module")
def study() -> Study:
    """160 clips, labels linear in 20 features plus noise: few clips cannot tell them."""
    manifest = make_manifest(4, 8, 5)
    random = np.random.default_rng(3)
    x = random.normal(size=(len(manifest), 20))
    y = x @ random.normal(size=(20, 2)) / 4 + 0.5 * random.normal(size=(len(manifest), 2))
    return make_study(manifest, x, y)


@pytest.fixture(scope="module")
def folds(study: Study) -> pd.DataFrame:
    return make_folds(study.manifest, FoldParams(schemes=SCHEMES, n_folds=4))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_training_shrinks_and_the_test_stays(
    study: Study, folds: pd.DataFrame, scheme: str
) -> None:
    sides = [make_scheme(replace(study, part=Part(p, 0)), folds, scheme) for p in PERCENTS]
    for whole, *parts in zip(make_scheme(study, folds, scheme), *sides, strict=True):
        smaller: set[int] = set()
        for percent, fold in zip(PERCENTS, parts, strict=True):
            assert fold.name == whole.name
            np.testing.assert_array_equal(fold.test, whole.test)
            np.testing.assert_array_equal(fold.y, study.labels.values[fold.train])
            assert abs(fold.n_train / whole.n_train - percent / 100) <= 0.25 * percent / 100
            assert smaller < set(fold.train) < set(whole.train)
            held = np.concatenate([held for _, held in fold.inner])
            assert sorted(held.tolist()) == list(range(fold.n_train))
            smaller = set(fold.train)


def test_more_clips_help(study: Study, folds: pd.DataFrame) -> None:
    folds = folds[folds["scheme"].isin(["content", "player"])]
    whole = nested_cross_validation(study, folds, ["ridge"], "toy").predictions
    scores = []
    for percent in PERCENTS:
        table, left_out = predict_part(study, folds, Part(percent, 0), "toy")
        assert left_out == {}
        assert tuple(table.columns) == PREDICTION_COLUMNS
        keys = [name for name in PREDICTION_COLUMNS if name != "prediction"]
        pd.testing.assert_frame_equal(table[keys], whole[keys])
        scores.append(np.mean(list(r2_pooled(table, study, study.labels).values())))
    scores.append(np.mean(list(r2_pooled(whole, study, study.labels).values())))
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.2


def test_labels_outside_the_part_are_not_read(study: Study, folds: pd.DataFrame) -> None:
    """Other labels on the training clips that the part leaves out: not a bit changes."""
    subset = folds[folds["scheme"] == "content"]
    part = Part(25, 0)
    fold = make_scheme(replace(study, part=part), folds, "content")[0]
    values = np.random.default_rng(0).normal(size=study.labels.values.shape)
    values[fold.train] = study.labels.values[fold.train]
    other = replace(study, labels=Labels(values, study.labels.dimensions))
    before, after = (
        predict_part(s, subset, part, "toy")[0].query("fold == 0") for s in (study, other)
    )
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_what_cannot_be_reduced_is_left_out_with_its_reason() -> None:
    """Twelve training clips: 8 % of them are one clip, on which no penalty can be chosen."""
    manifest = make_manifest(2, 2, 6)
    random = np.random.default_rng(0)
    study = make_study(
        manifest, random.normal(size=(len(manifest), 3)), random.normal(size=(len(manifest), 2))
    )
    folds = make_folds(manifest, FoldParams(schemes=["segment", "movement"], n_folds=2))
    table, left_out = predict_part(study, folds, Part(8, 0), "toy")
    assert len(table) == 0
    assert tuple(table.columns) == PREDICTION_COLUMNS
    assert set(left_out) == {"segment", "movement"}
    assert "1 training clips of one take cannot be divided" in left_out["segment"]
    table, left_out = predict_part(study, folds, Part(50, 0), "toy")
    assert left_out == {}
    assert set(table["scheme"]) == {"segment", "movement"}
