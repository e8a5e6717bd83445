"""What the documentation tells to type: DVC and the parameters accept it."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from workspaces import ROOT

from pianoeval.ablation.overrides import apply

DATA: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def printed() -> Iterator[tuple[str, list[str]]]:
    """Page, and the overrides of each ``dvc exp run`` that stands in it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ *dvc exp run .*$", text, re.MULTILINE):
            words = shlex.split(line, comments=True)
            pairs = itertools.pairwise(words)
            yield page.name, [value for flag, value in pairs if flag in ("-S", "--set-param")]


def test_there_are_some() -> None:
    assert {"fusion.md", "han.md", "instruments.md", "transfer.md"} <= {
        page for page, _ in printed()
    }


@pytest.mark.parametrize(("page", "overrides"), list(printed()))
def test_it_is_accepted(page: str, overrides: list[str]) -> None:
    corpora = DATA["corpora"] | {"recitals": {"loader": "folder"}}  # the reader's own
    params, _ = apply(DATA | {"corpora": corpora}, overrides)
    each = "renders=each" in " ".join(overrides)
    assert each == any(v.renders == "each" for b in params.views.values() for v in b.values()), page
