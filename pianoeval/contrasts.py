"""Heads on frames as the parameters name them: which of them can be used, and what is wrong.

As with rankers, a head whose frames are not there (an encoder that is not on ``axes.encoder``, or
whose frames ``pool`` does not keep) is left out with its reason; a store that nothing could ever
fill is an error.
"""

from __future__ import annotations

from pianoeval.params import Params
from pianoeval.params_contrast import CONTOURS, HeadParams
from pianoeval.rankings import POINT


def usable_heads(params: Params) -> tuple[dict[str, HeadParams], dict[str, str]]:
    """Heads that can be used, by name in the order of names, and why the others cannot.

    Returns
    -------
    usable : dict of HeadParams
    left_out : dict of str
    """
    usable: dict[str, HeadParams] = {}
    left_out: dict[str, str] = {}
    for name, head in sorted(params.contrast.heads.items()):
        instrument = head.instrument or params.axes.instrument[0]
        if head.store in CONTOURS:
            usable[name] = head
        elif head.store not in params.axes.encoder:
            left_out[name] = f"{head.store} is not on axes.encoder"
        elif instrument not in params.axes.instrument:
            left_out[name] = f"{instrument} is not on axes.instrument"
        elif not params.pool.sequence_hz:
            left_out[name] = "pool.sequence_hz is 0, so no frames are kept"
        else:
            usable[name] = head
    return usable, left_out


def contrast_schemes(params: Params) -> list[str]:
    """Schemes that are both cut and learned in, in the order of ``contrast.schemes``."""
    return [scheme for scheme in params.contrast.schemes if scheme in params.folds.schemes]


def contrast_faults(params: Params) -> list[tuple[str, str, str]]:
    """What is wrong with the heads: (where, what, what is allowed)."""
    faults: list[tuple[str, str, str]] = []
    block = params.contrast
    if len(set(block.seeds)) < len(block.seeds):
        faults.append(("contrast.seeds", "a seed is named twice", "each seed once"))
    for kind, names in (("encoders", params.encoders), ("instruments", params.instruments)):
        for name in sorted(set(names).intersection(CONTOURS)):
            faults.append((f"{kind}.{name}", "the name of a contour", "another name"))
    for name, head in block.heads.items():
        where = f"contrast.heads.{name}"
        if POINT in name or "/" in name:
            faults.append((where, "not a name", f"names without '{POINT}' and '/'"))
        if head.store not in CONTOURS and head.store not in params.encoders:
            known = ", ".join([*CONTOURS, *params.encoders])
            faults.append((f"{where}.store", f"no frames '{head.store}'", known))
        if head.store in CONTOURS and (head.layers != "all" or head.instrument):
            what = "contours have no layers, and one instrument (contours.instrument)"
            faults.append((where, what, "columns"))
        if head.store not in CONTOURS and head.columns != ["pitch"]:
            faults.append((f"{where}.columns", "an encoder has no columns", "layers"))
        if head.store in CONTOURS and head.components > len(head.columns):
            what = f"{head.components} components of {len(head.columns)} columns"
            faults.append((f"{where}.components", what, f"at most {len(head.columns)}"))
    return faults
