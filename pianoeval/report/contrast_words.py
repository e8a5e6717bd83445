"""What is said of heads on frames: what their numbers mean, and what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pianoeval.report import words

MEAN = "mean"
R2, INDEX = "r2_pooled", "davies_bouldin"
APPROACHES = ("pcconv", "contrastive", "joint", "statistics")
_MOVED = 0.0005  # R² that is told as 0 otherwise
REFERENCE, CONTROL = APPROACHES[0], APPROACHES[-1]


def value_of(table: pd.DataFrame, head: str, metric: str, statistic: str) -> pd.Series[Any] | None:
    """The row of the mean over dimensions."""
    same = (table["head"] == head) & (table["metric"] == metric)
    own = table[same & (table["statistic"] == statistic) & (table["dimension"] == MEAN)]
    return own.iloc[0] if len(own) else None


def approach_of(heads: pd.DataFrame, name: str) -> str:
    """What kind of network a head is."""
    return str(heads.loc[heads["head"] == name, "approach"].iloc[0])


def sentences(
    heads: pd.DataFrame, compared: pd.DataFrame | None, order: Sequence[str], best: str,
    reference: str,
) -> list[str]:  # fmt: skip
    """What the numbers mean, and what they do not show."""
    line = value_of(heads, best, R2, "mean")
    if line is None:
        return []
    told = [f"{best} has the highest mean: R² {words.number(line['value'])} when trained once"]
    if line["value"] > 0:
        left = words.percent(1.0 - line["value"])
        told[0] += f", so {left} of the variance of the labels is left unexplained."
    else:
        told[0] += ", which is no better than to say the mean of these labels of every clip."
    if len(order) > 1:
        told[0] += f" To be the best of {len(order)} on these clips flatters it."
    spread = value_of(heads, best, R2, "sd")
    if spread is not None and spread["value"] >= _MOVED:  # no seed moves a ridge
        told[0] += (
            f" Another seed moves it by {words.number(spread['value'])} (sd); a difference of that "
            "size between two single networks says nothing."
        )
    if compared is not None:
        own = compared[compared["dimension"] == MEAN]
        controls = [n for n in order if approach_of(heads, n) == CONTROL]
        others = [n for n in (reference, *controls) if n and n != best]
        others += [n for n in dict.fromkeys([*own["b"]]) if "/" in n]
        for other in others:
            found = own[own["a"].isin([best, other]) & own["b"].isin([best, other])]
            told += [str(v) for v in found["verdict"]]
    return told + _clear_classes(heads, order)


def _clear_classes(heads: pd.DataFrame, order: Sequence[str]) -> list[str]:
    """Whether heads with clearer classes predict better, as the paper found of its three."""
    pairs = [(n, value_of(heads, n, INDEX, "mean"), value_of(heads, n, R2, "mean")) for n in order]
    known = [(n, i["value"], r["value"]) for n, i, r in pairs if i is not None and r is not None]
    known = [one for one in known if one[2] > 0]  # what predicts nothing does not predict best
    if len(known) < 2:
        return []
    clearest = min(known, key=lambda one: one[1])
    best = max(known, key=lambda one: one[2])
    text = (
        f"Of the heads with codes and an R² above 0, {clearest[0]} parts the classes best "
        f"(Davies-Bouldin {words.number(clearest[1], 2)}; 0 is perfect)"
    )
    if clearest[0] == best[0]:
        return [f"{text}, and also predicts best; {len(known)} heads are too few for a rule."]
    return [f"{text}, but {best[0]} predicts better: clearer classes are not better predictions."]
