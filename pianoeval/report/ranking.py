"""Who played it better: rankers beside models that predict labels, and what their codes hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pianoeval.report import words
from pianoeval.report.data import CorpusReport

_MEAN = "mean"
_ADJACENT = "adjacent_tiers"
_METRICS = {
    "pairwise_0": "any Δ", "pairwise_005": "|Δ| > 0.05", "pairwise_010": "|Δ| > 0.10",
    "kendall_within": "τ", "ndcg": "NDCG", "log_loss": "log loss", "ece": "ECE",
    "cyclic": "cyclic",
}  # fmt: skip
_TIERS = {
    f"{_ADJACENT}_same_take": "versions of one take", f"{_ADJACENT}_other_take": "of other takes",
    _ADJACENT: "all",
}  # fmt: skip
_MEASURES = {
    "piece_accuracy": "piece", "piece_information": "piece, nats", "piece_ari": "piece, clusters",
    "player_accuracy": "player", "player_information": "player, nats", "labels_r2": "labels, R²",
}  # fmt: skip
# A row tells pieces or players apart if no more than this share of permutations does.
_LEVEL = 0.05
# Branches that learned nothing of piece and style: what a ranker reads, what a regression predicts.
_CONTROLS = {"features", "prediction"}


@dataclass(frozen=True)
class Row:
    """A row of a table: what it is, how it is drawn, its cells (value, what stands below it)."""

    name: str
    kind: str
    cells: list[tuple[str, str]]
    best: bool = False


@dataclass(frozen=True)
class SchemeTable:
    """Rows of one scheme, rankers first, and what comparisons say of the best of them."""

    scheme: str
    subset: str
    n_pairs: str
    heads: list[str]
    rows: list[Row]
    verdicts: list[str]
    points: list[Row]


@dataclass(frozen=True)
class RankingSection:
    """Everything of the section; lists are empty where nothing was computed."""

    tables: list[SchemeTable]
    tier_heads: list[str]
    tiers: list[tuple[str, Row]]
    code_heads: list[str]
    codes: list[tuple[str, str, Row]]


def ranking_section(report: CorpusReport) -> RankingSection | None:
    """The section; None where no ranker was evaluated."""
    ranking = report.beside.ranking
    if ranking is None or not (ranking["kind"] == "ranker").any():
        return None
    known = ranking[ranking["value"].notna()]
    tiers = known["subset"].str.startswith(_ADJACENT)
    own = known[~tiers]
    metric = _headline(own)
    ranked = own[(own["kind"] == "ranker") & (own["metric"] == metric)]
    told = ranked.loc[ranked["dimension"] == _MEAN, "scheme"]
    schemes = sorted(set(told), key=words.scheme_rank)
    tables = [
        _scheme_table(own[own["scheme"] == s], s, metric, report.beside.rank_comparisons)
        for s in schemes
    ]
    return RankingSection(
        tables, list(_TIERS.values()), _tier_rows(known[tiers], schemes),
        list(_MEASURES.values()), _code_rows(report.beside.disentanglement, schemes),
    )  # fmt: skip


def _headline(table: pd.DataFrame) -> str:
    found = sorted(m for m in set(table["metric"]) if m.startswith("pairwise"))
    return "pairwise_005" if "pairwise_005" in found else found[0]


def _scheme_table(
    table: pd.DataFrame, scheme: str, metric: str, compared: pd.DataFrame | None
) -> SchemeTable:
    means = table[table["dimension"] == _MEAN]
    ordered = _best_first(means[means["metric"] == metric])
    found = set(means["metric"])
    heads = sorted(m for m in found if m.startswith("pairwise"))
    heads += [m for m in _METRICS if m in found and m not in heads]
    of_kind = {kind: ordered[ordered["kind"] == kind] for kind in set(ordered["kind"])}
    empty = ordered.head(0)
    models = of_kind.get("model", empty)
    kinds = models["features"].map(words.kind)
    shown = [
        of_kind.get("ranker", empty),
        pd.concat([models[kinds == kind].head(1) for kind in ("fusion", "symbolic", "audio")]),
        of_kind.get("baseline", empty).head(1),
        of_kind.get("ceiling", empty),
    ]
    rows = [_row(line, means, heads, metric) for part in shown for _, line in part.iterrows()]
    rows.append(_chance(means, heads))
    rows[0] = replace(rows[0], best=True)
    points = of_kind.get("point", empty)
    chosen = means[means["metric"] == "chosen_share"].set_index("model")["value"]
    return SchemeTable(
        scheme, str(table["subset"].iloc[0]), words.count(float(ordered["n_pairs"].max())),
        [_METRICS.get(m) or words.metric_name(m) for m in heads], rows,
        _verdicts(compared, scheme, f"rank/{of_kind['ranker']['model'].iloc[0]}"),
        [_point(line, chosen.get(line["model"])) for _, line in points.iterrows()],
    )  # fmt: skip


def _best_first(table: pd.DataFrame) -> pd.DataFrame:
    """By value; of equal ones the training mean, then by name."""
    columns = ["value", "heard", "features", "model"]
    found: pd.DataFrame = table.assign(heard=table["features"] != "none").sort_values(
        columns, ascending=[False, True, True, True], kind="stable"
    )
    return found


def _row(line: pd.Series[Any], means: pd.DataFrame, heads: list[str], metric: str) -> Row:
    same = (means["kind"] == line["kind"]) & (means["features"] == line["features"])
    own = means[same & (means["model"] == line["model"])]
    seed = own["seed"] == line["seed"] if "seed" in own else own["kind"].notna()
    by_metric = _by(own[seed], "metric")
    cells = [
        _cell(by_metric[head], head == metric) if head in by_metric else (words.ABSENT, "")
        for head in heads
    ]
    kind = {"ranker": "ranker", "ceiling": "ceiling"}.get(
        line["kind"], words.kind(line["features"])
    )
    return Row(_name(line), kind, cells)


def _by(table: pd.DataFrame, column: str) -> dict[str, pd.Series[Any]]:
    """Rows by the value of a column."""
    return {str(line[column]): line for _, line in table.iterrows()}


def _cell(line: pd.Series[Any], spanned: bool) -> tuple[str, str]:
    span = words.interval(line["ci_low"], line["ci_high"]) if spanned else ""
    return words.number(line["value"]), span


def _name(line: pd.Series[Any]) -> str:
    if line["kind"] == "ceiling":
        return "ceiling"
    if line["kind"] in ("ranker", "point"):
        views = words.joined(str(line["features"]).split("+"))
        seeds = int(line["n_seeds"]) if math.isfinite(line["n_seeds"]) else 1
        return f"{line['model']} on {views}" + (f", {seeds} networks" if seeds > 1 else "")
    return words.row_name(line["features"], line["model"])


def _chance(means: pd.DataFrame, heads: list[str]) -> Row:
    level = means.groupby("metric")["chance"].first()
    cells = [(words.number(level.get(head)), "") for head in heads]
    return Row("cannot tell", "mean", cells)


def _point(line: pd.Series[Any], chosen: float | None) -> Row:
    span = words.interval(line["ci_low"], line["ci_high"])
    cells = [(words.number(line["value"]), span), (words.percent(chosen), "")]
    return Row(str(line["model"]), "ranker", cells)


def _verdicts(compared: pd.DataFrame | None, scheme: str, best: str) -> list[str]:
    """What is said of the best ranker against the best model and the best lookup."""
    if compared is None:
        return []
    rows = compared[(compared["scheme"] == scheme) & (compared["a"] == best)]
    return [str(v) for v in rows.loc[~rows["b"].str.startswith("rank/"), "verdict"]]


def _tier_rows(table: pd.DataFrame, schemes: list[str]) -> list[tuple[str, Row]]:
    """Per scheme: rankers, the best model and the best lookup, on takes of neighbouring tiers."""
    out = []
    for scheme in schemes:
        here = table[(table["scheme"] == scheme) & (table["subset"] == _ADJACENT)]
        here = _best_first(here)
        parts = [here[here["kind"] == "ranker"]]
        parts += [here[here["kind"] == kind].head(1) for kind in ("model", "baseline")]
        for _, line in pd.concat(parts).iterrows():
            same = table["scheme"] == scheme
            for column in ("kind", "features", "model", "seed"):
                if column in table:
                    same &= table[column] == line[column]
            found = _by(table[same], "subset")
            cells = [
                _cell(found[name], spanned=True) if name in found else (words.ABSENT, "")
                for name in _TIERS
            ]
            kind = "ranker" if line["kind"] == "ranker" else words.kind(line["features"])
            out.append((scheme, Row(_name(line), kind, cells)))
    return out


def _code_rows(
    table: pd.DataFrame | None, schemes: list[str]
) -> list[tuple[str, str, Row]]:  # fmt: skip
    """(scheme, branch, row): each measure with its chance level below; ● = beyond chance, ○ = less.

    Only accuracies of pieces are marked as less, which centring on the compared takes makes them.
    """
    if table is None:
        return []
    out = []
    for scheme in schemes:
        here = table[table["scheme"] == scheme]
        for (ranker, branch), part in here.groupby(["ranker", "branch"], sort=False):
            found = _by(part, "measure")
            cells = [
                _measured(found[name]) if name in found else (words.ABSENT, "")
                for name in _MEASURES
            ]
            kind = "control" if str(branch) in _CONTROLS else "ranker"
            out.append((scheme, str(branch), Row(str(ranker), kind, cells)))
    return out


def _measured(line: pd.Series[Any]) -> tuple[str, str]:
    less = line["measure"] == "piece_accuracy" and line["value"] < line["chance_low"]
    beyond = " ●" if line["p"] <= _LEVEL else " ○" if less else ""
    chance = words.interval(line["chance_low"], line["chance_high"], 2)
    return words.number(line["value"], 2) + beyond, chance
