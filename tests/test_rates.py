"""Measured speeds: named by what decides them, with the step alone as fallback."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pianoeval.encoders.base import EncoderSpec
from pianoeval.encoders.speed import rate_name
from pianoeval.rates import DEFAULTS, Rates, record_rate

SPEC = EncoderSpec(
    name="mine", kind="transkun", sample_rate_hz=44_100, chunk_samples=1, period_samples=1,
    min_samples=1, layer_names=("1", "2"), dim=3, precision="float32", weights_sha256="",
    code_version=1,
)  # fmt: skip


def test_a_rate_is_named_by_what_decides_the_speed() -> None:
    assert rate_name(SPEC) == "embedding-transkun:1..2:float32"
    assert rate_name(SPEC) in DEFAULTS
    same = replace(SPEC, name="other", weights_sha256="abc", options=(("random_seed", 3),))
    assert rate_name(same) == rate_name(SPEC)
    others = [
        replace(SPEC, layer_names=("1", "2", "3")), replace(SPEC, layer_names=("2",)),
        replace(SPEC, precision="bfloat16"), replace(SPEC, device="cuda"),
        replace(SPEC, device="cuda", compiled=True), replace(SPEC, kind="muq"),
    ]  # fmt: skip
    names = {rate_name(spec) for spec in (SPEC, *others)}
    assert len(names) == 1 + len(others)


def test_the_very_work_comes_before_its_step_and_this_machine_before_the_defaults(
    tmp_path: Path,
) -> None:
    work, step = "embedding-transkun:1..2:float32", "embedding-transkun"
    assert Rates(tmp_path).of(work) == DEFAULTS[work]
    assert Rates(tmp_path).of(step + ":9..12:float32") == DEFAULTS[step]
    assert Rates(tmp_path).of("embedding-none:1:float32") == 1.0
    record_rate(tmp_path, step, 600.0, 100.0, 2)  # as files of former versions hold it
    assert Rates(tmp_path).of(work) == Rates(tmp_path).of(step) == 3.0
    record_rate(tmp_path, work, 600.0, 20.0, 1)
    assert (Rates(tmp_path).of(work), Rates(tmp_path).of(step)) == (30.0, 3.0)
    assert Rates(tmp_path).of("audio") == DEFAULTS["audio"]


def test_short_runs_are_not_kept(tmp_path: Path) -> None:
    record_rate(tmp_path, "audio", 59.0, 1.0, 1)
    record_rate(tmp_path, "audio", 600.0, 0.0, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"audio": null}', '{"audio": 0}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "rates.json").write_text(text)
    assert Rates(tmp_path).of("audio") == DEFAULTS["audio"]
    record_rate(tmp_path, "audio", 600.0, 1.0, 1)
    assert json.loads((tmp_path / "rates.json").read_text()) == {"audio": 600.0}
