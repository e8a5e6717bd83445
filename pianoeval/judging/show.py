"""Predictions as tables, JSON and CSV; each says beside a number what is known about it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from pianoeval.judging.scoring import Judged
from pianoeval.report import words
from pianoeval.training.export import ExportedRidge

_FILES_A_TABLE = 4
_KNOWN = ("r2", "r2_low", "r2_high", "ceiling", "baseline", "mae")
_CSV = ("file", "dimension", "prediction", "inside", "distance", "beyond_labels", *_KNOWN, "notes")


def _value(one: Judged, column: int, abstain: bool) -> float | None:
    if abstain and not one.notes.inside:
        return None
    return float(one.values[column])


def heading(model: ExportedRidge) -> list[str]:
    """Which model, and what cross-validation said of its recipe."""
    config, known = model.config, model.config["quality"]
    mean = known["mean"]
    lines = [f"{config['name']}: {len(model.dimensions)} dimensions of the task {config['task']},"
             f" learned from {config['corpus']['clips']} clips of"
             f" {config['corpus']['name']}"]  # fmt: skip
    if known["simulated"]:
        lines.append("Its labels are simulated: it has heard no human pianist.")
    low, high = words.number(mean["r2_low"]), words.number(mean["r2_high"])
    interval = f" ({low} to {high})" if mean["r2_low"] is not None else ""
    lines.append(
        f"Out of fold, {words.scheme_name(known['scheme'])} ({known['meaning']}):"
        f" mean R² {words.number(mean['r2'])}{interval}, a ceiling of"
        f" {words.number(mean['ceiling'])}, {words.number(mean['baseline'])} without listening."
    )
    return lines


def as_tables(model: ExportedRidge, judged: Sequence[Judged], abstain: bool) -> Iterator[Table]:
    """Dimensions by files, a few files a table, and what is known of each dimension."""
    dimensions = model.config["dimensions"]
    for begin in range(0, len(judged), _FILES_A_TABLE):
        part = judged[begin : begin + _FILES_A_TABLE]
        table = Table(box=None, header_style="bold")
        table.add_column("dimension", overflow="fold")
        table.add_column("low … high", overflow="fold")
        for one in part:
            mark = "" if one.notes.inside else " ✗"
            name = one.recording.name + mark
            table.add_column(name, justify="right", overflow="fold")
        for heading_ in ("±", "R²", "ceiling"):
            table.add_column(heading_, justify="right")
        for column, entry in enumerate(dimensions):
            known = _known(model, str(entry["name"]))
            poles = f"{entry['low_pole'] or '?'} … {entry['high_pole'] or '?'}"
            cells = [_cell(one, column, str(entry["name"]), abstain) for one in part]
            table.add_row(
                words.plain(str(entry["name"])), poles, *cells,
                words.number(known["mae"], 2), words.number(known["r2"], 2),
                words.number(known["ceiling"], 2),
            )  # fmt: skip
        yield table


def _cell(one: Judged, column: int, name: str, abstain: bool) -> str:
    return words.number(_value(one, column, abstain)) + ("!" if name in one.notes.beyond else " ")


def remarks(
    model: ExportedRidge, judged: Sequence[Judged], failed: Mapping[str, str]
) -> Iterator[str]:
    """What the marks mean, notes on single files, and what the model must not be used for."""
    yield (
        "± mean absolute error, R² and ceiling: of the same recipe on clips held out, not of this"
        " model on these files"
    )
    if any(one.notes.beyond for one in judged):
        yield "! outside the range of the labels"
    if any(not one.notes.inside for one in judged):
        yield "✗ unlike every training clip: take these numbers for nothing, or use --abstain"
    texts: dict[str, list[str]] = {}
    for one in judged:
        for text in one.notes.texts:
            texts.setdefault(text, []).append(one.recording.name)
    for text, names in texts.items():
        every = len(names) == len(judged) > 1
        yield f"{'all files' if every else ', '.join(names)}: {text}"
    if failed:
        yield f"{len(failed)} of {len(failed) + len(judged)} files could not be judged"
    yield str(model.config["quality"]["warning"])


def _known(model: ExportedRidge, name: str) -> dict[str, float | None]:
    found = model.config["quality"]["dimensions"].get(name, {})
    return {key: found.get(key) for key in _KNOWN}


def as_json(
    model: ExportedRidge, judged: Sequence[Judged], failed: Mapping[str, str], abstain: bool
) -> str:
    """Everything, with missing numbers as null."""
    config = model.config
    files = [
        {
            "file": one.recording.name, "kind": one.recording.kind,
            "duration_s": round(one.recording.duration_s, 3),
            "inside": one.notes.inside, "distance": round(one.notes.distance, 4),
            "beyond_labels": one.notes.beyond, "notes": one.notes.texts,
            "predictions": {
                name: _value(one, column, abstain) for column, name in enumerate(model.dimensions)
            },
        }
        for one in judged
    ]  # fmt: skip
    told: dict[str, Any] = {
        "model": {key: config[key] for key in ("name", "view", "model", "task", "commit")},
        "dimensions": config["dimensions"],
        "quality": config["quality"],
        "files": files,
        "failed": dict(failed),
    }
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)


def as_csv(model: ExportedRidge, judged: Sequence[Judged], abstain: bool) -> str:
    """One row a file and dimension."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, lineterminator="\n")
    writer.writeheader()
    for one in judged:
        for column, name in enumerate(model.dimensions):
            writer.writerow(
                {
                    "file": one.recording.name, "dimension": name,
                    "prediction": _value(one, column, abstain), "inside": one.notes.inside,
                    "distance": round(one.notes.distance, 4),
                    "beyond_labels": name in one.notes.beyond, **_known(model, name),
                    "notes": "; ".join(one.notes.texts),
                }
            )  # fmt: skip
    return text.getvalue()
