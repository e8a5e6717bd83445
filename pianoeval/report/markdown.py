"""Results as a Markdown table: one row a model, one column a scheme."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from pianoeval.errors import BadInputError, printable
from pianoeval.report import words

_LAST = {"none": 1, "lookup": 2, "ceiling": 3}  # models first, then what they must beat


def cell(text: object) -> str:
    """Text that cannot break a Markdown table or become markup."""
    flat = printable(" ".join(str(text).split()))
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", flat)


def markdown_table(
    results: pd.DataFrame,
    metric: str = "r2_pooled",
    subset: str = "all",
    models: Sequence[str] = (),
    intervals: bool = True,
    *,
    controls: bool = False,
) -> str:
    """Means over dimensions of one metric.

    Parameters
    ----------
    results : DataFrame
        ``results.csv`` of one corpus.
    models : sequence of str
        Models to show (``ridge``, ``ensemble`` …); all if empty. Baselines and ceilings are
        always shown: a number never stands without them.
    controls : bool
        Also views on relabelled clips and on a share of the training clips.

    Raises
    ------
    BadInputError
        Nothing has this metric and subset.
    """
    table = results.query("dimension == 'mean' and metric == @metric and subset == @subset")
    wanted = table["features"].isin(list(_LAST)) | table["model"].isin(models) | (not models)
    if not controls:
        wanted &= ~table["features"].map(words.kind).isin(["control", "curve"])
    table = table[wanted]
    if table.empty:
        raise BadInputError(
            f"no results of metric '{metric}', subset '{subset}'",
            allowed=", ".join(sorted(set(results["metric"]))),
            next_step="choose one of these, or: dvc repro",
        )
    schemes = sorted(set(table["scheme"]), key=words.scheme_rank)
    lines = [
        "| features | model | " + " | ".join(words.scheme_name(s) for s in schemes) + " |",
        "|---|---|" + "---|" * len(schemes),
    ]
    keys = table[["features", "model"]].drop_duplicates()
    order = sorted(keys.itertuples(index=False), key=lambda k: _LAST.get(str(k.features), 0))
    for key in order:
        part = table[(table["features"] == key.features) & (table["model"] == key.model)]
        cells = [_cell(part[part["scheme"] == scheme], intervals) for scheme in schemes]
        lines.append(f"| {cell(key.features)} | {cell(key.model)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame, intervals: bool) -> str:
    if rows.empty:
        return words.ABSENT
    row = rows.iloc[0]
    text = words.number(float(row["value"]))
    if intervals and pd.notna(row["ci_low"]):
        low, high = float(row["ci_low"]), float(row["ci_high"])
        text += f" ({words.number(low)} to {words.number(high)})"
    return text
