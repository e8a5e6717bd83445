"""What is known of an exported model's predictions, as JSON: it goes along with every number.

Out-of-fold results of the same recipe on the most telling scheme that was run, as in the card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pianoeval.report import words
from pianoeval.report.card_words import warning
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import BASELINE_KINDS, MetricTable, first, metric_table
from pianoeval.report.select import headline_scheme


def quality(config: Mapping[str, Any], report: CorpusReport) -> dict[str, Any]:
    """R² with interval, ceiling, best baseline and mean absolute error, by dimension and as a mean.

    Parameters
    ----------
    config : mapping
        ``ExportedRidge.config``.
    report : CorpusReport
        Of the corpus that the model was trained on; values that it lacks are None.
    """
    r2, mae = metric_table(report, "r2_pooled"), metric_table(report, "mae")
    scheme, key = headline_scheme(report) or "", f"{config['view']}/{config['model']}"
    names = [str(entry["name"]) for entry in config["dimensions"]]
    return {
        "scheme": scheme,
        "meaning": words.scheme_meaning(scheme),
        "simulated": report.simulated,
        "mean": _known(r2, mae, scheme, "mean", key),
        "dimensions": {name: _known(r2, mae, scheme, name, key) for name in names},
        "warning": warning(config, report),
    }


def _known(
    r2: MetricTable, mae: MetricTable, scheme: str, dimension: str, key: str
) -> dict[str, float | None]:
    own = {score.key: score for score in r2.scores(scheme, dimension)}.get(key)
    error = {score.key: score for score in mae.scores(scheme, dimension)}.get(key)
    baseline = first(r2.scores(scheme, dimension), BASELINE_KINDS)
    ceiling = r2.ceiling(scheme, dimension)
    return {
        "r2": _number(own.value) if own else None,
        "r2_low": _number(own.low) if own else None,
        "r2_high": _number(own.high) if own else None,
        "ceiling": _number(ceiling.value) if ceiling else None,
        "baseline": _number(baseline.value) if baseline else None,
        "mae": _number(error.value) if error else None,
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
