"""``-S KEY=VALUE`` as ``dvc exp run`` takes it: written, applied, and refused where it encodes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pianoeval.errors import ConfigError
from pianoeval.params import Params
from pianoeval.params_file import parse_params

# A change in these gives other audio, contours or embeddings, or other clips to compute them for.
ENCODING_BLOCKS = ("corpora", "midi", "render", "instruments", "contours", "encoders")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NOT_PLAIN = frozenset({"true", "false", "null", "nan", "inf", "yes", "no", "on", "off"})


def written(value: Any) -> str:
    """A value in Hydra's grammar; text that could be read as something else is quoted."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{written(part)}' for key, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(written(part) for part in value)}]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_PLAIN
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def assign(data: Mapping[str, Any], key: str, value: Any) -> list[str]:
    """The override that sets a dotted key, none where the parameters have this value already."""
    return [] if _at(data, key) == (value,) else [assign_text(data, key, written(value))]


def replace(data: Mapping[str, Any], key: str, block: Mapping[str, Any]) -> list[str]:
    """The overrides that put a whole block in place of another; ``-S KEY={…}`` alone merges."""
    found = _at(data, key)
    if found == (block,):
        return []
    return [*([f"~{key}"] if found else []), f"+{key}={written(block)}"]


def without_networks_beside(data: Mapping[str, Any]) -> list[str]:
    """The overrides that leave no ranker and no head: they are not among the rows of a grid.

    They may read views that an experiment goes without, and heads take minutes where folds change.
    """
    keys = ("rank.rankers", "contrast.heads")
    return [part for key in keys if any(_at(data, key)) for part in replace(data, key, {})]


def assign_text(data: Mapping[str, Any], key: str, text: str) -> str:
    """The same for a value as it was typed; Hydra adds a key only where ``+`` says so."""
    return f"{'' if _at(data, key) else '+'}{key}={text}"


def _at(data: Any, key: str) -> tuple[Any, ...]:
    """The value of a dotted key as a tuple of one, empty where it is absent."""
    for part in key.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return ()
        data = data[part]
    return (data,)


def key_of(override: str) -> str:
    """``+probe.mlp.loss=ccc`` → ``probe.mlp.loss``; raises ConfigError."""
    key = override.partition("=")[0].lstrip("+~").strip()
    if not key or ("=" not in override and not override.startswith("~")):
        raise ConfigError(
            f"'{override}' sets nothing", where="-S", allowed="KEY=VALUE, +KEY=VALUE, ~KEY",
            next_step="name a parameter of params.yaml: -S folds.n_folds=5",
        )  # fmt: skip
    return key


def refuse_encoding(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a key that would have clips rendered or encoded again."""
    for override in overrides:
        key = key_of(override)
        if key.split(".")[0] in ENCODING_BLOCKS:
            raise ConfigError(
                "this ablation would render or encode clips again", where=key,
                allowed="what lies behind the embeddings: views, pool, folds, probe, evaluate",
                next_step="add --allow-encoding if that is what you want; 'pianoeval plan' tells "
                "the time it takes",
            )  # fmt: skip


def apply(data: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Params, dict[str, Any]]:
    """``params.yaml`` as an experiment would have it, through DVC's own code.

    Parameters
    ----------
    data : mapping
        What ``params.yaml`` holds.

    Returns
    -------
    Params
        Validated.
    dict
        The same as plain values.

    Raises
    ------
    ConfigError
        DVC cannot apply an override, or the result is not valid.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory(prefix="pianoeval-ablate-") as folder:
        path = Path(folder) / "params.json"  # read many times as fast as YAML with comments
        path.write_text(json.dumps(data), encoding="utf-8")
        try:
            apply_overrides(str(path), list(overrides))
        except InvalidArgumentError as error:
            cause = str(error.__cause__ or error).splitlines()[0]
            raise ConfigError(
                f"dvc cannot set this: {cause}", where=" ".join(overrides),
                next_step="look the name up in params.yaml (+NAME=VALUE adds one that is not "
                "there); quote values with commas or blanks",
            ) from error  # fmt: skip
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        return parse_params(found), found
    except ConfigError as error:  # params.yaml is as it was: it is the command that is wrong
        raise ConfigError(
            error.what, where=" ".join(overrides), allowed=error.allowed,
            next_step="correct what was typed; names and values are those of params.yaml",
        ) from error  # fmt: skip
