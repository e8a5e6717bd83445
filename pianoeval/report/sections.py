"""Sections drawn from the files beside the results, as the template takes them."""

from __future__ import annotations

from typing import Any

from pianoeval.report import (
    calibration,
    comparisons,
    contours,
    contrastive,
    controls,
    diagnostics,
    fusions,
    instruments,
    latent,
    ranking,
    select,
    words,
)
from pianoeval.report.data import CorpusReport


def sections(report: CorpusReport, prefix: str) -> dict[str, Any]:
    """Context of the sections; a part that was not computed is None or empty.

    Keys
    ----
    comparisons, controls, instruments, instrument_heads, resampling, ranking, contrast,
    contours, diagnostics, maps, neighbours
        What is shown.
    has_comparisons, has_diagnostics
        Whether the file was there: a section may also be empty because nothing could be compared.
    """
    main = select.headline_scheme(report)
    return {
        "comparisons": comparisons.comparisons(report),
        "has_comparisons": report.beside.comparisons is not None,
        "controls": controls.control_table(report),
        "instruments": instruments.instrument_tables(report),
        "instrument_heads": instruments.HEADS,
        "resampling": controls.resampling(report, prefix),
        "diagnostics": _diagnostics(report, main, prefix) if main else None,
        "has_diagnostics": report.beside.diagnostics is not None,
        "ranking": ranking.ranking_section(report),
        "contrast": contrastive.contrast_section(report, prefix),
        "contours": contours.contour_table(report),
        "maps": latent.latent_maps(report, prefix),
        "neighbours": latent.neighbours(report),
    }


def _diagnostics(report: CorpusReport, main: str, prefix: str) -> dict[str, Any] | None:
    best = diagnostics.best_model(report, main)
    if best is None:
        return None
    where = diagnostics.sources(report)
    return {
        "best_name": words.named(best),
        "calibration": calibration.calibration(report, main, prefix),
        "slopes": calibration.slopes(report),
        "residuals": diagnostics.residual_table(report, main),
        "residuals_by_dimension": diagnostics.residual_table(report, main, model=best),
        "sources": f"Sources: {'; '.join(where)}." if where else "",
        "errors": diagnostics.error_correlation(report, main),
        "fusions": fusions.fusion_tables(report, main),
        "pair_lines": calibration.pair_accuracy(report, main, prefix),
        "confusions": diagnostics.confusions(report, main),
        "groups": diagnostics.group_tables(report, main, best),
    }
