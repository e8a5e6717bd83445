"""What a table of the paper is made of: views, axes, rows, and which number each row answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pianoeval.ablation.overrides import assign, replace
from pianoeval.errors import ConfigError
from pianoeval.params import ModelName, Params

SIX = ("grand", "general_grand", "studio_b", "upright", "honky_tonk", "worn_out")
SCHEMES = ("segment", "movement")
SYMBOLIC, NOTES, FUSION = "symbolic", "notes", "fusion"
# bfloat16 is twice as fast on many processors and no worse here; it is part of an item's key.
HALVED = ("transkun",)
Kind = Literal["rows", "dimensions", "difficulty", "performers", "zero-shot"]


@dataclass(frozen=True)
class Choice:
    """What the user leaves to the tables or chooses.

    Attributes
    ----------
    audio : tuple of str
        Encoders; the first stands where the paper has MuQ, ``mert`` where it has MERT.
    instruments : tuple of str
        All that soundfonts and ensemble are made of; everything else hears the first.
    head : str
        Model on pooled vectors; empty = the table's own.
    """

    corpus: str = "percepiano"
    audio: tuple[str, ...] = ("transkun",)
    instruments: tuple[str, ...] = SIX
    target: str = "asap"
    head: str = ""


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes
    ----------
    label : str
        As the paper has it, or what we add.
    ours : str
        ``view/model`` of the results; empty where we have none.
    paper : str
        Key of the published number; empty where the paper has none.
    against : str
        Label of the row that it is compared with.
    needs : str
        Why there is none of ours, with the command that makes it.
    parts : tuple of str
        ``view/model`` of several rows whose mean and spread this one shows.
    """

    label: str
    ours: str = ""
    paper: str = ""
    against: str = ""
    needs: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A table: what is run for it, and what stands in it.

    Attributes
    ----------
    where : str
        Table, figure or section of the paper.
    views : dict
        By features and name, as ``views`` of ``params.yaml``; whole blocks.
    settings : dict
        Other parameters, by dotted name; a mapping replaces the block.
    differs : tuple of str
        Where the paper did something else.
    targets : tuple of str
        Stages that are run, with what they need.
    """

    name: str
    title: str
    where: str
    choice: Choice
    rows: tuple[PaperRow, ...]
    views: Mapping[str, Mapping[str, Mapping[str, Any]]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("report",)
    kind: Kind = "rows"

    def overrides(self, data: Mapping[str, Any]) -> list[str]:
        """All that differs from ``params.yaml``, for ``dvc exp run -S``."""
        found = []
        for features, block in self.views.items():
            found += replace(data, f"views.{features}", block)
        for key, value in self.settings.items():
            make = replace if isinstance(value, Mapping) else assign
            found += make(data, key, value)
        return found


class Menu:
    """Views as a table orders them; each is written once, with all models that are asked of it."""

    def __init__(self, params: Params, data: Mapping[str, Any], choice: Choice) -> None:
        self.params, self.data, self.choice = params, data, choice
        self.views: dict[str, dict[str, dict[str, Any]]] = {}
        self.settings: dict[str, Any] = {}
        _check(params, choice)

    @property
    def main(self) -> str:
        """The encoder that stands where the paper has MuQ."""
        return next((name for name in self.choice.audio if name != "mert"), self.choice.audio[0])

    def head(self, own: ModelName) -> str:
        """The model on pooled vectors."""
        return self.choice.head or own

    def view(self, features: str, name: str, model: str, **fields: Any) -> str:
        """``name/model``, after the view was put on the list."""
        block = self.views.setdefault(features, {})
        known = block.setdefault(name, {**fields, "models": []})
        if {**known, "models": 0} != {**fields, "models": 0}:
            raise ValueError(f"view {name} is defined twice")
        averaged = self.params.probe.ensemble if model == "ensemble" else []
        known["models"] += [m for m in (*averaged, model) if m not in known["models"]]
        return f"{name}/{model}"

    def layers(self, encoder: str) -> str:
        """Layers that stand for an encoder: those of the paper, else of its first view."""
        if encoder == "transkun":
            return "4"  # the middle of its blocks; all side by side are 10,752 values
        first = next(iter(self.params.views.get(encoder, {}).values()), None)
        return "all" if first is None else str(first.layers)

    def audio(
        self, encoder: str, model: str, name: str = "mean", *, stats: Sequence[str] = ("mean",),
        **fields: Any,
    ) -> str:  # fmt: skip
        """A view of pooled frames; the first instrument and the encoder's layers by default."""
        chosen = {
            "layers": self.layers(encoder), "stats": list(stats),
            "instruments": [self.choice.instruments[0]],
        }  # fmt: skip
        return self.view(encoder, f"{encoder}-{name}", model, **(chosen | fields))

    def symbolic(self, model: str = "ensemble") -> str:
        """The table of symbolic features."""
        return self.view(SYMBOLIC, SYMBOLIC, model)

    def han(self, which: int = 0) -> str:
        """The note-sequence model, on a view of ``params.yaml``; empty where there is none."""
        views = self.data.get("views", {}).get(NOTES, {})
        if which >= len(views):
            return ""
        name = list(views)[which]
        fields = {key: value for key, value in views[name].items() if key != "models"}
        return self.view(NOTES, name, "han", **fields)

    def renders(self, model: str) -> str:
        """One model on every render of every clip; empty with a single instrument."""
        instruments = list(self.choice.instruments)
        if len(instruments) < 2:
            return ""
        return self.audio(self.main, model, "renders", instruments=instruments, renders="each")

    def fusion(self, name: str, members: Sequence[str], methods: Sequence[str]) -> list[str]:
        """Rows of a fusion view; none where a member is not there."""
        if not all(members) or len(set(members)) < 2:
            return []
        views = self.settings.setdefault("fusion.views", {})
        views[name] = {"members": list(members), "methods": list(methods)}
        return [f"{name}/{method}" for method in methods]

    def recipe(self, name: str, title: str, where: str, rows: Sequence[PaperRow],
               **fields: Any) -> Recipe:  # fmt: skip
        """The table with its axes and with nothing beside it that it does not need."""
        encoders = [e for e in self.views if e in self.params.encoders] or [self.main]
        first = self.choice.instruments[0]
        used = {
            i for v in self.views.values() for one in v.values() for i in one.get("instruments", [])
        }
        settings: dict[str, Any] = {
            "axes.corpus": [self.choice.corpus],
            "axes.instrument": [i for i in self.choice.instruments if i in used or i == first],
            "axes.encoder": encoders,
            "axes.features": list(self.views),
            "folds.schemes": list(SCHEMES),
            "probe.controls.labels": [],
            "probe.learning_curve.percents": [],
            "report.instrument": first,
            "contours.instrument": first,
            "pool.stats": _stats(self.params, self.views),
        }  # fmt: skip
        for encoder in encoders:
            if encoder.removesuffix("_random") in HALVED or encoder.endswith("_random"):
                settings[f"encoders.{encoder}.precision"] = "bfloat16"
        if "fusion.views" not in self.settings and self.data.get("fusion", {}).get("views"):
            settings["fusion.views"] = {}
        for block, beside in (("rank", "rankers"), ("contrast", "heads")):  # they are in no table
            if self.data.get(block, {}).get(beside):
                settings[f"{block}.{beside}"] = {}
        return Recipe(
            name, title, where, self.choice, _once(rows), self.views, settings | self.settings,
            **fields,
        )  # fmt: skip


def mert_needed(menu: Menu, table: str) -> str:
    """Why a row of MERT is not made."""
    return (
        "MERT's weights: pianoeval encoder get mert, then "
        f"pianoeval paper {table} --audio {menu.main} --audio mert --run"
    )


def _once(rows: Sequence[PaperRow]) -> tuple[PaperRow, ...]:
    """Rows without those of ours that would only repeat another one."""
    kept: list[PaperRow] = []
    named = {row.against for row in rows}
    for row in rows:
        again = any(row.ours and row.ours == other.ours for other in kept)
        if row.paper or row.label in named or not again:
            kept.append(row)
    return tuple(kept)


def _stats(params: Params, views: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Statistics that are pooled: those of ``params.yaml``, then what the views read beyond."""
    wanted = [
        stat for block in views.values() for v in block.values() for stat in v.get("stats", [])
    ]
    return list(dict.fromkeys([*params.pool.stats, *wanted]))


def _check(params: Params, choice: Choice) -> None:
    for option, names, known in (
        ("--corpus", (choice.corpus,), params.corpora),
        ("--audio", choice.audio, params.encoders),
        ("--instrument", choice.instruments, params.instruments),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"'{name}' is not known", where=option, allowed=", ".join(known),
                    next_step="choose one of these, or add its block to params.yaml",
                )  # fmt: skip
