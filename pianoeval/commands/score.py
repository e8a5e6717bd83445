"""``pianoeval score``: what an exported model predicts of files, with what is known about it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from pianoeval.commands.options import console
from pianoeval.errors import ConfigError, MissingAssetError

log = logging.getLogger(__name__)


def score(
    files: Annotated[list[str], typer.Argument(help="Recordings: .wav .flac .mp3 .ogg .mid .midi")],
    model: Annotated[Path, typer.Option(help="Folder that 'pianoeval export' wrote.")],
    score_midi: Annotated[
        Path | None,
        typer.Option(help="The notes that all files play, for a model of symbolic features."),
    ] = None,
    abstain: Annotated[
        bool, typer.Option("--abstain", help="No number where a file is unlike all training clips.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row a prediction.")] = False,
) -> None:
    """Judge recordings with an exported model; a file that cannot be read costs only itself."""
    from pianoeval.cache import ItemCache
    from pianoeval.judging import show
    from pianoeval.judging.files import find_recordings
    from pianoeval.judging.scoring import judge
    from pianoeval.params_file import load_settings
    from pianoeval.training.export import load_exported

    if as_json and as_csv:
        raise ConfigError("--json is given together with --csv", allowed="one of the two")
    if not model.is_dir():
        raise MissingAssetError(
            "no such folder: pianoeval ships no model, and exports one from a workspace",
            where=model, next_step=f"pianoeval export CORPUS VIEW/ridge --out {model}"
            "   (docs/score.md)",
        )  # fmt: skip
    exported = load_exported(model)
    settings = load_settings()[0]
    if workers:
        run = settings.run.model_copy(update={"workers": workers})
        settings = settings.model_copy(update={"run": run})
    recordings, unread = find_recordings(files, settings.midi)
    judged, failed = judge(exported, recordings, settings, ItemCache(), score_midi)
    failed = unread | failed
    if as_json:
        typer.echo(show.as_json(exported, judged, failed, abstain))
    elif as_csv:
        typer.echo(show.as_csv(exported, judged, abstain), nl=False)
    else:
        for line in show.heading(exported):
            typer.echo(line)
        for table in show.as_tables(exported, judged, abstain):
            console().print(table)
        for line in show.remarks(exported, judged, failed):
            typer.echo(line)
    if failed:
        for name, reason in failed.items():
            log.error("not judged: %s: %s", name, reason)
        raise typer.Exit(1)
