"""Read YAML of unknown origin: plain values only, and no more of them than a person writes.

Aliases of aliases make gigabytes out of a few lines, nested brackets exhaust the stack, tags ask
for objects, and of two equal keys one would be lost without a word: all of these are refused.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pianoeval.errors import ConfigError

MAX_BYTES = 256 << 10
MAX_VALUES = 50_000  # with every alias written out
MAX_DEPTH = 40


def read_yaml(path: Path, where: str | Path | None = None) -> Any:
    """What a file holds; messages name ``where`` if it is told, else the file.

    Raises
    ------
    ConfigError
        Not UTF-8, not YAML, too large, or with tags, repeated keys or numbers out of range.
    """
    where = where or path
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _refused("too large", where, f"{MAX_BYTES >> 10} KiB")
    try:
        return parse_yaml(data.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise _refused(f"not UTF-8 ({error.reason} at byte {error.start})", where) from error


def parse_yaml(text: str, where: str | Path) -> Any:
    """As :func:`read_yaml`, of text."""
    try:
        _check_events(text, where)
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # dates, numbers too long
        raise _refused(f"not valid YAML: {error}", where) from error


def _check_events(text: str, where: str | Path) -> None:
    """Measure what the text would become before anything is made of it."""
    sizes: dict[str | None, int] = {}
    open_blocks: list[tuple[str | None, int]] = []  # anchor, and values before it
    values = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_blocks):
                raise _refused(f"'*{event.anchor}' holds itself", where, "no loops")
            values += sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.tag is not None:
                raise _refused(f"the tag '{event.tag}'", where, "plain values, no tags")
            values += 1
            if isinstance(event, yaml.ScalarEvent):
                sizes[event.anchor] = 1
            else:
                open_blocks.append((event.anchor, values - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_blocks.pop()
            sizes[anchor] = values - before
        if values > MAX_VALUES:
            raise _refused("too many values", where, f"{MAX_VALUES}, aliases written out")
        if len(open_blocks) > MAX_DEPTH:
            raise _refused("nested too deeply", where, f"{MAX_DEPTH} levels")


class _Loader(yaml.SafeLoader):
    """The safe loader, which keeps the last of two equal keys unless told otherwise."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value}' is there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _refused(what: str, where: str | Path, allowed: str | None = None) -> ConfigError:
    return ConfigError(what, where=where, allowed=allowed, next_step=f"edit {where}")
