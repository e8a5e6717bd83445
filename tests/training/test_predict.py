"""Predictions of the views: trained once, from the cache afterwards, the ensemble a plain mean."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import ItemCache, item_key
from pianoeval.errors import BadInputError, ConfigError, CorruptDataError, PianoevalError
from pianoeval.evaluate.predicted import read_predictions
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.views import View
from pianoeval.params import Axes, FoldParams, Params, ProbeParams, RunParams, ViewParams
from pianoeval.paths import CorpusPaths
from pianoeval.tablefile import write_table
from pianoeval.training import predict
from pianoeval.training.crossval import Labels, Study
from pianoeval.training.predict import STEP, predict_features

FOLDS = FoldParams(schemes=["segment", "movement"], n_folds=2)
PROBE: dict[str, Any] = {
    "ridge": {"lambdas": [1.0, 100.0], "inner_folds": 2},
    "mlp": {"hidden": 4, "learning_rate": 1e-3, "max_epochs": 5, "patience": 2},
    "extra_trees": {"n_estimators": 5},
    "boosting": {"n_estimators": 5},
    "ensemble": ["ridge", "extra_trees"],
    "controls": {"labels": []},
    "learning_curve": {"percents": []},
}
EXTRA: dict[str, Any] = {
    "controls": {"labels": ["shuffled_labels", "swapped_pieces"]},
    "learning_curve": {"percents": [50, 25]},
}
KEY = ["scheme", "clip", "task", "dimension"]


def make_params(models: list[str], task: str = "rating", **probe: Any) -> Params:
    """The blocks that training reads; ``probe`` replaces single models' parameters."""
    view = ViewParams.model_validate({"models": models})
    return Params.model_construct(
        axes=Axes(
            corpus=["toy"],
            instrument=["grand", "upright"],
            encoder=["mel"],
            features=["symbolic", "mel"],
        ),
        run=RunParams(workers=1),
        folds=FOLDS,
        views={"symbolic": {"toy": view}},
        probe=ProbeParams.model_validate(PROBE | probe | {"task": task}),
    )


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    """Two movements of three segments, three players; labels of two tasks; a symbolic table."""
    rows = [
        {
            "clip": f"m{m}_s{s}_p{p}", "parent": None, "sha256": f"{m}{s}{p}",
            "is_score_render": False, "composition": "c", "movement": f"m{m}",
            "segment": f"m{m}_s{s}", "content_group": f"m{m}_s{s}", "player": f"p{p}", "take": "1",
            "midi_path": f"source/midi/m{m}_s{s}_p{p}.mid",
        }
        for m in range(2) for s in range(3) for p in range(3)
    ]  # fmt: skip
    manifest = pd.DataFrame(rows)
    random = np.random.default_rng(0)
    x = random.normal(size=(len(manifest), 5))
    paths = CorpusPaths("toy", tmp_path)
    paths.symbolic.parent.mkdir(parents=True)
    table = pd.DataFrame(x, columns=[f"feature_{i}" for i in range(5)])
    write_table(table.assign(clip=manifest["clip"]), paths.symbolic)
    labels = [
        {"clip": clip, "task": task, "dimension": name, "value": float(value)}
        for task, names in (("rating", ("timing", "pedal")), ("expertise", ("tier",)))
        for column, name in enumerate(names)
        for clip, value in zip(manifest["clip"], 0.5 + 0.1 * x[:, column], strict=True)
    ]
    return {
        "paths": paths, "manifest": manifest, "labels": pd.DataFrame(labels),
        "folds": make_folds(manifest, FOLDS), "cache": ItemCache(tmp_path / "items"),
    }  # fmt: skip


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Models that were really trained, in order."""
    done: list[str] = []
    train: Callable[..., Any] = predict.nested_cross_validation

    def counted(study: Any, folds: Any, models: list[str], name: str) -> Any:
        done.extend(models)
        return train(study, folds, models, name)

    monkeypatch.setattr(predict, "nested_cross_validation", counted)
    return done


def test_the_second_time_nothing_is_trained(corpus: dict[str, Any], trained: list[str]) -> None:
    params = make_params(["ridge", "extra_trees", "ensemble"])
    first = predict_features("symbolic", params, **corpus)
    assert trained == ["ridge", "extra_trees"]
    items = sorted(corpus["cache"].root.rglob("*.safetensors"))
    assert len(items) == 2
    again = predict_features("symbolic", params, **corpus)
    assert trained == ["ridge", "extra_trees"]
    pd.testing.assert_frame_equal(again, first)


def test_the_predictions_of_the_cache_are_those_of_training(corpus: dict[str, Any]) -> None:
    """What comes back is what a fresh cache would have given, for every column and type."""
    params = make_params(["ridge", "extra_trees", "ensemble"])
    predict_features("symbolic", params, **corpus)
    cached = predict_features("symbolic", params, **corpus)
    empty = corpus | {"cache": ItemCache(corpus["cache"].root / "elsewhere")}
    pd.testing.assert_frame_equal(cached, predict_features("symbolic", params, **empty))


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"extra_trees": {"n_estimators": 6}}, ["extra_trees"]),
        ({"ridge": {"lambdas": [1.0, 10.0], "inner_folds": 2}}, ["ridge"]),
        ({"mlp": PROBE["mlp"] | {"seed": 1}}, ["mlp"]),
        ({"boosting": {"n_estimators": 6}}, ["boosting"]),
        ({"ensemble": ["ridge"]}, []),
    ],
)
def test_a_changed_parameter_trains_its_model_alone(
    corpus: dict[str, Any], trained: list[str], change: dict[str, Any], again: list[str]
) -> None:
    models = ["ridge", "mlp", "extra_trees", "boosting", "ensemble"]
    before = predict_features("symbolic", make_params(models), **corpus)
    trained.clear()
    after = predict_features("symbolic", make_params(models, **change), **corpus)
    assert trained == again
    for name in set(models[:-1]) - set(again):
        pd.testing.assert_frame_equal(
            before[before["model"] == name], after[after["model"] == name]
        )


@pytest.mark.parametrize("part", ["labels", "folds", "groups", "features"])
def test_other_data_train_again(corpus: dict[str, Any], trained: list[str], part: str) -> None:
    params = make_params(["ridge"])
    predict_features("symbolic", params, **corpus)
    if part == "labels":
        corpus["labels"] = corpus["labels"].assign(value=corpus["labels"]["value"] + 0.1)
    elif part == "folds":
        corpus["folds"] = make_folds(corpus["manifest"], FOLDS.model_copy(update={"n_folds": 3}))
    elif part == "groups":
        corpus["manifest"] = corpus["manifest"].assign(content_group=corpus["manifest"]["movement"])
    else:
        table = pd.read_parquet(corpus["paths"].symbolic)
        write_table(table.assign(feature_0=-table["feature_0"]), corpus["paths"].symbolic)
    predict_features("symbolic", params, **corpus)
    assert trained == ["ridge", "ridge"]


def test_a_damaged_item_is_trained_again(corpus: dict[str, Any], trained: list[str]) -> None:
    params = make_params(["ridge"])
    first = predict_features("symbolic", params, **corpus)
    [item] = (corpus["cache"].root / STEP).rglob("*.safetensors")
    item.write_bytes(item.read_bytes()[:-1])
    pd.testing.assert_frame_equal(predict_features("symbolic", params, **corpus), first)
    assert trained == ["ridge", "ridge"]


def test_the_ensemble_is_the_mean_of_its_members(corpus: dict[str, Any]) -> None:
    params = make_params(["boosting", "extra_trees", "ridge", "ensemble"])
    table = predict_features("symbolic", params, **corpus)
    wide = table.pivot(index=KEY, columns="model", values="prediction")
    mean = wide[["ridge", "extra_trees"]].mean(axis=1)
    np.testing.assert_allclose(wide["ensemble"], mean, atol=1e-6)
    assert table["prediction"].dtype == np.float32
    assert set(table["features"]) == {"toy"}


def test_the_task_chooses_the_labels(corpus: dict[str, Any], trained: list[str]) -> None:
    rating = predict_features("symbolic", make_params(["ridge"]), **corpus)
    expertise = predict_features("symbolic", make_params(["ridge"], task="expertise"), **corpus)
    assert trained == ["ridge", "ridge"]
    assert set(rating["dimension"]) == {"timing", "pedal"}
    assert (set(expertise["task"]), set(expertise["dimension"])) == ({"expertise"}, {"tier"})


def test_a_corpus_without_labels_of_the_task_is_refused(corpus: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"no labels of task 'pleasure' .*expertise, rating"):
        predict_features("symbolic", make_params(["ridge"], task="pleasure"), **corpus)
    corpus["labels"] = corpus["labels"].iloc[:0]
    with pytest.raises(ConfigError, match=r"no labels of task 'rating' .*add labels") as error:
        predict_features("symbolic", make_params(["ridge"]), **corpus)
    still = "dvc repro symbolic@toy pool@toy-mel-grand pool@toy-mel-upright"
    assert str(error.value).endswith(still)


def test_folds_that_could_not_be_cut_say_why(corpus: dict[str, Any]) -> None:
    one = corpus["manifest"].assign(movement="m0", segment="m0_s0", content_group="g")
    change = {"manifest": one, "folds": make_folds(one, FOLDS)}
    assert change["folds"].empty
    with pytest.raises(BadInputError, match="no scheme of folds") as error:
        predict_features("symbolic", make_params(["ridge"]), **(corpus | change))
    assert "segment: all clips share one segment: m0_s0" in str(error.value)
    assert "movement: all clips share one movement: m0" in str(error.value)
    assert error.value.next_step


def test_recordings_without_midi_leave_symbolic_features_out(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An empty table of the same columns and types, of which evaluation makes no view."""
    paths, params = corpus["paths"], make_params(["ridge"])
    full = predict_features("symbolic", params, **corpus)
    corpus["manifest"] = corpus["manifest"].assign(midi_path=None)
    paths.symbolic.unlink()
    empty = predict_features("symbolic", params, **corpus)
    assert "no clip has MIDI: symbolic features are left out" in caplog.text
    pd.testing.assert_frame_equal(empty, full.iloc[:0])
    paths.predictions("mel").parent.mkdir(parents=True, exist_ok=True)
    mel = full.assign(features="mel")
    mel.attrs["source"] = "mel"
    write_table(mel, paths.predictions("mel"))
    write_table(empty, paths.predictions("symbolic"))
    assert list(read_predictions(paths, ["symbolic", "mel"])) == ["mel"]
    assert read_predictions(paths, ["symbolic"]) == {}
    shutil.copyfile(paths.predictions("symbolic"), paths.predictions("mel"))
    with pytest.raises(CorruptDataError, match="predictions of 'symbolic'") as error:
        read_predictions(paths, ["symbolic", "mel"])
    assert error.value.next_step
    one = corpus["manifest"]["midi_path"].where(corpus["manifest"].index > 0, "source/midi/a.mid")
    corpus["manifest"] = corpus["manifest"].assign(midi_path=one)
    with pytest.raises(PianoevalError, match="no such table"):
        predict_features("symbolic", params, **corpus)


def test_features_without_a_view_are_refused(corpus: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"no view of 'muq' .*symbolic.*\n.*add views\.muq"):
        predict_features("muq", make_params(["ridge"]), **corpus)


def test_the_ensemble_needs_its_members(corpus: dict[str, Any], trained: list[str]) -> None:
    with pytest.raises(ConfigError, match="extra_trees"):
        predict_features("symbolic", make_params(["ridge", "ensemble"]), **corpus)
    assert trained == []


def rows_of(table: pd.DataFrame, features: str) -> pd.DataFrame:
    return table[table["features"] == features].reset_index(drop=True)


def test_controls_and_curve_stand_beside_the_first_view(corpus: dict[str, Any]) -> None:
    """Only ridge of the first view has them, and what was there before stays as it was."""
    view = ViewParams.model_validate({"models": ["ridge", "extra_trees"]})
    plain = make_params(["ridge", "extra_trees"])
    both = plain.model_copy(update={"views": {"symbolic": {"toy": view, "second": view}}})
    params = both.model_copy(
        update={"probe": ProbeParams.model_validate(PROBE | EXTRA | {"task": "rating"})}
    )
    table = predict_features("symbolic", params, **corpus)
    extra = ["shuffled_labels", "swapped_pieces", "train_25", "train_50"]
    assert list(dict.fromkeys(table["features"])) == [
        "toy", *(f"toy:{name}" for name in extra), "second",
    ]  # fmt: skip
    assert not table.duplicated([*KEY, "features", "model"]).any()
    own = rows_of(table, "toy").query("model == 'ridge'")
    for name in extra[:2]:
        found = rows_of(table, f"toy:{name}")
        assert set(found["model"]) == {"ridge"}
        pd.testing.assert_frame_equal(
            found[[*KEY, "fold", "seed"]], own[[*KEY, "fold", "seed"]].reset_index(drop=True)
        )
        assert np.abs(found["prediction"].to_numpy() - own["prediction"].to_numpy()).max() > 0.01
    fresh = corpus | {"cache": ItemCache(corpus["cache"].root / "elsewhere")}
    without = predict_features("symbolic", both, **fresh)
    kept = table[table["features"].isin(["toy", "second"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, without)


def test_a_view_without_ridge_has_no_controls(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    table = predict_features("symbolic", make_params(["boosting"], **EXTRA), **corpus)
    assert set(table["features"]) == {"toy"}
    assert "toy has no ridge: no controls and no learning curve" in caplog.text
    caplog.clear()
    predict_features("symbolic", make_params(["boosting"]), **corpus)
    assert "no ridge" not in caplog.text  # nothing was asked for


def test_controls_are_items_of_their_own(corpus: dict[str, Any], trained: list[str]) -> None:
    """The plain ridge is found again under its old key; another seed is other labels."""
    predict_features("symbolic", make_params(["ridge"]), **corpus)
    assert trained == ["ridge"]

    def items() -> set[Path]:
        return set((corpus["cache"].root / STEP).rglob("*.safetensors"))

    before = items()
    first = predict_features("symbolic", make_params(["ridge"], **EXTRA), **corpus)
    assert trained == ["ridge"]
    assert len(items() - before) == 4
    assert before < items()
    again = predict_features("symbolic", make_params(["ridge"], **EXTRA), **corpus)
    pd.testing.assert_frame_equal(again, first)
    assert len(items() - before) == 4
    change = {
        "controls": EXTRA["controls"] | {"seed": 1},
        "learning_curve": EXTRA["learning_curve"] | {"seed": 1},
    }
    other = predict_features("symbolic", make_params(["ridge"], **change), **corpus)
    assert len(items() - before) == 8
    for name in set(first["features"]) - {"toy"}:
        a, b = rows_of(first, name)["prediction"], rows_of(other, name)["prediction"]
        assert (a != b).any()


def test_the_key_of_a_plain_model_knows_nothing_of_controls(corpus: dict[str, Any]) -> None:
    """Written out: items that were made before there were controls must be found again."""
    manifest, folds = corpus["manifest"], corpus["folds"]
    random = np.random.default_rng(0)
    view = View(random.normal(size=(18, 4)).astype(np.float32), manifest["clip"].tolist(), "toy")
    values = random.normal(size=(18, 2))
    probe = ProbeParams.model_validate(PROBE | EXTRA)
    study = Study(view, Labels(values, ["timing", "pedal"]), manifest, probe, RunParams())

    def digest(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    columns = [
        "clip", "sha256", "composition", "movement", "segment", "content_group", "player", "parent",
    ]  # fmt: skip
    inputs = {
        "features": digest(view.x.tobytes() + b"(18, 4)"),
        "labels": digest(values.tobytes() + b"timing|pedal"),
        "clips": digest("|".join(view.clips).encode()),
        "groups": digest(manifest[columns].to_csv(index=False).encode()),
        "folds": digest(folds.to_csv(index=False).encode()),
    }
    config = {
        "model": "ridge",
        "parameters": {"lambdas": [1.0, 100.0], "inner_folds": 2, "per_output": False},
        "task": "rating",
        "inner_folds": 2,
        "validation_fraction": 0.15,
    }
    found = predict.model_key(study, predict.fit_inputs(study, folds), "ridge")
    assert found == item_key("probe", 1, inputs, config)


def test_a_curve_that_cannot_be_drawn_says_so_every_time(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nine training clips: 5 % of them are no whole take, 50 % are."""
    params = make_params(["ridge"], learning_curve={"percents": [5, 50]})
    for _ in range(2):
        caplog.clear()
        table = predict_features("symbolic", params, **corpus)
        assert list(dict.fromkeys(table["features"])) == ["toy", "toy:train_50"]
        for scheme in ("segment", "movement"):
            assert (
                f"toy:train_5 is left out under '{scheme}': fold {scheme}/0: whole" in caplog.text
            )
        assert "train_50" not in caplog.text


def test_a_control_that_cannot_be_made_says_so(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    one = corpus["manifest"].assign(movement="m0", segment="m0_s0", content_group="g")
    folds = make_folds(one, FoldParams(schemes=["player"], n_folds=3))
    params = make_params(["ridge"], controls=EXTRA["controls"])
    table = predict_features("symbolic", params, **(corpus | {"manifest": one, "folds": folds}))
    assert set(table["features"]) == {"toy", "toy:shuffled_labels"}
    assert "the control swapped_pieces is left out: all labelled clips share one" in caplog.text
