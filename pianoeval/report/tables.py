"""Tables of the page and of ``dvc plots``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pianoeval.atomic import write_output
from pianoeval.report import plotted, select, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.dimensions import predicted_and_rated
from pianoeval.report.scores import (
    BASELINE_KINDS,
    MODEL_KINDS,
    best_by_features,
    first,
    metric_table,
)

#: Cells of the full table; beyond it the last rows are left to results.csv, and the page says so.
_MAX_CELLS = 6_000
_PLOT_COLUMNS = ["scheme", "features", "model", "row", "value", "ci_low", "ci_high"]


@dataclass(frozen=True)
class Cell:
    """One value of the full table."""

    value: str
    span: str


@dataclass(frozen=True)
class FullTable:
    """Means over dimensions: a row a combination, a column a metric."""

    heads: list[str]
    metrics: list[str]
    rows: list[tuple[list[str], str, list[Cell]]]
    n_rows: int


def full_table(report: CorpusReport) -> FullTable:
    """Every combination of scheme, subset, features and model, best first within a scheme."""
    table = report.results.loc[report.results["dimension"] == "mean"]
    # Reliabilities are of the ratings, not of models; they have a table of their own.
    of_models = set(table.loc[table["features"] != "ceiling", "metric"])
    table = table.loc[table["metric"].isin(of_models)]
    # Learning curves have a figure of their own, single instruments a table.
    table = table.loc[table["features"].map(words.kind) != "curve"]
    keys = ["scheme", "subset", "features", "model"]
    for extra in ("seed", "task"):
        # A column that never varies would only take room; it is named in the provenance.
        if table.loc[~table["features"].isin(["ceiling", "lookup", "none"]), extra].nunique() > 1:
            keys.insert(0, extra)
    metrics = sorted(set(table["metric"]), key=words.metric_rank)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        found.setdefault(tuple(str(row[k]) for k in keys), {})[str(row["metric"])] = row
    order = sorted(found, key=lambda key: _rank(dict(zip(keys, key, strict=True)), found[key]))
    fits = max(_MAX_CELLS // max(len(metrics), 1), 1)
    rows = []
    for key in order[:fits]:
        named = dict(zip(keys, key, strict=True))
        names = [words.scheme_name(v) if k == "scheme" else v for k, v in named.items()]
        kind = words.kind(named["features"])
        rows.append((names, kind, [_cell(found[key].get(metric)) for metric in metrics]))
    return FullTable(keys, metrics, rows, len(order))


def _rank(key: Mapping[str, str], values: Mapping[str, Any]) -> tuple[Any, ...]:
    value = float(values["r2_pooled"]["value"]) if "r2_pooled" in values else math.nan
    down = -value if math.isfinite(value) else math.inf
    return (
        key.get("task", ""), words.scheme_rank(key["scheme"]), key["subset"], down,
        key["features"], key["model"], key.get("seed", ""),
    )  # fmt: skip


def _cell(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell(words.ABSENT, "")
    return Cell(words.number(row["value"]), words.interval(row["ci_low"], row["ci_high"]))


def facts(report: CorpusReport) -> list[tuple[str, str]]:
    """Sizes of the corpus as (number, noun), from the manifest, else from the results."""
    manifest = report.manifest
    if manifest is None:
        return _facts_of_summary(report)
    out = [(words.count(len(manifest)), "clips")]
    human = manifest
    if "is_score_render" in manifest.columns:
        human = manifest.loc[~manifest["is_score_render"].fillna(value=False).astype(bool)]
    nouns = {
        "player": "players", "composition": "compositions", "movement": "movements",
        "segment": "segments", "content_group": "content groups",
    }  # fmt: skip
    for column, noun in nouns.items():
        source = human if column == "player" else manifest
        if column in source.columns and (n := source[column].nunique()):
            out.append((words.count(n), noun if n != 1 else noun.removesuffix("s")))
    dimensions = set(report.results["dimension"]) - {"mean", ""}
    if dimensions:
        out.append((words.count(len(dimensions)), "dimensions"))
    return out


def _facts_of_summary(report: CorpusReport) -> list[tuple[str, str]]:
    size = report.summary.get("size")
    if not isinstance(size, Mapping):
        return [(words.count(float(report.results["n_clips"].max())), "clips")]
    return [(words.count(float(n)), f"{words.plain(str(name))}s") for name, n in size.items()]


def scheme_sizes(report: CorpusReport) -> dict[str, str]:
    """``4 folds, 45 clusters`` by scheme, where the summary tells."""
    return {
        str(entry["scheme"]): f"{entry['folds']} folds, {entry['clusters']} clusters"
        for entry in report.summary.get("sizes") or []
        if entry.get("subset") == "all"
    }


def provenance(report: CorpusReport) -> list[tuple[str, str]]:
    """Where the numbers come from, as (name, value)."""
    rows: list[tuple[str, str]] = []
    if report.manifest is not None:
        for column, name in (("corpus_version", "corpus version"), ("licence", "licence")):
            if column in report.manifest.columns:
                rows.append((name, _unique(report.manifest[column])))
    for column, name in (("commit", "commit"), ("config_hash", "configuration"), ("seed", "seed")):
        rows.append((name, _unique(report.results[column])))
    clips, clusters = report.results["n_clips"], report.results["n_clusters"]
    rows.append(("clips", _range(clips)))
    rows.append(("clusters", _range(clusters)))
    rows.append(("rows of results", words.count(len(report.results))))
    return rows


def _unique(column: pd.Series[Any]) -> str:
    found = sorted({str(v) for v in column.dropna() if str(v) not in ("", "nan")})
    shown = ", ".join(found[:6])
    return (shown + (f" and {len(found) - 6} more" if len(found) > 6 else "")) or words.ABSENT


def _range(column: pd.Series[Any]) -> str:
    low, high = float(column.min()), float(column.max())
    return words.count(low) if low == high else f"{words.count(low)} to {words.count(high)}"


def write_plot_tables(reports: Sequence[CorpusReport], folder: Path) -> list[Path]:
    """Small CSVs for ``dvc plots``, all corpora in each; the same bytes for the same results.

    Writes ``r2.csv`` and ``pairwise.csv`` (best model of every view and all baselines on every
    scheme), ``layers.csv`` (single-layer views) and ``predicted.csv`` (best model of the headline
    scheme; only its header when there are no predictions), and ``learning.csv``,
    ``calibration.csv`` and ``residuals.csv`` from the diagnostics.
    """
    written = []
    found = [_plot_tables(report) for report in reports]
    for name in found[0] if found else ():
        path = folder / name
        table = pd.concat([tables[name] for tables in found], ignore_index=True)
        write_output(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        written.append(path)
    return written


def _plot_tables(report: CorpusReport) -> dict[str, pd.DataFrame]:
    margin = select.margin_metric(report) or "pairwise_005"
    r2, pairs = _by_features(report, "r2_pooled"), _by_features(report, margin)
    both = pd.concat([r2.assign(metric="r2_pooled"), pairs.assign(metric=margin)])
    parts = both["features"].map(words.layer_of)
    layers = both.loc[parts.notna()].copy()
    layers.insert(0, "encoder", [part[0] for part in parts.dropna()])
    layers.insert(1, "layer", [part[1] for part in parts.dropna()])
    tables = {
        "r2.csv": r2, "pairwise.csv": pairs, "layers.csv": layers, "predicted.csv": _pairs(report),
        **plotted.diagnostic_tables(report),
    }  # fmt: skip
    for table in tables.values():
        table.insert(0, "corpus", report.corpus)
    return tables


def _by_features(report: CorpusReport, metric: str) -> pd.DataFrame:
    table = metric_table(report, metric)
    rows = []
    for scheme in table.schemes:
        found = table.scores(scheme)
        shown = [*best_by_features(found), *(s for s in found if s.kind in BASELINE_KINDS)]
        top = table.ceiling(scheme)
        for s in [*shown, *([top] if top else [])]:
            rows.append([scheme, s.features, s.model, s.name, s.value, s.low, s.high])
    return pd.DataFrame(rows, columns=_PLOT_COLUMNS)


def _pairs(report: CorpusReport) -> pd.DataFrame:
    columns = ["dimension", "clip", "rated", "predicted"]
    scheme = select.headline_scheme(report)
    if scheme is None:
        return pd.DataFrame(columns=columns)
    best = first(metric_table(report, "r2_pooled").scores(scheme), MODEL_KINDS)
    both = predicted_and_rated(report, scheme, best) if best is not None else None
    return pd.DataFrame(columns=columns) if both is None else both.loc[:, columns]


def slug(name: str) -> str:
    """A name that is safe as a file name and as an id."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
