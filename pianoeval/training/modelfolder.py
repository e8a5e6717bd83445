"""Folders of exported models: tensors, what they mean and a card, checked when they are read.

A folder holds ``model.safetensors``, ``config.json`` (what the model reads and predicts, where it
comes from, and the SHA-256 of the weights and of itself) and ``README.md``, the model card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pianoeval.atomic import write_output
from pianoeval.errors import ConfigError, CorruptDataError, MissingAssetError, PianoevalError
from pianoeval.models.base import Float64
from pianoeval.provenance import canonical_json, sha256_bytes

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_DIGEST, _FILES = "sha256", "files"
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Format:
    """One kind of exported model.

    Attributes
    ----------
    name, version : str, int
        As ``config.json`` names them.
    again : str
        The command that writes such a folder.
    use : str
        The command that reads it, with ``{folder}``.
    """

    name: str
    version: int
    again: str
    use: str


RIDGE = Format(
    "pianoeval-ridge", 2, "pianoeval export CORPUS VIEW/ridge --out DIR",
    "pianoeval score FILE... --model {folder}",
)  # fmt: skip
RANKER = Format(
    "pianoeval-ranker", 1, "pianoeval export CORPUS RANKER --out DIR",
    "pianoeval rank FILE FILE... --model {folder}",
)  # fmt: skip


def write_folder(
    folder: Path, form: Format, tensors: Mapping[str, NDArray[Any]], config: Mapping[str, Any],
    card: str,
) -> None:  # fmt: skip
    """Write a model and its card; a former export in ``folder`` is replaced.

    Raises
    ------
    ConfigError
        The folder holds something else.
    PianoevalError
        It cannot be written.
    """
    if folder.exists() and not _is_ours(folder):
        raise ConfigError(
            "the folder is not empty", where=folder, allowed="a new or empty folder, or an export",
            next_step="choose another --out",
        )  # fmt: skip
    data = save_tensors({name: np.ascontiguousarray(part) for name, part in tensors.items()})
    told = {**config, _FILES: {WEIGHTS: sha256_bytes(data)}}
    told[_DIGEST] = sha256_bytes(canonical_json(told).encode())
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without its configuration a folder is no model: it goes first and comes last.
        (folder / CONFIG).unlink(missing_ok=True)
        for name, content in ((WEIGHTS, data), (CARD, card.encode()), (CONFIG, text.encode())):
            write_output(folder / name, content)
    except OSError as error:
        raise PianoevalError(
            f"cannot write the model ({error.strerror})", where=folder, next_step=form.again
        ) from error


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing, or an export."""
    names = {WEIGHTS, CONFIG, CARD}
    left = {f".{name}.partial" for name in names}  # by a killed process
    return folder.is_dir() and {p.name for p in folder.iterdir()} <= names | left


def read_folder(
    folder: Path, form: Format, shapes_of: Callable[[dict[str, Any]], Shapes]
) -> tuple[dict[str, Any], dict[str, Float64]]:
    """Configuration and tensors (float64) that :func:`write_folder` wrote; no code is run.

    Parameters
    ----------
    shapes_of : function
        Shapes of the tensors by name, from the configuration.

    Raises
    ------
    MissingAssetError
        A file is absent.
    CorruptDataError
        A file is not what was written.
    ConfigError
        A model of another kind.
    """
    config = _read_config(folder / CONFIG, form)
    path = folder / WEIGHTS
    data = _bytes(path, form)
    try:
        shapes = shapes_of(config)
        names = [str(one["name"]) for one in config["dimensions"]]
        expected = config[_FILES][WEIGHTS]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        # A configuration that carries its own checksum may still have been made by anyone.
        raise _changed(folder / CONFIG, f"a part is missing or wrong ({error!r})", form) from error
    if len(set(names)) < len(names) or sha256_bytes(data) != expected:
        raise _changed(path, "its SHA-256 is not the one in config.json", form)
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _changed(path, str(error), form) from error
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        wanted = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise _changed(path, f"it does not hold {wanted}", form)
    return config, {name: tensor.astype(np.float64) for name, tensor in tensors.items()}


def _read_config(path: Path, form: Format) -> dict[str, Any]:
    try:
        config = json.loads(_bytes(path, form))
    except (ValueError, RecursionError) as error:
        raise _changed(path, f"not JSON: {error}", form) from error
    if isinstance(config, dict):
        for other in (RIDGE, RANKER):
            if other.name != form.name and config.get("format") == other.name:
                raise ConfigError(
                    f"a model of the kind {other.name}", where=path.parent, allowed=form.name,
                    next_step=other.use.format(folder=path.parent),
                )  # fmt: skip
    if not isinstance(config, dict) or config.get("format") != form.name:
        raise _changed(path, f"its format is not {form.name}", form)
    if config.get("format_version") != form.version:
        raise CorruptDataError(
            f"format_version is {config.get('format_version')}", where=path,
            allowed=str(form.version), next_step=f"{form.again}   (or the version that wrote it)",
        )  # fmt: skip
    digest = config.pop(_DIGEST, None)
    try:
        found = sha256_bytes(canonical_json(config).encode())
    except (ValueError, RecursionError) as error:  # infinity, or halves of pairs
        raise _changed(path, str(error), form) from error
    if digest != found:
        raise _changed(path, "its SHA-256 is not the one it names", form)
    return config


def _bytes(path: Path, form: Format) -> bytes:
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=form.again)
    return path.read_bytes()


def _changed(path: Path, why: str, form: Format) -> CorruptDataError:
    return CorruptDataError(f"the file was changed: {why}", where=path, next_step=form.again)
