"""What a comparison shows, in words; and what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pianoeval.compare.paired import ALL_ROWS, Comparison
from pianoeval.evaluate.statistics.significance import smallest_p
from pianoeval.evaluate.verdicts import LEVEL, MANY_DRAWS, UNITS_IN_WORDS, alpha_of
from pianoeval.report.words import MINUS, joined, metric_name, scheme_name

_SHORT = {"r2_pooled": "R²"}


def number(value: float, digits: int = 3) -> str:
    """``.031``, ``−.020``, ``1.250``: no zero before the point."""
    if not math.isfinite(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = MINUS if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def signed(value: float) -> str:
    """A difference: its sign is always there, unless it rounds to nothing."""
    text = number(value)
    return f"+{text}" if value > 0 and float(f"{value:.3f}") else text


def probability(name: str, value: float) -> str:
    """``p = .002``, ``p < .001``."""
    if not math.isfinite(value):
        return f"{name} unknown"
    return f"{name} < .001" if value < 0.001 else f"{name} = {number(value)}"


def limits(row: Comparison, confidence: float) -> str:
    """``95 % .012 to .052``."""
    if not math.isfinite(row.ci_low):
        return "no interval"
    return f"{_percent(confidence)} {number(row.ci_low)} to {number(row.ci_high)}"


def _percent(confidence: float) -> str:
    return f"{100 * confidence:g} %"


def scheme_verdict(rows: Sequence[Comparison], metric: str, confidence: float) -> str:
    """One scheme: the pair; or the mean of the rows and then which rows it comes from.

    B (or A) is called better only if the interval leaves out 0 *and* the permutation test, after
    adjustment for the number of rows, gives at most 1 − confidence.
    """
    single = [row for row in rows if row.a != ALL_ROWS]
    if len(single) == 1:
        return _finding(single[0], metric, confidence) + _beyond(single[0], confidence)
    folds, same = f"{scheme_name(single[0].scheme)} folds", [row for row in single if row.same]
    if len(same) == len(single):
        every = f"all {len(single)} rows"
        return f"No difference is shown on {folds}: A and B predict the same in {every}."
    changed = [row for row in single if not row.same]
    whole = next((row for row in rows if row.a == ALL_ROWS), changed[0])
    over = f"mean of {len(changed)} rows" if len(changed) > 1 else f"{changed[0].a} alone differs"
    text = _finding(whole, metric, confidence, f" ({over})") + _beyond(whole, confidence)
    if len(changed) > 1:
        text += " " + _row_by_row(changed, confidence)
    if same:
        text += f" {_counted(len(same), 'row predicts', 'rows predict')} the same in both runs."
    return text


def _row_by_row(rows: Sequence[Comparison], confidence: float) -> str:
    """Which rows a difference is shown in, after adjustment for their number."""
    found, none = [], []
    for name, sign in (("B", 1), ("A", -1)):
        ahead = [row for row in rows if _shown(row, row.q_permutation, confidence) == sign]
        ahead.sort(key=lambda row: -abs(row.difference))
        listed = [
            f"{row.a} {signed(row.difference)} ({probability('q', row.q_permutation)})"
            for row in ahead
        ]
        if ahead:
            found.append(f"{name} is better in {len(ahead)} of {len(rows)}: {joined(listed)}")
        else:
            none.append(f"{name} in none")
    if not found:
        return (
            f"Row by row no difference is shown in any of {len(rows)}, adjusted for their number."
        )
    return f"Row by row, adjusted for their number: {'; '.join(found + none)}."


def _shown(row: Comparison, adjusted: float, confidence: float) -> int:
    """1 if B is better, −1 if A is, 0 if neither is shown."""
    outside = (row.ci_low > 0) - (row.ci_high < 0)
    return outside if adjusted <= alpha_of(confidence) else 0


def _finding(row: Comparison, metric: str, confidence: float, over: str = "") -> str:
    """The sentence about one row."""
    on = f"on {scheme_name(row.scheme)} folds{over}"
    name = _SHORT.get(metric, metric_name(metric))
    size = f"{name} {signed(row.difference)} ({limits(row, confidence)})"
    p = probability("p", row.p_permutation)
    if row.same:
        return f"No difference is shown {on}: A and B predict the same."
    if _unmoved(row):
        return f"No difference is shown {on}: A and B score the same in every content group."
    if row.smallest_p > alpha_of(confidence):
        groups = _counted(row.n_clusters, "content group", "content groups")
        if smallest_p(row.n_clusters, MANY_DRAWS) <= alpha_of(confidence):
            groups = f"the few content groups (of {row.n_clusters}) in which A and B differ"
        least = probability("p", row.smallest_p)
        return f"Too few clusters {on}: with {groups} nothing below {least} can be found; {size}."
    shown = _shown(row, row.p_permutation, confidence)
    if shown:
        return f"{'B' if shown > 0 else 'A'} is better {on}: {size}, {p}."
    outside = row.ci_low > 0 or row.ci_high < 0
    if outside or row.p_permutation <= alpha_of(confidence):
        against = "the permutation test does not bear it out"
        if not outside:
            known = math.isfinite(row.ci_low)
            against = "the interval does not bear it out" if known else "no interval bears it out"
        return f"No difference is shown {on}: {size}, {p}; {against}."
    possible = _possible(row)
    return f"No difference is shown {on}: {size}, {p}{possible}."


def _unmoved(row: Comparison) -> bool:
    """Other predictions, but the same score everywhere: all pairs in the same order, say."""
    return abs(row.difference) < LEVEL and row.smallest_p == 1.0


def _possible(row: Comparison) -> str:
    """How large a difference the interval leaves open, in either direction; rounded up."""
    if not math.isfinite(row.ci_low):
        return ""
    better, worse = _rounded_up(row.ci_high), _rounded_up(-row.ci_low)
    return f"; that B is better by up to {better} or worse by up to {worse} is not excluded"


def _rounded_up(value: float) -> str:
    digits = 2 if value >= 0.01 else 3
    return number(max(0.0, math.ceil(value * 10**digits - 1e-9) / 10**digits), digits)


def _beyond(row: Comparison, confidence: float) -> str:
    """What holds for the units that a scheme holds out, such as movements; of the one ahead."""
    if not row.n_units or row.same or _unmoved(row):
        return ""
    units, n = UNITS_IN_WORDS[row.unit], row.n_units
    name, ahead = ("A", row.n_units_behind) if row.difference < 0 else ("B", row.n_units_ahead)
    best = smallest_p(n, MANY_DRAWS)
    share = {0: f"none of the {n}", n: f"all {n}"}.get(ahead, f"{ahead} of the {n}")
    text = f" {name} is ahead in {share} {units}"
    if best > alpha_of(confidence):
        least = probability("p", best)
        return f"{text}; {n} allow no test below {least}, so nothing is shown for other {units}."
    return f"{text} (exchanging whole {units}: {probability('p', row.p_unit)})."


def _counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
