"""What a model that learns from every render scores on each instrument, heard before and not."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from pianoeval.evaluate.protocol.controls import base_view, render_of, render_view
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import Score, metric_table

HOW = ("on", "without", "only")
HEADS = ("trained on all", "trained on the others", "trained on it alone")


@dataclass(frozen=True)
class InstrumentTable:
    """One view under one scheme, by the model that scores best over all instruments.

    Attributes
    ----------
    own : Score
        Trained on all, the prediction averaged over the renders of a clip.
    rows : list of (instrument, scores)
        In the order of ``HOW``; None where there is no value.
    spread : list of (mean, standard deviation) or None
        Over instruments, of columns that have them all.
    """

    scheme: str
    view: str
    model: str
    own: Score
    rows: list[tuple[str, list[Score | None]]]
    spread: list[tuple[float, float] | None]


def instrument_tables(report: CorpusReport) -> list[InstrumentTable]:
    """A table a scheme and view of which there are rows of single instruments; pooled R²."""
    table = metric_table(report, "r2_pooled")
    found = []
    for scheme in table.schemes:
        scores = table.scores(scheme)
        heard = [(s, parts) for s in scores if (parts := render_of(s.features)) is not None]
        for view in sorted({base_view(s.features) for s, _ in heard}):
            own = next((s for s in scores if s.features == view), None)
            if own is None:
                continue
            here = [(s, parts) for s, parts in heard if base_view(s.features) == view]
            pianos = sorted({piano for _, (_, piano) in here})
            cells = {s.features: s for s, _ in here if (s.model, s.seed) == (own.model, own.seed)}
            rows = [(p, [cells.get(render_view(view, how, p)) for how in HOW]) for p in pianos]
            columns = zip(*(row for _, row in rows), strict=True)
            spread = [_spread(list(column)) for column in columns]
            name = own.model + own.seed
            found.append(InstrumentTable(scheme, view, name, own, rows, spread))
    return found


def _spread(column: list[Score | None]) -> tuple[float, float] | None:
    values = [score.value for score in column if score is not None]
    if len(values) < len(column) or not all(map(math.isfinite, values)):
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
