"""Folders that several stages fill: whole before they are read, and the same in every workspace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from lab_cases import Clone, Lab, make_cache, stages_run
from workspaces import ROOT

from pianoeval.errors import MissingAssetError
from pianoeval.joins import join


@pytest.fixture
def by_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "evaluate@studio")


def fill(workspace: Path, *names: str) -> list[Path]:
    """Files of ``data/joined/`` that ``dvc.lock`` knows as outputs."""
    folder = workspace / "data" / "joined"
    folder.mkdir(parents=True)
    outputs = [f"data/joined/{name}" for name in names]
    for output in outputs:
        (workspace / output).write_text(output, encoding="utf-8")
    stages = {f"probe@{i}": {"cmd": "x", "outs": [{"path": o}]} for i, o in enumerate(outputs)}
    (workspace / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return [workspace / output for output in outputs]


def test_what_is_on_no_axis_is_removed(
    tmp_path: Path, by_dvc: None, caplog: pytest.LogCaptureFixture
) -> None:
    kept, left = fill(tmp_path, "kept", "left")
    own = kept.parent / "notes.txt"
    own.write_text("mine", encoding="utf-8")
    join(tmp_path, kept.parent, [kept])
    assert kept.is_file()
    assert not left.exists()
    assert own.is_file(), "no output of DVC"
    assert "notes.txt: no stage wrote it" in caplog.text


def test_by_hand_nothing_is_removed_and_nothing_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    kept, left = fill(tmp_path, "kept", "left")
    join(tmp_path, kept.parent, [kept])
    assert left.is_file()
    kept.unlink()
    with pytest.raises(MissingAssetError, match="1 of 2 inputs") as error:
        join(tmp_path, kept.parent, [kept, left])
    assert "dvc pull data/joined/kept " in str(error.value.next_step)


def test_what_nobody_has_is_refused_with_what_dvc_says(tmp_path: Path, by_dvc: None) -> None:
    kept, left = fill(tmp_path, "kept", "left")
    shutil.rmtree(kept.parent)
    with pytest.raises(MissingAssetError, match="DVC repository") as error:
        join(tmp_path, kept.parent, [kept, left])
    assert "dvc pull data/joined/kept data/joined/left" in str(error.value.next_step)


def test_an_empty_folder_is_no_store(tmp_path: Path, by_dvc: None) -> None:
    kept, _ = fill(tmp_path, "kept", "left")
    kept.unlink()
    kept.mkdir()
    with pytest.raises(MissingAssetError):
        join(tmp_path, kept.parent, [kept])


def test_dvc_is_given_no_other_folder_that_several_stages_fill() -> None:
    """A new such folder needs a join: DVC neither pulls it nor sees that a part is missing."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = {
        (name, next(iter(out)) if isinstance(out, dict) else out)
        for name, stage in stages.items() for out in [*stage["outs"], *stage.get("metrics", [])]
    }  # fmt: skip
    joined = {
        (name, dep) for name, stage in stages.items() for dep in stage["deps"]
        if any(path.startswith(f"{dep}/") for _, path in outs)
    }  # fmt: skip
    corpus = "data/${item.corpus}"
    assert joined == {
        ("evaluate", f"{corpus}/features"), ("evaluate", f"{corpus}/predictions"),
        ("report", "data/evaluated"), ("fuse", f"{corpus}/features"),
        ("rank", f"{corpus}/features"), ("evaluate_rank", f"{corpus}/predictions"),
        ("contrast", f"{corpus}/features"),
    }  # fmt: skip
    # features/<features> of probe, too, which the name of its axis hides from the line above.
    assert f"{corpus}/features/${{item.features}}" in stages["probe"]["deps"]
    for name in (
        "probe", "fuse", "rank", "contrast", "evaluate", "evaluate_rank", "examples", "report",
    ):  # fmt: skip
        assert "join_" in (ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8")
    # No part of an output: DVC would pull that part, and take it for the whole.
    parts = {dep for stage in stages.values() for dep in stage["deps"]
             if any(dep.startswith(f"{path}/") for _, path in outs)}  # fmt: skip
    assert parts == set()


def test_a_stage_by_hand_in_an_empty_clone_says_what_to_pull(lab: Lab, tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", make_cache(tmp_path / "items"))
    tmp_path.joinpath("clone").mkdir()
    clone.run("git", "clone", "--quiet", str(lab.repository), ".")
    said = clone.run("python", "-m", "stages.report", fails=True)
    assert "next: dvc pull data/studio/clips" in said
    assert stages_run(said) == set()
