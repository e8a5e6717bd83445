"""The model card of an exported ranker, and what goes along with every rank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pianoeval.report import words
from pianoeval.report.card import hub_licence, licence_rows
from pianoeval.report.card_words import counted, frozen, licence_note, reads, warning
from pianoeval.report.data import CorpusReport
from pianoeval.report.markdown import cell

_TEMPLATES = Path(__file__).parent / "templates"


def ranker_quality(config: Mapping[str, Any], report: CorpusReport) -> dict[str, Any]:
    """``ExportedRanker.config["quality"]`` with its words.

    Parameters
    ----------
    config : mapping
        ``ExportedRanker.config``.
    report : CorpusReport
        Of the corpus that the ranker was trained on.
    """
    known = dict(config["quality"])
    return {
        **known,
        "meaning": words.scheme_meaning(known["scheme"]),
        "simulated": report.simulated,
        "warning": warning(config, report),
    }


def ranker_card(config: Mapping[str, Any], report: CorpusReport) -> str:
    """The text of ``README.md``; parameters as of :func:`ranker_quality`."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=False, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(number=words.number, cell=cell)
    inputs = [view["inputs"] for view in config["views"]]
    quality, corpus = config["quality"], config["corpus"]
    return environment.get_template("ranker_card.md.j2").render(
        front=yaml.safe_dump(_front(config), sort_keys=False, allow_unicode=True),
        title=f"{config['ranker']}, trained on {corpus['name']}",
        config=config,
        corpus=corpus,
        quality=quality,
        simulated=report.simulated,
        reads="; and ".join(reads(one) for one in inputs),
        frozen=words.joined(list(dict.fromkeys(frozen(one) for one in inputs))),
        groups=words.joined([counted(n, c) for c, n in corpus["groups"].items()]),
        scheme=words.scheme_name(quality["scheme"]),
        meaning=words.scheme_meaning(quality["scheme"]),
        column=words.plain(config["difference"]["chosen_on"]),
        lines=[_line(entry, quality["dimensions"]) for entry in config["dimensions"]],
        warning=warning(config, report),
        licence_note=licence_note(corpus["licences"], config["assets"]),
        licences=licence_rows(config),
    )


def _front(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **hub_licence(config["corpus"]["licences"], config["assets"]), "library_name": "pianoeval",
        "tags": ["piano", "music", "music-performance-assessment", "ranking"],
        "datasets": [str(config["corpus"]["name"])],
    }  # fmt: skip


def _line(entry: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, str]:
    one = known[str(entry["name"])]
    span = words.interval(one["low"], one["high"])
    toss = "everywhere" if one["coin_toss"] is None else words.number(one["coin_toss"], 2)
    return {
        "name": words.plain(str(entry["name"])),
        "poles": f"{entry['low_pole'] or '?'} … {entry['high_pole'] or '?'}",
        "accuracy": words.number(one["accuracy"]) + (f" ({span})" if span else ""),
        "expected": words.number(one["expected"]),
        "toss": toss,
        "pairs": words.count(one["pairs"]),
    }
