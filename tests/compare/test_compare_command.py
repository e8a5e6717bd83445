"""`pianoeval compare` as users call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compare import run_cases as cases

Outcome = tuple[int, str, str]
Command = Callable[..., Outcome]


def test_the_table_and_then_the_verdict(runs: tuple[str, str], command: Command) -> None:
    status, out, err = command(f"{runs[0]}:mel/ridge", runs[1], "--scheme", "movement")
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == f"A  {runs[0]}: mel/ridge"
    assert lines[2] == (
        "R² pooled on toy, mean over dimensions; 1,000 draws; differences are B − A"
    )
    header = next(i for i, line in enumerate(lines) if line.lstrip().startswith("scheme"))
    assert lines[header].split() == (
        ["scheme", "A", "B", "B", "−", "A", "95", "%", "p", "clips", "groups"]
    )
    assert lines[header + 1].split()[0] == "movement"
    assert lines[header + 1].split()[-2:] == ["84", "6"]
    assert lines[header + 3].startswith("B is better on movement folds: R² +")
    assert all(len(line) <= 140 for line in lines[header : header + 2])


def test_unchanged_rows_are_counted_not_listed(runs: tuple[str, str], command: Command) -> None:
    _, out, _ = command(*runs, "--scheme", "segment")
    assert "mel/ridge" in out
    assert "symbolic/ridge" not in out
    assert "2 rows predict the same in both runs." in out
    _, out, _ = command(runs[0], runs[0])
    assert " groups" not in out  # no table at all
    assert out.count("No difference is shown") == 2


def test_json_is_for_scripts(runs: tuple[str, str], command: Command) -> None:
    status, out, _ = command(*runs, "--json", "--metric", "pairwise_005", "--subset", "human")
    assert status == 0
    found = json.loads(out)
    assert (found["corpus"], found["metric"], found["subset"]) == ("toy", "pairwise_005", "human")
    rows = {(row["scheme"], row["a"]): row for row in found["rows"]}
    assert len(rows) == 6
    mel, symbolic = rows["movement", "mel/ridge"], rows["movement", "symbolic/ridge"]
    assert mel["difference"] == pytest.approx(mel["value_b"] - mel["value_a"])
    assert mel["ci_low"] < mel["difference"] < mel["ci_high"]
    assert symbolic["same"]
    assert symbolic["q_permutation"] is None
    assert mel["q_permutation"] == mel["p_permutation"]  # one row changed
    assert set(found["verdicts"]) == {"segment", "movement"}


def test_markdown_is_for_pull_requests(
    runs: tuple[str, str], command: Command, tmp_path: Path
) -> None:
    params = cases.raw_params(evaluate={"seed": 7})
    other = cases.write_run(tmp_path / "other", noise=0.02, params=params)
    _, out, _ = command(runs[0], f"{other.workspace}:mel/ridge", "--markdown")
    lines = out.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| scheme | A | B | B − A | 95 % | p | clips | groups |"
    assert table[2].startswith("| segment |")
    assert "| `evaluate.seed` | `42` | `7` |" in lines
    assert any(line.startswith("* B is better on movement folds: R² +") for line in lines)


def test_an_error_is_one_message(runs: tuple[str, str], command: Command) -> None:
    status, out, err = command(f"{runs[0]}:mel/nope", runs[1])
    assert (status, out) == (1, "")
    assert err.startswith(f"ERROR run '{runs[0]}' has no row 'mel/nope' (allowed: mel/ridge, ")
    assert "Traceback" not in err
    status, _, err = command("nowhere", runs[1])
    assert status == 1
    assert "'nowhere' is no folder with params.yaml" in err
    assert "next: git branch" in err
