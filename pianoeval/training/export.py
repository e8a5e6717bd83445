"""A trained ridge regression as files: plain numbers, checked when they are read.

Only ridge is exported. Its weights are a matrix; trees, and the ensemble that holds some, could be
stored only by pickling Python objects, which runs code when they are read; a perceptron stops
by clips held back, and a model trained on all clips has none.

A folder holds ``model.safetensors``, ``config.json`` (what the model reads and predicts, where it
comes from, and the SHA-256 of the weights and of itself) and ``README.md``, the model card.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pianoeval.atomic import write_output
from pianoeval.errors import ConfigError, CorruptDataError, MissingAssetError, PianoevalError
from pianoeval.models.base import Float32, Float64, Standardiser
from pianoeval.paths import CorpusPaths
from pianoeval.provenance import canonical_json, sha256_bytes
from pianoeval.training.inputs import checked_matrix, n_features, read_inputs

FORMAT = "pianoeval-ridge"
FORMAT_VERSION = 2
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_DIGEST, _FILES = "sha256", "files"
_AGAIN = "pianoeval export CORPUS VIEW/ridge --out DIR"


@dataclass(frozen=True, eq=False)
class ExportedRidge:
    """A trained ridge regression that needs no training data.

    Attributes
    ----------
    standardiser : Standardiser
    weights : float64, shape (features, dimensions)
        Of standardised features.
    intercept : float64, shape (dimensions,)
    config : dict
        What ``config.json`` holds.
    """

    standardiser: Standardiser
    weights: Float64
    intercept: Float64
    config: dict[str, Any]

    @property
    def dimensions(self) -> list[str]:
        """Names of the predicted dimensions, in the order of the columns."""
        return [str(entry["name"]) for entry in self.config["dimensions"]]

    def predict(self, x: Float32 | Float64) -> Float64:
        """Labels of clips, shape (clips, dimensions).

        Parameters
        ----------
        x : float, shape (clips, features)
            Columns as in training (:meth:`read` gives them); NaN is replaced by the training
            clips' median.

        Raises
        ------
        BadInputError
            Wrong width, infinite values, or a clip without any feature.
        """
        values = checked_matrix(x, len(self.weights)).astype(np.float32)
        found: Float64 = self.standardiser.transform(values) @ self.weights + self.intercept
        return found

    def distance(self, x: Float32 | Float64) -> Float64:
        """:func:`distance` of clips; ``config["training"]`` says what it was in training."""
        return distance(self.standardiser, checked_matrix(x, len(self.weights)).astype(np.float32))

    def read(self, paths: CorpusPaths) -> tuple[Float32, list[str]]:
        """Features and names of all clips of a corpus of the workspace; see ``read_inputs``."""
        return read_inputs(self.config["inputs"], paths)


def distance(standardiser: Standardiser, x: Float32) -> Float64:
    """How far clips are from the training mean, shape (rows,).

    Root mean square of the standardised features that tell training clips apart: about 1 for such
    a clip, whatever the number of features.
    """
    informative = standardiser.inverse_scale > 0
    squares = np.square(standardiser.transform(x)[:, informative])
    found: Float64 = np.sqrt(squares.mean(axis=1)) if informative.any() else np.zeros(len(x))
    return found


def save_exported(model: ExportedRidge, folder: Path, card: str) -> None:
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
    scaler = model.standardiser
    tensors = {
        "median": scaler.median, "mean": scaler.mean, "inverse_scale": scaler.inverse_scale,
        "weights": np.ascontiguousarray(model.weights), "intercept": model.intercept,
    }  # fmt: skip
    data = save_tensors(tensors)
    config = {**model.config, _FILES: {WEIGHTS: sha256_bytes(data)}}
    config[_DIGEST] = sha256_bytes(canonical_json(config).encode())
    text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without its configuration a folder is no model: it goes first and comes last.
        (folder / CONFIG).unlink(missing_ok=True)
        for name, content in ((WEIGHTS, data), (CARD, card.encode()), (CONFIG, text.encode())):
            write_output(folder / name, content)
    except OSError as error:
        raise PianoevalError(
            f"cannot write the model ({error.strerror})", where=folder, next_step=_AGAIN
        ) from error


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing, or an export."""
    names = {WEIGHTS, CONFIG, CARD}
    left = {f".{name}.partial" for name in names}  # by a killed process
    return folder.is_dir() and {p.name for p in folder.iterdir()} <= names | left


def load_exported(folder: Path) -> ExportedRidge:
    """Read a model that :func:`save_exported` wrote; no code of the folder is run.

    Raises
    ------
    MissingAssetError
        A file is absent.
    CorruptDataError
        A file is not what was written.
    """
    config = _read_config(folder / CONFIG)
    path = folder / WEIGHTS
    data = _bytes(path)
    try:
        n, d = n_features(config["inputs"]), len(config["dimensions"])
        names, expected = (
            [str(one["name"]) for one in config["dimensions"]],
            config[_FILES][WEIGHTS],
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        # A configuration that carries its own checksum may still have been made by anyone.
        raise _changed(folder / CONFIG, f"a part is missing or wrong ({error!r})") from error
    if len(set(names)) < d or sha256_bytes(data) != expected:
        raise _changed(path, "its SHA-256 is not the one in config.json")
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _changed(path, str(error)) from error
    shapes = {
        "median": (n,), "mean": (n,), "inverse_scale": (n,), "weights": (n, d), "intercept": (d,),
    }  # fmt: skip
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise _changed(path, f"it does not hold {n} features and {d} dimensions")
    parts = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    scaler = Standardiser(parts["median"], parts["mean"], parts["inverse_scale"])
    return ExportedRidge(scaler, parts["weights"], parts["intercept"], config)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise _changed(path, f"not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise _changed(path, f"its format is not {FORMAT}")
    if config.get("format_version") != FORMAT_VERSION:
        raise CorruptDataError(
            f"format_version is {config.get('format_version')}", where=path,
            allowed=str(FORMAT_VERSION), next_step=f"{_AGAIN}   (or the version that wrote it)",
        )  # fmt: skip
    digest = config.pop(_DIGEST, None)
    try:
        found = sha256_bytes(canonical_json(config).encode())
    except (ValueError, RecursionError) as error:  # infinity, or halves of pairs
        raise _changed(path, str(error)) from error
    if digest != found:
        raise _changed(path, "its SHA-256 is not the one it names")
    return config


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise MissingAssetError("no such file", where=path, next_step=_AGAIN)
    return path.read_bytes()


def _changed(path: Path, why: str) -> CorruptDataError:
    return CorruptDataError(f"the file was changed: {why}", where=path, next_step=_AGAIN)
