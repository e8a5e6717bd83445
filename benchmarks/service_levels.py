"""Tables of the service levels, from what `make faults` measured; nothing else fills them.

    python benchmarks/service_levels.py begin FILE    # before the tests: commit, date, machine
    python benchmarks/service_levels.py write FILE    # after them

The tests add a JSON line a figure to FILE (``tests/faults/levels.py``); those of ``make test`` may
be added too (PIANOEVAL_FAULTS_OUT), for what the thorough run has not tried. ``write`` puts all of
them into reports/service_levels.json and tables between the markers of docs/service-levels.md and
README.md. It refuses where a level has no figure, where a figure has no level, and where the code
is not the one that was measured: a table without a number is better than one with an old one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pianoeval.builder import n_cores
from pianoeval.provenance import git_commit

ROOT = Path(__file__).resolve().parents[1]
REPORT = Path("reports", "service_levels.json")
DOCS, README = Path("docs", "service-levels.md"), Path("README.md")
BEGIN, END = "<!-- service levels -->", "<!-- /service levels -->"
Figures = dict[str, Any]


@dataclass(frozen=True)
class Level:
    """A row: what is promised, and how it is tried; ``short`` is for the README.

    ``shown`` are the figures of the row, at least one of which must have been measured; all that
    were if it is empty. ``names`` are those under which tests record.
    """

    title: str
    short: str
    promise: str
    test: str
    shown: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


LEVELS = (
    Level(
        "killed", "loses the clip at hand, no other",
        "A stage that is killed leaves each item, table and store whole or absent. The next run"
        " goes on from what was finished and ends with the bytes of an undisturbed run; workers"
        " do not outlive their stage.",
        "SIGKILL at random moments of every stage, then run again and every file compared",
        ("kills", "ended_before", "slowest_orphan_s"),
    ),
    Level(
        "signals", "a stage ends at once, with a message and without partial files",
        "Ctrl-C, SIGTERM and a closed terminal end a stage and its workers, say that work can"
        " go on, and leave no partial file.",
        "each signal at random moments of every stage; time to the exit measured",
        ("told", "slowest_exit_s", "slowest_orphan_s"),
    ),
    Level(
        "two writers", "both get the same whole items",
        "Several processes, users or drivers may fill one cache at once: items are whole, and"
        " of two equal ones either may win.",
        "processes that write and read the same items at the same time",
    ),
    Level(
        "disk", "stops with one message, keeps what was finished",
        "A full disk, a read-only cache or a folder without permission stops the run with one"
        " message that names the folder and the next command. Nothing partial stays.",
        "small file systems that fill up, and folders of other owners and modes",
    ),
    Level(
        "damage", "found when read, named, then recomputed or refused",
        "A flipped bit or a missing end of an item, store, table, receipt, audio file,"
        " checkpoint or asset is found when it is read: recomputed if it was derived, refused"
        " by name if not, never averaged in.",
        "bits flipped and ends cut off in every kind of file; 1 % of the chunks of a store",
        ("damages", "chunks_flipped", "refused", "computed_again", "believed"),
    ),
    Level(
        "clock", "changes nothing",
        "A clock that is wrong or jumps changes no output, and no file of another is taken for"
        " abandoned because of it.",
        "runs under clocks that are ahead, behind, and jump",
    ),
    Level(
        "bad input", "refused by name, without a crash or a hang",
        "A broken or hostile MIDI, audio, table, archive or parameter file is read or refused"
        " with a message: no crash, no hang, no memory beyond its limit, no file outside its"
        " folder, no code run from it.",
        "mutated and hand-made files, each read in a process with limits of time and memory",
        ("inputs", "read", "refused", "failed", "slowest_s", "most_memory_mb"),
    ),
    Level(
        "determinism", "same inputs, same bytes",
        "The same inputs, parameters and library versions give the same bytes of every store,"
        " table, metric and page on the same kind of processor: whatever the number of"
        " processes and threads, the order of files and parameters, time zone, locale, clock"
        " and host; from an empty or a half-filled cache; by a cluster.",
        "all stages run anew under each of these; every output and cached item compared",
        ("files", "items", "differing"),
    ),
    Level(
        "sharing", "a clone of a finished project computes nothing",
        "Who clones a project whose outputs and items are shared runs no stage; an ablation"
        " runs only what follows from it, and encodes nothing. What is pulled is verified.",
        "two users on one file system, and clones through a directory, ssh and S3",
        ("stages_run", "items_computed", "refused"),
    ),
    Level(
        "ablations", "below the embedding, none encodes a clip",
        "A grid over layers, pooling, loss or schemes makes each point once and encodes no clip.",
        "grids run through DVC; encodings counted",
    ),
    Level(
        "platforms", "Linux and macOS paths, Python 3.11 to 3.13; usable outside the repository",
        "The wheel scores and embeds outside the repository with the numbers of the repository.",
        "the wheel built and installed into an environment of its own",
        names=("platforms", "wheel"),
    ),
)  # fmt: skip


def measured_here() -> Figures:
    """Commit, date and machine, for the first line of a run's file."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "commit": git_commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {n_cores()} cores, {memory:.0f} GiB,"
        f" Python {platform.python_version()}",
    }


def read_run(path: Path) -> tuple[Figures, list[Figures]]:
    """What ``begin`` wrote, and the figures; exits at a file that is not of one whole run."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        sys.exit(f"ERROR no figures in {path} ({error})\n  next: make faults")
    if not lines or set(lines[0]) != {"commit", "date", "machine"}:
        sys.exit(f"ERROR {path} does not say where it was measured\n  next: make faults")
    return lines[0], lines[1:]


def by_level(figures: Sequence[Figures]) -> dict[str, list[Figures]]:
    """Figures of each level, in the order of their claims; exits where some are missing."""
    found: dict[str, list[Figures]] = {}
    level_of = {name: level.title for level in LEVELS for name in level.names or (level.title,)}
    for entry in figures:
        if entry["level"] not in level_of:
            sys.exit(f"ERROR figures of '{entry['level']}'\n  allowed: {', '.join(level_of)}")
        rest = {name: value for name, value in entry.items() if name != "level"}
        found.setdefault(level_of[entry["level"]], []).append(rest)
    for title, entries in found.items():
        whole = {str(entry["claim"]) for entry in entries if not is_short(entry)}
        found[title] = [e for e in entries if not is_short(e) or str(e["claim"]) not in whole]
    absent = [level.title for level in LEVELS if not totals(level, found.get(level.title, []))]
    if absent:
        sys.exit(f"ERROR no figures of {', '.join(absent)}\n  next: make faults, and see its tests")
    return {
        level.title: sorted(found[level.title], key=lambda entry: json.dumps(entry, sort_keys=True))
        for level in LEVELS
    }


def is_short(entry: Figures) -> bool:
    """Whether a claim was tried at the size of ``make test``; a thorough trial replaces it."""
    return entry.get("size") == "short"


def is_extreme(name: str) -> bool:
    """Whether the largest of a figure counts, not its sum."""
    first, last = name.split("_")[0], name.split("_")[-1]
    return first in {"slowest", "largest", "most", "threads"} or last in {"s", "seconds", "mb"}


def totals(level: Level, entries: Sequence[Figures]) -> dict[str, float]:
    """Sums of counts and largest times and sizes, over the claims of a level."""
    numbers: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in entry.items():
            if isinstance(value, int | float) and (not level.shown or name in level.shown):
                numbers.setdefault(name, []).append(value)
    wanted = level.shown or tuple(sorted(numbers))
    return {
        name: max(numbers[name]) if is_extreme(name) else sum(numbers[name])
        for name in wanted
        if name in numbers
    }


def number(value: float) -> str:
    """A figure as it is read: whole numbers with commas, others to three digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def words(figures: Mapping[str, Any]) -> str:
    """Figures in a cell: ``kills 750, slowest exit 0.8 s``."""
    parts = []
    for name, value in figures.items():
        stem, _, unit = name.rpartition("_")
        label, suffix = (stem, f" {unit.upper() if unit == 'mb' else unit}")
        if unit not in {"s", "mb"}:
            label, suffix = name, ""
        shown = number(value) if isinstance(value, int | float) else str(value)
        parts.append(f"{label.replace('_', ' ')} {shown}{suffix}".replace("|", "\\|"))
    return ", ".join(parts)


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def docs_table(report: Figures) -> str:
    """One row a level, then every claim with its figures."""
    lines = [row("level", "what is guaranteed", "how it is tested", "last run", "commit"),
             "|---|---|---|---|---|"]  # fmt: skip
    for level in LEVELS:
        entries = report["levels"][level.title]
        short = sum(is_short(entry) for entry in entries)
        size = f", {short} of them at the short size" if short else ""
        shown = f"{words(totals(level, entries))} ({len(entries)} claims{size})"
        lines.append(row(f"**{level.title}**", level.promise, level.test, shown, report["commit"]))
    lines += ["", f"Measured {report['date']} on {report['machine']}.", ""]
    lines += ["<details><summary>Every claim</summary>", "", row("level", "claim", "figures"),
              "|---|---|---|"]  # fmt: skip
    for level in LEVELS:
        for entry in report["levels"][level.title]:
            rest = {name: value for name, value in entry.items() if name != "claim"}
            claim = str(entry["claim"]).replace("|", "\\|")
            lines.append(row(level.title, claim, words(rest)))
    return "\n".join([*lines, "", "</details>"])


def readme_table(report: Figures) -> str:
    """What holds, in a few words, and the figures."""
    lines = [row("level", "what holds", "last run"), "|---|---|---|"]
    for level in LEVELS:
        shown = words(totals(level, report["levels"][level.title]))
        lines.append(row(level.title, level.short, shown))
    entries = [entry for found in report["levels"].values() for entry in found]
    where = f"Measured at {report['commit']}, {report['date']}, {report['machine']}."
    if short := sum(is_short(entry) for entry in entries):
        where += f" {short} of {len(entries)} claims were tried at the size of `make test` only."
    return "\n".join([*lines, "", where])


def replaced(text: str, table: str, where: Path) -> str:
    """``text`` with what stands between the markers replaced; exits where they are missing."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        sys.exit(f"ERROR {where} has not one pair of markers {BEGIN} {END}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def tables(root: Path, report: Figures) -> dict[Path, str]:
    """The texts of the documentation with the tables of a report."""
    return {
        path: replaced((root / path).read_text(encoding="utf-8"), table(report), path)
        for path, table in ((DOCS, docs_table), (README, readme_table))
    }


def write(root: Path, run: Path, commit: str) -> None:
    """The report and both tables; all or none."""
    measured, figures = read_run(run)
    if measured["commit"] != commit:
        sys.exit(f"ERROR measured at {measured['commit']}, this is {commit}\n  next: make faults")
    report = {**measured, "levels": by_level(figures)}
    texts = tables(root, report)
    texts[REPORT] = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main() -> None:
    """``begin`` a run's file, or ``write`` what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["begin", "write"])
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    if given.what == "begin":
        given.file.parent.mkdir(parents=True, exist_ok=True)
        given.file.write_text(json.dumps(measured_here()) + "\n", encoding="utf-8")
    else:
        write(ROOT, given.file, git_commit())


if __name__ == "__main__":
    main()
