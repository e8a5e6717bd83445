"""``pianoeval paper``: a table of the 2026 paper as one command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pianoeval.commands.options import JsonOption, console
from pianoeval.errors import ConfigError, MissingAssetError, PianoevalError

if TYPE_CHECKING:
    from pianoeval.ablation.experiments import Experiment
    from pianoeval.paper.found import Found
    from pianoeval.paper.recipes import Recipe


def paper(
    table: Annotated[str, typer.Argument(help="table1, table2, pooling …; none lists them.")] = "",
    run: Annotated[bool, typer.Option("--run", help="Run it, then print the table.")] = False,
    show_table: Annotated[bool, typer.Option("--table", help="Print what has been run.")] = False,
    workspace: Annotated[
        bool, typer.Option("--workspace", help="Print what this workspace holds.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All tables.")] = False,
    audio: Annotated[
        list[str] | None, typer.Option(help="Encoders; the first stands for MuQ.")
    ] = None,
    instrument: Annotated[
        list[str] | None, typer.Option(help="Instruments; the first is heard by all.")
    ] = None,
    corpus: Annotated[str, typer.Option(help="Rated clips.")] = "percepiano",
    target: Annotated[str, typer.Option(help="Clips that are predicted only.")] = "asap",
    head: Annotated[str, typer.Option(help="Model on pooled vectors: ridge, mlp …")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("-S", "--set", help="KEY=VALUE, applied last.")
    ] = None,
    allow_encoding: Annotated[
        bool, typer.Option("--allow-encoding", help="Render and encode what is missing.")
    ] = False,
    params: Annotated[
        bool, typer.Option("--params", help="Print params.yaml for a workspace of its own.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for CSV, Markdown and SVG.")] = None,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Rebuild a table of the 2026 paper, with the paper's numbers beside ours.

    Without --run, --table and --workspace the command is printed that would run it.
    """
    from pianoeval.paper.recipes import SIX, Choice
    from pianoeval.params_file import load_params

    chosen = Choice(corpus, tuple(audio or ("transkun",)), tuple(instrument or SIX), target, head)
    if not table and not every:
        _list()
        return
    if workspace and run:
        raise ConfigError(
            "--workspace reads what is here, --run makes an experiment of its own",
            where="pianoeval paper", next_step="leave one of them out",
        )  # fmt: skip
    recipes, data = _recipes(table, every, load_params(), chosen)
    extra = settings or []
    if params:
        from pianoeval.paper.runs import params_text

        typer.echo(params_text(recipes, data, extra), nl=False)
        return
    if not (run or show_table or workspace or out):
        _commands(recipes, data, extra)
        return
    found = _made(recipes, data, extra, run, workspace, allow_encoding)
    if out is not None:
        _write(found, out)
    _print(found, as_json, markdown)


def _list() -> None:
    """The tables, by what they show."""
    from pianoeval.paper.tables import TABLES

    for name, make in TABLES.items():
        summary = (make.__doc__ or "").strip().splitlines()[0]
        typer.echo(f"{name:<12}{summary}")
    typer.echo("\nnext: pianoeval paper table1   (the command, and what it costs; --run runs it)")


def _recipes(
    table: str, every: bool, params: Any, chosen: Any
) -> tuple[list[Recipe], dict[str, Any]]:
    """Tables that were asked for, and what ``params.yaml`` holds."""
    from pianoeval.paper.tables import TABLES, recipe_of
    from pianoeval.paths import workspace_root
    from pianoeval.yamlfile import read_yaml

    if every and table:
        raise ConfigError(
            f"--all is every table, and '{table}' is one", where="pianoeval paper",
            next_step=f"pianoeval paper --all   (or: pianoeval paper {table})",
        )  # fmt: skip
    data: dict[str, Any] = read_yaml(workspace_root() / "params.yaml")
    if not every:
        return [recipe_of(table, params, data, chosen)], data
    made: list[Recipe] = []
    failed: dict[str, PianoevalError] = {}
    for name in TABLES:
        try:
            made.append(recipe_of(name, params, data, chosen))
        except ConfigError as error:  # a table of layers, and an encoder that has one
            failed[name] = error
    if not made:
        raise next(iter(failed.values()))
    for name, why in failed.items():
        typer.echo(f"{name}: {why}\n", err=True)
    return made, data


def _commands(recipes: Sequence[Recipe], data: dict[str, Any], extra: Sequence[str]) -> None:
    """What to type for each table, and what it costs."""
    from pianoeval.paper.found import command
    from pianoeval.paper.runs import cost, experiment_of
    from pianoeval.paths import workspace_root

    for recipe in recipes:
        one = experiment_of(recipe, data, workspace_root(), extra)
        more = ["--run"]
        try:
            what = cost(recipe, data, extra)
            more += ["--allow-encoding"] if what.encodes else []
            typer.echo(f"# {recipe.name}: {what.text}")
        except PianoevalError as error:  # what is run does not depend on it
            why = " ".join(str(error).split())
            typer.echo(f"# {recipe.name}: what has to be encoded cannot be told: {why}")
        typer.echo(shlex.join(one.command("--temp")))
        typer.echo(f"# or, with the table after it: {command(recipe, *more)}\n")


def _made(
    recipes: Sequence[Recipe], data: dict[str, Any], extra: Sequence[str], run: bool,
    workspace: bool, allow_encoding: bool,
) -> list[Found]:  # fmt: skip
    """Tables from their experiments or from the workspace; with several, those that can be made."""
    from pianoeval.ablation.experiments import existing, run_missing
    from pianoeval.paper.runs import experiment_of, make_table
    from pianoeval.paths import workspace_root

    root = workspace_root()
    named: dict[str, Experiment] = {}
    if not workspace:
        named = {recipe.name: experiment_of(recipe, data, root, extra) for recipe in recipes}
    found, failed = [], []
    for recipe in recipes:
        try:
            if run and not workspace:
                run_missing([named[recipe.name]], root, allow_encoding=allow_encoding)
            source = str(root) if workspace else _there(named[recipe.name], recipe, existing(root))
            found.append(make_table(recipe, source))
        except PianoevalError as error:
            if len(recipes) == 1:
                raise
            failed.append((recipe.name, error))
    for name, why in failed:
        typer.echo(f"{name}: {why}\n", err=True)
    if not found:
        raise MissingAssetError(
            "none of the tables can be made", where="pianoeval paper --all", next_step=
            "pianoeval paper table1 --run",
        )  # fmt: skip
    return found


def _there(one: Experiment, recipe: Recipe, names: set[str]) -> str:
    from pianoeval.paper.found import command

    if one.name not in names:
        raise MissingAssetError(
            f"the experiment of {recipe.name} has not been run with this code, data and these "
            "parameters", where=one.name, next_step=command(recipe, "--run"),
        )  # fmt: skip
    return one.name


def _write(found: Sequence[Found], out: Path) -> None:
    from pianoeval.atomic import write_output
    from pianoeval.paper.runs import files_of

    out.mkdir(parents=True, exist_ok=True)
    for one in found:
        for name, text in files_of(one).items():
            write_output(out / name, text)


def _print(found: Sequence[Found], as_json: bool, markdown: bool) -> None:
    from pianoeval.paper import show

    if as_json:
        documents = [show.as_document(one) for one in found]
        typer.echo(show.as_json(documents if len(documents) > 1 else documents[0]))
        return
    terminal = console(160)
    for one in found:
        if markdown:
            typer.echo(show.as_markdown(one))
            continue
        typer.echo(show.title(one))
        for title, table in show.as_tables(one):
            typer.echo(f"\n{title}")
            terminal.print(table)
        typer.echo("\n" + "\n".join(f"* {text}" for text in show.words(one)) + "\n")
