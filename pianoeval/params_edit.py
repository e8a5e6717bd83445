"""Write single values into ``params.yaml``; every other character of the file stays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pianoeval.atomic import write_atomic
from pianoeval.errors import ConfigError, PianoevalError
from pianoeval.yamlfile import parse_yaml, read_yaml


def set_values(params_path: Path, block: Sequence[str], values: Mapping[str, str]) -> bool:
    """Set texts in the block named by its keys, as in ``["encoders", "muq"]``.

    Values are quoted: a hash of digits alone must stay text. Returns whether the file changed.

    Raises
    ------
    ConfigError
        There is no such block, or (with anchors) more than these values would change.
    PianoevalError
        The file cannot be written.
    """
    read_yaml(params_path)
    text = old = params_path.read_bytes().decode("utf-8")  # line ends as they are
    node = _mapping(yaml.compose(text, yaml.SafeLoader), params_path)
    for key in block:
        found = {name.value: value for name, value in node.value}
        node = _mapping(found.get(key), params_path)
    there = {name.value: value for name, value in node.value}
    edits: list[tuple[int, int, str]] = []  # where the old text begins and ends, and the new
    for key, value in values.items():
        quoted = json.dumps(value)
        if key not in there:
            at, before, after = _gap(text, node)
            edits.append((at, at, f"{before}{key}: {quoted}{after}"))
        elif there[key].value != value:
            begin, end = there[key].start_mark.index, there[key].end_mark.index
            edits.append((begin, end, quoted if end > begin else f" {quoted}"))
    # From the end, so that positions hold; of several in one place the last goes in first.
    edits.sort(key=lambda edit: edit[0])
    for begin, end, new in reversed(edits):
        text = text[:begin] + new + text[end:]
    if edits:
        _check(old, text, block, values, params_path)
        try:
            write_atomic(params_path, text.encode())
        except PianoevalError as error:  # it speaks of the cache
            raise PianoevalError(
                error.what, where=params_path,
                next_step="free space or mend the permissions, then run the same command",
            ) from error  # fmt: skip
    return bool(edits)


def _check(
    before: str, text: str, block: Sequence[str], values: Mapping[str, str], path: Path
) -> None:
    """The new text must mean what the old one did, and the values."""
    place = want = _unshared(parse_yaml(before, path))
    for key in block:
        place = place[key]
    place.update(values)
    try:
        good = parse_yaml(text, path) == want
    except ConfigError:
        good = False
    if not good:
        shown = ", ".join(f'{key}: "{value}"' for key, value in values.items())
        raise ConfigError(
            "cannot be written without changing something else, as anchors and aliases would",
            where=f"{path}: {'.'.join(block)}", next_step=f"set by hand in this block: {shown}",
        )  # fmt: skip


def _unshared(value: Any) -> Any:
    """A copy in which no block stands in two places."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def _mapping(node: yaml.Node | None, path: Path) -> yaml.MappingNode:
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError("a block to write to is not there", where=path, next_step=f"edit {path}")
    return node


def _gap(text: str, node: yaml.MappingNode) -> tuple[int, str, str]:
    """Where a new key can stand, and what goes before and after it.

    After the first key's line if its value is a scalar, so that comments keep their places.
    """
    name, value = node.value[0]
    if node.flow_style:
        return name.start_mark.index, "", ", "
    indent = " " * name.start_mark.column
    if isinstance(value, yaml.ScalarNode) and (end := text.find("\n", value.end_mark.index)) >= 0:
        return end, f"\n{indent}", ""
    return name.start_mark.index, "", f"\n{indent}"
