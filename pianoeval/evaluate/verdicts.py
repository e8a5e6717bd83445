"""What one comparison of two models shows, in words, and what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pianoeval.evaluate.statistics.significance import smallest_p

# Where groups are few enough to matter, all sign patterns are enumerated.
MANY_DRAWS = 10_000
# Sums that are equal on paper differ by rounding.
LEVEL = 1e-9
UNITS_IN_WORDS = {"movement": "movements", "composition": "compositions"}


def verdict(row: Mapping[str, Any], confidence: float = 0.95) -> str:
    """One comparison in words.

    One model is called better only if the interval leaves out 0 *and* the permutation test, after
    correction for the number of comparisons, is below 1 − confidence. Otherwise no difference is
    shown, and the interval says which differences remain possible. Every sentence is about the
    model that is ahead.

    Parameters
    ----------
    row : mapping
        Keys as in ``comparisons.COMPARISON_COLUMNS``.
    confidence : float

    Returns
    -------
    str
    """
    row = _leader_first(row)
    if _is_level(row) and row["smallest_p"] == 1.0:
        where = f"in each of {_groups(row)}"
        return f"{row['a']} and {row['b']} score the same in {_metric(row['metric'])} {where}."
    return _finding(row, confidence) + _beyond(row, confidence)


def alpha_of(confidence: float) -> float:
    """Largest p at which a difference is shown; .1 must not fail because 1 − .9 is below it."""
    return 1.0 - confidence + 1e-12


def _leader_first(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same comparison turned so that the difference is not negative."""
    if not row["difference"] < 0:
        return row
    turned = {"a": row["b"], "b": row["a"], "ci_low": -row["ci_high"], "ci_high": -row["ci_low"]}
    turned |= {name: -row[name] for name in ("difference", "t_clip")}
    if row["n_units"]:
        turned |= {"n_units_ahead": row["n_units_behind"], "n_units_behind": row["n_units_ahead"]}
    return {**row, **turned}


def _is_level(row: Mapping[str, Any]) -> bool:
    return bool(abs(row["difference"]) < LEVEL)


def _groups(row: Mapping[str, Any]) -> str:
    n = int(row["n_clusters"])
    return f"{n} content group{'' if n == 1 else 's'}"


def _finding(row: Mapping[str, Any], confidence: float) -> str:
    a, b, size = row["a"], row["b"], row["difference"]
    low, high = row["ci_low"], row["ci_high"]
    metric, alpha, groups = _metric(row["metric"]), alpha_of(confidence), _groups(row)
    with_interval = math.isfinite(low) and math.isfinite(high)
    limits = f"{100 * confidence:g} % interval {_number(low)} to {_number(high)}"
    limits = limits if with_interval else "no interval"
    tested = f"{_p('p', row['p_permutation'])}, corrected {_p('q', row['q_permutation'])}"
    ahead = f"{a} is ahead of {b} by {_number(size)} in {metric}"
    if _is_level(row):
        ahead = f"{a} and {b} score the same in {metric} on the whole"
    if row["smallest_p"] > alpha:
        few = smallest_p(int(row["n_clusters"]), MANY_DRAWS) > alpha
        return (
            f"{ahead} ({limits}), but {groups if few else 'the content groups they differ in'} "
            f"cannot give a two-sided permutation test below {_p('p', row['smallest_p'])}, so no "
            "difference can be shown here, whatever its size."
        )
    significant, outside = row["q_permutation"] <= alpha, with_interval and low > 0.0
    if significant and outside:
        return (
            f"{a} is better than {b} by {_number(size)} in {metric} ({limits}; {tested} over "
            f"{groups})."
        )
    if significant or outside:
        players = ", which resamples players too," if "player" in str(row["interval"]) else ""
        doubt = f"the interval{players} does not bear it out"
        if outside:
            doubt = "the permutation test does not bear it out"
        elif not with_interval:
            doubt = "there is no interval that could bear it out"
        found = f"{ahead}, but this is not shown: {doubt} ({limits}; {tested} over {groups})."
        return found + _naive(row, alpha)
    allowed = (
        f"; the interval allows {a} to be better by up to {_number(high)} or worse by up to "
        f"{_number(-low)}"
    )
    return (
        f"No difference in {metric} is shown between {a} and {b}: {_number(size)} ({limits}; "
        f"{tested} over {groups}){allowed if low <= 0.0 <= high else ''}."
    ) + _naive(row, alpha)


def _naive(row: Mapping[str, Any], alpha: float) -> str:
    """Warn where the published kind of test would have found a difference."""
    same_sign = row["t_clip"] * row["difference"] > 0
    if row["metric"] != "r2_pooled" or not same_sign or row["p_t_clip"] > alpha:
        return ""
    return (
        f" A t-test over clips as if they were independent would give {_p('p', row['p_t_clip'])}."
    )


def _beyond(row: Mapping[str, Any], confidence: float) -> str:
    """What holds for the units that a scheme leaves out, such as movements."""
    n = int(row["n_units"])
    if not n:
        return ""
    units = UNITS_IN_WORDS[row["unit"]]
    text = f" {row['a']} is ahead in {int(row['n_units_ahead'])} of {n} held-out {units}"
    least = smallest_p(n, MANY_DRAWS)
    if least > alpha_of(confidence):
        return (
            f"{text}; {n} cannot give a two-sided test below {_p('p', least)}, so nothing is shown "
            f"about other {units}."
        )
    return f"{text} (sign flip over {units}: {_p('p', row['p_unit'])})."


def _metric(name: str) -> str:
    return "R²" if name == "r2_pooled" else "pairwise accuracy"


def _number(value: float) -> str:
    """Three decimals, without the zero before the point: ``.021``, ``−.103``, ``1.250``.

    ``−.000`` is a little below 0: whether a limit is decides the verdict.
    """
    text = f"{abs(value):.3f}"
    return ("−" if value < 0 else "") + (text[1:] if text.startswith("0") else text)


def _p(name: str, value: float) -> str:
    return f"{name} < .001" if value < 0.001 else f"{name} = {_number(value)}"
