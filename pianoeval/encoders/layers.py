"""Choosing layers by name: ``"9..12"``, ``"4"``, ``"1..6,ctx"``, ``"all"``, ``[4]``."""

from __future__ import annotations

from collections.abc import Sequence

from pianoeval.errors import ConfigError


def parse_layers(wanted: str | Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Positions of the wanted layers, in the order of ``names``.

    Parameters
    ----------
    wanted : str or sequence of int or str
        ``"all"``; or names and ranges ``a..b`` (both ends included), separated by commas. A
        number is a layer's name, not its position.
    names : sequence of str
        Layers there are.

    Raises
    ------
    ConfigError
        An unknown, repeated or missing name, or a range that runs backwards.
    """
    parts = wanted.split(",") if isinstance(wanted, str) else [str(part) for part in wanted]
    if [part.strip() for part in parts] == ["all"]:
        return list(range(len(names)))
    found: list[int] = []
    for part in parts:
        first, dots, last = part.strip().partition("..")
        begin = _position(first, part, names)
        end = _position(last, part, names) if dots else begin
        if end < begin:
            raise _error(f"layer range '{part.strip()}' runs backwards", names)
        found.extend(range(begin, end + 1))
    if not found:
        raise _error("no layer is chosen", names)
    if len(set(found)) < len(found):
        raise _error(f"layers '{wanted}' name a layer twice", names)
    return sorted(found)


def _position(name: str, part: str, names: Sequence[str]) -> int:
    name = name.strip()
    if name not in names:
        raise _error(f"unknown layer '{name}' in '{part.strip()}'", names)
    return list(names).index(name)


def _error(what: str, names: Sequence[str]) -> ConfigError:
    return ConfigError(
        what,
        allowed=f"'all', or {', '.join(names)}, and ranges such as '{names[0]}..{names[-1]}'",
        next_step="edit 'layers' in params.yaml",
    )
