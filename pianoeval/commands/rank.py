"""``pianoeval rank``: takes of one piece in order, with what is known about the order."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pianoeval.commands.options import JsonOption, console
from pianoeval.errors import ConfigError, MissingAssetError, printable

if TYPE_CHECKING:
    from pianoeval.judging.takes import Ranked
    from pianoeval.training.ranker import ExportedRanker

log = logging.getLogger(__name__)


def rank(
    model: Annotated[Path, typer.Option(help="Folder that 'pianoeval export' wrote of a ranker.")],
    files: Annotated[
        list[str] | None, typer.Argument(help="Takes of one piece: .wav .flac .mp3 .ogg .mid .midi")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Instead of files: all recordings below this folder.")
    ] = None,
    score_midi: Annotated[
        Path | None,
        typer.Option(help="The notes that all takes play, for a ranker of symbolic features."),
    ] = None,
    dimension: Annotated[
        list[str] | None, typer.Option(help="Only this dimension, in full; may be repeated.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Order takes of one piece with an exported ranker; those it cannot tell apart share a rank."""
    from pianoeval.cache import ItemCache
    from pianoeval.judging.files import find_recordings
    from pianoeval.judging.takes import files_in, rank_files
    from pianoeval.params_file import load_settings
    from pianoeval.training.ranker import load_ranker

    if bool(files) == (folder is not None):
        raise ConfigError(
            "takes are named twice" if files else "no takes are named",
            allowed="files, or --folder DIR",
            next_step=f"pianoeval rank A.wav B.wav --model {model}",
        )  # fmt: skip
    if not model.is_dir():
        raise MissingAssetError(
            "no such folder: pianoeval ships no model, and exports one from a workspace",
            where=model, next_step=f"pianoeval export CORPUS RANKER --out {model}"
            "   (docs/rank-command.md)",
        )  # fmt: skip
    exported = load_ranker(model)
    settings = load_settings()[0]
    if workers:
        run = settings.run.model_copy(update={"workers": workers})
        settings = settings.model_copy(update={"run": run})
    recordings, unread = find_recordings(files or files_in(folder or Path()), settings.midi)
    found = rank_files(
        exported, recordings, settings, ItemCache(), score_midi, tuple(dimension or ()), unread
    )
    _print(exported, found, as_json)
    if found.failed:
        for name, reason in found.failed.items():
            log.error("not ranked: %s: %s", name, reason)
        raise typer.Exit(1)


def _print(ranker: ExportedRanker, found: Ranked, as_json: bool) -> None:
    from pianoeval.judging import rank_show

    if as_json:
        typer.echo(rank_show.as_json(ranker, found))
        return
    for line in rank_show.heading(ranker):
        typer.echo(printable(line))
    for table in rank_show.as_tables(ranker, found):
        console().print(table)
    for line in rank_show.remarks(ranker, found):
        typer.echo(printable(line))
