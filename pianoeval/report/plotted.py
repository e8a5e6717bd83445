"""Diagnostics as small tables for ``dvc plots``: what is worth comparing between revisions."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from pianoeval.report import select
from pianoeval.report.calibration import bin_rows
from pianoeval.report.data import CorpusReport
from pianoeval.report.extras import mapping, part, records

_LEARNING = ["scheme", "view", "n_train", "value", "ci_low", "ci_high"]
_CALIBRATION = ["scheme", "model", "predicted", "rated"]
_RESIDUALS = ["scheme", "model", "row", "spearman", "spearman_abs"]


def diagnostic_tables(report: CorpusReport) -> dict[str, pd.DataFrame]:
    """``learning.csv``, ``calibration.csv``, ``residuals.csv``; without diagnostics only heads."""
    found = report.beside.diagnostics
    # One scheme: the templates of dvc plots cannot tell several apart.
    main = select.headline_scheme(report)
    schemes = [main] if main else []
    learning = (r for r in records(mapping(found).get("learning")) if r.get("scheme") == main)
    calibration = (
        (scheme, model, *row[:2])
        for scheme in schemes
        for model, block in mapping(part(found, scheme, "calibration")).items()
        for row in bin_rows(mapping(block))
    )
    residuals = (
        (scheme, row.get("model"), f"{row.get('model')}, {row.get('covariate')}",
         row.get("spearman"), row.get("spearman_abs"))
        for scheme in schemes
        for row in records(part(found, scheme, "residuals"))
        if row.get("dimension") == "mean"
    )  # fmt: skip
    return {
        "learning.csv": _frame((tuple(r.get(c) for c in _LEARNING) for r in learning), _LEARNING),
        "calibration.csv": _frame(calibration, _CALIBRATION),
        "residuals.csv": _frame(residuals, _RESIDUALS),
    }


def _frame(rows: Iterable[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=columns)
