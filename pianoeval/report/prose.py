"""The page in sentences: what was reached, against what, and what it cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import MODEL_KINDS, MetricTable, first, metric_table
from pianoeval.report.select import SchemeLine


@dataclass(frozen=True)
class KeyNumber:
    """One large numeral of the headline and the sentence that goes with it.

    ``advantage`` is the paired difference from the best baseline; ``clear`` tells whether its
    interval lies above 0, None if unknown.
    """

    value: str
    span: str
    label: str
    against: str
    sentence: str
    advantage: str
    clear: bool | None


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
        wanted = {"player", "movement"} & set(lines) or {main or ""}
        found += [_key_number(lines[s], margin) for s in lines if s in wanted]
    return found


def _key_number(line: SchemeLine, metric: str) -> KeyNumber:
    pairs = metric.startswith("pairwise")
    against = []
    if line.baseline is not None:
        against.append(f"without listening {words.number(line.baseline.value)}")
    if line.ceiling is not None:
        against.append(f"ceiling {words.number(line.ceiling.value)}")
    what = "Pairs in order" if pairs else "R² pooled"
    return KeyNumber(
        value=words.number(line.best.value),
        span=words.interval(line.best.low, line.best.high),
        label=f"{what}, {words.scheme_name(line.scheme)} folds",
        against=" · ".join(against),
        sentence=sentence(line, metric),
        advantage=_advantage(line),
        clear=line.clear,
    )


def _advantage(line: SchemeLine) -> str:
    """``+0.304 (0.151 to 0.482)``; empty where no paired difference was computed."""
    return "" if line.advantage is None else _signed(line.advantage)


def _signed(difference: tuple[float, float, float]) -> str:
    value, low, high = difference
    sign = "+" if value > 0 else ""
    return f"{sign}{words.number(value)} ({words.interval(low, high)})"


def sentence(line: SchemeLine, metric: str) -> str:
    """One scheme in words: who, how far, against what, and whether the interval agrees."""
    best, value = line.best, line.best.value
    span = words.interval(best.low, best.high)
    shown = words.number(value) + (f" ({span})" if span else "")
    who = best.name[:1].upper() + best.name[1:]
    if metric.startswith("pairwise"):
        share = words.percent(value)
        text = f"{who} puts {share} of the pairs in the order of the labels: {shown}."
    elif value > 0:
        text = f"{who} explains {words.percent(value)} of the variance: R² {shown}."
    else:
        text = f"{who} does no better than one constant for all clips: R² {shown}."
    return " ".join([text, *_against(line)])


def _against(line: SchemeLine) -> list[str]:
    out: list[str] = []
    if line.baseline is not None:
        reached = words.number(line.baseline.value)
        text = f"Without listening, {line.baseline.name} reaches {reached}"
        if line.advantage is not None:
            text += f"; the difference of {_advantage(line)} "
            text += "is clear of zero" if line.clear else "does not exclude zero"
        out.append(f"{text}.")
    if line.ceiling is not None:
        exact = line.ceiling.model == "exact_labels"
        what = "Exact labels allow" if exact else "Rater reliability allows"
        text = f"{what} {words.number(line.ceiling.value)}"
        if line.share is not None and line.share > 0:
            text += f": {words.percent(line.share)} of the way from the one to the other"
        out.append(f"{text}.")
    return out


def audio_sentence(report: CorpusReport) -> str:
    """Best audio against best symbolic view on the scheme of the headline.

    Empty unless their paired difference was computed: two intervals do not compare two models.
    """
    main = select.headline_scheme(report)
    line = next((ln for ln in select.headline(report, "r2_pooled") if ln.scheme == main), None)
    if line is None or line.audio is None or line.symbolic is None or line.audio_lead is None:
        return ""
    audio, symbolic = line.audio, line.symbolic
    _, low, high = line.audio_lead
    verdict = "is clear of zero" if low > 0 or high < 0 else "does not exclude zero"
    return (
        f"The best audio view ({audio.name}) stands at {words.number(audio.value)}, the best "
        f"symbolic one ({symbolic.name}) at {words.number(symbolic.value)}; the paired difference "
        f"of {_signed(line.audio_lead)} {verdict}."
    )


def intervals(report: CorpusReport) -> str:
    """How the intervals were made, if the summary tells."""
    made = report.summary.get("bootstrap")
    if not isinstance(made, Mapping) or not {"confidence", "method", "draws"} <= set(made):
        return ""
    level, draws = words.percent(float(made["confidence"])), words.count(float(made["draws"]))
    return f"Intervals: {level}, {made['method']}, {draws} draws."


def interval_methods(report: CorpusReport) -> str:
    """Which metrics have which intervals, where there is more than one method."""
    results = report.results
    found = results.loc[results["interval"] != "", ["interval", "metric"]].drop_duplicates()
    methods: dict[str, list[str]] = {}
    for method, metric in found.itertuples(index=False):
        methods.setdefault(str(method), []).append(str(metric))
    if len(methods) < 2:
        return ""
    parts = [
        f"{method}: "
        + words.joined([words.metric_name(m) for m in sorted(names, key=words.metric_rank)])
        for method, names in sorted(methods.items())
    ]
    return f"Intervals by {'; by '.join(parts)}."


def caveats(report: CorpusReport) -> list[str]:
    """What the numbers can and cannot say, derived from the numbers themselves."""
    out: list[str] = []
    if report.simulated:
        out.append(
            "The performances and their labels are simulated. The numbers show that the pipeline "
            "finds differences that were put in; they say nothing about how people hear."
        )
    main = select.headline_scheme(report)
    table = metric_table(report, "r2_pooled")
    if main is not None:
        tried = [s for s in table.scores(main) if s.kind in MODEL_KINDS]
        if len(tried) > 1:
            out.append(
                f"Each 'best' is the best of up to {len(tried)} combinations of features and "
                "model, chosen on the folds it is reported on. It is therefore a little too high. "
                "Whether two combinations differ is told by their paired difference, not by "
                "whether their intervals overlap."
            )
    out += _lookup_caveats(table)
    if not report.simulated and "ceiling" not in set(report.results["features"]):
        out.append(
            "No ceiling is known for these labels: a low value may mean a weak model or unreliable "
            "labels, and this table cannot tell which."
        )
    return out


def _lookup_caveats(table: MetricTable) -> list[str]:
    strong = []
    for scheme in table.schemes:
        lookup = first(table.scores(scheme), ("lookup",))
        if lookup is not None and lookup.value > 0.1:
            strong.append(f"{words.scheme_name(scheme)} ({words.number(lookup.value)})")
    if not strong:
        return []
    return [
        f"A table of group means, which hears nothing, already scores R² above 0.1 on "
        f"{words.joined(strong)} folds. Values there measure how well a model recognises the piece "
        "or the player as much as how well it listens."
    ]
