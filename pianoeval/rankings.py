"""Rankers as the parameters name them: which views they read, and which of them can be used.

As with fusions, a ranker of a view whose features are not on ``axes.features`` is left out with its
reason; a view that does not exist is an error.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pianoeval.params import Params
from pianoeval.params_rank import PAIR_LOSSES, RankerParams
from pianoeval.provenance import canonical_json

POINT = ":"  # between a ranker and a point of its sweep; such rows are compared with nothing


@dataclass(frozen=True)
class Ranker:
    """A ranker, and the features of each view that it reads."""

    name: str
    params: RankerParams
    features: dict[str, str]  # by view


def features_of(params: Params, view: str) -> str | None:
    """The features that a view reads; None if there is no such view."""
    return next((name for name, views in params.views.items() if view in views), None)


def usable_rankers(params: Params) -> tuple[dict[str, Ranker], dict[str, str]]:
    """Rankers that can be used, by name, and why the others cannot.

    The order is that of the names: tables shall not depend on that of the lines of a file.

    Returns
    -------
    usable : dict of Ranker
    left_out : dict of str
    """
    usable: dict[str, Ranker] = {}
    left_out: dict[str, str] = {}
    for name, block in sorted(params.rank.rankers.items()):
        found = {view: features_of(params, view) for view in block.views}
        known = {view: features for view, features in found.items() if features is not None}
        away = [one for one in known.values() if one not in params.axes.features]
        if away:
            left_out[name] = f"{', '.join(dict.fromkeys(away))} not on axes.features"
        elif len(known) == len(found):
            usable[name] = Ranker(name, block, known)
    return usable, left_out


def table_source(corpus: str, path: Path) -> str:
    """What a table of ``ranks/`` says of itself: which it is, and of which corpus."""
    return f"{corpus}/{path.name}"


def in_order(attrs: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Attributes of a table with their keys sorted, as the cache gives them back.

    What was trained now would otherwise be written with other bytes than what was trained before.
    """
    found: dict[Hashable, Any] = json.loads(canonical_json(attrs))
    return found


def rank_schemes(params: Params) -> list[str]:
    """Schemes that are both cut and ranked, in the order of ``rank.schemes``."""
    return [scheme for scheme in params.rank.schemes if scheme in params.folds.schemes]


def rank_faults(params: Params) -> list[tuple[str, str, str]]:
    """What is wrong with the rankers: (where, what, what is allowed)."""
    faults: list[tuple[str, str, str]] = []
    known = [view for views in params.views.values() for view in views]
    for name, block in params.rank.rankers.items():
        where = f"rank.rankers.{name}"
        if POINT in name or "/" in name:
            faults.append((where, "not a name", f"names without '{POINT}' and '/'"))
        if len(set(block.views)) < len(block.views):
            faults.append((where, "a view is named twice", "each view once"))
        for view in block.views:
            if view not in known:
                faults.append((f"{where}.views", f"no view '{view}'", ", ".join(known)))
        for point in block.points().values():
            found = [*_point_faults(point), *_lora_faults(point, params)]
            faults += [(f"{where}.{field}", what, allowed) for field, what, allowed in found]
    return faults


def _point_faults(point: RankerParams) -> list[tuple[str, str, str]]:
    """What an approach cannot do: (field, what, what is allowed)."""
    faults = []
    n = len(point.views)
    if point.approach == "siamese" and point.loss not in PAIR_LOSSES:
        what = f"approach siamese has no scores for loss {point.loss}"
        faults.append(("loss", what, " or ".join(PAIR_LOSSES)))
    if point.approach == "siamese" and point.comparison == "attention" and n > 1:
        faults.append(("views", f"attention to the frames of {n} views", "one view"))
    if point.approach == "kernel" and len(point.kernel.shares) not in (0, n):
        what = f"{len(point.kernel.shares)} shares for {n} views"
        faults.append(("kernel.shares", what, "one a view, or none for equal shares"))
    return faults


def _lora_faults(point: RankerParams, params: Params) -> list[tuple[str, str, str]]:
    """Encoder and instrument that are not there, as :func:`_point_faults`."""
    lora, faults = point.lora, []
    if point.approach != "lora" or lora is None:
        return []
    if lora.encoder not in params.encoders:
        known = ", ".join(sorted(params.encoders))
        faults.append(("lora.encoder", f"unknown encoder '{lora.encoder}'", known))
    if lora.instrument not in params.axes.instrument:
        what = f"instrument '{lora.instrument}' is not on axes.instrument"
        faults.append(("lora.instrument", what, ", ".join(params.axes.instrument)))
    return faults
