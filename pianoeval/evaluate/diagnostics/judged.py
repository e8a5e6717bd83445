"""What diagnostics look at: judged clips, and the best model of each source of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pianoeval.evaluate.scoring import Scored, best_of
from pianoeval.evaluate.state import Evaluation
from pianoeval.evaluate.statistics.metrics import Array
from pianoeval.evaluate.statistics.pairs import Design
from pianoeval.evaluate.tables import ModelKey, positions
from pianoeval.params import Params
from pianoeval.params_fusion import FUSION

METRIC = "r2_pooled"  # by which the best model of a source of features is told


@dataclass(frozen=True, eq=False)
class Noise:
    """What raters' disagreement adds to labels.

    Attributes
    ----------
    error_variance, within_variance : float64, shape (D,)
        Of one rating; of true values within segments (``ceiling.reliability``). NaN = unknown.
    raters : float64, shape (n, D)
        People behind each label.
    """

    error_variance: Array
    within_variance: Array
    raters: Array


@dataclass(frozen=True, eq=False)
class Judged:
    """Clips of one scheme and subset that every model predicted.

    Attributes
    ----------
    dimensions : list of str
    manifest : DataFrame
        Rows of the clips, in the order of ``y``.
    design : Design
    y : float64, shape (n, D)
        Ratings; NaN = not rated.
    models : dict of float64, shape (n, D)
        Predictions by written name of the model, the best model first.
    ranked : bool, shape (D,)
        Dimensions on which raters agree within segments.
    noise : Noise or None
        None where there are no raw ratings.
    """

    dimensions: list[str]
    manifest: pd.DataFrame
    design: Design
    y: Array
    models: dict[str, Array]
    ranked: NDArray[np.bool_]
    noise: Noise | None


def best_of_sources(found: Scored, params: Params) -> list[ModelKey]:
    """Best model of each source on ``axes.features`` by mean ``METRIC``, best first.

    Fusions are one source more. Only views that the parameters name count, so neither lookups nor
    controls do.
    """
    source_of = {
        view: source for source in params.axes.features for view in params.views.get(source, {})
    } | dict.fromkeys(params.fusion.views, FUSION)
    best: dict[str, ModelKey] = {}
    for key in best_of(found.means, METRIC):
        if key.features in source_of:
            best.setdefault(source_of[key.features], key)
    return list(best.values())


def written(key: ModelKey, among: Sequence[ModelKey]) -> str:
    """``features/model``, with the seed where that model was trained with several."""
    alike = [k for k in among if (k.features, k.model) == (key.features, key.model)]
    return f"{key.features}/{key.model}" + (f" (seed {key.seed})" if len(alike) > 1 else "")


def judged_clips(state: Evaluation, found: Scored, chosen: Sequence[ModelKey]) -> Judged:
    """The clips of one scheme and subset, with the predictions of the chosen models."""
    row = positions(state.manifest["clip"].tolist(), found.design.clips)
    keys = list(found.predictions)
    return Judged(
        dimensions=state.dimensions,
        manifest=state.manifest.iloc[row].reset_index(drop=True),
        design=found.design,
        y=found.y,
        models={written(key, keys): found.predictions[key] for key in chosen},
        ranked=np.array([name not in state.unreliable for name in state.dimensions]),
        noise=_noise(state, found.problem.subset, row),
    )


def _noise(state: Evaluation, subset: str, row: NDArray[np.intp]) -> Noise | None:
    """Noise of the labels in these rows; without deadpan clips ``human`` is the same as ``all``."""
    if state.raters is None:
        return None
    table = state.reliability.get(subset, state.reliability["all"]).reindex(state.dimensions)
    return Noise(
        table["error_variance"].to_numpy(np.float64),
        table["within_variance"].to_numpy(np.float64),
        state.raters[row],
    )
