"""A table as it stands: the paper's number, ours, and whether a difference is shown."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pianoeval.ablation.findings import NONE, SAME, verdict
from pianoeval.compare.paired import Comparison
from pianoeval.errors import MissingAssetError
from pianoeval.evaluate.statistics.significance import benjamini_hochberg
from pianoeval.paper.published import Published, published
from pianoeval.paper.reading import Reading, other_views
from pianoeval.paper.recipes import SIX, Choice, PaperRow, Recipe

ABSENT = "not made"


@dataclass(frozen=True)
class Line:
    """One row under one scheme.

    Attributes
    ----------
    value, low, high, sd : float
        Pooled R², the mean over dimensions; ``sd`` where the row is the mean of several.
    against : str
        Label of the row it is compared with.
    difference, ci_low, ci_high, p, q, smallest_p : float
        This row − that one, on the clips of both; q is adjusted over the lines of a scheme.
    n_units, n_units_ahead : int
        Of what the scheme holds out: in how many this row is ahead.
    """

    scheme: str
    label: str
    ours: str
    paper: Published | None
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    sd: float = math.nan
    n_clips: int = 0
    n_clusters: int = 0
    against: str = ""
    difference: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan
    q: float = math.nan
    smallest_p: float = math.nan
    n_units: int = 0
    n_units_ahead: int = 0
    verdict: str = ""


@dataclass(frozen=True)
class Heading:
    """What stands beside all lines of a scheme."""

    scheme: str
    lookup: float
    ceiling: float
    n_clips: int
    n_clusters: int


@dataclass(frozen=True)
class Found:
    """A table of the paper.

    Attributes
    ----------
    source : str
        The run it was read from.
    beside : list
        Tables of other kinds that belong to it, see :mod:`pianoeval.paper.sheets`.
    missing : list of str
        Rows that are not there, each with the command that makes it.
    """

    recipe: Recipe
    source: str
    confidence: float
    n_draws: int
    headings: list[Heading]
    lines: list[Line]
    beside: list[Any] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(recipe: Recipe, reading: Reading) -> Found:
    """The lines of a table from one run.

    Raises
    ------
    MissingAssetError
        None of its rows is in the run.
    """
    there = [row for row in recipe.rows if _is_there(row, reading)]
    if not there:
        raise MissingAssetError(
            f"none of the rows of {recipe.name} is in this run", where=reading.place.name,
            next_step=command(recipe, "--run"),
        )  # fmt: skip
    schemes = [name for name in reading.schemes if name in recipe.settings["folds.schemes"]]
    lines: list[Line] = []
    for scheme in schemes:
        made = [_line(row, scheme, reading) for row in recipe.rows]
        lines += _tested(made, {row.label: row for row in recipe.rows}, scheme, reading)
    notes = [*other_views(reading.params, recipe.views), *_stand_ins(recipe)]
    return Found(
        recipe, source_of(reading), reading.settings.confidence, reading.settings.n_bootstrap,
        [_heading(scheme, lines, reading) for scheme in schemes], lines,
        missing=[_missing(row, recipe, reading) for row in recipe.rows if row not in there],
        notes=notes,
    )  # fmt: skip


def source_of(reading: Reading) -> str:
    """The run as messages name it."""
    place = reading.place
    return f"{place.name} ({place.version})" if place.version else f"workspace {place.name}"


def command(recipe: Recipe, *options: str) -> str:
    """The call of this table, with the options that were chosen."""
    return shlex.join(["pianoeval", "paper", recipe.name, *chosen_options(recipe.choice), *options])


def chosen_options(choice: Choice) -> list[str]:
    """Options that differ from the defaults."""
    default, found = Choice(), []
    for option, value, usual in (
        ("--corpus", choice.corpus, default.corpus), ("--target", choice.target, default.target),
        ("--head", choice.head, default.head),
    ):  # fmt: skip
        if value != usual:
            found += [option, value]
    for option, names, usual_names in (
        ("--audio", choice.audio, default.audio), ("--instrument", choice.instruments, SIX),
    ):  # fmt: skip
        if names != usual_names:
            found += [part for name in names for part in (option, name)]
    return found


def _is_there(row: PaperRow, reading: Reading) -> bool:
    if row.parts:
        return all(reading.has(part) for part in row.parts)
    return bool(row.ours) and reading.has(row.ours)


def _missing(row: PaperRow, recipe: Recipe, reading: Reading) -> str:
    if not row.ours and not row.parts:
        return f"{row.label}: needs {row.needs}"
    absent = next((part for part in row.parts if not reading.has(part)), row.ours)
    return f"{row.label}: this run has no row '{absent}'; next: {command(recipe, '--run')}"


def _stand_ins(recipe: Recipe) -> list[str]:
    """Which encoder stands where the paper has MuQ, and which pianos where it has six."""
    return [*_encoder(recipe), *_pianos(recipe)]


def _pianos(recipe: Recipe) -> list[str]:
    views = [view for block in recipe.views.values() for view in block.values()]
    every: list[str] = next((v["instruments"] for v in views if v.get("renders") == "each"), [])
    if len(every) in (0, len(SIX)):
        return []
    return [f"{' and '.join(every)} stand where the paper has six instruments."]


def _encoder(recipe: Recipe) -> list[str]:
    main = next((name for name in recipe.choice.audio if name != "mert"), recipe.choice.audio[0])
    if main == "muq" or main not in recipe.views:
        return []
    layers = next((v["layers"] for v in recipe.views[main].values() if "layers" in v), "all")
    return [
        f"{main} (layers {layers}) stands where the paper has MuQ: other weights, other layers."
    ]


def _heading(scheme: str, lines: Sequence[Line], reading: Reading) -> Heading:
    sizes = [(one.n_clips, one.n_clusters) for one in lines if one.scheme == scheme and one.n_clips]
    return Heading(
        scheme, reading.lookup(scheme), reading.ceiling(scheme), *max(sizes, default=(0, 0))
    )


def _line(row: PaperRow, scheme: str, reading: Reading) -> Line:
    paper = published()[row.paper] if row.paper else None
    line = Line(
        scheme, row.label, row.ours, paper, verdict="" if _is_there(row, reading) else ABSENT
    )
    if row.parts:
        found = [reading.value(scheme, part) for part in row.parts]
        values = np.array([one.value for one in found])
        if not np.isfinite(values).all():
            return replace(line, verdict=ABSENT)
        n_clips, n_clusters = found[0].n_clips, found[0].n_clusters
        return replace(
            line, ours=f"{len(values)} rows", value=float(values.mean()),
            sd=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
            n_clips=n_clips, n_clusters=n_clusters,
        )  # fmt: skip
    one = reading.value(scheme, row.ours)
    return replace(
        line, value=one.value, low=one.low, high=one.high, n_clips=one.n_clips,
        n_clusters=one.n_clusters,
    )  # fmt: skip


def _tested(
    lines: Sequence[Line], rows: dict[str, PaperRow], scheme: str, reading: Reading
) -> list[Line]:
    """Lines with their differences; q over all that differ under this scheme."""
    done: dict[tuple[str, str], Comparison | None] = {}
    out: list[Line] = []
    for line in lines:
        other = rows.get(rows[line.label].against)
        if other is None or not (math.isfinite(line.value) and reading.has(other.ours)):
            out.append(line)
            continue
        pair = other.ours, line.ours
        if pair[0] != pair[1] and pair not in done:
            done[pair] = reading.compared(scheme, pair)
        out.append(_with(line, other.label, done.get(pair)))
    p = {_pair(line, rows): line.p for line in out if math.isfinite(line.p)}
    q = dict(zip(p, benjamini_hochberg(np.array(list(p.values()))), strict=True)) if p else {}
    for i, line in enumerate(out):
        if math.isfinite(line.p):
            judged = replace(line, q=float(q[_pair(line, rows)]))
            out[i] = replace(judged, verdict=verdict(judged, reading.settings.confidence))
    return out


def _pair(line: Line, rows: Mapping[str, PaperRow]) -> tuple[str, str]:
    """What is compared; two lines may show the same."""
    return rows[rows[line.label].against].ours, line.ours


def _with(line: Line, against: str, found: Comparison | None) -> Line:
    if found is None:
        return line
    if found.same:
        return replace(line, against=against, difference=0.0, verdict=SAME)
    return replace(
        line, against=against, difference=found.difference, ci_low=found.ci_low,
        ci_high=found.ci_high, p=found.p_permutation, smallest_p=found.smallest_p,
        n_units=found.n_units, n_units_ahead=found.n_units_ahead, verdict=NONE,
    )  # fmt: skip
