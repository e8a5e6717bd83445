"""Rankers as params.yaml names them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from workspaces import small_params

from pianoeval.errors import ConfigError
from pianoeval.params_file import parse_params
from pianoeval.params_rank import RankerParams
from pianoeval.rankings import in_order, rank_schemes, usable_rankers


def parsed(rankers: dict[str, Any], **block: Any) -> Any:
    data = small_params()
    data["rank"] = {"rankers": rankers, **block}
    return parse_params(data, "params.yaml")  # type: ignore[arg-type]


def test_a_ranker_finds_the_features_of_its_views() -> None:
    params = parsed({"both": {"views": ["symbolic", "mel"]}})
    usable, left_out = usable_rankers(params)
    assert usable["both"].features == {"symbolic": "symbolic", "mel": "mel"}
    assert not left_out


@pytest.mark.parametrize(
    ("name", "views", "told"),
    [
        ("a:b", ["mel"], "names without ':' and '/'"),
        ("a", ["nothing"], "no view 'nothing'"),
        ("a", ["mel", "mel"], "a view is named twice"),
    ],
)
def test_what_cannot_be_is_named(name: str, views: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed({name: {"views": views}})
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"approach": "siamese", "loss": "listnet"}, "no scores for loss listnet"),
        ({"approach": "siamese", "comparison": "attention"}, "frames of 2 views"),
        ({"approach": "kernel", "kernel": {"shares": [1.0]}}, "1 shares for 2 views"),
        (
            {"approach": "lora", "lora": {"encoder": "nobody", "instrument": "grand"}},
            "a.lora.encoder: unknown encoder 'nobody'",
        ),
        (
            {"approach": "lora", "lora": {"encoder": "mel", "instrument": "kazoo"}},
            "a.lora.instrument: instrument 'kazoo' is not on axes.instrument",
        ),
        ({"sweep": {"comparison": ["bilinear", "attention"]}}, "frames of 2 views"),
        ({"approach": "dual", "sweep": {"loss": ["corn", "ccc"], "approach": ["dual", "siamese"]}},
         "no scores for loss corn"),
    ],
)  # fmt: skip
def test_what_an_approach_cannot_do_is_said_at_once(block: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed({"a": {"views": ["symbolic", "mel"], **block}})
    assert told in str(error.value)
    # What an approach does not read is no fault of it.
    unread = {"loss": "listnet", "comparison": "attention", "kernel": {"shares": [1.0]},
              "lora": {"encoder": "nobody", "instrument": "kazoo"}}  # fmt: skip
    parsed({"a": {"views": ["symbolic", "mel"], "approach": "difference", **unread}})


def test_rankers_stand_in_the_order_of_their_names() -> None:
    lines = {name: {"views": ["mel"]} for name in ("b", "c", "a")}
    assert list(usable_rankers(parsed(lines))[0]) == ["a", "b", "c"]


def test_attributes_are_those_that_the_cache_gives_back() -> None:
    told = {"selection": [{"ranker": "a", "fold": 0, "lambda": [1.0, 1e-17]}], "dimensions": ["x"]}
    found = in_order(told)
    assert found == told
    assert list(found) == ["dimensions", "selection"]
    assert list(found["selection"][0]) == ["fold", "lambda", "ranker"]


def test_schemes_are_those_that_are_cut() -> None:
    params = parsed({}, schemes=["movement", "leave_one_player_out", "player"])
    expected = [s for s in ("movement", "player") if s in params.folds.schemes]
    assert rank_schemes(params) == expected


def test_points_are_every_combination() -> None:
    swept = RankerParams(views=["x"], sweep={"temperature": [0.1, 0.2], "loss": ["margin", "ccc"]})
    points = swept.points()
    assert list(points) == [
        "temperature=0.1,loss=margin", "temperature=0.1,loss=ccc",
        "temperature=0.2,loss=margin", "temperature=0.2,loss=ccc",
    ]  # fmt: skip
    assert points["temperature=0.2,loss=ccc"].temperature == 0.2
    assert all(not point.sweep for point in points.values())
    assert RankerParams(views=["x"]).points() == {"": RankerParams(views=["x"])}


@pytest.mark.parametrize(
    "sweep", [{"seed": [1, 2]}, {"temperature": []}, {"temperature": [-1]}, {"loss": ["nothing"]}]
)
def test_a_sweep_of_what_cannot_be_is_refused(sweep: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RankerParams(views=["x"], sweep=sweep)
