"""How well the pitch contours agree with the MIDI: a small table of the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from pianoeval.report import words
from pianoeval.report.data import CorpusReport

_HEADS = {
    "raw_pitch_accuracy": "right pitch",
    "raw_chroma_accuracy": "right but for octaves",
    "pitch_accuracy_where_voiced": "right where both are voiced",
    "voicing_recall": "voiced, found",
    "voicing_false_alarm": "silent, called voiced",
    "overall_accuracy": "right of all frames",
    "deviation_cents": "deviation, cents",
}
_CENTS = "deviation_cents"


@dataclass(frozen=True)
class ContourTable:
    """Rows of instruments: name, number of clips, and (value, interval) under each head."""

    heads: list[str]
    rows: list[tuple[str, str, list[tuple[str, str]]]]
    unknown: str


def contour_table(report: CorpusReport) -> ContourTable | None:
    """Instruments of which a pitch is known; None where the stage has not run or knows none."""
    audit = report.beside.contours
    if audit is None or audit["value"].isna().all():
        return None
    rows = []
    for name, found in audit.groupby("instrument", sort=False):
        cells = {str(row["measure"]): _cell(row) for _, row in found.iterrows()}
        given = [cells.get(measure, (words.ABSENT, "")) for measure in _HEADS]
        rows.append((str(name), words.count(found["n_clips"].max()), given))
    missing = audit.drop_duplicates("instrument")
    unknown = missing.loc[missing["instrument"] != "all", "n_unknown"].sum()
    said = f"{words.count(unknown)} clips are recordings, of which no pitch is known."
    return ContourTable(list(_HEADS.values()), rows, said if unknown else "")


def _cell(row: pd.Series) -> tuple[str, str]:
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    if row["measure"] == _CENTS:
        return words.number(value, 1), words.interval(low, high, 1)
    whole = math.isfinite(low) and math.isfinite(high)
    return words.percent(value), f"{words.percent(low)} to {words.percent(high)}" if whole else ""
