"""What sweeps say: heat maps of margin and bins, or a list of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pianoeval.rankings import POINT
from pianoeval.report import words
from pianoeval.report.contrast_figures import heat, matrix
from pianoeval.report.figures import Figure

_MEAN = "mean"
_R2, _INDEX, _CHOSEN = "r2_pooled", "davies_bouldin", "chosen_share"
_STUDIED = ("margin", "bins")


@dataclass(frozen=True)
class Study:
    """Points of one head's sweep under one scheme.

    ``rows`` are (point, cells), cells (value, what stands below): R², Davies-Bouldin, chosen.
    """

    head: str
    scheme: str
    figures: list[Figure]
    sentence: str
    rows: list[tuple[str, list[tuple[str, str]]]]


def studies(points: pd.DataFrame, schemes: Sequence[str], ident: str) -> list[Study]:
    """One study a scheme and swept head; figures where margins and bins were both swept."""
    found: list[Study] = []
    means = points[points["dimension"] == _MEAN]
    bases = means["head"].str.partition(POINT)[0] if len(means) else means["head"]
    for scheme in schemes:
        for head in dict.fromkeys(bases):
            own = means[(means["scheme"] == scheme) & (bases == head)]
            if len(own):
                found.append(_study(own, str(head), scheme, f"{ident}{len(found)}"))
    return found


def settings(name: str) -> dict[str, str]:
    """``joint:margin=2,bins=5`` → ``{"margin": "2", "bins": "5"}``."""
    parts = (part.partition("=") for part in name.partition(POINT)[2].split(","))
    return {field: value for field, _, value in parts}


def _study(own: pd.DataFrame, head: str, scheme: str, ident: str) -> Study:
    names = list(dict.fromkeys(own["head"]))
    r2, index, chosen = (_of(own, metric) for metric in (_R2, _INDEX, _CHOSEN))
    rows = [
        (name.partition(POINT)[2], [
            (words.number(_at(r2, name)), words.interval(_at(r2, name, "ci_low"),
                                                         _at(r2, name, "ci_high"))),
            (words.number(_at(index, name), 2), ""), (words.percent(_at(chosen, name)), ""),
        ])
        for name in names
    ]  # fmt: skip
    figures, sentence = [], ""
    if all(set(settings(name)) == set(_STUDIED) for name in names):
        figures = list(_heats(names, r2, index, chosen, head, ident))
        sentence = _told(names, r2, chosen)
    return Study(head, scheme, figures, sentence, rows)


def _of(own: pd.DataFrame, metric: str) -> pd.DataFrame:
    part = own[(own["metric"] == metric) & own["statistic"].isin([_MEAN, ""])]
    return part.set_index("head")


def _at(table: pd.DataFrame, name: str, column: str = "value") -> float:
    return float(table[column].get(name, math.nan))


def _heats(
    names: Sequence[str], r2: pd.DataFrame, index: pd.DataFrame, chosen: pd.DataFrame, head: str,
    ident: str,
) -> list[Figure]:  # fmt: skip
    """R² with the share of choices below, and the index."""
    places = {
        name: (float(s["bins"]), float(s["margin"])) for name in names if (s := settings(name))
    }
    bins, margins = (sorted({place[i] for place in places.values()}) for i in (0, 1))
    labels = [f"{m:g}" for m in margins], [f"{b:g}" for b in bins]
    share = matrix({at: _at(chosen, name) for name, at in places.items()}, bins, margins)
    found = [heat(
        matrix({at: _at(r2, name) for name, at in places.items()}, bins, margins), *labels,
        f"{head}: R²", f"{ident}r", below=share, axes=("margin s", "bins C"),
        aside="below: how often validation clips chose it",
    )]  # fmt: skip
    if len(index):
        values = matrix({at: _at(index, name) for name, at in places.items()}, bins, margins)
        found.append(heat(
            values, *labels, f"{head}: Davies-Bouldin", f"{ident}d", axes=("margin s", "bins C"),
            aside="smaller is clearer",
        ))  # fmt: skip
    return found


def _told(names: Sequence[str], r2: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """How far the points lie apart, beside the interval of one of them."""
    known = [name for name in names if name in r2.index]
    if len(known) < 2:
        return ""
    best, worst = (pick(known, key=lambda name: _at(r2, name)) for pick in (max, min))
    gap = words.number(_at(r2, best) - _at(r2, worst))
    taken = max(names, key=lambda name: _at(chosen, name)) if len(chosen) else ""
    text = (
        f"From {words.plain(worst.partition(POINT)[2])} to {words.plain(best.partition(POINT)[2])} "
        f"R² rises by {gap}. The best of {len(known)} points on these clips is flattered by having "
        "been picked on them"
    )
    if not taken:
        return f"{text}."
    return f"{text}; inside the training side {taken.partition(POINT)[2]} was chosen most often."
