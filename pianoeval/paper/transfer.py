"""Tables of corpora that nobody rated: what the stage ``transfer`` wrote, beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from pianoeval.compare.places import Place, read_params
from pianoeval.errors import CorruptDataError, MissingAssetError
from pianoeval.paper.found import Found, chosen_options, command
from pianoeval.paper.published import of_dimensions, published
from pianoeval.paper.recipes import Recipe
from pianoeval.paper.sheets import Cell, Sheet
from pianoeval.params_transfer import TransferParams
from pianoeval.transfer.published import MEAN_OF_DIMENSIONS

# What the stage calls the mean of all dimensions, and where one of these has that name already.
OVERALL, OTHERWISE = "overall", "mean_of_all"
# Columns of the files and what they are called here.
_DIFFICULTY = {
    "dimension": "dimension", "rho": "ρ", "low": "low", "high": "high",
    "partial": "ρ given notes/s and tempo", "partial_low": "low ", "partial_high": "high ",
    "pieces": "pieces", "works": "works",
}  # fmt: skip
_PERFORMERS = {
    "dimension": "dimension", "intra_sd": "sd", "low": "low", "high": "high", "rank": "rank",
    "between_sd": "sd between pieces", "share_within": "share of performers",
    "label_noise": "noise of a label", "rated_within_sd": "sd as rated", "places": "places",
    "clips": "clips",
}  # fmt: skip
_FILES = {"difficulty": "difficulty.csv", "performers": "performers.csv", "zero-shot": "shift.csv"}
ROW = "row"


def read_transfer(recipe: Recipe, place: Place) -> Found:
    """The table of a run: one sheet a model.

    Raises
    ------
    MissingAssetError
        The stage has not been run.
    CorruptDataError
        Its file lacks a column.
    """
    corpus, file = recipe.choice.target, _FILES[recipe.kind]
    table = _read(recipe, place, f"reports/{corpus}/{file}")
    known = read_params(place).get("transfer") or {}
    settings = TransferParams.model_validate(
        {key: value for key, value in known.items() if key in TransferParams.model_fields}
    )
    sheets = [
        _sheet(recipe.kind, str(row), part) for row, part in table.groupby(ROW, sort=False)
    ]  # fmt: skip
    source = f"{place.name} ({place.version})" if place.version else f"workspace {place.name}"
    return Found(
        recipe, source, settings.confidence, settings.n_bootstrap, [], [], beside=sheets,
        missing=_missing(recipe, table), notes=_notes(recipe, table),
    )  # fmt: skip


def _read(recipe: Recipe, place: Place, relative: str) -> pd.DataFrame:
    stage = f"transfer@{recipe.choice.target}"
    try:
        path = place.file(relative, stage)
    except MissingAssetError as error:
        raise MissingAssetError(
            error.what, where=error.where, next_step=command(recipe, "--run")
        ) from error
    table = pd.read_csv(path, encoding="utf-8")
    wanted = {"difficulty": _DIFFICULTY, "performers": _PERFORMERS}.get(recipe.kind, {})
    absent = [name for name in (ROW, *wanted) if name not in table.columns]
    if absent:
        raise CorruptDataError(
            f"column{'s' if len(absent) > 1 else ''} {', '.join(absent)} missing",
            where=place.where(relative), next_step=f"dvc repro {stage}",
        )  # fmt: skip
    return table


def _sheet(kind: str, row: str, part: pd.DataFrame) -> Sheet:
    if kind == "zero-shot":
        return _plain(row, part)
    renamed = _DIFFICULTY if kind == "difficulty" else _PERFORMERS
    by = "rho" if kind == "difficulty" else "intra_sd"
    whole = _whole(part)
    answers = whole if kind == "difficulty" else MEAN_OF_DIMENSIONS
    paper = of_dimensions(kind) | {answers: published()[f"{kind}.{OVERALL}"]}
    mean = part["dimension"].isin([whole, MEAN_OF_DIMENSIONS])
    others = part[~mean].sort_values(by, ascending=False, kind="stable")
    ordered = pd.concat([part[mean], others])
    rows: list[tuple[Cell, ...]] = []
    for one in ordered.to_dict("records"):
        name = str(one["dimension"])
        # A control of its own, as note density, stands under names that are no dimension.
        printed = paper[name].value if name in paper and row != "notes" else math.nan
        rows.append((*(_cell(one[column]) for column in renamed), printed))
    about = {"difficulty": "difficulty of the piece", "performers": "spread between performers"}
    return Sheet(_named(kind, row), f"{about[kind]}: {row}", (*renamed.values(), "paper"), rows)


def _whole(table: pd.DataFrame) -> str:
    """What the mean of all dimensions is called."""
    return OTHERWISE if OTHERWISE in set(table["dimension"]) else OVERALL


def _plain(row: str, part: pd.DataFrame) -> Sheet:
    """A file as it stands, but for columns that are empty."""
    columns = [name for name in part.columns if name != ROW and part[name].notna().any()]
    rows = [tuple(_cell(one[name]) for name in columns) for one in part.to_dict("records")]
    return Sheet(_named("shift", row), f"distribution shift: {row}", tuple(columns), rows)


def _named(kind: str, row: str) -> str:
    return f"{kind}-{row.replace('/', '-')}"


def _cell(value: object) -> Cell:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = float(value) if isinstance(value, int | float) else math.nan
    return int(number) if math.isfinite(number) and number == int(number) else number


def _missing(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    there = set(table[ROW])
    wanted: Sequence[str] = recipe.settings["transfer.rows"]
    again = command(recipe, "--run")
    return [f"{row}: not in this run; next: {again}" for row in wanted if row not in there]


def _notes(recipe: Recipe, table: pd.DataFrame) -> list[str]:
    paper = published()
    whole = OVERALL if recipe.kind == "zero-shot" else _whole(table)
    said: Mapping[str, list[str]] = {
        "difficulty": [
            f"The paper: {paper['difficulty.n_pieces'].value:g} pieces, overall ρ = "
            f"{paper['difficulty.overall'].text}.",
            f"'low' and 'high' resample works; '{whole}' is the mean of all dimensions. If notes a "
            "second and tempo leave nothing, the model has found out how many notes there are.",
        ],
        "performers": [
            f"The paper: {paper['performers.n_pieces'].value:g} pieces, "
            f"{paper['performers.n_recordings'].value:g} recordings, sd "
            f"{paper['performers.overall'].text}.",
            f"That is '{MEAN_OF_DIMENSIONS}': the mean of each dimension's sd. '{whole}' is the "
            "sd of the mean prediction, which is smaller unless all dimensions move as one.",
            "'share of performers': how much of the variance of predictions lies within a place; "
            "'sd as rated': what listeners hear between performers, noise taken off.",
        ],
        "zero-shot": [
            f"The paper: {paper['zero_shot.n_recordings'].value:g} recordings, and no number."
        ],
    }  # fmt: skip
    notes = list(said[recipe.kind])
    if table.empty:
        options = " ".join(chosen_options(recipe.choice))
        notes.append(f"The file has no rows: docs/transfer.md says why. {options}".strip())
    return notes
