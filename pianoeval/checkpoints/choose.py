"""Which files of a model repository or folder are taken: one weights file, its configurations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pianoeval.checkpoints.shelf import CONFIG, PREPROCESSOR
from pianoeval.errors import BadInputError, ConfigError

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".pth.tar")
_PREFERRED = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"  # lists the pieces of a sharded checkpoint
_PIECE = re.compile(r"-\d+-of-\d+\.")


def choose_files(names: Sequence[str], wanted: str, where: str, encoder: str) -> list[str]:
    """Names to take, the weights first.

    The weights are ``wanted`` if it is set; else ``model.safetensors``; else
    ``pytorch_model.bin``; else the only file with the suffix of weights.

    Parameters
    ----------
    names : sequence of str
        All files, with ``/`` between folders.
    wanted : str
        ``encoders.<name>.file``.

    Raises
    ------
    ConfigError
        ``wanted`` leads out of the folder, is no weights file, or is not there.
    BadInputError
        No weights, several, or weights in pieces.
    """
    weights = _wanted(names, wanted, where, encoder) if wanted else _only(names, where, encoder)
    if _PIECE.search(weights):
        raise _in_pieces(where, encoder)
    return [weights, *(name for name in (CONFIG, PREPROCESSOR) if name in names)]


def is_weights(name: str) -> bool:
    """Whether a name has the suffix of a weights file, and nothing that cannot be shown."""
    return name.lower().endswith(SUFFIXES) and name.isprintable()


def _wanted(names: Sequence[str], wanted: str, where: str, encoder: str) -> str:
    path = PurePosixPath(wanted)
    if path.is_absolute() or ".." in path.parts or "\\" in wanted or not is_weights(wanted):
        raise ConfigError(
            f"file is '{wanted}'", where=f"encoders.{encoder}",
            allowed=f"a path inside the model's folder, ending with {' '.join(SUFFIXES)}",
            next_step="edit params.yaml",
        )  # fmt: skip
    if path.as_posix() not in names:
        there = ", ".join(sorted(filter(is_weights, names))) or "none"
        raise ConfigError(
            f"has no file '{wanted}'", where=where, allowed=there,
            next_step=f"set encoders.{encoder}.file in params.yaml",
        )  # fmt: skip
    return path.as_posix()


def _only(names: Sequence[str], where: str, encoder: str) -> str:
    for name in _PREFERRED:
        if name in names:
            return name
    if any(name.endswith(_INDEX) for name in names):
        raise _in_pieces(where, encoder)
    found = sorted(name for name in names if is_weights(name) and "/" not in name)
    if len(found) == 1:
        return found[0]
    said = f"{len(found)} weights files: {', '.join(found)}" if found else "no weights"
    raise BadInputError(
        f"holds {said}", where=where, allowed=f"one file with {' '.join(SUFFIXES)}",
        next_step=f"set encoders.{encoder}.file in params.yaml",
    )  # fmt: skip


def _in_pieces(where: str, encoder: str) -> BadInputError:
    return BadInputError(
        "the weights are in pieces (a sharded checkpoint)", where=where,
        allowed="one file: model.safetensors, pytorch_model.bin …",
        next_step=f"choose another model or revision, or set encoders.{encoder}.file",
    )  # fmt: skip
