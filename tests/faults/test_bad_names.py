# ruff: noqa: E501 - payloads read best on a line of their own
"""Hostile names on the page, in Markdown, on the card and on the terminal are text, no more."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from levels import record
from rich.table import Table

from pianoeval.commands.options import console
from pianoeval.errors import BadInputError, printable
from pianoeval.report.html import render
from pianoeval.report.markdown import cell, markdown_table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
from beside_cases import make_full_report
from report_cases import DIMENSIONS

MARK = "document.documentElement.dataset.hacked=1"
PAYLOADS = (
    f"<script>{MARK}</script>", f"</script><script>{MARK}</script>", f'"onmouseover="{MARK}" x="',
    f"'onload='{MARK}", f"<img src=x onerror={MARK}>", f"</title></desc></svg><script>{MARK}</script>",
    f"javascript:{MARK}", f"]]><script>{MARK}</script>", f"<!--<script>{MARK}</script>",
    f"</style><script>{MARK}</script>", f"<svg/onload={MARK}>", "{{ 7*7 }}{% raw %}", "a\u2028b\u2029c",
    "a\u202egpj.exe", "|cell|", "`code`", "[link](javascript:alert(1))", "=1+1", "\x1b[31mred", "[red]x[/red]",
)  # fmt: skip


def hostile(value: Any, names: dict[str, str]) -> Any:
    """A copy in which every name of ``names`` is the hostile one."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, pd.DataFrame):
        return value.map(lambda one: names.get(one, one) if isinstance(one, str) else one)
    if isinstance(value, dict):
        return {hostile(k, names): hostile(v, names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hostile(one, names) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: hostile(getattr(value, f.name), names) for f in fields(value)}
        )
    return value


def hostile_report() -> tuple[Any, Any]:
    """A report, and the same with hostile names of dimensions, clips, players, views, pieces."""
    good = make_full_report(n_clips=60)
    assert good.manifest is not None
    known = [*DIMENSIONS, *(end for ends in DIMENSIONS.values() for end in ends)]
    for column in ("clip", "player", "movement", "segment", "content_group"):
        known += sorted(set(good.manifest[column]))[:8]
    known += ["transkun-4", "ensemble"]
    names = {
        name: f"{PAYLOADS[i % len(PAYLOADS)]} {i}" for i, name in enumerate(dict.fromkeys(known))
    }
    bad = hostile(good, names)
    told = {
        "notes": list(PAYLOADS),
        "quarantined": {p: p for p in PAYLOADS},
        "skipped": {p: p for p in PAYLOADS},
    }
    return good, replace(bad, summary={**bad.summary, **told})


@pytest.fixture(scope="module")
def pages() -> tuple[str, str]:
    good, bad = hostile_report()
    return render([good]), render([bad])


class Structure(HTMLParser):
    """Tags, attributes and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {
            str(v) for name, v in attrs if name in ("href", "src", "action", "xlink:href")
        }


def test_hostile_names_add_no_element_attribute_or_address(pages: tuple[str, str]) -> None:
    good, bad = (Structure(page) for page in pages)
    assert bad.tags["script"] == good.tags["script"] == 1
    assert bad.tags["style"] == 1
    assert set(bad.tags) <= set(good.tags)
    assert not [name for name in bad.attributes if name.startswith("on")]
    assert bad.attributes <= good.attributes
    assert not [a for a in bad.addresses if not re.match(r"#|data:|[\w%.-]+/results\.csv$", a)]
    assert MARK in pages[1], "the names are not on the page at all"
    assert f"<script>{MARK}" not in pages[1]
    assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|(?<!\d)49(?=\{% raw)", pages[1])


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on PATH")
def test_no_script_of_a_name_runs(pages: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(pages[1], encoding="utf-8")
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert "<table" in done.stdout
    assert "data-hacked" not in done.stdout.split("<body", 1)[0]
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    record(
        "bad input", "hostile names on the page, in a browser", names=len(PAYLOADS), scripts_run=0
    )


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_cell_of_markdown_is_one_cell(name: str) -> None:
    shown = cell(name)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert not re.search(r"(?<!\\)[|<>`\[\]]", shown)


def test_a_table_of_hostile_models_has_its_columns() -> None:
    report = make_full_report(n_clips=60)
    names = {"transkun-4": "a|b<script>", "ridge": "`x`|\x1b[31m"}
    table = markdown_table(hostile(report.results, names))
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
    assert len(widths) == 1
    assert "\x1b" not in table


@pytest.mark.parametrize(
    "name", ["\x1b[31m", "\x07", "\x9b31m", "\u202e", "\r", "a\u2028b", "\udcff"]
)
def test_messages_never_obey_a_name(name: str) -> None:
    error = BadInputError(f"bad {name}", where=f"{name}/x\ny", allowed=name, next_step=name)
    shown = str(error)
    assert name not in shown
    assert printable(name) in shown
    assert shown.count("\n") == 1, "a name cannot add a line"
    shown.encode("utf-8")


def test_markup_of_a_terminal_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name")
    table.add_row("[red]x[/red] [link=http://example.com]y[/link]")
    console(80).print(table)
    assert "[red]x[/red]" in capsys.readouterr().out
