"""Fusion views as the parameters name them: which members, and which of the views can be used.

A member is ``view/model``, as in the results. A fusion whose members are not all on
``axes.features`` is left out, with its reason: an axis that is cut down for a quick run must not
stop at what it leaves behind. A member that does not exist is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pianoeval.params import ModelName, Params
from pianoeval.params_fusion import FUSION

NO_MEMBER = "no view or model of this name"


@dataclass(frozen=True)
class Member:
    """One model of one view, and the features that the view reads."""

    features: str
    view: str
    model: ModelName

    @property
    def name(self) -> str:
        """``view/model``."""
        return f"{self.view}/{self.model}"


def is_fusion(view: str) -> bool:
    """Whether a row of the results is a fusion, by its name."""
    return view.startswith(FUSION)


def member_of(params: Params, text: str) -> Member | None:
    """The member that ``view/model`` names; None if there is no such view or model."""
    view, _, model = text.partition("/")
    for features, views in params.views.items():
        for listed in views[view].models if view in views else ():
            if listed == model:
                return Member(features, view, listed)
    return None


def usable_fusions(params: Params) -> tuple[dict[str, list[Member]], dict[str, str]]:
    """Members of each fusion view that can be used, and why the others cannot.

    Returns
    -------
    usable : dict of list of Member
    left_out : dict of str
    """
    usable: dict[str, list[Member]] = {}
    left_out: dict[str, str] = {}
    for name, view in params.fusion.views.items():
        found = {text: member_of(params, text) for text in view.members}
        members = [member for member in found.values() if member is not None]
        away = [m.features for m in members if m.features not in params.axes.features]
        if away:
            left_out[name] = f"{', '.join(dict.fromkeys(away))} not on axes.features"
        elif len(members) == len(found):
            usable[name] = members
        else:
            left_out[name] = NO_MEMBER
    return usable, left_out


def predicted_sources(params: Params) -> list[str]:
    """Names of the files of predictions: of features, and of fusions if any can be used."""
    return [*params.axes.features, *([FUSION] if usable_fusions(params)[0] else [])]


def fusion_faults(params: Params) -> list[tuple[str, str, str]]:
    """What is wrong with the fusion views: (where, what, what is allowed)."""
    faults: list[tuple[str, str, str]] = []
    plain: Mapping[str, Sequence[str]] = {
        view: block.models for views in params.views.values() for view, block in views.items()
    }
    for view in plain:
        if is_fusion(view):
            allowed = f"names that do not begin with '{FUSION}'"
            faults.append((f"views.*.{view}", "this name is that of a fusion", allowed))
    _, left_out = usable_fusions(params)
    for name, block in params.fusion.views.items():
        where = f"fusion.views.{name}"
        if not is_fusion(name):
            faults.append((where, "not the name of a fusion", f"names that begin with '{FUSION}'"))
        if len(set(block.members)) < len(block.members):
            faults.append((where, "a member is named twice", "each member once"))
        views = {member.partition("/")[0] for member in block.members}
        if "gated" in block.methods and len(views) < 2:
            faults.append((where, "gated needs members of two views", "members of several views"))
        if left_out.get(name) == NO_MEMBER:
            text = next(m for m in block.members if member_of(params, m) is None)
            known = plain.get(text.partition("/")[0])
            allowed = ", ".join(known or plain)
            what = f"no model of '{text}' in its view" if known else f"no view of '{text}'"
            faults.append((where, what, allowed))
    return faults
