"""Heads as the parameters name them: which can be used, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pianoeval.contrasts import contrast_faults, contrast_schemes, usable_heads
from pianoeval.params import HeadParams, Params
from tests.workspaces import small_params

SMALL = {"chunk_frames": 40, "hop_frames": 20, "kernel": 3, "stride": 2}


def params(heads: dict[str, Any], **other: Any) -> Params:
    data = small_params()
    data["contrast"] |= {"heads": heads}
    for name, value in other.items():
        data[name] = {**data[name], **value}
    return Params.model_validate(data)


def test_a_head_without_frames_is_left_out_with_its_reason() -> None:
    heads = {
        "on-mel": {"approach": "joint", "store": "mel", **SMALL},
        "contour": {"approach": "pcconv"},
    }
    usable, left_out = usable_heads(params(heads))
    assert [*usable] == ["contour"]
    assert left_out == {"on-mel": "pool.sequence_hz is 0, so no frames are kept"}
    usable, _ = usable_heads(params(heads, pool={"sequence_hz": 5.0}))
    assert [*usable] == ["contour", "on-mel"]
    _, left_out = usable_heads(params(heads, axes={"encoder": [], "features": ["symbolic"]}))
    assert left_out == {"on-mel": "mel is not on axes.encoder"}
    heads["on-mel"] |= {"instrument": "upright"}
    _, left_out = usable_heads(params(heads, pool={"sequence_hz": 5.0}))
    assert left_out == {"on-mel": "upright is not on axes.instrument"}


def test_schemes_are_those_that_are_cut() -> None:
    found = params(
        {}, folds={"schemes": ["segment", "player"]}, contrast={"schemes": ["player", "movement"]}
    )
    assert contrast_schemes(found) == ["player"]


@pytest.mark.parametrize(
    ("head", "what"),
    [
        ({"store": "nothing"}, "no frames 'nothing'"),
        ({"layers": "4"}, "contours have no layers"),
        ({"components": 2}, "2 components of 1 columns"),
        ({"store": "mel", "columns": ["voiced"]}, "an encoder has no columns"),
    ],
)
def test_what_no_run_could_use_is_a_fault(head: dict[str, Any], what: str) -> None:
    [(where, said, allowed)] = contrast_faults(params({"one": {"approach": "joint", **head}}))
    assert where.startswith("contrast.heads.one")
    assert what in said
    assert allowed


def test_names_that_rows_could_not_bear() -> None:
    for name in ("a:b", "a/b"):
        assert contrast_faults(params({name: {"approach": "joint"}}))[0][1] == "not a name"
    data = small_params()
    data["instruments"]["skyline"] = data["instruments"]["grand"]
    data["contrast"] |= {"seeds": [1, 1]}
    said = [what for _, what, _ in contrast_faults(Params.model_validate(data))]
    assert said == ["a seed is named twice", "the name of a contour"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sweep": {"epochs": [3]}},
        {"sweep": {"margin": []}},
        {"sweep": {"margin": [0.0]}},
        {"channels": [4, 0]},
        {"chunk_frames": 50, "hop_frames": 50},
        {"hop_frames": 1001},
        {"columns": ["pitch", "pitch"]},
        {"store": "mel", "pitch_shift_semitones": 2},
        {"approach": "pcconv", "regularise": "ar_vae"},
        {"sweep": {"margin": [1, 1.0]}},
        {"sweep": {"margin": [1, 2], "contrast": ["n_pairs", "rnc"]}},
        {"sweep": {"temperature": [0.1, 1.0]}},
        {"sweep": {"contrast_learning_rate": [0.1, 1.0]}},
        {"sweep": {"regularise_weight": [0.1, 1.0]}},
        {"sweep": {"bins": [3, 5]}, "contrast_weight": 0},
        {"approach": "pcconv", "sweep": {"margin": [1, 2]}},
        {"approach": "statistics", "sweep": {"weight_decay": [0, 1]}},
    ],
)
def test_fields_that_do_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeadParams.model_validate({"approach": "joint"} | wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"sweep": {"temperature": [0.1, 1.0], "contrast": ["weighted", "rnc"]}},
        {"sweep": {"regularise": ["none", "i_vae"], "regularise_weight": [0.1, 1.0]}},
        {"sweep": {"contrast_weight": [0.0, 1.0], "margin": [1, 2]}},
        {"approach": "contrastive", "sweep": {"contrast_learning_rate": [0.1, 1.0]}},
        {"approach": "pcconv", "sweep": {"learning_rate": [0.1, 1.0]}},
    ],
)
def test_sweeps_that_change_something(right: dict[str, Any]) -> None:
    assert len(HeadParams.model_validate({"approach": "joint"} | right).points()) > 1


def test_frames_left_of_a_chunk_as_in_the_paper() -> None:
    assert HeadParams(approach="pcconv").stack_frames() == 35


def test_points_of_a_sweep() -> None:
    head = HeadParams(approach="joint", sweep={"margin": [1, 2], "bins": [3]})
    points = head.points()
    assert [*points] == ["margin=1,bins=3", "margin=2,bins=3"]
    assert points["margin=2,bins=3"].margin == 2
    assert points["margin=2,bins=3"].bins == 3
    turned = HeadParams(approach="joint", sweep={"bins": [3], "margin": [1, 2]})
    assert [*turned.points()] == [*points]
