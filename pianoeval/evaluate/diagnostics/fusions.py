"""What a fusion could gain, and what it relies on: shared errors of its members, and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.evaluate.diagnostics.error_correlation import error_correlation
from pianoeval.evaluate.diagnostics.jsonable import number
from pianoeval.evaluate.diagnostics.judged import judged_clips
from pianoeval.evaluate.scoring import Scored
from pianoeval.evaluate.state import Evaluation
from pianoeval.evaluate.tables import ModelKey
from pianoeval.fusions import usable_fusions
from pianoeval.params import Params
from pianoeval.tablefile import read_table

_RECORDS = "fusion_weights"  # attribute of a predictions file
_COLUMNS = ["features", "model", "scheme", "fold", "member", "dimension", "weight"]


def fusion_errors(
    state: Evaluation, found: Scored, params: Params, confidence: float
) -> dict[str, Any]:
    """Error correlation among the members of each fusion and its methods, under one scheme.

    Parameters
    ----------
    state : Evaluation
    found : Scored
        All clips of the scheme.
    params : Params
    confidence : float

    Returns
    -------
    dict of dict, by fusion view
        What :func:`~pianoeval.evaluate.diagnostics.error_correlation.error_correlation` gives, its
        ``models`` in the order of members, then methods; ``members``, how many of them are members.
    """
    out: dict[str, Any] = {}
    for name, members in usable_fusions(params)[0].items():
        chosen = [_key(found, member.view, member.model) for member in members]
        methods = [_key(found, name, method) for method in params.fusion.views[name].methods]
        keys = [key for key in [*chosen, *methods] if key is not None]
        if None in chosen or not any(methods):
            continue  # a scheme in which some member or all methods predicted nothing
        judged = judged_clips(state, found, keys)
        out[name] = {"members": len(members), **error_correlation(judged, confidence)}
    return out


def _key(found: Scored, view: str, model: str) -> ModelKey | None:
    return next((k for k in found.predictions if (k.features, k.model) == (view, model)), None)


def fusion_weights(file: Path) -> list[dict[str, Any]]:
    """Weights of members, summarised over folds and dimensions.

    Parameters
    ----------
    file : Path
        The predictions of fusions.

    Returns
    -------
    list of dict
        ``view, model, scheme, member, mean, low, high, folds``: mean, smallest and largest weight.
    """
    records = read_table(file).attrs.get(_RECORDS, [])
    table = pd.DataFrame(records, columns=_COLUMNS)
    out = []
    groups = table.groupby(["features", "model", "scheme", "member"], sort=False)
    for (view, model, scheme, member), part in groups:
        weight = part["weight"].astype(float)
        out.append(
            {
                "view": str(view), "model": str(model), "scheme": str(scheme),
                "member": str(member), "mean": number(weight.mean()), "low": number(weight.min()),
                "high": number(weight.max()), "folds": int(part["fold"].nunique()),
            }
        )  # fmt: skip
    return out
