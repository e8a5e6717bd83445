"""Write single values into ``params.yaml``; every other character of the file stays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from pianoeval.atomic import write_atomic
from pianoeval.errors import ConfigError


def set_values(params_path: Path, block: Sequence[str], values: Mapping[str, str]) -> bool:
    """Set texts in the block named by its keys, as in ``["encoders", "muq"]``.

    Values are quoted: a hash of digits alone must stay text. Returns whether the file changed.

    Raises
    ------
    ConfigError
        There is no such block.
    """
    text = params_path.read_text(encoding="utf-8")
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
        write_atomic(params_path, text.encode())
    return bool(edits)


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
