"""Which layers a learned weighted sum came to rely on: a table, headline scheme."""

from __future__ import annotations

from dataclasses import dataclass

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import floats, mapping, records


@dataclass(frozen=True)
class LayerTable:
    """One view: a layer a row, its weight (mean, least and most over folds) and an equal share."""

    view: str
    scheme: str
    folds: int
    equal: str
    rows: list[tuple[str, str, str]]


def layer_tables(report: CorpusReport) -> list[LayerTable]:
    """A table for each view that learned weights under the headline scheme."""
    main = select.headline_scheme(report)
    found = records(mapping(report.beside.diagnostics).get("layer_weights"))
    here = [row for row in found if row.get("scheme") == main]
    tables = []
    for view in dict.fromkeys(str(row.get("view")) for row in here):
        part = [row for row in here if row.get("view") == view]
        rows = []
        for row in part:
            mean, low, high = floats([row.get(k) for k in ("mean", "low", "high")])
            spread = f"{words.number(low)} to {words.number(high)}"
            rows.append((str(row.get("layer")), words.number(mean), spread))
        folds = int(str(part[0].get("folds", 0)))
        equal = words.number(1 / len(part))
        tables.append(LayerTable(view, words.scheme_name(main or ""), folds, equal, rows))
    return tables
