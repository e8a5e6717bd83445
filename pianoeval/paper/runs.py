"""A table as one DVC experiment, or as parameters of a workspace of its own; and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pianoeval.ablation.experiments import Experiment, experiments
from pianoeval.ablation.grids import Grid, Point, Target
from pianoeval.ablation.overrides import apply
from pianoeval.compare.places import open_place
from pianoeval.errors import ConfigError, MissingAssetError
from pianoeval.paper import show
from pianoeval.paper.figures import Mark, dots
from pianoeval.paper.found import Found, command, find
from pianoeval.paper.reading import Reading
from pianoeval.paper.recipes import Recipe
from pianoeval.paper.sheets import Sheet, errors, gains, over_clips
from pianoeval.paper.transfer import read_transfer
from pianoeval.params import Params, ViewParams
from pianoeval.plan import UNKNOWN_SIZE, make_plan


@dataclass(frozen=True)
class Cost:
    """What has to be computed for a table.

    Attributes
    ----------
    items : int
        Clips that have to be rendered or encoded.
    seconds : float
        About how long that takes.
    views, fits : int
        Views, and models that are trained on folds of them (fewer, where they are items already).
    stages : list of str
        The stages that compute clips, with how many.
    unknown : list of str
        Corpora that have not been ingested, so that nobody knows how many clips they have.
    """

    items: int
    seconds: float
    views: int
    fits: int
    stages: list[str]
    unknown: list[str] = field(default_factory=list)

    @property
    def encodes(self) -> bool:
        """Whether clips are rendered or encoded, as far as can be told."""
        return bool(self.items or self.unknown)

    @property
    def text(self) -> str:
        """One line."""
        encode, hours = "nothing is encoded", self.seconds / 3600
        if self.items:
            about = f"{hours:.1f} h" if hours > 1.5 else f"{60 * hours:.0f} min"
            encode = f"{self.items:,} items to render or encode, about {about}"
            encode += f" ({', '.join(self.stages)})"
        if self.unknown:
            more = f"all clips of {', '.join(self.unknown)}, how many only ingest tells"
            encode = f"{encode}, and {more}" if self.items else f"{more}, are rendered and encoded"
        return f"{encode}; {self.views} views, up to {self.fits} fits of a model"


def experiment_of(
    recipe: Recipe, data: Mapping[str, Any], root: Path, extra: Sequence[str] = ()
) -> Experiment:
    """The experiment of a table; ``extra`` are overrides of the user, applied last.

    Raises
    ------
    ConfigError
        The parameters do not accept it, or this is no git repository.
    """
    point = Point(recipe.name, (*recipe.overrides(data), *extra), "")
    target = Target(recipe.choice.corpus, "", "", "ridge")
    grid = Grid("paper", target, (point,), recipe.name)
    (found,) = experiments(grid, data, root, recipe.targets)
    return found


def params_text(
    recipes: Sequence[Recipe], data: Mapping[str, Any], extra: Sequence[str] = ()
) -> str:
    """``params.yaml`` of a workspace of its own, for one table or for several at once.

    Raises
    ------
    ConfigError
        Two tables want other values for one parameter.
    """
    merged = dict(merge(recipes))
    views = merged.pop("views")
    one = Recipe("all", "", "", recipes[0].choice, (), views, merged)
    _, chosen = apply(data, [*one.overrides(data), *extra])
    return yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True)


def merge(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """Views and settings of several tables as one; lists are joined.

    Raises
    ------
    ConfigError
        Two tables want other values for one parameter.
    """
    views: dict[str, dict[str, dict[str, Any]]] = {}
    settings: dict[str, Any] = {}
    for recipe in recipes:
        for features, block in recipe.views.items():
            for name, fields in block.items():
                own = views.setdefault(features, {}).setdefault(name, {**fields, "models": []})
                own["models"] = _joined(own["models"], fields["models"])
                _same(f"views.{features}.{name}", own | {"models": 0}, {**fields, "models": 0})
        for key, value in recipe.settings.items():
            known = settings.get(key, value)
            if isinstance(value, list):
                settings[key] = _joined(known, value)
            elif isinstance(value, Mapping):
                settings[key] = {**known, **value}
            else:
                _same(key, known, value)
                settings[key] = value
    return settings | {"views": views}


def _joined(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys([*one, *other]))


def _same(key: str, one: Any, other: Any) -> None:
    if one != other:
        raise ConfigError(
            f"two tables want other values: {one} and {other}", where=key,
            next_step="make one table at a time: pianoeval paper TABLE --params",
        )  # fmt: skip


def cost(recipe: Recipe, data: Mapping[str, Any], extra: Sequence[str] = ()) -> Cost:
    """What is missing for a table, as the plan counts it."""
    params, _ = apply(data, [*recipe.overrides(data), *extra])
    planned = [row for row in make_plan(params) if not row.stage.startswith("contours")]
    rows = [row for row in planned if row.missing]
    asked = [*params.axes.corpus, *params.axes.target]
    unknown = [
        name for name in asked
        if any(row.stage == f"render@{name}-{i}" and row.note == UNKNOWN_SIZE
               for row in planned for i in params.axes.instrument)
    ]  # fmt: skip
    stages = [f"{row.stage}: {row.missing:,}{f' ({row.note})' if row.note else ''}" for row in rows]
    views = [view for name in params.axes.features for view in params.views.get(name, {}).values()]
    return Cost(
        sum(row.missing for row in rows), sum(row.estimate_s for row in rows), len(views),
        _fits(params), stages, unknown,
    )  # fmt: skip


def _fits(params: Params) -> int:
    folds = params.folds.n_folds * len(params.folds.schemes)
    blocks = [params.views.get(name, {}).values() for name in params.axes.features]
    fused = params.fusion.views.values()
    # Weights are learned from members that were trained once more on each inner fold.
    nested = {m for view in fused if view.methods != ["average"] for m in view.members}
    own = sum(len(view.models) * _times(view, params) for block in blocks for view in block)
    return folds * (own + len(nested) * params.probe.ridge.inner_folds)


def _times(view: ViewParams, params: Params) -> int:
    """Trainings a model: with every render also without each instrument, and on each alone."""
    if view.renders == "average":
        return 1
    return 1 + 2 * len(view.instruments or params.axes.instrument)


@contextmanager
def opened(name: str) -> Iterator[Any]:
    """A workspace or the revision of an experiment."""
    with open_place(name) as place:
        yield place


def make_table(recipe: Recipe, source: str) -> Found:
    """The table of a run that is there.

    Parameters
    ----------
    source : str
        Folder of a workspace, or name of an experiment.

    Raises
    ------
    MissingAssetError
        The run lacks what the table is read from; the message has the command that makes it.
    """
    with opened(source) as place:
        if recipe.kind in ("difficulty", "performers", "zero-shot"):
            return read_transfer(recipe, place)
        try:
            reading = Reading(place, recipe.choice.corpus)
        except MissingAssetError as error:
            raise MissingAssetError(
                error.what, where=error.where, next_step=command(recipe, "--run")
            ) from error
        found = find(recipe, reading)
        schemes = [heading.scheme for heading in found.headings]
        if recipe.name == "table1":
            found.beside.extend(over_clips(recipe, reading, schemes))
        if recipe.name == "fusion":
            found.beside.extend(errors(recipe, reading, schemes))
        if recipe.kind == "dimensions":
            found.beside.extend(gains(recipe, reading, schemes))
        return found


def figures_of(found: Found) -> dict[str, str]:
    """Figures 3 and 4, where the table has what they show, by file name."""
    out = {}
    for sheet in found.beside:
        if sheet.name.startswith("category"):
            for scheme in dict.fromkeys(str(row[0]) for row in sheet.rows):
                name = f"figure3-{sheet.name.partition('-')[2]}-{scheme}"
                out[f"{name}.svg"] = _categories(name, sheet, scheme)
        kind, _, row = sheet.name.partition("-")
        if kind == "difficulty" and len(sheet.rows) > 2:
            out[f"figure4-{row}.svg"] = _difficulty(f"figure4-{row}", sheet)
    return out


def _categories(name: str, sheet: Sheet, scheme: str) -> str:
    rows = [
        (str(row[1]), [Mark("audio", float(row[2])), Mark("symbolic", float(row[3]))])
        for row in sheet.rows if row[0] == scheme
    ]  # fmt: skip
    _, _, pair = sheet.title.partition("gain of ")
    one, _, other = pair.removesuffix(" by category").partition(" over ")
    return dots(
        name, f"R² by category, {scheme} folds", "pooled R²", rows,
        [("audio", one), ("symbolic", other)],
    )  # fmt: skip


def _difficulty(name: str, sheet: Sheet) -> str:
    at = {name: sheet.columns.index(name) for name in ("dimension", "ρ", "low", "high", "paper")}
    rows = []
    for row in sheet.rows:
        value, low, high, paper = (float(row[at[name]]) for name in ("ρ", "low", "high", "paper"))
        marks = [Mark("audio", value, low, high), Mark("control", paper)]
        rows.append((str(row[at["dimension"]]), marks))
    return dots(
        name, "Correlation with the difficulty of the piece", "Spearman's ρ", rows,
        [("audio", "ours"), ("control", "the paper's, PSyllabus")],
    )  # fmt: skip


def files_of(found: Found) -> dict[str, str]:
    """All that ``--out`` writes."""
    return show.files(found) | figures_of(found)
