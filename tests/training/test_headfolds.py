"""Folds of heads on frames: whose labels they hold, how these are scaled, where training stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pianoeval.errors import BadInputError
from pianoeval.evaluate.protocol.splits import make_folds
from pianoeval.features.sequences import Sequences
from pianoeval.params import Params
from pianoeval.training.headfolds import Framed, make_head_folds, wanted_dimensions, wanted_labels
from tests.workspaces import small_params


def params(**contrast: Any) -> Params:
    data = small_params()
    data["contrast"] |= {"folds": 0} | contrast
    return Params.model_validate(data)


def manifest(n_players: int, n_segments: int) -> pd.DataFrame:
    rows = [
        {"clip": f"s{s}p{p}", "sha256": f"{s}-{p}", "parent": None, "take": "1",
         "is_score_render": False, "segment": f"s{s}", "content_group": f"s{s}",
         "movement": f"s{s}", "composition": f"s{s}", "player": f"p{p}", "composer": "c",
         "corpus": "c"}
        for s in range(n_segments) for p in range(n_players)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def framed(table: pd.DataFrame, y: np.ndarray) -> Framed:
    n = len(table)
    frames = Sequences(np.zeros((n, 1), np.float32), np.arange(n), np.ones(n, np.int64))
    return Framed(table["clip"].tolist(), frames, y, ["one", "two"][: y.shape[1]])


def folds_of(table: pd.DataFrame, schemes: list[str], n_folds: int) -> pd.DataFrame:
    block = params().folds.model_copy(update={"schemes": schemes, "n_folds": n_folds})
    return make_folds(table, block)


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 7), st.integers(4, 6), st.sampled_from(["player", "movement_player"]))
def test_no_player_is_on_two_sides_or_stops_its_own_training(
    n_players: int, n_segments: int, scheme: str
) -> None:
    table = manifest(n_players, n_segments)
    y = np.random.default_rng(0).uniform(size=(len(table), 1))
    cut = make_head_folds(framed(table, y), table, folds_of(table, [scheme], 3), scheme, params())
    assert cut
    player = table["player"].to_numpy()
    for one in cut:
        fold = one.fold
        fit, held = fold.validation
        assert not {*player[fold.train]} & {*player[fold.test]}
        assert not {*fit} & {*held}
        assert {*fit} | {*held} == {*range(len(fold.train))}
        if scheme == "player":
            assert not {*player[fold.train][fit]} & {*player[fold.train][held]}
        assert np.array_equal(fold.y, y[fold.train])


def test_labels_beyond_0_and_1_lie_between_the_training_extremes() -> None:
    table = manifest(5, 4)
    y = np.random.default_rng(1).uniform(1, 10, size=(len(table), 2))
    y[:, 1] = 7.0
    for one in make_head_folds(
        framed(table, y), table, folds_of(table, ["player"], 3), "player", params()
    ):
        assert one.fold.y[:, 0].min() == 0
        assert one.fold.y[:, 0].max() == 1
        assert np.allclose(one.low + one.span * one.fold.y, y[one.fold.train])


def test_as_many_folds_as_asked_for() -> None:
    table = manifest(6, 4)
    y = np.random.default_rng(0).uniform(size=(len(table), 1))
    cut = folds_of(table, ["player"], 3)
    for wanted, found in ((0, 3), (1, 1), (2, 2), (9, 3)):
        made = make_head_folds(framed(table, y), table, cut, "player", params(folds=wanted))
        assert [one.fold.name for one in made] == [f"player/{i}" for i in range(found)]


def test_the_share_that_is_held_back_is_that_of_the_heads() -> None:
    table = manifest(20, 3)
    y = np.random.default_rng(0).uniform(size=(len(table), 1))
    cut = folds_of(table, ["player"], 10)
    [small] = make_head_folds(framed(table, y), table, cut, "player", params(folds=1))
    [large] = make_head_folds(
        framed(table, y), table, cut, "player", params(folds=1, validation_fraction=0.5)
    )
    assert len(small.fold.validation[1]) == 6  # two of eighteen players: 8:1:1
    assert len(large.fold.validation[1]) == 27


def test_a_fold_in_which_nothing_can_be_learned_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = manifest(4, 2)
    cut = folds_of(table, ["player"], 2)
    y = np.full((len(table), 1), np.nan)
    y[0] = 0.5  # one label: of a test clip in one fold, of a training clip in the other
    assert make_head_folds(framed(table, y), table, cut, "player", params()) == []
    assert "player/0" in caplog.text
    assert "player/1" in caplog.text
    flat = np.full((len(table), 1), 0.5)
    assert make_head_folds(framed(table, flat), table, cut, "player", params()) == []
    assert "no group of clips can be spared" in caplog.text


def labels(values: dict[str, list[float | None]]) -> pd.DataFrame:
    return pd.DataFrame(
        {"clip": f"c{i}", "task": "rating", "dimension": name, "value": value}
        for name, column in values.items() for i, value in enumerate(column) if value is not None
    )  # fmt: skip


def test_wanted_dimensions_or_all() -> None:
    table = labels({"a": [0.1, 0.2], "b": [0.3, 0.4]})
    clips = ["c0", "c1"]
    assert wanted_labels(table, clips, params(dimensions=["b", "z"]))[1] == ["b"]
    assert wanted_labels(table, clips, params(dimensions=["b", "a"]))[0].tolist() == [
        [0.3, 0.1], [0.4, 0.2]
    ]  # fmt: skip
    assert wanted_labels(table, clips, params(dimensions=[]))[1] == ["a", "b"]
    assert wanted_dimensions(table, params(dimensions=["z"])) == []


def test_labels_that_cannot_be_learned_are_refused() -> None:
    with pytest.raises(BadInputError, match="no clip with frames has a label"):
        wanted_labels(labels({"a": [0.1]}), ["other"], params(dimensions=[]))
    with pytest.raises(BadInputError, match="1 clips are labelled in part"):
        wanted_labels(
            labels({"a": [0.1, 0.2], "b": [0.1, None]}), ["c0", "c1"], params(dimensions=[])
        )
