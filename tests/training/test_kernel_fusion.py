"""The fusion by one kernel over views: its members, its items, and what it may not know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_cases import make_manifest, make_study
from test_fuse import Corpus, make_params, matrix, rows_of

from pianoeval.errors import ConfigError
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.models.kernel_ridge import predict_views
from pianoeval.params import FoldParams, KernelRidgeParams
from pianoeval.training import kernels
from pianoeval.training.crossval import Study, make_scheme
from pianoeval.training.nested import inner_folds_of
from pianoeval.training.renders import whole

RIDGES = ["first/ridge", "second/ridge"]
SMALL = {"kernel_ridge": {"lambdas": [0.1, 1.0], "effects": [0.0, 0.1]}}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    return Corpus(tmp_path, monkeypatch)


def test_it_hears_what_both_views_hear(corpus: Corpus) -> None:
    found = corpus.fuse(make_params(RIDGES, ["kernel", "average"], **SMALL))
    kernel = matrix(found, "segment", "kernel")
    y = pd.DataFrame(corpus.y, corpus.manifest["clip"], ["pedal", "timing"]).loc[kernel.index]
    residual = ((y - kernel) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert (1 - residual > 0.15).all()


@pytest.mark.parametrize(
    "option", [{}, {"huber_deltas": [0.0, 1.0]}, {"targets": "rank"}, {"targets": "group"}]
)
def test_labels_of_the_reported_fold_change_nothing(corpus: Corpus, option: dict[str, Any]) -> None:
    params = make_params(RIDGES, ["kernel"], kernel_ridge=SMALL["kernel_ridge"] | option)
    before = corpus.fuse(params)
    _, test = rows_of(corpus, "movement", 0)
    corpus.y[test] = np.random.default_rng(9).random((len(test), 2))
    after = corpus.fuse(params)
    of = corpus.manifest["clip"].to_numpy()[test]
    one, two = (matrix(table, "movement", "kernel") for table in (before, after))
    assert one.loc[of].to_numpy().tobytes() == two.loc[of].to_numpy().tobytes()
    rest = one.index.difference(of)
    assert not np.array_equal(one.loc[rest], two.loc[rest])  # their training labels did change


def test_it_is_trained_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params(RIDGES, ["kernel"], **SMALL)
    first = corpus.fuse(params)

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(kernels, "predict_views", never)
    pd.testing.assert_frame_equal(corpus.fuse(params), first)
    for changed in ({"lambdas": [0.3]}, {"huber_deltas": [1.0]}, {"targets": "rank"}):
        other = make_params(RIDGES, ["kernel"], kernel_ridge=SMALL["kernel_ridge"] | changed)
        with pytest.raises(AssertionError, match="trained again"):
            corpus.fuse(other)


def test_two_models_of_one_view_count_once(corpus: Corpus) -> None:
    twice = make_params(["first/ridge", "first/extra_trees"], ["kernel"], **SMALL)
    both = make_params(["first/ridge", "first/extra_trees", "second/ridge"], ["kernel"], **SMALL)
    plain = make_params(RIDGES, ["kernel"], **SMALL)
    one, two, three = (matrix(corpus.fuse(p), "segment", "kernel") for p in (twice, both, plain))
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(two, three)


def test_a_view_without_vectors_is_refused() -> None:
    made = make_study(make_manifest(), np.zeros((90, 2)), np.random.default_rng(0).random((90, 2)))
    folds = make_folds(made.manifest, FoldParams(schemes=["segment"], n_folds=2))
    [fold, _] = make_scheme(made, folds, "segment")
    with pytest.raises(ConfigError, match="compares vectors"):
        predict_views([replace(fold, x=fold.x[:, :0])], KernelRidgeParams())


SCHEMES = {"segment": "segment", "content": "content_group", "movement": "movement"}


@pytest.fixture(scope="module")
def study() -> Study:
    rng = np.random.default_rng(0)
    manifest = make_manifest(n_movements=4)
    return make_study(manifest, rng.normal(size=(120, 3)), rng.random((120, 2)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_groups_are_those_that_the_scheme_holds_out(study: Study, scheme: str) -> None:
    folds = make_folds(study.manifest, FoldParams(schemes=[scheme], n_folds=3))
    of = study.manifest.set_index("clip")[SCHEMES[scheme]]
    for outer in make_scheme(study, folds, scheme):
        for fold in [outer, *inner_folds_of(study, outer)]:
            names = of.loc[[study.view.clips[row] for row in fold.train]].to_numpy()
            assert fold.groups is not None
            same = fold.groups[:, None] == fold.groups[None, :]
            np.testing.assert_array_equal(same, names[:, None] == names[None, :])


def test_renders_of_a_clip_are_of_its_group(study: Study) -> None:
    x = {"grand": study.view.x, "upright": study.view.x + 1}
    heard = replace(study, view=replace(study.view, renders=x), renders=whole(tuple(x)))
    folds = make_folds(study.manifest, FoldParams(schemes=["movement"], n_folds=3))
    of = study.manifest["movement"].to_numpy()
    for fold in make_scheme(heard, folds, "movement"):
        assert fold.groups is not None
        assert len(fold.groups) == fold.n_train
        names = of[fold.train % len(of)]
        same = fold.groups[:, None] == fold.groups[None, :]
        np.testing.assert_array_equal(same, names[:, None] == names[None, :])
