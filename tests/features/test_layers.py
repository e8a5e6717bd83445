"""Layers by name."""

from __future__ import annotations

import pytest

from pianoeval.errors import ConfigError
from pianoeval.features.layers import parse_layers

TRANSKUN = ["1", "2", "3", "4", "5", "6", "ctx"]
MUQ = [str(i) for i in range(13)]


@pytest.mark.parametrize(
    ("wanted", "names", "positions"),
    [
        ("all", TRANSKUN, [0, 1, 2, 3, 4, 5, 6]),
        ("4", TRANSKUN, [3]),
        ("1..6,ctx", TRANSKUN, [0, 1, 2, 3, 4, 5, 6]),
        (" 5 .. ctx , 1", TRANSKUN, [0, 4, 5, 6]),
        ([4], TRANSKUN, [3]),
        (["4", "ctx"], TRANSKUN, [3, 6]),
        ("9..12", MUQ, [9, 10, 11, 12]),
        ("0", MUQ, [0]),
        (9, MUQ, [9]),
        ("3..3", MUQ, [3]),
    ],
)
def test_positions(
    wanted: str | int | list[int | str], names: list[str], positions: list[int]
) -> None:
    assert parse_layers(wanted, names) == positions


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("7", "unknown layer '7'"), ("", "no layer"), ([], "no layer"),
        ("6..4", "backwards"), ("1..4,3", "twice"), ("1,,2", "unknown layer ''"),
        ("1..9", "unknown layer '9' in '1..9'"), ("all,1", "unknown layer 'all'"),
        ("..3", "unknown layer ''"),
    ],
)  # fmt: skip
def test_errors_say_what_there_is(wanted: str | list[int | str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_layers(wanted, TRANSKUN)
    assert "ctx" in str(caught.value)
