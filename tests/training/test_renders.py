"""Training on every render: sides, rows, and what a slow literal version predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from study_cases import DIMENSIONS, PROBE, SCHEMES, label_table, make_manifest

from pianoeval.cache import ItemCache
from pianoeval.errors import ConfigError
from pianoeval.evaluate.protocol.controls import base_view, render_of, render_view
from pianoeval.evaluate.protocol.groups import CannotCutError
from pianoeval.evaluate.protocol.leaks import LeakError
from pianoeval.evaluate.protocol.splits import cut_scheme, make_folds, train_test
from pianoeval.features.sequences import Sequences
from pianoeval.features.views import View
from pianoeval.models.base import Fold
from pianoeval.models.registry import PROBES
from pianoeval.params import Axes, FoldParams, Params, ProbeParams, RunParams, ViewParams
from pianoeval.paths import CorpusPaths
from pianoeval.training import predict
from pianoeval.training.crossval import Labels, Study, make_scheme, nested_cross_validation
from pianoeval.training.fitted import fit_inputs, model_key
from pianoeval.training.predict import predict_features
from pianoeval.training.renders import (
    Renders,
    apart,
    check_sides,
    over_renders,
    spread,
    whole,
)

PIANOS = ("grand", "upright", "worn_out")
QUICK = settings(max_examples=20, deadline=None)  # deadlines mean nothing on a shared machine


def make_study(
    manifest: pd.DataFrame, pianos: tuple[str, ...] = PIANOS, seed: int = 0, p: int = 4
) -> Study:
    """Every instrument hears the same four things, each with a colour and noise of its own."""
    random = np.random.default_rng(seed)
    n = len(manifest)
    truth = random.normal(size=(n, p))
    y = truth[:, :2] @ np.array([[1.0, 0.3], [-0.2, 1.0]]) + 0.1 * random.normal(size=(n, 2))
    renders = {
        name: (truth + random.normal(size=p) + 0.3 * random.normal(size=(n, p))).astype(np.float32)
        for name in pianos
    }
    mean = np.mean(list(renders.values()), axis=0).astype(np.float32)
    view = View(mean, manifest["clip"].tolist(), "toy", renders=renders)
    return Study(view, Labels(y, DIMENSIONS), manifest, PROBE, RunParams(workers=1))


@st.composite
def corpora(draw: st.DrawFn) -> pd.DataFrame:
    """Takes with degraded versions in a few movements; some clips have the same file."""
    rows: list[dict[str, object]] = []
    for movement in range(draw(st.integers(2, 4))):
        for segment in range(draw(st.integers(1, 3))):
            for take in range(draw(st.integers(1, 3))):
                name = f"m{movement}_s{segment}_t{take}"
                digest = name if draw(st.integers(0, 9)) else "copied"
                for version in range(draw(st.integers(1, 2))):
                    rows.append(
                        {
                            "clip": f"{name}_v{version}",
                            "parent": f"{name}_v0" if version else None,
                            "sha256": f"{digest}_v{version}", "is_score_render": False,
                            "composition": "c", "movement": f"m{movement}",
                            "segment": f"m{movement}_s{segment}",
                            "content_group": f"m{movement}_g{segment // 2}",
                            "player": f"p{take}", "take": f"{take}",
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


@QUICK
@given(corpora(), st.sampled_from([*SCHEMES, "random"]), st.data())
def test_all_renders_of_a_take_are_on_one_side_of_every_division(
    manifest: pd.DataFrame, scheme: str, data: st.DataObject
) -> None:
    train = data.draw(st.lists(st.sampled_from(PIANOS), min_size=1, unique=True))
    test = data.draw(st.lists(st.sampled_from(PIANOS), min_size=1, unique=True))
    study = replace(make_study(manifest), renders=Renders(tuple(train), tuple(test)))
    try:
        folds = cut_scheme(manifest, scheme, FoldParams(schemes=["segment"], n_folds=2))
        made = make_scheme(study, folds, scheme)
    except (CannotCutError, predict.BadInputError):
        return  # too small to be divided at all, renders or not
    take = {
        row["clip"]: row["parent"] if isinstance(row["parent"], str) else row["clip"]
        for row in manifest.to_dict("records")
    }
    # Told by the values themselves, not by row numbers: which clip on which instrument is this?
    name_of = {
        study.view.renders[piano][i].tobytes(): (take[clip], clip, piano)
        for piano in PIANOS for i, clip in enumerate(study.view.clips)
    }  # fmt: skip
    for fold in made:
        named = [name_of[fold.x[row].tobytes()] for row in fold.train]
        tested = [name_of[fold.x[row].tobytes()] for row in fold.test]
        number = int(fold.name.split("/")[1])
        train_clips, test_clips = train_test(folds, manifest, scheme, number)
        assert sorted((c, p) for _, c, p in named) == sorted(
            (c, p) for c in train_clips for p in train
        )
        assert sorted((c, p) for _, c, p in tested) == sorted(
            (c, p) for c in test_clips for p in test
        )
        label = dict(zip(study.view.clips, study.labels.values, strict=True))
        np.testing.assert_array_equal(fold.y, [label[clip] for _, clip, _ in named])
        sides = [(named, tested)]
        divisions = [*fold.inner, *([fold.validation] if fold.validation else [])]
        for fit, held in divisions:
            assert sorted([*fit, *held]) == list(range(fold.n_train))
            sides.append(([named[i] for i in fit], [named[i] for i in held]))
        for one, other in sides:
            assert not {t for t, _, _ in one} & {t for t, _, _ in other}


def ordinary(renders: Renders | None = None) -> tuple[Study, Fold, pd.DataFrame]:
    manifest = make_manifest(n_movements=2, n_segments=3, n_players=3)
    folds = make_folds(manifest, FoldParams(schemes=["segment", "movement"], n_folds=2))
    study = replace(make_study(manifest), renders=renders)
    return study, make_scheme(study, folds, "movement")[0], folds


def test_a_clip_on_both_sides_is_a_leak() -> None:
    study, fold, _ = ordinary(whole(PIANOS))
    n = len(study.view.clips)
    check_sides(fold, n)
    stolen = replace(fold, test=np.append(fold.test, fold.train[0] + n))
    with pytest.raises(LeakError, match=r"renders of 1 clips are in training and test"):
        check_sides(stolen, n)
    fit, held = fold.inner[0]
    for field, value in (("inner", [(fit, np.append(held, fit[0]))]), ("validation", (fit, fit))):
        with pytest.raises(LeakError, match="fitting and validation"):
            check_sides(replace(fold, **{field: value}), n)
    plain, cut, _ = ordinary()
    bad = replace(cut, x=plain.view.x, test=np.append(cut.test, cut.train[0]))
    with pytest.raises(LeakError, match="movement/0"):
        spread(bad, n, whole(PIANOS))


def literal(
    study: Study, folds: pd.DataFrame, scheme: str, train: list[str], test: str, alpha: float
) -> pd.DataFrame:
    """Predictions of ridge for each clip on one instrument, by scikit-learn and loops."""
    row = {clip: i for i, clip in enumerate(study.view.clips)}
    found = []
    for number in sorted(set(folds.loc[folds["scheme"] == scheme, "fold"])):
        train_clips, test_clips = train_test(folds, study.manifest, scheme, int(number))
        x = np.array([study.view.renders[p][row[c]] for p in train for c in train_clips], float)
        y = np.array([study.labels.values[row[c]] for p in train for c in train_clips])
        scaler = StandardScaler().fit(x)
        model = Ridge(alpha=alpha).fit(scaler.transform(x), y)
        for clip in test_clips:
            heard = study.view.renders[test][row[clip]].astype(float)[None]
            [values] = model.predict(scaler.transform(heard))
            found += [(clip, d, v) for d, v in zip(DIMENSIONS, values, strict=True)]
    return pd.DataFrame(found, columns=["clip", "dimension", "prediction"])


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A corpus whose view ``toy`` has three renders, and the study behind it."""
    study, _, folds = ordinary()
    manifest = study.manifest.assign(midi_path="m.mid")
    monkeypatch.setattr(predict, "load_view", lambda *_: study.view)
    given = {
        "paths": CorpusPaths("toy", tmp_path), "manifest": manifest,
        "labels": label_table(study), "folds": folds, "cache": ItemCache(tmp_path / "items"),
    }  # fmt: skip
    return {"study": study, "given": given}


def make_params(models: list[str], renders: str = "each", **probe: Any) -> Params:
    block = {"models": models, "renders": renders}
    quiet = {"controls": {"labels": []}, "learning_curve": {"percents": []}}
    data = PROBE.model_dump() | quiet | {"ensemble": ["ridge", "extra_trees"]}
    data["extra_trees"] = {"n_estimators": 10}
    return Params.model_construct(
        axes=Axes(corpus=["toy"], instrument=[*PIANOS], encoder=["mel"], features=["mel"]),
        run=RunParams(workers=1), folds=FoldParams(schemes=["segment", "movement"], n_folds=2),
        views={"mel": {"toy": ViewParams.model_validate(block)}},
        probe=ProbeParams.model_validate(data | probe),
    )  # fmt: skip


def wide(table: pd.DataFrame, features: str, scheme: str, model: str = "ridge") -> pd.DataFrame:
    rows = table.query("features == @features and scheme == @scheme and model == @model")
    return rows.pivot(index="clip", columns="dimension", values="prediction")


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_ridge_equals_a_literal_version(corpus: dict[str, Any], scheme: str) -> None:
    params = make_params(["ridge"], ridge={"lambdas": [7.0], "inner_folds": 2})
    table = predict_features("mel", params, **corpus["given"])
    study, folds = corpus["study"], corpus["given"]["folds"]

    def oracle(train: list[str], test: str) -> pd.DataFrame:
        found = literal(study, folds, scheme, train, test, alpha=7.0)
        return found.pivot(index="clip", columns="dimension", values="prediction")

    every = [oracle(list(PIANOS), piano) for piano in PIANOS]
    close = {"rtol": 1e-4, "atol": 1e-5}
    pd.testing.assert_frame_equal(
        wide(table, "toy", scheme), sum(every) / 3, check_dtype=False, **close
    )
    for piano, on in zip(PIANOS, every, strict=True):
        others = [other for other in PIANOS if other != piano]
        wanted = {"on": on, "without": oracle(others, piano), "only": oracle([piano], piano)}
        for how, expected in wanted.items():
            row = wide(table, render_view("toy", how, piano), scheme)
            pd.testing.assert_frame_equal(row, expected, check_dtype=False, **close)


def test_rows_and_the_cache(corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params(["ridge", "extra_trees", "ensemble"])
    table = predict_features("mel", params, **corpus["given"])
    names = {render_view("toy", how, p) for how in ("on", "without", "only") for p in PIANOS}
    assert set(table["features"]) == {"toy"} | names
    assert not table.duplicated(["features", "scheme", "clip", "model", "dimension"]).any()
    n = len(corpus["study"].view.clips) * len(DIMENSIONS) * 2 * 3  # schemes, models
    assert (table.groupby("features").size() == n).all()
    assert table["prediction"].dtype == np.float32
    ensemble = table[table["model"] == "ensemble"].reset_index(drop=True)
    both = [table[table["model"] == m]["prediction"].to_numpy() for m in ("ridge", "extra_trees")]
    np.testing.assert_allclose(ensemble["prediction"], np.mean(both, axis=0), atol=1e-6)

    def fail(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(predict, "nested_cross_validation", fail)
    pd.testing.assert_frame_equal(predict_features("mel", params, **corpus["given"]), table)


@pytest.mark.parametrize("model", ["ridge", "extra_trees"])
def test_only_is_the_ordinary_view_of_that_instrument(corpus: dict[str, Any], model: Any) -> None:
    study, folds = corpus["study"], corpus["given"]["folds"]
    table = predict_features("mel", make_params(["ridge", "extra_trees"]), **corpus["given"])
    alone = replace(study.view, x=study.view.renders["upright"], renders={})
    params = make_params(["ridge", "extra_trees"])
    plain = nested_cross_validation(
        replace(study, view=alone, probe=params.probe), folds, [model], "alone"
    ).predictions
    row = table.query("features == 'toy:only_upright' and model == @model").reset_index(drop=True)
    pd.testing.assert_frame_equal(row.drop(columns="features"), plain)


def test_labels_of_the_reported_fold_are_out_of_reach() -> None:
    study, _, folds = ordinary()
    folds = folds[folds["scheme"] == "movement"]
    for renders in (whole(PIANOS), Renders(PIANOS[1:], PIANOS[:1])):
        first = replace(study, renders=renders)
        fold = make_scheme(first, folds, "movement")[0]
        tested = np.unique(fold.test % len(study.view.clips))
        values = study.labels.values.copy()
        values[tested] += np.random.default_rng(1).normal(size=(len(tested), 2))
        other = replace(first, labels=Labels(values, DIMENSIONS))
        for model in ("ridge", "extra_trees"):
            a, b = (
                PROBES[model].predict([make_scheme(s, folds, "movement")[0]], PROBE, s.run)[0]
                for s in (first, other)
            )
            np.testing.assert_array_equal(a.values, b.values)


def test_controls_and_curve_learn_from_every_render_too(corpus: dict[str, Any]) -> None:
    asked = {"controls": {"labels": ["shuffled_labels"]}, "learning_curve": {"percents": [50]}}
    table = predict_features("mel", make_params(["ridge"], **asked), **corpus["given"])
    assert {"toy:shuffled_labels", "toy:train_50"} <= set(table["features"])
    plain = predict_features("mel", make_params(["ridge"]), **corpus["given"])
    own = table["features"] == "toy"
    pd.testing.assert_frame_equal(
        table[own].reset_index(drop=True), plain[plain["features"] == "toy"].reset_index(drop=True)
    )
    study = corpus["study"]
    shuffled = predict.exchanged_labels(
        study, corpus["given"]["labels"], make_params(["ridge"], **asked).probe.controls
    )["shuffled_labels"]
    twin = replace(study, labels=shuffled, renders=whole(PIANOS))
    wanted = nested_cross_validation(twin, corpus["given"]["folds"], ["ridge"], "twin").predictions
    found = table[table["features"] == "toy:shuffled_labels"].drop(columns="features")
    pd.testing.assert_frame_equal(found.reset_index(drop=True), over_renders(wanted))


def test_the_mean_over_renders() -> None:
    base = {"scheme": "s", "fold": 0, "model": "ridge", "seed": 0, "task": "t", "dimension": "d"}
    rows = [
        base | {"clip": clip, "render": piano, "prediction": np.float32(value)}
        for piano, a, b in (("x", 1.0, 5.0), ("y", 2.0, 7.0))
        for clip, value in (("b", a), ("a", b))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    mean = over_renders(table)
    assert mean[["clip", "prediction"]].to_numpy().tolist() == [["b", 1.5], ["a", 6.0]]
    assert mean["prediction"].dtype == np.float32
    assert over_renders(mean) is mean


def test_keys_name_the_vectors_that_are_used() -> None:
    study, _, folds = ordinary()

    def key(study: Study) -> str:
        return model_key(study, fit_inputs(study, folds), "ridge")

    rows = dict(apart("toy", PIANOS)) | {"toy": whole(PIANOS)}
    keys = {name: key(replace(study, renders=renders)) for name, renders in rows.items()}
    assert len({*keys.values(), key(study)}) == len(keys) + 1
    fewer = dict(apart("toy", PIANOS[:2]))["toy:only_grand"]
    assert key(replace(study, renders=fewer)) == keys["toy:only_grand"]
    louder = {n: x * (2 if n == "grand" else 1) for n, x in study.view.renders.items()}
    other = replace(study, view=replace(study.view, renders=louder))
    for name, renders in rows.items():
        same = key(replace(other, renders=renders)) == keys[name]
        assert same == ("grand" not in renders.used)


def test_names_of_rows() -> None:
    for how in ("on", "without", "only"):
        name = render_view("mel-each", how, "worn_out")
        assert (base_view(name), render_of(name)) == ("mel-each", (how, "worn_out"))
    for name in ("mel", "mel:train_25", "mel:shuffled_labels", "on_grand", "mel:on_"):
        assert render_of(name) is None


def test_refusals(corpus: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="two instruments or more"):
        whole(("grand",))
    with pytest.raises(ConfigError, match=r"views\.mel\.mel-each"):
        whole(("grand",), "views.mel.mel-each")
    with pytest.raises(ConfigError, match="no instrument"):
        whole(())
    _, fold, _ = ordinary()
    one = np.ones(len(fold.x), np.int64)
    frames = Sequences(np.zeros((len(fold.x), 2), np.float32), np.arange(len(fold.x)), one)
    with pytest.raises(ConfigError, match="one sequence a clip"):
        spread(replace(fold, sequences=frames), len(fold.x), whole(PIANOS))
