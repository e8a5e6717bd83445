"""Fusion views: their methods, their members, and what they may not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.inner import divide
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.views import View
from pianoeval.models.base import Fold
from pianoeval.models.fusion import stacked, weighted
from pianoeval.models.registry import PROBES, Probe
from pianoeval.params import (
    Axes,
    FoldParams,
    FusionParams,
    Params,
    ProbeParams,
    RunParams,
    ViewParams,
)
from pianoeval.paths import CorpusPaths
from pianoeval.training import gating, predict
from pianoeval.training.fuse import WEIGHTS, fuse_corpus
from pianoeval.training.predict import predict_features

FOLDS = FoldParams(schemes=["segment", "movement"], n_folds=2)
DIMENSIONS = ["pedal", "timing"]
N = 3 * 4 * 3
PROBE: dict[str, Any] = {
    "ridge": {"lambdas": [1.0, 100.0], "inner_folds": 2},
    "mlp": {"hidden": 4, "learning_rate": 0.01, "max_epochs": 4, "patience": 2},
    "extra_trees": {"n_estimators": 5, "min_samples_leaf": 1},
    "boosting": {"n_estimators": 5},
    "ensemble": ["ridge", "extra_trees"],
    "controls": {"labels": []},
    "learning_curve": {"percents": []},
}


def make_manifest(movements: int = 3, segments: int = 4, players: int = 3) -> pd.DataFrame:
    rows = [
        {
            "clip": f"m{m}_s{s}_p{p}", "parent": None, "sha256": f"{m}{s}{p}",
            "is_score_render": False, "composition": "c", "movement": f"m{m}",
            "segment": f"m{m}_s{s}", "content_group": f"m{m}_s{s}", "player": f"p{p}", "take": "1",
            "midi_path": "x.mid",
        }
        for m in range(movements) for s in range(segments) for p in range(players)
    ]  # fmt: skip
    return pd.DataFrame(rows)


class Corpus:
    """Two views, each of which hears a part of what makes the labels."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, **sizes: int) -> None:
        self.root, self.manifest = root, make_manifest(**sizes)
        self.folds = make_folds(self.manifest, FOLDS)
        clips, rng = self.manifest["clip"].tolist(), np.random.default_rng(1)
        truth = rng.normal(size=(len(clips), 2))
        self.y = 0.5 + 0.1 * (truth + 0.3 * rng.normal(size=truth.shape))
        noise = rng.normal(size=(2, len(clips), 5))
        self.views = {
            "first": View(np.c_[truth[:, 0], noise[0]].astype(np.float32), clips, "first"),
            "second": View(np.c_[truth[:, 1], noise[1]].astype(np.float32), clips, "second"),
        }
        monkeypatch.setattr(predict, "load_view", lambda _, name, *rest: self.views[name])
        self.cache = ItemCache(root / "items")

    @property
    def labels(self) -> pd.DataFrame:
        rows = [
            {"clip": clip, "task": "rating", "dimension": name, "value": float(self.y[i, d])}
            for i, clip in enumerate(self.manifest["clip"]) for d, name in enumerate(DIMENSIONS)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def given(self) -> dict[str, Any]:
        return {
            "paths": CorpusPaths("toy", self.root), "manifest": self.manifest,
            "labels": self.labels, "folds": self.folds, "cache": self.cache,
        }  # fmt: skip

    def fuse(self, params: Params) -> pd.DataFrame:
        return fuse_corpus(params, **self.given())

    def without(self, name: str, *clips: str) -> None:
        """Take clips away from a view."""
        view = self.views[name]
        kept = np.array([clip not in clips for clip in view.clips])
        names = [clip for clip in view.clips if clip not in clips]
        self.views[name] = replace(view, x=view.x[kept], clips=names)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    return Corpus(tmp_path, monkeypatch)


def make_params(
    members: list[str], methods: list[str], features: tuple[str, ...] = ("symbolic",), **probe: Any
) -> Params:
    models = ["ridge", "extra_trees", "mlp", "ensemble"]
    view = ViewParams.model_validate({"models": models})
    fusion = {"views": {"fusion": {"members": members, "methods": methods}}, "penalties": [0.01]}
    return Params.model_construct(
        axes=Axes(corpus=["toy"], instrument=["grand"], encoder=["mel"], features=list(features)),
        run=RunParams(workers=1),
        folds=FOLDS,
        views={"symbolic": {"first": view, "second": view}},
        fusion=FusionParams.model_validate(fusion),
        probe=ProbeParams.model_validate(PROBE | probe),
    )


RIDGES = ["first/ridge", "second/ridge"]
ALL = ["average", "weighted", "stacked", "gated"]


def matrix(table: pd.DataFrame, scheme: str, model: str, view: str = "fusion") -> pd.DataFrame:
    keep = (table["scheme"] == scheme) & (table["model"] == model) & (table["features"] == view)
    return table[keep].pivot(index="clip", columns="dimension", values="prediction")


def rows_of(corpus: Corpus, scheme: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a fold: training, test."""
    table = corpus.folds[corpus.folds["scheme"] == scheme].set_index("clip")["fold"]
    fold = np.array([table[clip] for clip in corpus.manifest["clip"]])
    return np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def test_the_average_is_the_mean_of_the_rows_of_its_members(corpus: Corpus) -> None:
    params = make_params([*RIDGES, "second/ensemble"], ["average"])
    fused = corpus.fuse(params)
    alone = predict_features("symbolic", params, **corpus.given())
    for scheme in ("segment", "movement"):
        parts = [
            matrix(alone, scheme, model, view)
            for view, model in (("first", "ridge"), ("second", "ridge"), ("second", "ensemble"))
        ]
        mean = sum(part.astype(float) for part in parts) / 3
        found = matrix(fused, scheme, "average")
        assert len(found) == N
        pd.testing.assert_frame_equal(found.astype(float), mean, rtol=1e-6)
    assert list(fused.columns) == list(alone.columns)
    assert (fused["seed"] == 0).all()


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_learned_weights_are_those_of_a_literal_twin(corpus: Corpus, scheme: str) -> None:
    """All of it by hand, one loop in another, from features and labels to predictions."""
    params = make_params(RIDGES, ["weighted", "stacked"])
    fused = corpus.fuse(params)
    clips, probe = np.array(corpus.manifest["clip"], dtype=object), params.probe

    def ridge(x: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        cut = divide(corpus.manifest, scheme, clips[train], corpus.y[train], probe)
        fold = Fold("twin", x, train, test, corpus.y[train], cut.inner, cut.validation)
        return PROBES["ridge"].predict([fold], probe, params.run)[0].values, list(cut.inner)

    for number in sorted(set(corpus.folds.loc[corpus.folds["scheme"] == scheme, "fold"])):
        train, test = rows_of(corpus, scheme, number)
        nested, reported = np.zeros((2, len(train), 2)), np.zeros((2, len(test), 2))
        for m, name in enumerate(("first", "second")):
            x = corpus.views[name].x
            reported[m], inner = ridge(x, train, test)
            for fit, held in inner:
                nested[m][held], _ = ridge(x, train[fit], train[held])
        y = corpus.y[train]
        for method, blend in (
            ("weighted", weighted(nested, y)), ("stacked", stacked(nested, y, inner, [0.01])),
        ):  # fmt: skip
            found = matrix(fused, scheme, method).loc[clips[test], DIMENSIONS]
            np.testing.assert_allclose(found, blend.predict(reported), atol=2e-6)


def test_it_helps_where_members_hear_different_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each view knows one of the two dimensions, and the weights say which."""
    corpus = Corpus(tmp_path, monkeypatch, segments=8, players=5)
    params = make_params(RIDGES, ["stacked"])
    fused = corpus.fuse(params)
    weights = pd.DataFrame(fused.attrs[WEIGHTS])
    mean = weights.groupby(["member", "dimension"])["weight"].mean()
    assert mean["first/ridge", "pedal"] > 3 * mean["first/ridge", "timing"]
    assert mean["second/ridge", "timing"] > 3 * mean["second/ridge", "pedal"]
    alone = predict_features("symbolic", params, **corpus.given())
    y = pd.DataFrame(corpus.y, corpus.manifest["clip"], DIMENSIONS)
    error = {
        view: float(((matrix(t, "segment", m, view) - y) ** 2).to_numpy().mean())
        for t, m, view in ((fused, "stacked", "fusion"), (alone, "ridge", "first"),
                           (alone, "ridge", "second"))
    }  # fmt: skip
    assert error["fusion"] < 0.8 * min(error["first"], error["second"])


@pytest.mark.parametrize("scheme", ["segment", "movement"])
def test_no_method_sees_labels_of_the_reported_fold(corpus: Corpus, scheme: str) -> None:
    params = make_params(["first/ridge", "second/extra_trees"], ALL)
    before = corpus.fuse(params)
    train, test = rows_of(corpus, scheme, 0)
    corpus.y[test] = 1 - 3 * corpus.y[test][::-1]
    after = corpus.fuse(params)
    clips = corpus.manifest["clip"].to_numpy()
    for method in ALL:
        one, two = (matrix(table, scheme, method) for table in (before, after))
        assert (
            one.loc[clips[test]].to_numpy().tobytes() == two.loc[clips[test]].to_numpy().tobytes()
        )
        assert not np.allclose(one.loc[clips[train]], two.loc[clips[train]])


def test_members_that_lack_clips_are_trained_on_the_common_ones(corpus: Corpus) -> None:
    params = make_params(["first/ridge", "second/ensemble"], ALL)
    gone = ["m0_s1_p0", "m2_s3_p2"]
    corpus.without("second", *gone)
    fused = corpus.fuse(params)
    assert not set(fused["clip"]) & set(gone)
    assert len(matrix(fused, "movement", "stacked")) == N - 2
    corpus.without("first", *gone)
    corpus.cache = ItemCache(corpus.root / "elsewhere")
    pd.testing.assert_frame_equal(fused, corpus.fuse(params))


def test_members_without_a_common_clip_are_refused(corpus: Corpus) -> None:
    clips = corpus.manifest["clip"].tolist()
    corpus.without("first", *clips[:18])
    corpus.without("second", *clips[18:])
    with pytest.raises(BadInputError, match="no clip in common"):
        corpus.fuse(make_params(RIDGES, ["average"]))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of folds that were really trained."""
    done: list[str] = []
    for name in ("ridge", "extra_trees"):
        probe = PROBES[name]

        def counted(folds: Any, *rest: Any, inside: Any = probe.predict) -> Any:
            done.extend(fold.name for fold in folds)
            return inside(folds, *rest)

        monkeypatch.setitem(PROBES, name, Probe(counted, probe.seed))
    gated: Callable[..., Any] = gating.predict_gated

    def unit(folds: Any, params: Any) -> Any:
        done.append(f"gated {folds[0].name}")
        return gated(folds, params)

    monkeypatch.setattr(gating, "predict_gated", unit)
    return done


def test_the_second_time_nothing_is_trained(corpus: Corpus, trained: list[str]) -> None:
    params = make_params(["first/ridge", "second/extra_trees"], ALL)
    first = corpus.fuse(params)
    assert any(name.count("/") == 2 for name in trained)
    trained.clear()
    again = corpus.fuse(params)
    assert not trained
    pd.testing.assert_frame_equal(again, first)
    assert again.attrs == first.attrs
    assert corpus.fuse(make_params(RIDGES, ["stacked"])) is not None
    assert trained
    trained.clear()
    corpus.fuse(
        make_params(["first/ridge", "second/extra_trees"], ALL, mlp=PROBE["mlp"] | {"seed": 1})
    )
    assert trained
    assert all(name.startswith("gated") for name in trained)


def test_workers_change_no_number(corpus: Corpus) -> None:
    params = make_params(["first/extra_trees", "second/extra_trees"], ["stacked"])
    one = corpus.fuse(params)
    corpus.cache = ItemCache(corpus.root / "elsewhere")
    more = params.model_copy(update={"run": RunParams(workers=2)})
    pd.testing.assert_frame_equal(one, corpus.fuse(more))


def test_where_groups_are_too_few_the_average_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A method predicts a scheme whole or not at all: what it lacked would be taken from all."""
    small = Corpus(tmp_path, monkeypatch, movements=2, segments=2, players=1)
    table = small.fuse(make_params(RIDGES, ["average", "weighted", "stacked"]))
    assert set(table["model"]) == {"average"}
    assert len(matrix(table, "movement", "average")) == 4
    assert "too few groups" in caplog.text


def test_what_cannot_be_used_is_left_out_with_a_word(
    corpus: Corpus, caplog: pytest.LogCaptureFixture
) -> None:
    away = make_params(RIDGES, ["average"], features=("mel",))
    table = corpus.fuse(away)
    assert table.empty
    assert "features" in table.columns
    assert "fusion is left out: symbolic not on axes.features" in caplog.text
    corpus.manifest["midi_path"] = None
    assert corpus.fuse(make_params(RIDGES, ["average"])).empty
    assert "no clip has MIDI" in caplog.text
