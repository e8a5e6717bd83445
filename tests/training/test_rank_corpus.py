"""Rankers under every scheme: who is compared with whom, what is kept, and what nobody may see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.cache import ItemCache
from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.views import View
from pianoeval.params import Axes, FoldParams, Params, ProbeParams, RunParams, ViewParams
from pianoeval.params_rank import PairParams, RankParams
from pianoeval.paths import CorpusPaths
from pianoeval.rankers.pairs import training_pairs
from pianoeval.tablefile import read_table, write_table
from pianoeval.training import rank
from pianoeval.training.rank import rank_corpus
from pianoeval.training.rankfolds import make_rank_folds, make_takes

SCHEMES = ["player", "movement", "movement_player"]
PROBE: dict[str, Any] = {
    "ridge": {"lambdas": [1.0], "inner_folds": 2},
    "mlp": {"hidden": 4},
    "extra_trees": {},
    "boosting": {},
    "ensemble": ["ridge"],
}
RANKERS: dict[str, Any] = {
    "difference": {"views": ["toy"], "approach": "difference", "lambdas": [1.0, 100.0]}
}


def make_params(rankers: dict[str, Any] | None = None, **rank_block: Any) -> Params:
    """The blocks that ranking reads."""
    found = RANKERS if rankers is None else rankers
    views = {
        "symbolic": {"toy": ViewParams(models=["ridge"])},
        "mel": {"sound": ViewParams(models=["ridge"])},
    }
    return Params.model_construct(
        axes=Axes(corpus=["toy"], instrument=["grand"], encoder=["mel"], features=["symbolic"]),
        run=RunParams(workers=1),
        folds=FoldParams(schemes=["player", "movement", "movement_player"], n_folds=2),
        views=views,
        probe=ProbeParams.model_validate(PROBE),
        rank=RankParams.model_validate({"rankers": found, "schemes": SCHEMES} | rank_block),
    )


def make_manifest(movements: int = 3, segments: int = 3, players: int = 6) -> pd.DataFrame:
    """Every player and a deadpan rendering play all segments; two takes are byte-identical."""
    rows = [
        {
            "clip": f"m{m}_s{s}_{p}", "parent": None, "sha256": f"{m}{s}{p}",
            "is_score_render": p == "score", "composition": "c", "movement": f"m{m}",
            "segment": f"m{m}_s{s}", "content_group": f"m{m}_s{s}", "player": p, "take": "1",
            "midi_path": "source/midi/x.mid",
        }
        for m in range(movements) for s in range(segments)
        for p in [*(f"p{n}" for n in range(players)), "score"]
    ]  # fmt: skip
    manifest = pd.DataFrame(rows)
    twins = manifest["clip"].isin(["m0_s0_p0", "m0_s0_p1"])
    return manifest.assign(sha256=manifest["sha256"].mask(twins, "twins"))


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    """Takes whose first feature is what is rated, over segments that differ by far more."""
    manifest = make_manifest()
    random = np.random.default_rng(0)
    x = random.normal(size=(len(manifest), 4))
    segment = np.unique(manifest["segment"], return_inverse=True)[1]
    x[:, 1] += 10 * segment
    paths = CorpusPaths("toy", tmp_path)
    paths.symbolic.parent.mkdir(parents=True)
    table = pd.DataFrame(x, columns=[f"feature_{i}" for i in range(4)])
    write_table(table.assign(clip=manifest["clip"]), paths.symbolic)
    values = 0.5 + 0.05 * x[:, 0] + 0.3 * np.sin(segment)
    labels = pd.DataFrame(
        {"clip": manifest["clip"], "task": "rating", "dimension": "timing", "value": values,
         "n_raters": 9, "sd": 0.09}
    )  # fmt: skip
    params = make_params()
    return {
        "paths": paths, "manifest": manifest, "labels": labels,
        "folds": make_folds(manifest, params.folds), "cache": ItemCache(tmp_path / "items"),
    }  # fmt: skip


def accuracy(pairs: pd.DataFrame, labels: pd.DataFrame) -> float:
    value = labels.set_index("clip")["value"]
    truth = value.loc[pairs["first"]].to_numpy() - value.loc[pairs["second"]].to_numpy()
    return float(np.mean((pairs["margin/timing"].to_numpy() > 0) == (truth > 0)))


def test_takes_are_ordered_out_of_fold(corpus: dict[str, Any]) -> None:
    found = rank_corpus(make_params(), **corpus)
    assert list(found.pairs.columns) == [*rank.PAIR_COLUMNS, "margin/timing"]
    assert found.pairs["margin/timing"].dtype == np.float32
    assert set(found.pairs["scheme"]) == set(SCHEMES)
    of_movements = found.pairs[found.pairs["scheme"] == "movement"]
    assert accuracy(of_movements, corpus["labels"]) > 0.95
    told = pd.DataFrame(found.pairs.attrs["selection"])
    assert set(told["scheme"]) == set(SCHEMES)
    assert sorted(told.loc[told["scheme"] == "movement", "fold"]) == [0, 1, 2]
    assert found.pairs.attrs["dimensions"] == ["timing"]
    assert found.codes.empty
    assert list(found.codes.columns) == list(rank.CODE_COLUMNS)


def test_pairs_are_takes_of_one_segment_and_one_fold(corpus: dict[str, Any]) -> None:
    pairs = rank_corpus(make_params(), **corpus).pairs
    manifest = corpus["manifest"].set_index("clip")
    first, second = manifest.loc[pairs["first"]], manifest.loc[pairs["second"]]
    assert (first["segment"].to_numpy() == second["segment"].to_numpy()).all()
    assert (first["sha256"].to_numpy() != second["sha256"].to_numpy()).all()
    assert not first["is_score_render"].any()
    assert not second["is_score_render"].any()
    fold = corpus["folds"].set_index(["scheme", "clip"])["fold"]
    for side in ("first", "second"):
        where = pd.MultiIndex.from_frame(pairs[["scheme", side]])
        assert (fold.loc[where].to_numpy() == pairs["fold"].to_numpy()).all()
    of_movements = pairs[pairs["scheme"] == "movement"]
    assert len(of_movements) == 9 * 15 - 1  # six players; one pair is one file twice


def test_labels_of_reported_takes_are_out_of_reach(corpus: dict[str, Any]) -> None:
    params = make_params()
    folds = corpus["folds"]
    of_fold = folds[(folds["scheme"] == "movement") & (folds["fold"] == 0)]["clip"]
    before = rank_corpus(params, **corpus).pairs
    labels = corpus["labels"].copy()
    labels.loc[labels["clip"].isin(of_fold), "value"] *= -3.0
    after = rank_corpus(params, **(corpus | {"labels": labels})).pairs
    chosen = (before["scheme"] == "movement") & (before["fold"] == 0)
    assert chosen.any()
    pd.testing.assert_frame_equal(before[chosen], after[chosen])
    assert not before[~chosen].equals(after[~chosen])


def test_the_second_time_nothing_is_trained(
    corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rank_corpus(make_params(), **corpus)
    assert len(list(corpus["cache"].root.rglob("*.safetensors"))) == len(SCHEMES)
    monkeypatch.setattr(rank, "RANKERS", {})
    again = rank_corpus(make_params(), **corpus)
    pd.testing.assert_frame_equal(again.pairs, first.pairs)
    assert again.pairs.attrs == first.pairs.attrs
    write_table(first.pairs, corpus["paths"].rank_pairs)
    pd.testing.assert_frame_equal(read_table(corpus["paths"].rank_pairs), first.pairs)


@pytest.mark.parametrize(
    "change",
    [
        {"rankers": {"difference": RANKERS["difference"] | {"pairs": {"weights": "agreement"}}}},
        {"piece": "movement"},
        {"learn_from": "all"},
        {"takes": "all"},
    ],
)
def test_what_decides_a_number_is_part_of_the_key(
    corpus: dict[str, Any], change: dict[str, Any]
) -> None:
    rank_corpus(make_params(), **corpus)
    rank_corpus(make_params(**change), **corpus)
    assert len(list(corpus["cache"].root.rglob("*.safetensors"))) == 2 * len(SCHEMES)


def test_raters_errors_are_part_of_the_key(corpus: dict[str, Any]) -> None:
    rank_corpus(make_params(), **corpus)
    rank_corpus(make_params(), **(corpus | {"labels": corpus["labels"].assign(n_raters=3)}))
    assert len(list(corpus["cache"].root.rglob("*.safetensors"))) == 2 * len(SCHEMES)


def test_a_sweep_reports_every_point_and_the_chosen_one(corpus: dict[str, Any]) -> None:
    swept = RANKERS["difference"] | {"sweep": {"temperature": [0.1, 0.2]}}
    pairs = rank_corpus(make_params({"swept": swept}), **corpus).pairs
    assert set(pairs["ranker"]) == {"swept", "swept:temperature=0.1", "swept:temperature=0.2"}
    parts = {name: part.reset_index(drop=True) for name, part in pairs.groupby("ranker")}
    # The closed form reads no temperature: all points say the same, the first is chosen.
    margins = [part["margin/timing"] for part in parts.values()]
    assert margins[0].equals(margins[1])
    assert margins[0].equals(margins[2])
    assert {one["point"] for one in pairs.attrs["selection"]} == {"temperature=0.1"}


def test_a_ranker_whose_features_are_away_is_left_out(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    away = {"heard": {"views": ["sound"], "approach": "difference"}}
    found = rank_corpus(make_params(away), **corpus)
    assert found.pairs.empty
    assert list(found.pairs.columns) == list(rank.PAIR_COLUMNS)
    assert "ranker heard is left out: mel not on axes.features" in caplog.text


def test_a_corpus_of_single_takes_is_ranked_by_nothing(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    alone = corpus["manifest"].assign(segment=corpus["manifest"]["clip"])
    found = rank_corpus(make_params(), **(corpus | {"manifest": alone}))
    assert found.pairs.empty
    told = [line for line in caplog.messages if "no two takes of one segment to compare" in line]
    assert len(told) == len(SCHEMES)
    assert told[1].startswith("rank: left out under 'movement', folds 0, 1, 2:")


def test_views_without_a_common_clip_are_named() -> None:
    manifest = make_manifest(1, 1, 2)
    views = [View(np.zeros((1, 2), np.float32), [clip], "") for clip in manifest["clip"][:2]]
    with pytest.raises(BadInputError, match="no clip in common") as error:
        make_takes(views, manifest, pd.DataFrame(), make_params())
    assert error.value.next_step


@pytest.mark.parametrize(
    ("extra", "kept", "told"),
    [
        ({"task": "expertise"}, False, "no clip of these views has a label of the task rating"),
        ({"dimension": "dynamics"}, True, "1 clips are labelled in part"),
    ],
)
def test_labels_that_cannot_be_ranked_are_refused(
    corpus: dict[str, Any], extra: dict[str, str], kept: bool, told: str
) -> None:
    """As probes refuse them; else every fold would be left out as if it had no pairs."""
    labels = corpus["labels"]
    more = labels.assign(**extra)
    given = pd.concat([labels, more[:1]]) if kept else more
    if kept:
        given = given[given["clip"] != labels["clip"][1]]  # a clip without labels is no fault
    with pytest.raises(BadInputError, match=told) as error:
        rank_corpus(make_params(), **(corpus | {"labels": given}))
    assert error.value.next_step


def test_a_validation_group_without_pairs_is_replaced_aloud(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    few = corpus["labels"].iloc[::2]  # of most segments a held player's take is the only one
    found = rank_corpus(make_params(), **(corpus | {"labels": few}))
    assert "rank: fold player/0: the validation group holds no pairs" in caplog.text
    assert not found.pairs.empty


@settings(max_examples=25, deadline=None)
@given(
    movements=st.integers(2, 4), segments=st.integers(1, 3), players=st.integers(2, 6),
    scheme=st.sampled_from(SCHEMES), takes=st.sampled_from(["human", "all"]),
)  # fmt: skip
def test_no_group_that_is_held_out_is_learned_from(
    movements: int, segments: int, players: int, scheme: str, takes: str
) -> None:
    params = make_params(takes=takes)
    manifest = make_manifest(movements, segments, players)
    x = np.random.default_rng(1).normal(size=(len(manifest), 2)).astype(np.float32)
    labels = pd.DataFrame(
        {"clip": manifest["clip"], "task": "rating", "dimension": "timing", "value": x[:, 0],
         "n_raters": 5, "sd": 0.1}
    )  # fmt: skip
    found = make_takes([View(x, manifest["clip"].tolist(), "")], manifest, labels, params)
    folds = make_folds(manifest, params.folds)
    held_columns = {
        "player": ["player"], "movement": ["movement"], "movement_player": ["movement", "player"],
    }[scheme]  # fmt: skip
    for fold in make_rank_folds(found, manifest, folds, scheme, params):
        for column in held_columns:
            values = manifest[column].to_numpy(dtype=object)
            assert not set(values[fold.train]) & set(values[fold.test])
        assert set(fold.pairs.ravel()) <= set(fold.test)
        assert (fold.segment[fold.pairs[:, 0]] == fold.segment[fold.pairs[:, 1]]).all()
        assert (fold.identity[fold.pairs[:, 0]] != fold.identity[fold.pairs[:, 1]]).all()
        np.testing.assert_array_equal(fold.y[:, 0], x[fold.train, 0].astype(np.float64))
        np.testing.assert_allclose(fold.error, 0.1 / np.sqrt(5))
        assert fold.validation is not None
        fit, held = fold.validation
        assert not set(fit) & set(held)
        for part in (fit, held):
            assert (training_pairs(fold, part, PairParams()).weight > 0).any()
