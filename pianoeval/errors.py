"""Errors that say what, where, what is allowed, and the next command."""

from __future__ import annotations

import re
from pathlib import Path

# Control characters, marks that reverse what is read, line ends that are none, halves of pairs.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str, *, lines: bool = False) -> str:
    """Text that a terminal shows and does not obey; ``lines`` keeps its line ends."""
    shown = _HIDDEN.sub(
        lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text
    )
    return shown if lines else shown.replace("\n", "\\n")


def is_printable(text: str) -> bool:
    """Whether a name can be shown as it is, on one line."""
    return "\n" not in text and "\t" not in text and not _HIDDEN.search(text)


def quoted(path: str | Path) -> str:
    """A path as a word of a shell, for commands in messages."""
    return "'" + str(path).replace("'", "'\"'\"'") + "'"


class PianoevalError(Exception):
    """Base of every error a user can meet.

    Parameters
    ----------
    what : str
        What is wrong, in one sentence.
    where : str or Path, optional
        File, clip or parameter concerned.
    allowed : str, optional
        What would have been accepted.
    next_step : str, optional
        The command or edit that mends it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        allowed: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.allowed = allowed
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        what = printable(self.what, lines=True)
        text = f"{printable(self.where)}: {what}" if self.where else what
        if self.allowed:
            text += f" (allowed: {printable(self.allowed)})"
        if self.next_step:
            text += f"\n  next: {printable(self.next_step)}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries in the worker pool; keyword arguments would be lost.
        return (_rebuild, (type(self), self.what, self.where, self.allowed, self.next_step))


def _rebuild(
    kind: type[PianoevalError],
    what: str,
    where: str | None,
    allowed: str | None,
    next_step: str | None,
) -> PianoevalError:
    return kind(what, where=where, allowed=allowed, next_step=next_step)


class BadInputError(PianoevalError):
    """An input file that cannot be used; its clip is quarantined."""


class ConfigError(PianoevalError):
    """A parameter that is unknown, out of range or inconsistent."""


class MissingAssetError(PianoevalError):
    """Weights, a sound font, a corpus or another file that must be fetched first."""


class CorruptDataError(PianoevalError):
    """Stored data whose checksum or length is not what was written."""
