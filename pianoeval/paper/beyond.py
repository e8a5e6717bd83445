"""Rows beyond the paper: audio beside the audio of its score, and everything stacked.

A fusion view of ``params.yaml`` whose name begins with ``fusion-beyond`` is the recipe: its members
are rows, with their views as they stand there, and so are its methods. Without one, there are a
stack of the views that these tables already know, and the kernel of docs/beyond.md. Views whose
names begin with ``beyond`` are rows too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pianoeval.errors import ConfigError
from pianoeval.paper import words
from pianoeval.paper.recipes import SYMBOLIC, Menu, PaperRow, Recipe

RECIPE, VIEWS = "fusion-beyond", "beyond"
PLAIN = "symbolic features"


def beyond(menu: Menu) -> Recipe:
    """Score-referenced audio, and stacking."""
    views: Mapping[str, Any] = (menu.data.get("fusion") or {}).get("views") or {}
    named = {name: block for name, block in views.items() if name.startswith(RECIPE)}
    rows = _given(menu, named) if named else _own(menu)
    rows += _views(menu, {row.ours for row in rows})
    return menu.recipe("beyond", "beyond the paper", "no row", rows, differs=words.BEYOND)


def _own(menu: Menu) -> list[PaperRow]:
    """Symbolic features, audio, and audio beside that of its score; then stacked."""
    main, head = menu.main, menu.head("ensemble")
    plain, audio = menu.symbolic(), menu.audio(main, head)
    beside = menu.audio(main, head, "referenced", blocks=["own", "difference"])
    alone = menu.audio(main, head, "difference", blocks=["difference"])
    fused = menu.fusion(RECIPE, [plain, audio, beside], ["average", "stacked"])
    return [
        PaperRow(PLAIN, plain),
        PaperRow("audio", audio, against=PLAIN),
        PaperRow("audio and its difference from the score", beside, against="audio"),
        PaperRow("the difference alone", alone, against="audio"),
        *(PaperRow(f"all, {row.partition('/')[2]}", row, against=PLAIN) for row in fused),
        *(PaperRow("kernel on four views", row, against=PLAIN) for row in _kernel(menu)),
    ]


def _kernel(menu: Menu) -> list[str]:
    """Features and audio, each beside its score, in one kernel."""
    main = menu.main
    heard: dict[str, Any] = {"stats": ["mean", "std"], "instruments": [menu.choice.instruments[0]]}
    layers = "4,5" if main == "transkun" else menu.layers(main)
    members = [
        menu.symbolic("ridge"),
        menu.view(SYMBOLIC, "symbolic-score", "ridge", blocks=["difference", "score"]),
        menu.view(main, f"{main}-score", "ridge", layers=layers, level=False,
                  blocks=["own", "difference"], **heard),
        menu.view("mel", "mel-kernel", "ridge", layers="all", **heard),
    ]  # fmt: skip
    return menu.fusion(f"{RECIPE}-kernel", members, ["kernel"])


def _given(menu: Menu, named: Mapping[str, Any]) -> list[PaperRow]:
    """Members and methods of the fusion views of ``params.yaml``."""
    rows = [PaperRow(PLAIN, menu.symbolic())]
    for name, block in named.items():
        members = [_listed(menu, name, str(member)) for member in block["members"]]
        rows += [PaperRow(row, row, against=PLAIN) for row in members]
        fused = menu.fusion(name, members, block["methods"])
        rows += [PaperRow(row, row, against=PLAIN) for row in fused]
    return list({row.label: row for row in rows}.values())


def _views(menu: Menu, there: set[str]) -> list[PaperRow]:
    """Views of ``params.yaml`` whose names begin with ``beyond``, with all their models."""
    rows = []
    for block in menu.data.get("views", {}).values():
        for name in [name for name in block if name.startswith(VIEWS)]:
            made = [f"{name}/{model}" for model in block[name]["models"]]
            rows += [_listed(menu, name, row) for row in made if row not in there]
    return [PaperRow(row, row, against=PLAIN) for row in rows]


def _listed(menu: Menu, name: str, member: str) -> str:
    """A member, after its view was put on the list as ``params.yaml`` has it."""
    view, _, model = member.partition("/")
    for features, block in menu.data.get("views", {}).items():
        if view in block:
            fields = {key: value for key, value in block[view].items() if key != "models"}
            if features in menu.params.encoders and not fields.get("instruments"):
                fields["instruments"] = [menu.choice.instruments[0]]
            return menu.view(features, view, model, **fields)
    raise ConfigError(
        f"'{member}' is no view of params.yaml", where=f"fusion.views.{name}",
        next_step="name its members as they stand below views",
    )  # fmt: skip
