"""Hostile ``params.yaml``: bombs, tags, loops, and every place with values that do not fit."""

from __future__ import annotations

import itertools
from pathlib import Path

import hostile_text
import pytest
import yaml
from hostile_run import check, run_cases, write_cases
from levels import FULL, scale
from workspaces import ROOT, small_params

from pianoeval.errors import ConfigError
from pianoeval.params_edit import set_values
from pianoeval.params_file import load_params, parse_params
from pianoeval.yamlfile import parse_yaml


def test_params_files(tmp_path: Path) -> None:
    tricks = list(hostile_text.yaml_tricks())
    random = hostile_text.params_random(scale(25, 700), seed=0)
    few = tricks if FULL else [one for one in tricks if len(one[1]) < 60_000]
    cases = write_cases("params", itertools.chain(few, random), tmp_path, ".yaml")
    check("parameters", run_cases(cases))


def test_params_files_that_are_edited_and_compared(tmp_path: Path) -> None:
    tricks = list(hostile_text.yaml_tricks())
    random = hostile_text.params_random(scale(3, 40), seed=1)
    few = tricks if FULL else [one for one in tricks if len(one[1]) < 4000][::2]
    cases = write_cases("edited", itertools.chain(few, random), tmp_path, ".yaml")
    check("parameters, edited and compared", run_cases(cases))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{c}: &{c} [{','.join('*' + p for _ in range(10))}]\n"
            for p, c in itertools.pairwise("abcdefghij")), "too many values"),
        ("a: &a [*a]", "holds itself"),
        ("[" * 5000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [exit]", "no tags"),
        ("a: !!timestamp x", "no tags"),
        ("a: 1\nb: {c: 1, c: 2}", "'c' is there twice"),
        ("a: 2020-99-99", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: \x1b", "not valid YAML"),
    ],
)  # fmt: skip
def test_yaml_is_refused_for_the_right_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_yaml(text, "params.yaml")


def test_yaml_that_people_write_is_read() -> None:
    text = "a: &x {b: 1, c: [1, two, 3.0]}\nd: {<<: *x, b: 2}\ne: *x\nf: 2020-01-01\n"
    assert parse_yaml(text, "params.yaml") == yaml.safe_load(text)
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert parse_yaml(shipped, "params.yaml") == yaml.safe_load(shipped)


def test_an_edit_refuses_a_bomb_too(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: &a [*a]\nencoders: {muq: {digest: ''}}")
    with pytest.raises(ConfigError, match="holds itself"):
        set_values(path, ["encoders", "muq"], {"digest": "0"})
    assert path.read_text().startswith("a: &a [*a]")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_parameter_is_infinite(value: float) -> None:
    data = small_params()
    data["instruments"]["grand"]["gain_db"] = value
    with pytest.raises(ConfigError, match="finite number"):
        parse_params(data)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_is_one_that_every_library_takes(seed: int) -> None:
    data = small_params()
    data["folds"]["seed"] = seed
    with pytest.raises(ConfigError, match=r"folds\.seed"):
        parse_params(data)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_params(path)
