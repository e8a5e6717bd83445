"""What ``pianoeval cache`` prints."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from pianoeval.commands.options import console

if TYPE_CHECKING:
    from pianoeval.sharing.check import Check, StepItems
    from pianoeval.sharing.collect import Collected
    from pianoeval.sharing.transfer import Transfer

_LISTED = 20  # names at most


def print_json(found: dict[str, Any]) -> None:
    """JSON for scripts."""
    typer.echo(json.dumps(found, indent=1))


def show_transfer(what: str, shown: str, report: Transfer, as_json: bool, mend: str) -> None:
    """What was moved; exit status 1 if something was refused."""
    from pianoeval.sharing.items import megabytes

    if as_json:
        print_json(
            {
                what: report.transferred, "bytes": report.bytes, "there": report.there,
                "gone": report.gone, "refused": report.refused,
            }
        )  # fmt: skip
    else:
        gone = f", {report.gone} gone meanwhile" if report.gone else ""
        typer.echo(f"{shown}: {report.transferred} items {what} ({megabytes(report.bytes)}), "
                   f"{report.there} were there{gone}")  # fmt: skip
        show_refused(report.refused, mend)
    if report.refused:
        raise typer.Exit(1)


def show_refused(refused: dict[str, str], mend: str) -> None:
    """Damaged items, and the command that mends it."""
    if refused:
        typer.echo(f"{len(refused)} items are damaged:")
        show_reasons(refused)
        typer.echo(f"next: {mend}")


def show_reasons(reasons: dict[str, str]) -> None:
    """Names with their reasons, the first few."""
    for name, reason in sorted(reasons.items())[:_LISTED]:
        typer.echo(f"  {name}: {reason}")
    if len(reasons) > _LISTED:
        typer.echo(f"  … and {len(reasons) - _LISTED} more; --json names all")


def show_steps(rows: list[StepItems]) -> None:
    """A table of items by step."""
    from pianoeval.sharing.items import megabytes

    table = Table(box=None, header_style="bold")
    table.add_column("step")
    for heading in ("items", "size"):
        table.add_column(heading, justify="right")
    table.add_column("made by", overflow="fold")
    for row in rows:
        table.add_row(row.step, str(row.items), megabytes(row.bytes), _made_by(row.made_by))
    console().print(table)


def _made_by(found: Counter[tuple[tuple[str, str], ...]]) -> str:
    """What differs between items is told, with counts; what all have in common is not."""
    every = [dict(origin) for origin in found]
    names = list(dict.fromkeys(name for origin in every for name in origin))
    differ = [n for n in names if len({origin.get(n) for origin in every}) > 1]
    parts = []
    for origin, count in found.most_common():
        told = dict(origin)
        shown = [f"{n} {told[n]}" for n in (differ if len(every) > 1 else names) if n in told]
        text = ", ".join(shown) or "not told (older files)"
        parts.append(f"{count}: {text}" if len(every) > 1 else text)
    return "\n".join(parts)


def step_json(row: StepItems) -> dict[str, Any]:
    """A row of it as JSON."""
    made = [{"items": count, "versions": dict(origin)} for origin, count in row.made_by.items()]
    return {"step": row.step, "items": row.items, "bytes": row.bytes, "made_by": made}


def show_check(report: Check, assets: bool) -> None:
    """What ``cache verify`` found."""
    show_steps(list(report.steps.values()))
    if assets:
        typer.echo(f"{report.assets} weights and sound fonts checked")
    if report.leftovers:
        typer.echo(f"{len(report.leftovers)} unfinished files (of runs at work, or killed):")
        for path in report.leftovers[:_LISTED]:
            typer.echo(f"  {path}")
        typer.echo("  'pianoeval cache gc --remove' removes those of items after a day")
    if report.unread:
        typer.echo(f"{len(report.unread)} could not be read, so nothing is known of them:")
        show_reasons(report.unread)
        typer.echo("next: pianoeval doctor   (it looks at the modes of a shared cache)")
    if not report.damaged:
        if not report.unread:
            typer.echo("all is as it was written")
        return
    typer.echo(f"{len(report.damaged)} damaged, {report.removed} of them removed:")
    show_reasons(report.damaged)
    if report.remaining:
        typer.echo("next: pianoeval cache verify --remove   (items are computed again)")


def show_collected(report: Collected, days: float, removed: bool) -> None:
    """What ``cache gc`` found."""
    from pianoeval.sharing.items import megabytes

    by_step: Counter[str] = Counter(item.step for item in report.free)
    typer.echo(f"kept: {report.named} items that {report.stores} stores name, "
               f"{report.recent} used in the last {days:g} days")  # fmt: skip
    for step, count in sorted(by_step.items()):
        size = sum(item.size for item in report.free if item.step == step)
        typer.echo(f"  {step}: {count} items, {megabytes(size)}, may go")
    if report.unfinished:
        typer.echo(f"  {len(report.unfinished)} unfinished files of killed runs may go")
    if removed:
        typer.echo(f"{report.removed} items removed ({megabytes(report.removed_bytes)} freed)")
        show_reasons(report.failed)
    elif report.free or report.unfinished:
        typer.echo("next: the same with --remove")
