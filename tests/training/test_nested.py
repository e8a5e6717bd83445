"""Nested predictions: of clips that were not learned, by all that a reported fold is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_cases import make_manifest, make_study

from pianoeval.cache import ItemCache
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.views import View
from pianoeval.models.base import Fold
from pianoeval.models.registry import PROBES
from pianoeval.params import FoldParams, ModelName
from pianoeval.training import nested
from pianoeval.training.crossval import Study, make_scheme
from pianoeval.training.fitted import fit_inputs
from pianoeval.training.nested import inner_folds_of, nested_predictions, predict_nested
from pianoeval.training.renders import whole

SCHEMES = ["segment", "player", "movement", "movement_player"]
FOLDS = FoldParams(schemes=SCHEMES, n_folds=3)


@pytest.fixture(scope="module")
def study() -> Study:
    manifest = make_manifest(n_movements=4, n_segments=4, n_players=4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(manifest), 6))
    y = 0.5 + 0.1 * x[:, :2] + 0.05 * rng.normal(size=(len(manifest), 2))
    made = make_study(manifest, x, y)
    tree = made.probe.extra_trees.model_copy(update={"n_estimators": 4})
    return replace(made, probe=made.probe.model_copy(update={"extra_trees": tree}))


@pytest.fixture(scope="module")
def folds(study: Study) -> pd.DataFrame:
    return make_folds(study.manifest, FOLDS)


def column(study: Study, name: str, rows: np.ndarray) -> set[str]:
    of = study.manifest.set_index("clip")[name]
    return {of[study.view.clips[row]] for row in rows}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_training_clip_is_held_once_and_never_learned_there(
    study: Study, folds: pd.DataFrame, scheme: str
) -> None:
    kept = {"segment": "segment", "player": "player"}.get(scheme, "movement")
    for outer in make_scheme(study, folds, scheme):
        inner = inner_folds_of(study, outer)
        held = np.concatenate([fold.test for fold in inner])
        assert sorted(held) == sorted(outer.train)
        for number, fold in enumerate(inner):
            assert fold.name == f"{outer.name}/{number}"
            assert not set(fold.train) & set(fold.test)
            assert not set(outer.test) & (set(fold.train) | set(fold.test))
            assert not column(study, kept, fold.train) & column(study, kept, fold.test)
            np.testing.assert_array_equal(fold.y, study.labels.values[fold.train])
            assert fold.validation is not None
            for fit, rest in [*fold.inner, fold.validation]:
                assert not set(fit) & set(rest)
                assert max(*fit, *rest) < fold.n_train


@pytest.mark.parametrize("model", ["ridge", "extra_trees"])
def test_it_is_what_a_model_trained_by_hand_predicts(
    study: Study, folds: pd.DataFrame, model: ModelName
) -> None:
    outer = make_scheme(study, folds, "movement")[1]
    clips = np.array(study.view.clips, dtype=object)
    expected = np.full((outer.n_train, 2), np.nan)
    for fit, held in outer.inner:
        rows = outer.train[fit]
        cut = divide(study.manifest, "movement", clips[rows], study.labels.values[rows],
                     study.probe)  # fmt: skip
        fold = Fold("by hand", study.view.x, rows, outer.train[held], study.labels.values[rows],
                    cut.inner, cut.validation)  # fmt: skip
        [made] = PROBES[model].predict([fold], study.probe, study.run)
        expected[held] = made.values.astype(np.float32)
    found = predict_nested(study, outer, model)
    assert found.tobytes() == expected.tobytes()


def test_labels_of_the_reported_fold_are_out_of_reach(study: Study, folds: pd.DataFrame) -> None:
    outer = make_scheme(study, folds, "segment")[0]
    values = study.labels.values.copy()
    values[outer.test] = 99.0
    other = replace(study, labels=replace(study.labels, values=values))
    spoilt = make_scheme(other, folds, "segment")[0]
    one, two = predict_nested(study, outer, "ridge"), predict_nested(other, spoilt, "ridge")
    assert one.tobytes() == two.tobytes()
    values[outer.train[0]] = 99.0
    third = make_scheme(other, folds, "segment")[0]
    assert predict_nested(other, third, "ridge").tobytes() != one.tobytes()


@pytest.mark.parametrize("model", ["ridge", "kernel_ridge"])
def test_edges_of_grids_are_told_of_reported_folds_alone(
    study: Study, folds: pd.DataFrame, model: ModelName, caplog: pytest.LogCaptureFixture
) -> None:
    [fold, *_] = make_scheme(study, folds, "segment")
    far = {"lambdas": [1e8, 1e9]}
    probe = study.probe.model_copy(
        update={name: getattr(study.probe, name).model_copy(update=far)
                for name in ("ridge", "kernel_ridge")}
    )  # fmt: skip
    predict_nested(replace(study, probe=probe), fold, model)
    assert "edge" not in caplog.text
    assert "smallest" not in caplog.text
    assert "largest" not in caplog.text
    PROBES[model].predict([fold], probe, study.run)
    assert "probe." in caplog.text


def test_they_are_items_of_the_cache(
    study: Study, folds: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, inputs = ItemCache(tmp_path), fit_inputs(study, folds)
    outer = make_scheme(study, folds, "movement")
    first = [nested_predictions(study, fold, "ridge", inputs, cache) for fold in outer]
    assert len(list(tmp_path.rglob("*.safetensors"))) == len(outer)

    def trained(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(nested, "predict_nested", trained)
    again = [nested_predictions(study, fold, "ridge", inputs, cache) for fold in outer]
    for one, two in zip(first, again, strict=True):
        assert one.tobytes() == two.tobytes()
    with pytest.raises(AssertionError, match="trained again"):
        nested_predictions(study, outer[0], "extra_trees", inputs, cache)
    ridge = study.probe.ridge.model_copy(update={"lambdas": [1.0]})
    other = replace(study, probe=study.probe.model_copy(update={"ridge": ridge}))
    with pytest.raises(AssertionError, match="trained again"):
        nested_predictions(other, outer[0], "ridge", inputs, cache)


def test_of_a_view_that_learns_from_every_render(study: Study, folds: pd.DataFrame) -> None:
    """Renders are spread inside each inner fold, and a clip's prediction is their mean."""
    rng = np.random.default_rng(4)
    each = {
        name: (study.view.x + rng.normal(size=study.view.x.shape)).astype(np.float32)
        for name in ("grand", "upright")
    }
    view = View(study.view.x, study.view.clips, "toy", renders=each)
    heard = replace(study, view=view, renders=whole(("grand", "upright")))
    outer = make_scheme(replace(heard, renders=None), folds, "movement")[0]
    found = predict_nested(heard, outer, "ridge")
    n = len(view.clips)
    x = np.concatenate([each["grand"], each["upright"]])
    for number, (fit, held) in enumerate(outer.inner):
        inner = inner_folds_of(heard, outer)[number]
        rows = outer.train[fit]
        np.testing.assert_array_equal(inner.train, [*rows, *(rows + n)])
        fold = replace(inner, x=x)
        [made] = PROBES["ridge"].predict([fold], study.probe, study.run)
        both = made.values.reshape(2, len(held), 2)
        np.testing.assert_allclose(found[held], both.mean(axis=0), rtol=1e-5)
    plain = predict_nested(replace(heard, renders=None), outer, "ridge")
    assert np.abs(plain - found).max() > 1e-4


def test_too_few_groups_to_divide_twice_is_said(study: Study) -> None:
    manifest = make_manifest(n_movements=2, n_segments=2, n_players=1)
    small = make_study(manifest, np.eye(4), np.arange(8.0).reshape(4, 2))
    cut = make_folds(manifest, FoldParams(schemes=["movement"]))
    outer = make_scheme(small, cut, "movement")[0]
    with pytest.raises(CannotCutError, match="movement/0/0"):
        inner_folds_of(small, outer)
