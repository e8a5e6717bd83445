"""What rankers are told of players, movements and views, beside features and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_rank_corpus import SCHEMES, make_manifest, make_params

from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.views import View
from pianoeval.params import Params, ViewParams
from pianoeval.params_rank import RankerParams
from pianoeval.paths import CorpusPaths
from pianoeval.rankers.kernel import predict_fold
from pianoeval.rankings import Ranker
from pianoeval.training.rank import load_views, rank_key
from pianoeval.training.rankfolds import Takes, make_rank_folds, make_takes


def takes_of(manifest: pd.DataFrame) -> Takes:
    rng = np.random.default_rng(0)
    clips = manifest["clip"].tolist()
    values = rng.normal(size=len(clips))
    one = np.column_stack([values, rng.normal(size=len(clips))]).astype(np.float32)
    other = rng.normal(size=(len(clips), 3)).astype(np.float32)
    labels = pd.DataFrame(
        {"clip": clips, "task": "rating", "dimension": "timing", "value": 0.5 + 0.1 * values,
         "n_raters": 9, "sd": 0.09}
    )  # fmt: skip
    # The second view lacks a clip and has the others in another order.
    views = [View(one, clips, "one"), View(other[:0:-1], clips[:0:-1], "other")]
    return make_takes(views, manifest, labels, make_params(learn_from="all"))


def test_players_movements_and_widths_are_those_of_the_takes() -> None:
    manifest = make_manifest()
    manifest["player"] = manifest["player"].replace({"p2": None, "p3": "unknown"})
    takes = takes_of(manifest)
    about = manifest.set_index("clip").loc[takes.clips]
    assert takes.player is not None
    assert takes.movement is not None
    assert takes.widths == (2, 3)
    unknown = about["player"].isna() | (about["player"] == "unknown")
    assert 0 < unknown.sum() < len(unknown)
    np.testing.assert_array_equal(takes.player == -1, unknown)
    for codes, column in ((takes.player, "player"), (takes.movement, "movement")):
        known = codes >= 0
        same = codes[known][:, None] == codes[known][None, :]
        names = about[column].to_numpy(dtype=object)[known]
        np.testing.assert_array_equal(same, names[:, None] == names[None, :])


def test_folds_carry_them_to_the_kernel_ranker() -> None:
    manifest = make_manifest(players=4)
    params = make_params()
    folds = make_folds(manifest, params.folds)
    takes = takes_of(manifest)
    block = {"shares": [1.0, 0.0], "lambdas": [0.1, 1.0]}
    kernel = RankerParams(views=["toy", "sound"], approach="kernel", kernel=block)
    right = []
    for scheme in SCHEMES:
        for fold in make_rank_folds(takes, manifest, folds, scheme, params):
            assert fold.widths == (2, 3)
            assert fold.player is takes.player
            assert fold.movement is takes.movement
            found = predict_fold(fold, kernel)
            # A view of no share is as good as none, and the first holds what is rated.
            noise = np.random.default_rng(1).normal(size=(len(fold.x), 3)).astype(np.float32)
            other = replace(fold, x=np.column_stack([fold.x[:, :2], noise]))
            np.testing.assert_array_equal(found.margins, predict_fold(other, kernel).margins)
            first, second = takes.y[fold.pairs[:, 0]], takes.y[fold.pairs[:, 1]]
            right.append((found.margins > 0) == (first > second))
    assert np.concatenate(right).mean() > 0.9


def test_where_one_view_ends_is_part_of_the_key_of_kernels() -> None:
    """Columns that move from one view to the next leave all values as they are."""
    manifest, params = make_manifest(), make_params()
    takes = takes_of(manifest)
    folds = make_folds(manifest, params.folds)
    views = ["toy", "sound"]

    def key(widths: tuple[int, ...], approach: str) -> str:
        block = RankerParams.model_validate({"views": views, "approach": approach})
        ranker = Ranker("one", block, {"toy": "symbolic", "sound": "mel"})
        moved = replace(takes, widths=widths)
        return rank_key(ranker, moved, "player", params, manifest, folds)

    assert key((2, 3), "kernel") != key((3, 2), "kernel")
    assert key((2, 3), "difference") == key((3, 2), "difference")


@pytest.mark.parametrize(
    ("block", "read"),
    [({"approach": "difference"}, ["ridge"]), ({"comparison": "attention"}, ["attention"]),
     ({"approach": "kernel", "sweep": {"approach": ["kernel", "siamese"]}}, ["ridge"])],
)  # fmt: skip
def test_frames_are_read_for_attention_alone(
    block: dict[str, Any], read: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A view whose probes attend to frames does not bring them to rankers that read none."""
    params = make_params()
    params.views["symbolic"]["toy"] = ViewParams(models=["ridge", "attention"])
    seen: list[list[str]] = []

    def loaded(features: str, name: str, given: Params, *_: object) -> View:
        seen.append([str(model) for model in given.views[features][name].models])
        return View(np.zeros((1, 1), np.float32), ["a"], "")

    monkeypatch.setattr("pianoeval.training.rank.load_view", loaded)
    ranker = Ranker("one", RankerParams.model_validate({"views": ["toy"]} | block),
                    {"toy": "symbolic"})  # fmt: skip
    load_views(ranker, params, CorpusPaths("toy", tmp_path), pd.DataFrame({"clip": ["a"]}))
    assert seen == [read]
