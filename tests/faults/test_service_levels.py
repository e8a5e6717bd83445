"""The table of service levels shows what was measured, all of it, or is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from levels import record
from workspaces import ROOT

from benchmarks import service_levels as levels

RUN = {"commit": "abc123", "date": "2026-01-02", "machine": "Linux x86_64, 2 cores"}
DOC = f"# Title\n\n{levels.BEGIN}\nold\n{levels.END}\n\nbehind\n"


def figures() -> list[dict[str, Any]]:
    """One claim a level, and a second of the first."""
    found = [
        {"level": (level.names or (level.title,))[-1], "claim": f"{level.title} | tried"}
        | dict.fromkeys(level.shown or ("tries", "slowest_s"), 2)
        for level in levels.LEVELS
    ]
    return [*found, {"level": "killed", "claim": "again", "kills": 1500, "slowest_orphan_s": 0.75}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with both documents."""
    (tmp_path / "docs").mkdir()
    for path in (levels.DOCS, levels.README):
        (tmp_path / path).write_text(DOC, encoding="utf-8")
    return tmp_path


def write(root: Path, lines: list[dict[str, Any]], commit: str = "abc123") -> None:
    file = root / "run.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    levels.write(root, file, commit)


def texts(root: Path) -> list[str]:
    return [(root / p).read_text(encoding="utf-8") for p in (levels.DOCS, levels.README)]


def test_a_short_trial_is_told_and_gives_way_to_a_thorough_one(root: Path) -> None:
    short = {"level": "killed", "claim": "again", "kills": 7, "size": "short"}
    write(root, [RUN, *figures(), short])
    assert "short size" not in texts(root)[0]
    write(root, [RUN, *figures(), short | {"claim": "other"}])
    docs, readme = texts(root)
    assert "kills 1,509, ended before 2, slowest orphan 2 s (3 claims, 1 of them at" in docs
    assert "1 of 13 claims were tried at the size of `make test` only." in readme


def test_each_level_has_its_figures_and_commit(root: Path) -> None:
    write(root, [RUN, *figures()])
    docs, readme = texts(root)
    rows = [line for line in docs.splitlines() if line.startswith("| **")]
    assert [row.split("**")[1] for row in rows] == [level.title for level in levels.LEVELS]
    assert all(row.endswith("| abc123 |") for row in rows)
    assert "kills 1,502, ended before 2, slowest orphan 2 s (2 claims)" in rows[0]
    assert "| killed | again | kills 1,500, slowest orphan 0.75 s |" in docs
    assert "killed \\| tried" in docs  # a claim cannot add a cell
    for text in (docs, readme):
        assert text.startswith("# Title\n\n")
        assert text.endswith(f"{levels.END}\n\nbehind\n")
        assert "\nold\n" not in text
        assert "2026-01-02" in text
        assert RUN["machine"] in text
    report = json.loads((root / levels.REPORT).read_text(encoding="utf-8"))
    assert sum(map(len, report["levels"].values())) == len(levels.LEVELS) + 1


def test_the_order_of_the_tests_does_not_matter(root: Path) -> None:
    write(root, [RUN, *figures()])
    first = [*texts(root), (root / levels.REPORT).read_bytes()]
    write(root, [RUN, *reversed(figures())])
    assert [*texts(root), (root / levels.REPORT).read_bytes()] == first


@pytest.mark.parametrize(
    ("lines", "commit", "said"),
    [
        ([RUN, *figures()[1:-1]], "abc123", "no figures of killed"),
        ([RUN, {"level": "killed", "claim": "c", "tries": 3}, *figures()[1:-1]], "abc123",
         "no figures of killed"),
        ([RUN, *figures(), {"level": "speed", "claim": "c"}], "abc123", "figures of 'speed'"),
        ([RUN, *figures()], "def456", "measured at abc123, this is def456"),
        (figures(), "abc123", "does not say where it was measured"),
        ([], "abc123", "does not say where it was measured"),
    ],
)  # fmt: skip
def test_nothing_is_written_without_a_figure(
    root: Path, lines: list[dict[str, Any]], commit: str, said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        write(root, lines, commit)
    assert texts(root) == [DOC, DOC]
    assert not (root / levels.REPORT).exists()


def test_a_document_without_markers_stops_before_anything_is_written(root: Path) -> None:
    (root / levels.README).write_text("no markers\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="markers"):
        write(root, [RUN, *figures()])
    assert (root / levels.DOCS).read_text(encoding="utf-8") == DOC


def test_what_tests_record_is_what_the_table_reads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = root / "run.jsonl"
    out.write_text(json.dumps(levels.measured_here()) + "\n", encoding="utf-8")
    monkeypatch.setenv("PIANOEVAL_FAULTS_OUT", str(out))
    record("killed", "once", kills=3)
    measured, found = levels.read_run(out)
    assert set(measured) == {"commit", "date", "machine"}
    assert levels.totals(levels.LEVELS[0], found) == {"kills": 3}


def test_the_documents_show_the_committed_report() -> None:
    """Nobody edits a figure by hand, and a new report brings its tables along."""
    path = ROOT / levels.REPORT
    if not path.is_file():
        for name in (levels.DOCS, levels.README):
            text = (ROOT / name).read_text(encoding="utf-8")
            between = text.split(levels.BEGIN)[1].split(levels.END)[0]
            assert between.strip() == "No figures yet: `make faults`."
        return
    report = json.loads(path.read_text(encoding="utf-8"))
    for name, text in levels.tables(ROOT, report).items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, name
