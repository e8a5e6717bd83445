"""Fusions on the page: how alike the errors of their members are, and what the weights came to."""

from __future__ import annotations

from dataclasses import dataclass

from pianoeval.report import words
from pianoeval.report.data import CorpusReport
from pianoeval.report.diagnostics import HeatRows, correlation_rows
from pianoeval.report.extras import floats, mapping, part, records


@dataclass(frozen=True)
class FusionTable:
    """One fusion view under one scheme.

    Attributes
    ----------
    view : str
    members : str
        In words.
    errors : HeatRows or None
        Error correlation of members and methods.
    weights : list of (method, member, mean, from least to most)
    folds : int
    """

    view: str
    members: str
    errors: HeatRows | None
    weights: list[tuple[str, str, str, str]]
    folds: int


def fusion_tables(report: CorpusReport, scheme: str) -> list[FusionTable]:
    """A table for each fusion view that predicted something under the scheme."""
    blocks = mapping(part(report.beside.diagnostics, scheme, "fusions"))
    found = records(mapping(report.beside.diagnostics).get("fusion_weights"))
    tables = []
    for view, block in blocks.items():
        models = [str(model) for model in mapping(block).get("models") or []]
        count = mapping(block).get("members")
        members = models[: count if isinstance(count, int) else len(models)]
        here = [r for r in found if (r.get("view"), r.get("scheme")) == (view, scheme)]
        # Equal shares need no table.
        learned = [r for r in here if r.get("model") != "average"]
        weights = []
        for row in learned:
            mean, low, high = floats([row.get(key) for key in ("mean", "low", "high")])
            spread = words.interval(low, high)
            name = str(row.get("member"))
            method = words.plain(str(row.get("model")))
            weights.append((method, words.named(name), words.number(mean), spread))
        folds = learned[0].get("folds") if learned else 0
        tables.append(
            FusionTable(
                str(view), words.joined([words.named(m) for m in members]),
                correlation_rows(block), weights, folds if isinstance(folds, int) else 0,
            )
        )  # fmt: skip
    return tables
