"""The tables of the paper, and those that we add: which rows stand in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pianoeval.errors import ConfigError
from pianoeval.paper import words
from pianoeval.paper.ablated import losses, pooling, table2
from pianoeval.paper.beyond import beyond
from pianoeval.paper.recipes import Choice, Menu, PaperRow, Recipe, mert_needed
from pianoeval.params import Params

# Rows that another row is compared with.
HAN, MUQ = "Symbolic (HAN)", "MuQ L9–12"
RIDGE = "MuQ L9–12, ridge"


def _needs_han() -> str:
    return "a view of notes in params.yaml (views.notes) with the model 'han'"


def _renders_need(menu: Menu, table: str) -> str:
    first, *others = menu.choice.instruments
    if others:
        return ""
    return f"several instruments: pianoeval paper {table} --instrument {first} --instrument … --run"


def table1(menu: Menu) -> Recipe:
    """Models, as the paper trained them: a two-layer perceptron on the mean of all frames."""
    head, name = menu.head("mlp"), "table1"
    han, plain = menu.han(), menu.symbolic()
    audio = menu.audio(menu.main, head)
    mert = menu.audio("mert", head) if "mert" in menu.choice.audio else ""
    others = [e for e in menu.choice.audio if e not in (menu.main, "mert")]
    light = menu.head("ridge")  # a model on every render is trained once more for each instrument
    ensemble = menu.renders(light)
    methods = ["average", "weighted", "stacked"]
    fused = menu.fusion("fusion-audio-symbolic", [audio, plain], methods)
    gated = menu.fusion("fusion-audio-audio", [audio, mert], ["gated"])
    rows = [
        PaperRow("Symbolic (published)", han, "table1.symbolic_published", needs=_needs_han()),
        PaperRow(HAN, han, "table1.symbolic", needs=_needs_han()),
        PaperRow("MERT L7–12", mert, "table1.mert", HAN, needs=mert_needed(menu, name)),
        PaperRow(MUQ, audio, "table1.muq", HAN),
        PaperRow(RIDGE, menu.audio(menu.main, light), "", MUQ if light != head else HAN),
        PaperRow("MuQ + six instruments", ensemble, "table1.ensemble", RIDGE,
                 _renders_need(menu, name)),
        PaperRow("MuQ + symbolic, weighted", fused[1], "table1.fusion", MUQ),
        PaperRow("MuQ + MERT, gated", gated[0] if gated else "", "table1.gated", MUQ,
                 mert_needed(menu, name)),
        PaperRow("HAN without the score", menu.han(1), against=HAN, needs=_needs_han()),
        PaperRow("symbolic features, three models", plain, against=MUQ),
        PaperRow("MuQ + symbolic, average", fused[0], against=MUQ),
        PaperRow("MuQ + symbolic, stacked", fused[2], against=MUQ),
        *(PaperRow(other, menu.audio(other, head), against=MUQ) for other in others),
    ]  # fmt: skip
    return menu.recipe(name, "models", "Table 1", rows, differs=words.GENERAL + words.TABLE1)


def soundfonts(menu: Menu) -> Recipe:
    """Training on renders of several instruments, and testing on one that was not among them."""
    head = menu.head("ridge")
    single, every = menu.audio(menu.main, head), menu.renders(head)
    if not every:
        raise ConfigError(
            "soundfonts compares instruments, and there is one", where="--instrument",
            next_step="pianoeval paper soundfonts   (or two or more --instrument NAME)",
        )  # fmt: skip
    view, _, model = every.partition("/")

    def made(kind: str) -> list[str]:
        return [f"{view}:{kind}_{name}/{model}" for name in menu.choice.instruments]

    first = menu.choice.instruments[0]
    rows = [
        PaperRow(f"one instrument ({first})", single, "table1.muq"),
        PaperRow("all instruments", every, "table1.ensemble", f"one instrument ({first})"),
        PaperRow(
            "trained on the others, mean", "", "soundfonts.without", parts=tuple(made("without"))
        ),
        PaperRow("trained on all, mean", parts=tuple(made("on"))),
        PaperRow("trained on itself alone, mean", parts=tuple(made("only"))),
    ]
    for name, on, without, only in zip(
        menu.choice.instruments, made("on"), made("without"), made("only"), strict=True
    ):
        rows += [
            PaperRow(f"{name}, trained on all", on),
            PaperRow(f"{name}, trained on the others", without, against=f"{name}, trained on all"),
            PaperRow(f"{name}, trained on itself", only, against=f"{name}, trained on all"),
        ]
    return menu.recipe(
        "soundfonts", "instruments", "sections 3.4 and 5.1", rows,
        differs=words.GENERAL + words.SOUNDFONTS,
    )  # fmt: skip


def fusion(menu: Menu) -> Recipe:
    """Audio and symbolic models read as one; how alike their errors are."""
    head = menu.head("ridge")
    audio, han, plain = menu.audio(menu.main, head), menu.han(), menu.symbolic()
    symbolic_ridge = menu.symbolic("ridge")
    methods = ["average", "weighted", "stacked"]
    with_han = menu.fusion("fusion-audio-han", [audio, han], [*methods, "gated"])
    with_plain = menu.fusion("fusion-audio-symbolic", [audio, plain], methods)
    gated = menu.fusion("fusion-gated", [audio, symbolic_ridge], ["gated"])
    three = menu.fusion("fusion-three", [audio, plain, han], methods)
    rows = [
        PaperRow("audio (MuQ)", audio, "table1.muq", HAN),
        PaperRow(HAN, han, "table1.symbolic", needs=_needs_han()),
        PaperRow("symbolic features", plain, against="audio (MuQ)"),
    ]
    for label, found in (("audio + HAN", with_han), ("audio + symbolic", [*with_plain, *gated]),
                         ("audio + symbolic + HAN", three)):  # fmt: skip
        for row in found:
            method = row.partition("/")[2]
            paper = "table1.fusion" if (label, method) == ("audio + HAN", "weighted") else ""
            against = "audio (MuQ)" if label == "audio + HAN" else "symbolic features"
            rows.append(PaperRow(f"{label}, {method}", row, paper, against))
    if not with_han:
        rows.append(
            PaperRow("audio + HAN, weighted", "", "table1.fusion", needs=_needs_han())
        )  # fmt: skip
    return menu.recipe(
        "fusion", "fusion", "Table 1, sections 4.4 and 6.2", rows,
        differs=words.GENERAL + words.FUSION,
    )  # fmt: skip


def dimensions(menu: Menu) -> Recipe:
    """Audio against symbolic, a dimension at a time and by category."""
    audio, han, plain = menu.audio(menu.main, menu.head("mlp")), menu.han(), menu.symbolic()
    rows = [
        PaperRow("audio (MuQ)", audio, "dimensions.audio_mean", HAN),
        PaperRow(HAN, han, "dimensions.symbolic_mean", needs=_needs_han()),
        PaperRow("symbolic features", plain, against="audio (MuQ)"),
    ]
    return menu.recipe(
        "dimensions", "dimensions", "section 4.5, figure 3", rows,
        differs=words.GENERAL + words.DIMENSIONS, kind="dimensions",
    )  # fmt: skip


def _transfer(menu: Menu, name: Any, title: str, where: str, differs: tuple[str, ...]) -> Recipe:
    """Models of the corpus applied to one that nobody rated."""
    target = menu.choice.target
    if target not in menu.params.corpora:
        raise ConfigError(
            f"'{target}' is not known", where="--target", allowed=", ".join(menu.params.corpora),
            next_step="choose one of these, or add its block to params.yaml",
        )  # fmt: skip
    rows = [menu.audio(menu.main, menu.head("ridge")), menu.symbolic()]
    menu.settings |= {
        "axes.target": [target], "transfer.source": menu.choice.corpus, "transfer.rows": rows,
    }  # fmt: skip
    return menu.recipe(
        name, title, where, (), differs=differs, kind=name, targets=(f"transfer@{target}",)
    )


def difficulty(menu: Menu) -> Recipe:
    """Predictions against the difficulty of the piece."""
    return _transfer(menu, "difficulty", "difficulty", "section 5.2, figure 4", words.DIFFICULTY)


def performers(menu: Menu) -> Recipe:
    """How far predictions differ between performers of one piece."""
    return _transfer(menu, "performers", "performers", "section 5.3", words.PERFORMERS)


def zero_shot(menu: Menu) -> Recipe:
    """How far recordings that nobody rated are from what was trained on."""
    return _transfer(menu, "zero-shot", "zero-shot", "section 5.4", words.ZERO_SHOT)


TABLES: dict[str, Callable[[Menu], Recipe]] = {
    "table1": table1, "table2": table2, "pooling": pooling, "losses": losses,
    "soundfonts": soundfonts, "fusion": fusion, "dimensions": dimensions,
    "difficulty": difficulty, "performers": performers, "zero-shot": zero_shot,
    "beyond": beyond,
}  # fmt: skip


def recipe_of(name: str, params: Params, data: Mapping[str, Any], choice: Choice) -> Recipe:
    """A table by its name; raises ConfigError where there is none, or a choice is not known."""
    if name not in TABLES:
        raise ConfigError(
            f"there is no table '{name}'", where="pianoeval paper", allowed=", ".join(TABLES),
            next_step="pianoeval paper table1",
        )  # fmt: skip
    return TABLES[name](Menu(params, data, choice))
