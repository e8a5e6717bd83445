"""One self-contained page: no request leaves it, no clock enters it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pianoeval.atomic import write_output
from pianoeval.errors import CorruptDataError
from pianoeval.report import curves, dimensions, figures, leaks, prose, select, tables, words
from pianoeval.report.data import CorpusReport
from pianoeval.report.examples import example_section
from pianoeval.report.figures import Figure
from pianoeval.report.layer_weights import layer_tables
from pianoeval.report.learning import learning_curves
from pianoeval.report.scores import Score, metric_table, subset_for
from pianoeval.report.sections import sections
from pianoeval.report.svg import figure_style

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Headline:
    """The headline table of one metric."""

    metric: str
    subset: str
    lines: list[tuple[select.SchemeLine, Markup]]


def environment() -> Environment:
    """Templates with the formats of `pianoeval.report.words` as filters."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update(
        number=words.number,
        percent=words.percent,
        plain=words.plain,
        scheme=words.scheme_name,
        meaning=words.scheme_meaning,
        metric=words.metric_name,
        span=lambda score: words.interval(score.low, score.high),
        model=lambda score: words.model_name(score.features, score.model),
        short=_short,
        path=lambda name: quote(str(name), safe=""),
    )
    return made


def _short(score: Score) -> str:
    """Who scored, where the column already tells symbolic, lookup or ceiling."""
    if score.kind == "symbolic" and score.features == "symbolic":
        return words.model_name(score.features, score.model) + score.seed
    return score.name


def _headline(report: CorpusReport, metric: str, prefix: str) -> Headline | None:
    lines = select.headline(report, metric)
    if not lines:
        return None
    limits = figures.metric_domain(metric_table(report, metric))
    drawn = [
        (line, figures.strip(line, limits, f"{prefix}-strip-{metric}-{i}").render())
        for i, line in enumerate(lines)
    ]
    return Headline(metric, subset_for(report, metric), drawn)


def corpus_figures(report: CorpusReport, prefix: str = "f") -> dict[str, list[Figure]]:
    """All figures of a corpus by group: ``r2``, ``pairwise``, ``layers`` …"""
    margin, main = select.margin_metric(report), select.headline_scheme(report)
    metrics = [m for m in ("r2_pooled", margin) if m]
    layers = [
        figure
        for e, (encoder, views) in enumerate(curves.layer_views(report).items())
        for metric in metrics
        if (figure := curves.layer_curve(report, encoder, views, metric, f"{prefix}-l{e}{metric}"))
    ]
    by_dimension = [
        figure
        for metric in (metrics if main else [])
        if (figure := dimensions.dot_plot(report, main or "", metric, f"{prefix}-d{metric}"))
    ]
    return {
        "r2": figures.forests(report, "r2_pooled", prefix),
        "pairwise": figures.forests(report, margin, prefix) if margin else [],
        "layers": layers,
        "dimensions": by_dimension,
        "learning": learning_curves(report, prefix),
    }


def corpus_context(report: CorpusReport, number: int) -> dict[str, Any]:
    """Everything the template needs for one corpus."""
    prefix = f"c{number}"
    main = select.headline_scheme(report)
    margin = select.margin_metric(report)
    headlines = [_headline(report, metric, prefix) for metric in ("r2_pooled", margin) if metric]
    heats = [dimensions.heat_table(report, scheme) for scheme in select.schemes(report)]
    return {
        "id": prefix,
        "name": report.corpus,
        "simulated": report.simulated,
        "facts": tables.facts(report),
        "task": report.task,
        "main": main,
        "keys": prose.key_numbers(report),
        "audio": prose.audio_sentence(report),
        "headlines": [headline for headline in headlines if headline is not None],
        "skipped": sorted(report.skipped.items(), key=lambda kv: words.scheme_rank(kv[0])),
        "figures": corpus_figures(report, prefix),
        "layer_weights": layer_tables(report),
        "margin": margin,
        "subset_r2": subset_for(report, "r2_pooled"),
        "subset_margin": subset_for(report, margin),
        "heats": [heat for heat in heats if heat is not None],
        "scatter": dimensions.scatter(report, main, prefix) if main else None,
        "quarantined": sorted(report.quarantined.items()),
        "has_clips": report.manifest is not None,
        "leaks": leaks.leak_table(report),
        "audited": report.beside.leaks is not None,
        "reliability": leaks.reliability_table(report),
        "sizes": tables.scheme_sizes(report),
        "intervals": prose.intervals(report),
        "interval_methods": prose.interval_methods(report),
        "notes": report.notes,
        "caveats": prose.caveats(report),
        "full": tables.full_table(report),
        "provenance": tables.provenance(report),
        "settings": report.summary.get("settings") or [f"axes.corpus=[{report.corpus}]"],
        "examples": example_section(report.examples, prefix),
        **sections(report, prefix),
    }


def render(corpora: Sequence[CorpusReport]) -> str:
    """The page as text; raises CorruptDataError when there is no corpus or a name is repeated."""
    names = [report.corpus for report in corpora]
    if not names or len(set(names)) != len(names):
        what = "a corpus is given twice" if names else "no corpus to report on"
        raise CorruptDataError(
            what, where="report", allowed="every corpus of axes.corpus once",
            next_step="edit axes.corpus in params.yaml",
        )  # fmt: skip
    contexts = [corpus_context(report, i + 1) for i, report in enumerate(corpora)]
    style = _own("style.css") + figure_style() + _own("examples.css")
    script = _own("script.js") + _own("examples.js")
    page = environment().get_template("page.html.j2")
    # These files are ours and hold no "</": they enter the page as they are.
    return page.render(corpora=contexts, style=Markup(style), script=Markup(script))


def _own(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def write_report(corpora: Sequence[CorpusReport], out: Path) -> None:
    """Write the page; ``results.csv`` is linked as ``<corpus>/results.csv`` beside it.

    Parameters
    ----------
    corpora : sequence of CorpusReport
        In the order of the page.
    out : Path
        The HTML file, as a rule ``reports/index.html``.

    Raises
    ------
    CorruptDataError
        No corpus is given, or one twice.
    """
    text = render(corpora)
    write_output(out, text)
