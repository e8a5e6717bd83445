"""The page in sentences: what was reached, against what, and what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.select import SchemeLine

_FEW_CLUSTERS = 10


@dataclass(frozen=True)
class KeyNumber:
    """One large numeral of the headline and the sentence that goes with it."""

    value: str
    span: str
    label: str
    against: str
    sentence: str


def key_numbers(report: CorpusReport) -> list[KeyNumber]:
    """R² on the strictest telling scheme, pairwise accuracy on player and movement folds."""
    found: list[KeyNumber] = []
    main = select.headline_scheme(report)
    for line in select.headline(report, "r2_pooled"):
        if line.scheme == main:
            found.append(_key_number(line, "r2_pooled"))
    margin = select.margin_metric(report)
    if margin:
        lines = {line.scheme: line for line in select.headline(report, margin)}
        wanted = [s for s in ("player", "movement") if s in lines] or [s for s in lines if s == main]
        found += [_key_number(lines[s], margin) for s in wanted]
    return found


def _key_number(line: SchemeLine, metric: str) -> KeyNumber:
    pairs = metric.startswith("pairwise")
    against = []
    if line.baseline is not None:
        against.append(f"without listening {words.number(line.baseline.value)}")
    if line.ceiling is not None:
        against.append(f"ceiling {words.number(line.ceiling.value)}")
    what = "Pairs ranked as the raters do" if pairs else "R² pooled"
    return KeyNumber(
        value=words.percent(line.best.value) if pairs else words.number(line.best.value),
        span=words.interval(line.best.low, line.best.high),
        label=f"{what}, {words.scheme_name(line.scheme)} folds",
        against=" · ".join(against),
        sentence=sentence(line, metric),
    )


def sentence(line: SchemeLine, metric: str) -> str:
    """One scheme in words: who, how far, against what, and whether the interval agrees."""
    best, value = line.best, line.best.value
    span = words.interval(best.low, best.high)
    meaning = words.scheme_meaning(line.scheme)
    text = f"On {words.scheme_name(line.scheme)} folds"
    text += f" ({meaning}) " if meaning else " "
    shown = f"{words.number(value)}" + (f" ({span})" if span else "")
    if metric.startswith("pairwise"):
        text += f"{best.name} puts {words.percent(value)} of the pairs in the raters' order: {shown}."
    elif value > 0:
        text += f"{best.name} explains {words.percent(value)} of the variance: R² {shown}."
    else:
        text += f"{best.name} does no better than one constant for all clips: R² {shown}."
    return " ".join([text, *_against(line)])


def _against(line: SchemeLine) -> list[str]:
    out: list[str] = []
    base, best = line.baseline, line.best
    if base is not None:
        name = words.row_name(base.features, base.model)
        out.append(f"Without listening ({name}): {words.number(base.value)}.")
        if math.isfinite(best.low) and best.low > base.value:
            out.append("The whole interval lies above that.")
        elif math.isfinite(best.low):
            out.append("The interval includes that: an advantage is not established.")
    if line.ceiling is not None:
        way = f", {words.percent(line.share)} of the way" if line.share is not None else ""
        out.append(f"Rater reliability allows {words.number(line.ceiling.value)}{way}.")
    return out


def audio_sentence(report: CorpusReport) -> str:
    """Whether listening added to the symbolic features on the scheme of the headline."""
    main = select.headline_scheme(report)
    line = next((ln for ln in select.headline(report, "r2_pooled") if ln.scheme == main), None)
    if line is None or line.audio is None or line.symbolic is None:
        return ""
    audio, symbolic = line.audio, line.symbolic
    order = "above" if audio.value > symbolic.value else "below"
    text = f"The best audio view ({audio.name}) stands at {words.number(audio.value)}, {order}"
    text += f" the symbolic features ({words.number(symbolic.value)})"
    finite = all(map(math.isfinite, (audio.low, audio.high, symbolic.low, symbolic.high)))
    if finite and audio.low <= symbolic.high and symbolic.low <= audio.high:
        text += "; their intervals overlap, so the order of the two is not settled"
    return text + "."


def caveats(report: CorpusReport) -> list[str]:
    """What the numbers can and cannot say, derived from the numbers themselves."""
    out: list[str] = []
    if report.simulated:
        out.append(
            "The performances and their labels are simulated. The numbers show that the pipeline "
            "finds differences that were put in; they say nothing about how people hear."
        )
    main = select.headline_scheme(report)
    table = select.rows_of(report, "r2_pooled")
    if main is not None:
        tried = [s for s in select.scores(table, main) if s.kind in select.MODEL_KINDS]
        if len(tried) > 1:
            out.append(
                f"Each 'best' is the best of up to {len(tried)} combinations of features and model, "
                "chosen on the folds it is reported on. It is therefore a little too high; treat "
                "combinations with overlapping intervals as equal."
            )
    out += _cluster_caveats(report)
    out += _lookup_caveats(table, select.schemes(report))
    if (set(report.results["features"]) & {"ceiling"}) == set():
        out.append(
            "No ceiling is known for these labels: a low value may mean a weak model or unreliable "
            "labels, and this table cannot tell which."
        )
    return out


def _cluster_caveats(report: CorpusReport) -> list[str]:
    few: dict[int, list[str]] = {}
    table = select.rows_of(report, "r2_pooled")
    for scheme in select.schemes(report):
        best = select.first(select.scores(table, scheme), select.MODEL_KINDS)
        if best is not None and best.n_clusters < _FEW_CLUSTERS:
            few.setdefault(round(best.n_clusters), []).append(words.scheme_name(scheme))
    return [
        f"On {words.joined(names)} folds the intervals rest on {n} clusters. That many cannot "
        "support a claim about music or players beyond those in this corpus."
        for n, names in sorted(few.items())
    ]


def _lookup_caveats(table: pd.DataFrame, schemes: Sequence[str]) -> list[str]:
    strong = []
    for scheme in schemes:
        lookup = select.first(select.scores(table, scheme), ("lookup",))
        if lookup is not None and lookup.value > 0.1:
            strong.append(f"{words.scheme_name(scheme)} ({words.number(lookup.value)})")
    if not strong:
        return []
    return [
        f"A table of group means, which hears nothing, already scores R² above 0.1 on "
        f"{words.joined(strong)} folds. Values there measure how well a model recognises the piece "
        "or the player as much as how well it listens."
    ]
