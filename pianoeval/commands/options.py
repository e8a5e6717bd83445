"""Options and output that several commands share."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def console(width: int = 140) -> Console:
    """The terminal; where output goes to a file or a pipe, ``width`` columns.

    Names come from files, so ``[red]`` is text here and no markup.
    """
    return Console(width=None if sys.stdout.isatty() else width, markup=False)
