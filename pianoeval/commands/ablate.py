"""``pianoeval ablate``: ready-made grids of experiments, run and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pianoeval.commands.options import JsonOption, console
from pianoeval.errors import ConfigError, PianoevalError

if TYPE_CHECKING:
    from pianoeval.ablation.grids import Grid


def ablate(
    grid: Annotated[
        str, typer.Argument(help="layers, pooling, loss, scheme; or a parameter: probe.mlp.hidden.")
    ],
    values: Annotated[list[str] | None, typer.Argument(help="What to try; default: all.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Run what is missing, then compare.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Compare what has been run.")] = False,
    corpus: Annotated[str, typer.Option(help="Default: the one on the axes.")] = "",
    features: Annotated[
        str, typer.Option("--features", "--encoder", help="Default: the first encoder.")
    ] = "",
    view: Annotated[str, typer.Option(help="Default: the first of the features.")] = "",
    model: Annotated[str, typer.Option(help="Default: ridge; for loss a perceptron.")] = "",
    baseline: Annotated[str, typer.Option(help="The point the others are compared with.")] = "",
    metric: Annotated[str, typer.Option(help="r2_pooled, pairwise_005 …")] = "r2_pooled",
    scheme: Annotated[list[str] | None, typer.Option(help="Show only these schemes.")] = None,
    subset: Annotated[str, typer.Option(help="all or human.")] = "all",
    settings: Annotated[
        list[str] | None, typer.Option("-S", "--set", help="KEY=VALUE of every point.")
    ] = None,
    allow_encoding: Annotated[
        bool, typer.Option("--allow-encoding", help="Let points render and encode clips again.")
    ] = False,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Try the points of a grid, each a DVC experiment, and compare them with one of them.

    Without --run and --table the commands are printed that would queue them.
    """
    from pianoeval.ablation import experiments, findings, show
    from pianoeval.ablation.overrides import refuse_encoding
    from pianoeval.paths import workspace_root

    made, data = _grid(grid, values or [], settings or [], baseline, corpus, features, view, model)
    if not allow_encoding:
        refuse_encoding([*(settings or []), *([f"{grid}=…"] if "." in grid else [])])
    root = workspace_root()
    wanted = experiments.experiments(made, data, root)
    encoded, failed = None, {}
    if run:
        before = experiments.Encoded.count()
        failed = experiments.run_missing(wanted, root, allow_encoding=allow_encoding)
        encoded = show.counted(before, experiments.Encoded.count())
    there = experiments.existing(root)
    found = None
    if run or table:
        found = findings.find(made, wanted, there, metric, subset, scheme or ())
    if as_json:
        typer.echo(show.as_json(made, wanted, there, found, encoded))
    elif found is None:
        typer.echo(show.commands(wanted, there))
        typer.echo(
            "# run and compare them: the same command with --run\n"
            "# or paste these lines, then: PIANOEVAL_ENCODE=never dvc queue start; when "
            "'dvc queue status' says Success: the same command with --table"
        )
    elif markdown:
        typer.echo(show.as_markdown(found))
    else:
        _print(found, encoded, [one.name for one in wanted if one.name in there])
    if failed:
        name = next(iter(failed))
        raise PianoevalError(
            f"{len(failed)} of {len(wanted)} experiments failed; the end of the first one's output:"
            f"\n{failed[name]}", where=name, next_step="the same command tries them again",
        )  # fmt: skip


def _grid(
    name: str, values: list[str], extra: list[str], baseline: str, corpus: str, features: str,
    view: str, model: str,
) -> tuple[Grid, dict[str, Any]]:  # fmt: skip
    """The grid, and what ``params.yaml`` holds."""
    from pianoeval.ablation import grids
    from pianoeval.params_file import load_params
    from pianoeval.paths import workspace_root
    from pianoeval.yamlfile import read_yaml

    if name not in grids.GRIDS and "." not in name:
        raise ConfigError(
            f"there is no grid '{name}'", where="pianoeval ablate",
            allowed=f"{', '.join(grids.GRIDS)}, or a parameter as folds.n_folds",
            next_step="pianoeval ablate layers",
        )  # fmt: skip
    params = load_params()
    data: dict[str, Any] = read_yaml(workspace_root() / "params.yaml")
    target = grids.choose_target(params, name, corpus, features, view, model)
    request = grids.Request(params, data, target, values, extra, baseline)
    if name in grids.GRIDS:
        return grids.GRIDS[name](request), data
    return grids.parameter(request, name), data


def _print(found: Any, encoded: dict[str, Any] | None, names: list[str]) -> None:
    from pianoeval.ablation import show

    typer.echo(show.heading(found))
    terminal = console(120)
    for title, table in show.as_tables(found):
        typer.echo(f"\n{title}")
        terminal.print(table)
    typer.echo("\n" + "\n".join(show.words(found)))
    if encoded is not None:
        typer.echo(f"{encoded['clips']} clips encoded.")
    typer.echo("\n" + "\n".join(show.next_steps(found, names)))
