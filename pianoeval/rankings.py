"""Rankers as the parameters name them: which views they read, and which of them can be used.

As with fusions, a ranker of a view whose features are not on ``axes.features`` is left out with its
reason; a view that does not exist is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from pianoeval.params import Params
from pianoeval.params_rank import RankerParams

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
    """Rankers that can be used, and why the others cannot.

    Returns
    -------
    usable : dict of Ranker
    left_out : dict of str
    """
    usable: dict[str, Ranker] = {}
    left_out: dict[str, str] = {}
    for name, block in params.rank.rankers.items():
        found = {view: features_of(params, view) for view in block.views}
        known = {view: features for view, features in found.items() if features is not None}
        away = [one for one in known.values() if one not in params.axes.features]
        if away:
            left_out[name] = f"{', '.join(dict.fromkeys(away))} not on axes.features"
        elif len(known) == len(found):
            usable[name] = Ranker(name, block, known)
    return usable, left_out


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
    return faults
