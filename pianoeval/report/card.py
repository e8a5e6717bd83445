"""The model card of an exported model: Hugging Face front matter, then what a user must know.

Numbers come from ``results.csv`` alone, and only if they were made with the configuration that the
model was trained with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pianoeval.errors import BadInputError, ConfigError
from pianoeval.report import words
from pianoeval.report.card_words import (
    ceiling_note,
    counted,
    domain,
    frozen,
    interval_note,
    licence_note,
    limits,
    non_commercial,
    predicts,
    reads,
    warning,
)
from pianoeval.report.data import CorpusReport
from pianoeval.report.markdown import cell
from pianoeval.report.scores import BASELINE_KINDS, MetricTable, Score, first, metric_table
from pianoeval.report.select import headline_scheme, margin_metric

_TEMPLATES = Path(__file__).parent / "templates"
# Licences that the Hugging Face Hub knows, by their written form in lower case with dashes.
_HUB_LICENCES = frozenset({
    "mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause", "gpl-2.0", "gpl-3.0", "lgpl-3.0",
    "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0",
    "odc-by", "odbl", "pddl",
})  # fmt: skip
_HUB_METRICS = {"r2_pooled": "r_squared", "spearman": "spearmanr"}


@dataclass(frozen=True)
class Line:
    """A row of a results table, each cell as it is read."""

    scheme: str
    meaning: str
    dimension: str
    own: str
    baseline: str
    ceiling: str


def model_card(config: Mapping[str, Any], report: CorpusReport) -> str:
    """The text of ``README.md``.

    Parameters
    ----------
    config : mapping
        ``ExportedRidge.config``.
    report : CorpusReport
        Of the corpus that the model was trained on.

    Raises
    ------
    BadInputError
        The results do not hold this view and model.
    ConfigError
        They were made with another configuration.
    """
    rows = _own_rows(config, report)
    metrics = [m for m in ("r2_pooled", margin_metric(report), "spearman") if m]
    tables = {metric: metric_table(report, metric) for metric in metrics}
    key, main = f"{config['view']}/{config['model']}", headline_scheme(report)
    return _environment().get_template("card.md.j2").render(
        front=yaml.safe_dump(_front(config, rows, tables), sort_keys=False, allow_unicode=True),
        title=f"{words.row_name(config['view'], config['model'])}, trained on"
        f" {config['corpus']['name']}",
        simulated=report.simulated,
        config=config,
        corpus=config["corpus"],
        dimensions=config["dimensions"],
        predicts=predicts(config),
        reads=reads(config["inputs"]),
        groups=words.joined([counted(n, c) for c, n in config["corpus"]["groups"].items()]),
        penalty=", ".join(f"{value:g}" for value in sorted(set(config["ridge"]["lambda"]))),
        column=words.plain(config["ridge"]["chosen_on"]),
        frozen=frozen(config["inputs"]),
        tables=[made for table in tables.values() if (made := _table(table, key))["lines"]],
        main=words.scheme_name(main or ""),
        by_dimension=_by_dimension(tables["r2_pooled"], main, key, config["dimensions"]),
        ceiling_note=ceiling_note(report),
        interval_note=interval_note(rows, report),
        limits=limits(config, report),
        domain=domain(config, report),
        warning=warning(config, report),
        command=_command(config["inputs"]),
        licence_note=licence_note(config["corpus"]["licences"], config["assets"]),
        licences=licence_rows(config),
        results_commit=rows["commit"].iloc[0],
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=False, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(number=words.number, cell=cell)
    return environment


def _own_rows(config: Mapping[str, Any], report: CorpusReport) -> pd.DataFrame:
    """The model's own rows of the results: means over dimensions."""
    results, view, model = report.results, config["view"], config["model"]
    own = (results["features"] == view) & (results["model"] == model)
    rows = results[own & (results["task"] == config["task"]) & (results["dimension"] == "mean")]
    again = f"dvc repro evaluate@{report.corpus}"
    if rows.empty:
        raise BadInputError(
            f"the results hold no {view}/{model} of task '{config['task']}'",
            where=f"results of {report.corpus}", next_step=again,
        )  # fmt: skip
    found = sorted(set(rows["config_hash"]))
    if found != [config["config_hash"]]:
        raise ConfigError(
            "the results were made with another configuration than params.yaml now holds",
            where=f"results of {report.corpus}",
            allowed=f"{config['config_hash']}, found {', '.join(found) or 'none'}",
            next_step=again,
        )
    kept: pd.DataFrame = rows
    return kept


def _front(
    config: Mapping[str, Any], rows: pd.DataFrame, tables: Mapping[str, MetricTable]
) -> dict[str, Any]:
    """The metadata of the Hugging Face Hub."""
    corpus = str(config["corpus"]["name"])
    results: list[dict[str, Any]] = []
    kinds: dict[str, None] = {}
    for scheme in sorted(set(rows["scheme"]), key=words.scheme_rank):
        found = [_hub_metric(rows, scheme, table) for table in tables.values()]
        if metrics := [metric for metric in found if metric]:
            dataset = {"type": _slug(corpus), "name": corpus, "config": scheme}
            task = {"type": "tabular-regression", "name": f"piano performance {config['task']}"}
            kinds |= dict.fromkeys(str(metric["type"]) for metric in metrics)
            results.append({"task": task, "dataset": dataset, "metrics": metrics})
    return {
        **hub_licence(config["corpus"]["licences"], config["assets"]),
        "library_name": "pianoeval",
        "pipeline_tag": "tabular-regression",
        "tags": ["piano", "music", "music-performance-assessment", "ridge-regression",
                 _slug(config["inputs"]["source"])],
        "datasets": [_slug(corpus)],
        "metrics": list(kinds),
        "model-index": [{"name": _slug(config["name"]), "results": results}],
    }  # fmt: skip


def _hub_metric(rows: pd.DataFrame, scheme: str, table: MetricTable) -> dict[str, Any] | None:
    keep = (rows["scheme"] == scheme) & (rows["metric"] == table.metric)
    part = rows[keep & (rows["subset"] == table.subset)]
    if part.empty or pd.isna(part["value"].iloc[0]):
        return None
    row = part.iloc[0]
    name = f"{words.metric_name(table.metric)}, {table.subset} clips, out of fold, same recipe"
    kind = _HUB_METRICS.get(table.metric, "pairwise_accuracy")
    entry: dict[str, Any] = {"type": kind, "name": name, "value": round(float(row["value"]), 4)}
    if pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
        limits = {"ci_low": row["ci_low"], "ci_high": row["ci_high"]}
        entry["args"] = {name: round(float(value), 4) for name, value in limits.items()}
    return entry


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def hub_licence(licences: list[dict[str, Any]], assets: list[dict[str, Any]]) -> dict[str, str]:
    """The corpus' own licence if it is one the Hub knows, else ``other`` and what it is called.

    A free corpus does not free a model that needs a non-commercial encoder.
    """
    if non_commercial(assets):
        return {"license": "other", "license_name": "non-commercial-encoder-see-the-card"}
    stated = sorted({str(entry["licence"]).strip() for entry in licences})
    if len(stated) == 1:
        written = re.sub(r"\s+", "-", stated[0].lower())
        if written in _HUB_LICENCES:
            return {"license": written}
        return {"license": "other", "license_name": _slug(stated[0])[:90] or "not-stated"}
    return {"license": "other", "license_name": "several-see-the-card"}


def _table(table: MetricTable, key: str) -> dict[str, Any]:
    lines = []
    for scheme in table.schemes:
        if line := _line(table, scheme, "mean", key):
            lines.append(line)
    subset = "all clips" if table.subset == "all" else f"{table.subset} clips"
    return {"metric": words.metric_name(table.metric), "subset": subset, "lines": lines}


def _by_dimension(
    table: MetricTable, scheme: str | None, key: str, dimensions: list[dict[str, Any]]
) -> list[Line]:
    names = [str(entry["name"]) for entry in dimensions]
    found = [_line(table, scheme, name, key) for name in names] if scheme else []
    return [line for line in found if line]


def _line(table: MetricTable, scheme: str, dimension: str, key: str) -> Line | None:
    scores = table.scores(scheme, dimension)
    own = next((score for score in scores if score.key == key), None)
    if own is None:
        return None
    baseline, ceiling = first(scores, BASELINE_KINDS), table.ceiling(scheme, dimension)
    return Line(
        words.scheme_name(scheme), words.scheme_meaning(scheme), words.plain(dimension),
        _with_interval(own), _named(baseline), _named(ceiling),
    )  # fmt: skip


def _with_interval(score: Score) -> str:
    span = words.interval(score.low, score.high)
    return f"{words.number(score.value)} ({span})" if span else words.number(score.value)


def _named(score: Score | None) -> str:
    return f"{words.number(score.value)}, {score.name}" if score else "not known"


def _command(inputs: Mapping[str, Any]) -> str:
    instruments = inputs.get("instruments", [])
    pooled = [f"pool@folder-{inputs['source']}-{name}" for name in instruments]
    return "dvc repro " + " ".join(pooled or ["symbolic@folder"])


def licence_rows(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for the clips under each licence, and one for each asset."""
    rows = [
        {
            "what": f"{entry['clips']} clips and their labels, {config['corpus']['name']}",
            "licence": str(entry["licence"]),
            "note": "" if entry["redistributable"] else "the clips may not be passed on",
        }
        for entry in config["corpus"]["licences"]
    ]
    return rows + [
        {"what": asset["name"], "licence": asset["licence"], "note": asset["note"]}
        for asset in config["assets"]
    ]
