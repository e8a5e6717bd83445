"""Choosing layers by name: ``"9..12"``, ``4``, ``"1..6,ctx"``, ``"all"``, ``[4, ctx]``."""

from __future__ import annotations

from collections.abc import Sequence

from pianoeval.errors import ConfigError
from pianoeval.params import Layers


def parse_layers(wanted: Layers | Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Positions of the wanted layers, in the order of ``names``.

    Parameters
    ----------
    wanted : str, int, or sequence of int or str
        ``"all"``; or names and ranges ``a..b`` (both ends included), separated by commas. A
        number is a layer's name, not its position.
    names : sequence of str
        Layers there are.

    Raises
    ------
    ConfigError
        An unknown, repeated or missing name, or a range that runs backwards.
    """
    text = layer_text(wanted)
    if text == "all":
        return list(range(len(names)))
    if not text:
        raise _error("no layer is chosen", names)
    found: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        begin = _position(first, part, names)
        end = _position(last, part, names) if dots else begin
        if end < begin:
            raise _error(f"layer range '{part}' runs backwards", names)
        found.extend(range(begin, end + 1))
    if len(set(found)) < len(found):
        raise _error(f"layers '{wanted}' name a layer twice", names)
    return sorted(found)


def layer_text(wanted: Layers | Sequence[int | str]) -> str:
    """The same choice as one string, without blanks: ``[4, "ctx"]`` is ``"4,ctx"``."""
    parts = [wanted] if isinstance(wanted, str | int) else wanted
    return ",".join(str(part) for part in parts).replace(" ", "")


def _position(name: str, part: str, names: Sequence[str]) -> int:
    if name not in names:
        raise _error(f"unknown layer '{name}' in '{part}'", names)
    return list(names).index(name)


def _error(what: str, names: Sequence[str]) -> ConfigError:
    return ConfigError(
        what,
        allowed=f"'all', or {', '.join(names)}, and ranges such as '{names[0]}..{names[-1]}'",
        next_step="edit 'layers' in params.yaml",
    )
