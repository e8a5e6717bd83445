"""``pianoeval encoder list | get``: what encoders are, and where their weights come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pianoeval.commands.options import JsonOption, console
from pianoeval.errors import ConfigError, MissingAssetError

if TYPE_CHECKING:
    from pianoeval.checkpoints import Checkpoint
    from pianoeval.encoders.inventory import EncoderFacts
    from pianoeval.params import CheckpointParams, Params

_NUMBERS = ("Hz", "frames/s", "layers", "dim", "chunk (s)")
_LONG = ("weights", "licence", "numerics")
_COLUMNS = ("", "name", "kind", "weights", "licence", "digest", *_NUMBERS, "numerics")
_GIVES, _COMES_FROM = (0, 1, 6, 7, 8, 9, 10), (1, 2, 3, 4, 5, 11)
_WIDE = 150  # columns, so that weights and licences fold into a dozen each at least

encoder_app = typer.Typer(no_args_is_help=True, help="Fetch and list encoders.")


@encoder_app.command("list")
def encoder_list(as_json: JsonOption = False) -> None:
    """List the encoders of params.yaml: weights, licence, rates, layers, and what is missing."""
    from pianoeval.encoders.inventory import encoder_facts
    from pianoeval.params_file import load_settings

    params = load_settings()[0]
    facts = [encoder_facts(name, block) for name, block in params.encoders.items()]
    used = set(params.axes.encoder)
    if as_json:
        typer.echo(json.dumps([_as_json(one, one.name in used) for one in facts], indent=1))
        return
    terminal = console(180)
    for table in _tables([_row(one, one.name in used) for one in facts], terminal.width):
        terminal.print(table)
    if any(one.assumed for one in facts):
        typer.echo("~ of the published model; the checkpoint itself is not here")
    for one in facts:
        if not one.ready:
            typer.echo(f"{one.name}: {one.problem}\n  next: {one.next_step}")


def _tables(rows: list[list[str]], width: int) -> list[Table]:
    """One table where it fits, else two: what an encoder gives, and where it comes from."""
    parts = [range(len(_COLUMNS))] if width >= _WIDE else [_GIVES, _COMES_FROM]
    tables = []
    for part in parts:
        table = Table(box=None, header_style="bold", padding=(0, 2 if width >= _WIDE else 1, 0, 0))
        for heading in (_COLUMNS[i] for i in part):
            right, folds = heading in _NUMBERS, heading in _LONG
            table.add_column(
                heading, justify="right" if right else "left", no_wrap=not folds, overflow="fold"
            )
        for row in rows:
            table.add_row(*(row[i] for i in part))
        tables.append(table)
    return tables


def _row(facts: EncoderFacts, used: bool) -> list[str]:
    mark = "ready" if facts.ready else "absent" if used else "-"
    start = [mark, facts.name, facts.kind, facts.weights, facts.licence, facts.digest[:12]]
    spec, about = facts.spec, "~" if facts.assumed else ""
    if spec is None:
        return [*start, "?", "?", "?", "?", "?", "?"]
    told = (f"{spec.sample_rate_hz}", f"{spec.frame_rate_hz:.2f}", _ranges(spec.layer_names),
            f"{spec.dim}", f"{spec.chunk_s:.3f}")  # fmt: skip
    numerics = [spec.precision, spec.device, *(["compiled"] if spec.compiled else [])]
    return [*start, *(about + value for value in told), ", ".join(numerics)]


def _ranges(names: Sequence[str]) -> str:
    """Layers as params.yaml names them: ``4,9..12``, ``1..6,ctx``."""
    runs: list[list[str]] = []
    for name in names:
        if runs and name.isdecimal() and runs[-1][-1] == str(int(name) - 1):
            runs[-1].append(name)
        else:
            runs.append([name])
    parts = [f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(run) for run in runs]
    return ",".join(parts)


def _as_json(facts: EncoderFacts, used: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        name: getattr(facts, name)
        for name in ("name", "kind", "weights", "licence", "non_commercial", "digest", "ready",
                     "problem", "next_step", "assumed")
    }  # fmt: skip
    known["used"] = used
    spec = facts.spec
    known["contract"] = spec and {
        "sample_rate_hz": spec.sample_rate_hz, "frame_rate_hz": spec.frame_rate_hz,
        "layers": list(spec.layer_names), "dim": spec.dim, "chunk_s": spec.chunk_s,
        "overlap_s": spec.overlap_frames / spec.frame_rate_hz, "precision": spec.precision,
        "device": spec.device, "compiled": spec.compiled, "code_version": spec.code_version,
    }  # fmt: skip
    return known


@encoder_app.command("get")
def encoder_get(
    name: Annotated[str, typer.Argument(help="An encoder of params.yaml: muq, mert, dac …")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Local folder or weights file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, OWNER/NAME.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of the hub.")] = None,
) -> None:
    """Fetch weights from a model hub or a folder, and pin them in params.yaml."""
    from pianoeval.checkpoints import get_checkpoint, is_non_commercial, licence_of
    from pianoeval.params_file import load_params
    from pianoeval.paths import workspace_root

    if source is not None and (model is not None or revision is not None):
        raise ConfigError(
            "--from is given together with --model or --revision", allowed="one or the other",
            next_step=f"pianoeval encoder get {name} --from {source}",
        )  # fmt: skip
    params = _wanted(name, load_params(), model, revision)
    checkpoint = get_checkpoint(name, params, source)
    _try_out(name, params, checkpoint)
    changed = _pin(workspace_root() / "params.yaml", name, params, checkpoint)
    licence = licence_of(params, checkpoint.licence)
    warning = ": not for commercial use" if is_non_commercial(licence) else ""
    typer.echo(f"{name}: {checkpoint.source}, in {checkpoint.weights.parent}")
    typer.echo(f"licence: {licence}{warning}")
    what = "is set in params.yaml" if changed else "is unchanged"
    typer.echo(f"encoders.{name}.digest {what}: {checkpoint.digest[:12]}")
    if name not in load_params().views:
        typer.echo(f"views.{name} is not in params.yaml: without it nothing is trained on {name}")
    typer.echo(
        f"next: add {name} to axes.encoder and axes.features in params.yaml, then: dvc repro"
    )


def _wanted(name: str, params: Params, model: str | None, revision: str | None) -> CheckpointParams:
    """The encoder's block with the options put in; another model or revision unpins the digest."""
    from pianoeval.params import CheckpointParams

    if name not in params.encoders:
        raise ConfigError(
            f"'{name}' is not an encoder of params.yaml",
            allowed=", ".join(sorted(params.encoders)),
            next_step=f"add a block encoders.{name} to params.yaml, then run this again",
        )  # fmt: skip
    block = params.encoders[name]
    if not isinstance(block, CheckpointParams):
        raise ConfigError(
            f"'{name}' takes no weights from a hub or a folder",
            allowed=", ".join(
                one for one, other in params.encoders.items() if isinstance(other, CheckpointParams)
            ),
            next_step="pianoeval fetch   (what encoders of axes.encoder need beside)",
        )
    if model is not None and model != block.model:
        block = block.model_copy(update={"model": model, "revision": "", "digest": ""})
    if revision is not None and revision != block.revision:
        block = block.model_copy(update={"revision": revision, "digest": ""})
    return block


def _try_out(name: str, params: CheckpointParams, checkpoint: Checkpoint) -> None:
    """Load the network once: weights that do not fit are told here, and not by a worker.

    Raises
    ------
    ConfigError, CorruptDataError
        As :func:`~pianoeval.encoders.registry.create_encoder`; nothing is pinned then.
    """
    from pianoeval.encoders.registry import create_encoder

    plain: dict[str, Any] = {"device": "cpu", "compile": False, "precision": "float32"}
    found = {"digest": checkpoint.digest, "layers": "all", **plain}
    create_encoder(params.model_copy(update=found), name)


def _pin(path: Path, name: str, params: CheckpointParams, checkpoint: Checkpoint) -> bool:
    """Write what was fetched into params.yaml; a folder pins the digest alone."""
    from pianoeval.params_edit import set_values

    values = {"digest": checkpoint.digest}
    if checkpoint.source == f"{params.model}@{checkpoint.revision}":
        values = {"model": params.model, "revision": checkpoint.revision, **values}
    return set_values(path, ["encoders", name], values)


def fetch_pinned(params: Params) -> None:
    """Fetch the checkpoints that axes.encoder needs.

    Raises
    ------
    MissingAssetError
        One is not pinned, or was pinned from a folder and is not here.
    """
    from pianoeval.checkpoints import find_checkpoint, get_checkpoint
    from pianoeval.encoders.registry import needs_checkpoint
    from pianoeval.params import CheckpointParams

    for name in params.axes.encoder:
        block = params.encoders[name]
        if not isinstance(block, CheckpointParams) or not needs_checkpoint(block):
            continue
        if block.model and block.revision and block.digest:
            checkpoint = get_checkpoint(name, block)
        else:
            try:
                checkpoint = find_checkpoint(block, name)
            except MissingAssetError as error:
                raise MissingAssetError(
                    "its model, revision and digest are not all pinned, so it cannot be fetched",
                    where=f"encoders.{name}", next_step=error.next_step,
                ) from error  # fmt: skip
        typer.echo(f"{name}: {checkpoint.weights}")
