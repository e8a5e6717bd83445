"""``pianoeval paper`` as it is typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pianoeval.cli import main
from pianoeval.paper.tables import TABLES
from pianoeval.params_file import parse_params
from tests.paper import paper_cases as cases

Outcome = tuple[int, str, str]
OPTIONS = ["--corpus", "studio", "--instrument", "grand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the table of losses has been run, under git and never with DVC."""
    where = tmp_path_factory.mktemp("command") / "run"
    choice = cases.Choice(corpus="studio", instruments=("grand",))
    gone = ["transkun-hybrid/mlp"]
    cases.write_run(where, cases.recipe("losses", choice), {"transkun-ccc/mlp": 0.09}, drop=gone)
    for name in ("pianoeval", "stages"):
        (where / name).mkdir()
        (where / name / "x.py").touch()
    (where / ".gitignore").write_text("data\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=where, check=True)
    return where


@pytest.fixture
def call(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Outcome]:  # fmt: skip
    """Exit status, output, errors."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PIANOEVAL_CACHE", str(tmp_path / "cache"))

    def command(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pianoeval", "paper", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return command


def test_without_a_table_they_are_listed(call: Callable[..., Outcome]) -> None:
    status, out, _ = call()
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[: len(TABLES)]] == list(TABLES)
    assert "pianoeval paper table1" in out


def test_a_table_is_one_command(call: Callable[..., Outcome]) -> None:
    """The line that is printed is the experiment; nothing is run."""
    status, out, err = call("losses", *OPTIONS, "-S", "evaluate.seed=7")
    assert (status, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("dvc ")]
    assert line.startswith("dvc exp run --temp --name paper-losses-")
    assert line.endswith("-S evaluate.seed=7 report")
    assert "cannot be told" in out  # the manifest of these tests names MIDI that is not there
    status, again, _ = call("losses", *OPTIONS)
    assert line.split()[5] not in again


def test_all_leaves_out_what_the_choice_cannot_make(call: Callable[..., Outcome]) -> None:
    """Log-mel has one layer, and one instrument cannot be left out; the rest can be made."""
    chosen = ("--corpus", "studio", "--audio", "mel", "--instrument", "grand")
    status, out, err = call("--all", *chosen, "--params")
    assert status == 0, err
    assert "table2: " in err
    assert "soundfonts: " in err
    assert set(yaml.safe_load(out)["views"]) >= {"symbolic", "mel"}
    status, _, err = call("--all", "--audio", "nope", "--params")
    assert status == 1
    assert "'nope' is not known" in err


def test_what_it_costs(
    call: Callable[..., Outcome], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the corpus is here its size is guessed; nothing is in this cache."""
    shutil.copytree(folder, tmp_path / "fresh", ignore=shutil.ignore_patterns("data", "reports"))
    monkeypatch.chdir(tmp_path / "fresh")
    status, out, _ = call("losses", *OPTIONS)
    assert status == 0
    assert "items to render or encode, about" in out
    assert "fits of a model" in out
    assert "--run --allow-encoding" in out


def test_the_workspace_is_read(call: Callable[..., Outcome], tmp_path: Path) -> None:
    status, out, _ = call("losses", *OPTIONS, "--workspace", "--out", str(tmp_path / "out"))
    assert status == 0
    assert "movement folds (best lookup " in out
    assert "worse: ccc than mse" in out
    assert "transkun-hybrid/mlp" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["losses.csv", "losses.md"]
    status, text, _ = call("losses", *OPTIONS, "--workspace", "--json")
    document = json.loads(text)
    assert document["table"] == "losses"
    (ccc,) = [one for one in document["lines"]
              if (one["label"], one["scheme"]) == ("ccc", "segment")]  # fmt: skip
    assert (ccc["paper"], ccc["verdict"]) == (0.363, "worse")
    _, markdown, _ = call("losses", *OPTIONS, "--workspace", "--markdown")
    assert markdown.rstrip("\n") == (tmp_path / "out" / "losses.md").read_text("utf-8").rstrip("\n")


def test_all_tables_that_can_be_made(call: Callable[..., Outcome]) -> None:
    """One set of results, so most have no row; each of them says which command makes it."""
    chosen = ["--corpus", "studio", "--instrument", "grand", "--instrument", "upright"]
    status, out, err = call("--all", *chosen, "--workspace", "--json")
    assert status == 0
    names = [one["table"] for one in json.loads(out)]
    assert "losses" in names
    for name in set(TABLES) - set(names):
        assert f"{name}: " in err
        assert f"pianoeval paper {name} --corpus studio" in err


def test_parameters_of_a_workspace_of_its_own(call: Callable[..., Outcome]) -> None:
    status, out, _ = call("table1", *OPTIONS, "--params", "-S", "evaluate.seed=7")
    assert status == 0
    chosen = parse_params(yaml.safe_load(out))
    assert chosen.evaluate.seed == 7
    assert chosen.axes.corpus == ["studio"]
    assert set(chosen.views["transkun"]) == {"transkun-mean"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table9"], "allowed: table1, table2"),
        (["table1", "--all"], "--all is every table"),
        (["table1", "--audio", "whale"], "'whale' is not known"),
        (["losses", *OPTIONS, "--table"], "has not been run"),
        (["losses", *OPTIONS, "--run", "--workspace"], "--workspace"),
        (["losses", *OPTIONS, "-S", "no.such=1"], "dvc cannot set this"),
        (["table2", *OPTIONS, "--audio", "mel"], "has one layer"),
    ],
)
def test_what_cannot_be_asked(
    call: Callable[..., Outcome], arguments: list[str], said: str
) -> None:
    status, out, err = call(*arguments)
    assert (status, out) == (1, "")
    assert said in err
    assert "next: " in err


def test_what_has_not_been_run_is_made_by_the_same_command(call: Callable[..., Outcome]) -> None:
    _, _, err = call("losses", *OPTIONS, "--table", "--head", "ridge")
    assert "pianoeval paper losses --corpus studio --head ridge --instrument grand --run" in err


def test_outside_of_git_the_workspace_can_be_read(
    call: Callable[..., Outcome], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns(".git"))
    monkeypatch.chdir(tmp_path / "bare")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert call("losses", *OPTIONS, "--workspace")[0] == 0
    status, _, err = call("losses", *OPTIONS)
    assert status == 1
    assert "git" in err
