from __future__ import annotations

import evaluation_cases as cases
import numpy as np
import pandas as pd
import pytest

from pianoeval.evaluate.protocol.baselines import (
    LOOKUPS,
    PREDICTION_COLUMNS,
    lookup,
    lookup_predictions,
)
from pianoeval.evaluate.protocol.splits import make_folds, train_test
from pianoeval.params import FoldParams

PARAMS = FoldParams(schemes=["segment", "player", "movement", "movement_player"])


def test_lookup_by_hand() -> None:
    values = np.array([[1.0, 10.0], [3.0, np.nan], [8.0, 30.0]])
    train = np.array(["a", "a", "b"], dtype=object)
    test = np.array(["a", "b", "c", None], dtype=object)
    overall = [4.0, 20.0]
    assert lookup(values, train, test).tolist() == [[2.0, 10.0], [8.0, 30.0], overall, overall]


def test_a_group_without_a_label_gets_the_training_mean() -> None:
    values = np.array([[np.nan], [5.0]])
    keys = np.array(["a", "b"], dtype=object)
    assert lookup(values, keys, keys).tolist() == [[5.0], [5.0]]


def test_against_a_literal_group_mean_of_the_training_folds() -> None:
    manifest = cases.manifest()
    labels = cases.labels(manifest)
    folds = make_folds(manifest, PARAMS)
    found = lookup_predictions(manifest, labels, folds, "rating")
    assert set(found) == {"none", "lookup"}
    assert list(found["lookup"].columns) == PREDICTION_COLUMNS
    assert found["lookup"].groupby("scheme")["clip"].nunique().eq(len(manifest)).all()
    wide = labels.pivot(index="clip", columns="dimension", values="value")
    rows = manifest.set_index("clip")
    sample = found["lookup"].sample(60, random_state=0)
    for row in sample.itertuples():
        train, _ = train_test(folds, manifest, row.scheme, row.fold)
        same = np.ones(len(train), bool)
        for column in LOOKUPS[row.model]:
            same &= (rows.loc[list(train), column] == rows.loc[row.clip, column]).to_numpy()
        used = wide.loc[list(train[same] if same.any() else train), row.dimension]
        assert row.prediction == pytest.approx(used.mean(), rel=1e-6)


def test_lookups_that_cannot_know_equal_the_training_mean() -> None:
    manifest = cases.manifest()
    labels = cases.labels(manifest)
    folds = make_folds(manifest, PARAMS)
    found = lookup_predictions(manifest, labels, folds, "rating")
    keys = ["scheme", "clip", "dimension"]
    mean = found["none"].set_index(keys)["prediction"]
    for _model, _scheme in (
        ("segment_mean", "segment"),
        ("player_mean", "player"),
        ("movement_mean", "movement"),
        ("movement_player_mean", "movement_player"),
    ):
        part = found["lookup"].query("model == @_model and scheme == @_scheme").set_index(keys)
        pd.testing.assert_series_equal(part["prediction"], mean.loc[part.index])
