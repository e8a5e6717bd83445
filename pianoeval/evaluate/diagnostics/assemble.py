"""Where and how models err: all of ``diagnostics.json``, and the latent maps beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pianoeval.evaluate.diagnostics.calibration import calibration
from pianoeval.evaluate.diagnostics.covariates import read_covariates
from pianoeval.evaluate.diagnostics.error_correlation import error_correlation
from pianoeval.evaluate.diagnostics.examples import examples
from pianoeval.evaluate.diagnostics.fusions import fusion_errors, fusion_weights
from pianoeval.evaluate.diagnostics.group_errors import group_errors
from pianoeval.evaluate.diagnostics.judged import METRIC, Judged, best_of_sources, judged_clips
from pianoeval.evaluate.diagnostics.latent import latent_maps
from pianoeval.evaluate.diagnostics.layer_weights import layer_weights
from pianoeval.evaluate.diagnostics.learning import learning_curves
from pianoeval.evaluate.diagnostics.pair_confusion import headline_margin, pair_confusion
from pianoeval.evaluate.diagnostics.residuals import residual_correlations
from pianoeval.evaluate.state import Evaluation
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.tables import positions
from pianoeval.fusions import predicted_sources
from pianoeval.params import Params
from pianoeval.params_fusion import FUSION
from pianoeval.paths import CorpusPaths

NO_MODEL = f"no model has {METRIC} under this scheme"


def diagnostics(
    paths: CorpusPaths,
    params: Params,
    state: Evaluation,
    results: pd.DataFrame,
    folds: pd.DataFrame,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Diagnostics of an evaluated corpus, and its latent maps.

    Parameters
    ----------
    paths, params
    state : Evaluation
        From :func:`~pianoeval.evaluate.results.evaluate_state`.
    results, folds : DataFrame

    Returns
    -------
    found : dict
        JSON-able: what :func:`diagnose` gives, ``covariates`` (how many clips have each, and where
        it was read), ``layer_weights``, ``fusion_weights`` if there are fusions, and ``latent``
        (:func:`~pianoeval.evaluate.diagnostics.latent.latent_maps`).
    maps : DataFrame
        Columns ``view, clip, x, y``.

    Raises
    ------
    PianoevalError
        Features cannot be read.
    """
    covariates = read_covariates(paths, params, state.manifest)
    known = {name: c.values for name, c in covariates.items() if c.source is not None}
    found = diagnose(state, results, folds, known, params)
    found["layer_weights"] = layer_weights([paths.predictions(f) for f in params.axes.features])
    if FUSION in predicted_sources(params):
        found["fusion_weights"] = fusion_weights(paths.predictions(FUSION))
    found["covariates"] = {name: c.described() for name, c in covariates.items()}
    # A view of which nothing was predicted has no row: there may be no features at all.
    maps, found["latent"] = latent_maps(
        paths, params, state.manifest, state.values, set(results["features"])
    )
    return found, maps


def diagnose(
    state: Evaluation,
    results: pd.DataFrame,
    folds: pd.DataFrame,
    covariates: Mapping[str, Array],
    params: Params,
) -> dict[str, Any]:
    """Diagnostics of the best model of each source of features, under every scheme.

    Parameters
    ----------
    state : Evaluation
    results, folds : DataFrame
    covariates : mapping of float64, shape (clips of the state's manifest,)
        NaN = unknown.
    params : Params

    Returns
    -------
    dict
        ``task, confidence, margin, metric``; ``schemes``: by scheme ``n_clips, n_clusters, models,
        best, error_correlation, calibration, residuals, groups, fusions, pairs``; ``examples`` by
        scheme; ``learning``. Undefined numbers are None, beside a ``reason``.
    """
    confidence, margin = params.evaluate.confidence, headline_margin(params.evaluate.margins)
    clips = state.manifest["clip"].tolist()
    schemes: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for scheme in dict.fromkeys(scheme for scheme, _ in state.scored):
        whole = state.scored[scheme, "all"]
        chosen = best_of_sources(whole, params)
        judged = judged_clips(state, whole, chosen)
        human = judged_clips(state, state.scored.get((scheme, "human"), whole), chosen)
        row = positions(clips, judged.design.clips)
        here = {name: x[row] for name, x in covariates.items()}
        schemes[scheme] = _of_scheme(judged, here, confidence)
        schemes[scheme]["fusions"] = fusion_errors(state, whole, params, confidence)
        schemes[scheme]["pairs"] = pair_confusion(human, margin, confidence)
        shown[scheme] = examples(human)
    rated = np.flatnonzero(np.isfinite(state.values).any(axis=1))
    labelled = {clips[i] for i in rated}
    return {
        "task": state.task,
        "confidence": confidence,
        "margin": margin,
        "metric": METRIC,
        "schemes": schemes,
        "examples": shown,
        "learning": learning_curves(results, folds, state.manifest, labelled),
    }


def _of_scheme(
    judged: Judged, covariates: Mapping[str, Array], confidence: float
) -> dict[str, Any]:
    models = list(judged.models)
    out: dict[str, Any] = {
        "n_clips": len(judged.y),
        "n_clusters": judged.design.n_clusters,
        "models": models,
        "best": models[0] if models else None,
    }
    if not models:
        out["reason"] = NO_MODEL
    return out | {
        "error_correlation": error_correlation(judged, confidence) if models else None,
        "calibration": calibration(judged, confidence),
        "residuals": residual_correlations(judged, covariates, confidence),
        "groups": group_errors(judged),
    }
