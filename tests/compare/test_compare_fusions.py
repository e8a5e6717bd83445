"""Fusions are rows of a run like any other: compared where both runs have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pianoeval.compare.findings import compare_runs
from pianoeval.errors import MissingAssetError
from pianoeval.tablefile import write_table
from tests.compare import run_cases as cases

MEMBERS = ["symbolic/ridge", "mel/ridge"]


def fused_run(folder: Path, noise: float, members: list[str] = MEMBERS) -> str:
    """A run with the average of both views, written as the stage does."""
    params: dict[str, Any] = cases.raw_params()
    block = {"members": members, "methods": ["average"]}
    params["fusion"] = {"views": {"fusion": block}, "penalties": [0.1]}
    paths = cases.write_run(folder, noise, params=params)
    tables = [pd.read_parquet(paths.predictions(name)) for name in ("symbolic", "mel")]
    symbolic, mel = (
        t[t["features"] == n] for t, n in zip(tables, ("symbolic", "mel"), strict=True)
    )
    mean = (symbolic["prediction"].to_numpy() + mel["prediction"].to_numpy()) / 2
    table = mel.assign(features="fusion", model="average", prediction=mean)
    write_table(table, paths.predictions("fusion"))
    return str(folder)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    home = tmp_path_factory.mktemp("fused")
    return fused_run(home / "before", 0.06), fused_run(home / "after", 0.02)


def test_all_rows_have_the_fusion_among_them(fused: tuple[str, str]) -> None:
    found = compare_runs(*fused, schemes=["segment"])
    assert "fusion/average" in {row.a for row in found.rows}


def test_a_fusion_against_its_member(fused: tuple[str, str]) -> None:
    found = compare_runs(f"{fused[1]}:fusion/average", f"{fused[1]}:mel/ridge", schemes=["segment"])
    (row,) = found.rows
    assert row.value_a != row.value_b


def test_a_run_of_an_older_version_has_none(fused: tuple[str, str], runs: tuple[str, str]) -> None:
    found = compare_runs(runs[0], fused[1], schemes=["segment"])
    assert "fusion/average" not in {row.a for row in found.rows}


def test_a_fusion_that_the_axes_do_not_carry_is_not_asked_for(tmp_path: Path) -> None:
    one = fused_run(tmp_path / "one", 0.05, ["symbolic/ridge", "away/ridge"])
    (tmp_path / "one" / "data" / cases.CORPUS / "predictions" / "fusion.parquet").unlink()
    assert compare_runs(one, one, schemes=["segment"]).rows


def test_missing_predictions_name_their_stage(fused: tuple[str, str], tmp_path: Path) -> None:
    one = fused_run(tmp_path / "one", 0.05)
    (tmp_path / "one" / "data" / cases.CORPUS / "predictions" / "fusion.parquet").unlink()
    with pytest.raises(MissingAssetError) as caught:
        compare_runs(f"{one}:fusion/average", fused[0])
    assert f"fuse@{cases.CORPUS}" in str(caught.value)
