"""Pairs of models as they were compared: the few that matter in sentences, all in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pianoeval.report import select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.scores import BASELINE_KINDS, MODEL_KINDS, subset_for

#: (columns of the file, head, format) of the tests that are read second.
_TESTS: tuple[tuple[str, str, str], ...] = (
    ("cohen_d_clip", "Cohen's d, clips", "number"),
    ("r_a", "r, a", "number"),
    ("r_b", "r, b", "number"),
    ("cohen_q", "Cohen's q", "number"),
    ("williams_t", "Williams' t", "number"),
    ("williams_p", "p, Williams", "p"),
    ("t_cluster", "t, groups", "number"),
    ("p_t_cluster", "p, t groups", "p"),
    ("p_wilcoxon_cluster", "p, Wilcoxon groups", "p"),
    ("t_clip", "t, clips", "number"),
    ("p_t_clip", "p, t clips", "p"),
    ("p_wilcoxon_clip", "p, Wilcoxon clips", "p"),
)


@dataclass(frozen=True)
class Pair:
    """One comparison.

    ``clear`` tells whether the interval of the difference excludes 0, ``ahead`` in how many of the
    units that a scheme holds out (movements, say) the first is ahead.
    """

    a: str
    b: str
    values: tuple[str, str]
    difference: str
    span: str
    interval: str
    p: str
    q: str
    ahead: str
    clear: bool
    tests: list[str]


@dataclass(frozen=True)
class Comparisons:
    """Pairs of one metric on the scheme of the headline.

    Attributes
    ----------
    verdicts : list of (str, str)
        What is compared, and the sentence that evaluation wrote about it.
    few : list of Pair
        The best model of each source of features and the best baseline, pairwise.
    every : list of Pair
        All pairs with at least one model; ``heads`` names the further tests.
    """

    metric: str
    scheme: str
    subset: str
    verdicts: list[tuple[str, str]]
    few: list[Pair]
    every: list[Pair]
    heads: list[str]

    @property
    def units(self) -> bool:
        """Whether any pair tells in how many units one is ahead."""
        return any(pair.ahead for pair in self.few)


def comparisons(report: CorpusReport) -> list[Comparisons]:
    """R² and the pairwise metric, each on its own subset; empty without ``comparisons.csv``."""
    table, scheme = report.beside.comparisons, select.headline_scheme(report)
    if table is None or scheme is None:
        return []
    found = []
    for metric in ("r2_pooled", select.margin_metric(report)):
        keep = (table["scheme"] == scheme) & (table["metric"] == metric)
        keep &= table["subset"] == subset_for(report, metric)
        if metric and keep.any():
            found.append(_comparisons(table.loc[keep], metric, scheme))
    return found


def _comparisons(table: pd.DataFrame, metric: str, scheme: str) -> Comparisons:
    values = _values(table)
    audio, symbolic = _best(values, ("audio",)), _best(values, ("symbolic",))
    baseline, best = _best(values, BASELINE_KINDS), _best(values, MODEL_KINDS)
    wanted = (
        ("Best audio and best symbolic model of the first views", audio, symbolic),
        ("Best model and best baseline", best, baseline),
        ("Best audio and best baseline", audio if audio != best else None, baseline),
    )
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    verdicts = [
        (what, str(row["verdict"]))
        for what, a, b in wanted
        if a and b and (row := _between(rows, a, b)) is not None
    ]
    shown = {*_best_of_each(values), *([baseline] if baseline else [])}
    tests = [test for test in _TESTS if test[0] in table.columns]
    rows = _ordered(rows)
    return Comparisons(
        metric=metric,
        scheme=scheme,
        subset=str(table["subset"].iloc[0]),
        verdicts=verdicts,
        few=[_pair(_better_first(row), ()) for row in rows if {row["a"], row["b"]} <= shown],
        every=[_pair(row, tests) for row in rows if _kinds(row) & set(MODEL_KINDS)],
        heads=[head for _, head, _ in tests],
    )


def _values(table: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in (("a", "value_a"), ("b", "value_b")):
        for name, number in zip(table[key], table[value], strict=True):
            if math.isfinite(number):
                found[str(name)] = float(number)
    return found


def _kind(key: str) -> str:
    return words.kind(words.features_of(key))


def _kinds(row: Mapping[str, Any]) -> set[str]:
    return {_kind(str(row["a"])), _kind(str(row["b"]))}


def _best(values: Mapping[str, float], kinds: Sequence[str]) -> str | None:
    found = [key for key in values if _kind(key) in kinds]
    # Of equal baselines the training mean is named.
    return min(
        found, key=lambda key: (-round(values[key], 9), key[:5] != "none/", key), default=None
    )


def _best_of_each(values: Mapping[str, float]) -> set[str]:
    best: dict[str, str] = {}
    for key in sorted(values, key=lambda key: (-values[key], key)):
        if _kind(key) in MODEL_KINDS:
            best.setdefault(words.features_of(key), key)
    return set(best.values())


def _between(rows: Sequence[dict[str, Any]], a: str, b: str) -> dict[str, Any] | None:
    return next((row for row in rows if {row["a"], row["b"]} == {a, b}), None)


def _ordered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Largest difference first; one that is not known last."""

    def rank(row: dict[str, Any]) -> tuple[float, str, str]:
        size = abs(float(row["difference"]))
        return (-size if math.isfinite(size) else math.inf), str(row["a"]), str(row["b"])

    return sorted(rows, key=rank)


def _pair(row: Mapping[str, Any], tests: Sequence[tuple[str, str, str]]) -> Pair:
    low, high = float(row["ci_low"]), float(row["ci_high"])
    return Pair(
        a=words.named(str(row["a"])),
        b=words.named(str(row["b"])),
        values=(words.number(row["value_a"]), words.number(row["value_b"])),
        difference=words.signed(row["difference"]),
        span=words.interval(low, high),
        interval=str(row.get("interval", "")),
        p=words.p_value(row["p_permutation"]),
        q=words.p_value(row["q_permutation"]),
        ahead=_ahead(row),
        clear=low > 0 or high < 0,
        tests=[
            words.p_value(row[name]) if how == "p" else words.number(row[name], 2)
            for name, _, how in tests
        ],
    )


def _ahead(row: Mapping[str, Any]) -> str:
    """``3 of 4 movements``; empty where a scheme holds out nothing coarser than its groups."""
    n, ahead, unit = row.get("n_units"), row.get("n_units_ahead"), str(row.get("unit") or "")
    if not unit or not isinstance(n, float) or not isinstance(ahead, float) or not n > 0:
        return ""
    return f"{words.count(ahead)} of {words.count(n)} {words.plain(unit)}s"


def _better_first(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same comparison turned so that the difference is not negative."""
    if not float(row["difference"]) < 0:
        return dict(row)
    turned = {
        "a": row["b"], "b": row["a"], "value_a": row["value_b"], "value_b": row["value_a"],
        "difference": -row["difference"], "ci_low": -row["ci_high"], "ci_high": -row["ci_low"],
    }  # fmt: skip
    if "n_units_ahead" in row and "n_units_behind" in row:
        turned["n_units_ahead"] = row["n_units_behind"]
        turned["n_units_behind"] = row["n_units_ahead"]
    return {**row, **turned}
