"""``pianoeval cache …``: items of the cache listed, passed on, checked and freed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pianoeval.commands.cache_show import (
    print_json,
    show_check,
    show_collected,
    show_reasons,
    show_refused,
    show_steps,
    show_transfer,
    step_json,
)
from pianoeval.commands.options import JsonOption
from pianoeval.errors import ConfigError

_PLACE = "DVC remote, URL (s3://…, ssh://…) or folder; default: DVC's default remote."

cache_app = typer.Typer(
    no_args_is_help=True, help="Items of the cache: list, share, check, free. See docs/cache.md."
)
PlaceArgument = Annotated[str | None, typer.Argument(help=_PLACE)]
StepOption = Annotated[list[str] | None, typer.Option(help="Only this step; repeatable.")]
UsedOption = Annotated[
    bool, typer.Option("--used", help="Only items that stores of this workspace name.")
]
JobsOption = Annotated[int | None, typer.Option(min=1, help="Transfers, or reads, at a time.")]


@cache_app.command("list")
def cache_list(step: StepOption = None, as_json: JsonOption = False) -> None:
    """Show items by step, and what they were made by."""
    from pianoeval.cache import ItemCache
    from pianoeval.sharing.check import list_items

    cache = ItemCache()
    rows = list_items(cache, step)
    if as_json:
        print_json({"cache": str(cache.root), "steps": [step_json(row) for row in rows]})
        return
    typer.echo(cache.root)
    show_steps(rows)


@cache_app.command("push")
def cache_push(
    place: PlaceArgument = None,
    step: StepOption = None,
    used: UsedOption = False,
    jobs: JobsOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read what is there, too; replace what is damaged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload items that a place lacks; damaged ones are named and stay here."""
    from pianoeval.cache import ItemCache
    from pianoeval.sharing.place import open_place
    from pianoeval.sharing.transfer import push

    to = open_place(place, create=True)
    report = push(ItemCache(), to, steps=step, only=_only(used), jobs=jobs, check=check)
    show_transfer("pushed", to.shown, report, as_json, "pianoeval cache verify --remove")


@cache_app.command("pull")
def cache_pull(
    place: PlaceArgument = None,
    step: StepOption = None,
    used: UsedOption = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download items that are missing here; what is not what its name says is refused."""
    from pianoeval.cache import ItemCache
    from pianoeval.sharing.place import open_place
    from pianoeval.sharing.transfer import pull

    origin = open_place(place, create=False)
    report = pull(ItemCache(), origin, steps=step, only=_only(used), jobs=jobs)
    mend = f"pianoeval cache push {place or ''} --check   (where the cache has good copies)"
    show_transfer("pulled", origin.shown, report, as_json, mend)


@cache_app.command("verify")
def cache_verify(
    step: StepOption = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove damaged items; they are computed again.")
    ] = False,
    assets: Annotated[
        bool, typer.Option("--assets", help="Check weights and sound fonts, too.")
    ] = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every item and name those that are damaged."""
    from pianoeval.builder import n_cores
    from pianoeval.cache import ItemCache
    from pianoeval.sharing.check import verify

    report = verify(ItemCache(), steps=step, jobs=jobs or n_cores(), remove=remove, assets=assets)
    if as_json:
        print_json(
            {
                "steps": [step_json(row) for row in report.steps.values()],
                "damaged": report.damaged, "removed": report.removed, "unread": report.unread,
                "leftovers": [str(path) for path in report.leftovers], "assets": report.assets,
            }
        )  # fmt: skip
    else:
        show_check(report, assets)
    if report.remaining or report.unread:
        raise typer.Exit(1)


@cache_app.command("gc")
def cache_gc(
    workspace: Annotated[
        list[Path] | None,
        typer.Option(help="Keep what its stores name, beside this one's; repeatable."),
    ] = None,
    days: Annotated[float, typer.Option(min=0, help="Keep what was used since.")] = 30,
    remove: Annotated[bool, typer.Option("--remove", help="Delete; otherwise list.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List, or remove, items that no store names and that were not used for a while."""
    from pianoeval.cache import ItemCache
    from pianoeval.paths import find_workspace
    from pianoeval.sharing.collect import collect
    from pianoeval.sharing.items import workspace_of

    named = [workspace_of(folder) for folder in workspace or ()]
    here = find_workspace()
    if remove and not (here or named):
        raise ConfigError(
            "neither here nor named is a workspace, so what stores need is unknown",
            where=ItemCache().root, next_step="name those that use this cache: --workspace DIR",
        )  # fmt: skip
    report = collect(ItemCache(), [*([here] if here else []), *named], days=days, remove=remove)
    if as_json:
        print_json(
            {
                "items": [item.name for item in report.free], "bytes": report.bytes,
                "unfinished": [str(path) for path in report.unfinished],
                "removed": report.removed, "removed_bytes": report.removed_bytes,
                "failed": report.failed, "named": report.named, "recent": report.recent,
                "stores": report.stores,
            }
        )  # fmt: skip
    else:
        show_collected(report, days, remove)
    if report.failed:
        raise typer.Exit(1)


@cache_app.command("export")
def cache_export(
    out: Annotated[Path, typer.Argument(help="HDF5 file to write.")],
    store: Annotated[list[Path], typer.Argument(help="Stores: data/<corpus>/…/<name>.zarr")],
    as_json: JsonOption = False,
) -> None:
    """Write all clips of stores into one HDF5 file."""
    from pianoeval.cache import ItemCache
    from pianoeval.paths import workspace_root
    from pianoeval.sharing.hdf5 import export_stores
    from pianoeval.sharing.items import megabytes

    report = export_stores(out, store, ItemCache(), workspace_root() / "data")
    if as_json:
        print_json({"clips": report.clips, "bytes": report.bytes, "incomplete": report.incomplete})
        return
    typer.echo(f"{out}: {report.clips} clips, {megabytes(report.bytes)}")
    if report.incomplete:
        typer.echo(f"{len(report.incomplete)} of them can be read, but not imported again:")
        show_reasons(report.incomplete)
        typer.echo("next: pianoeval cache pull --used, then export again")


@cache_app.command("import")
def cache_import(
    file: Annotated[Path, typer.Argument(help="HDF5 file of 'pianoeval cache export'.")],
    as_json: JsonOption = False,
) -> None:
    """Put items of an HDF5 file into the cache, each verified by its digest."""
    from pianoeval.cache import ItemCache
    from pianoeval.sharing.hdf5_read import import_items
    from pianoeval.sharing.items import megabytes

    report = import_items(file, ItemCache())
    if as_json:
        print_json(
            {
                "imported": report.imported, "bytes": report.bytes, "there": report.there,
                "without_item": report.without_item, "refused": report.refused,
            }
        )  # fmt: skip
    else:
        typer.echo(f"{report.imported} items imported ({megabytes(report.bytes)}), "
                   f"{report.there} were there")  # fmt: skip
        if report.without_item:
            typer.echo(f"{report.without_item} clips came without their item: frames to read only")
        show_refused(report.refused, f"get {file} again")
    if report.refused:
        raise typer.Exit(1)


def _only(used: bool) -> set[str] | None:
    from pianoeval.paths import workspace_root
    from pianoeval.sharing.items import named_keys

    return named_keys([workspace_root()])[0] if used else None
