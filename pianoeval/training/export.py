"""A trained ridge regression as files: plain numbers, checked when they are read.

Only ridge is exported. Its weights are a matrix; trees, and the ensemble that holds some, could be
stored only by pickling Python objects, which runs code when they are read; a perceptron stops
by clips held back, and a model trained on all clips has none. The files are those of
``modelfolder``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pianoeval.models.base import Float32, Float64, Standardiser
from pianoeval.paths import CorpusPaths
from pianoeval.training.inputs import checked_matrix, n_features, read_inputs
from pianoeval.training.modelfolder import CONFIG as CONFIG
from pianoeval.training.modelfolder import RIDGE, Shapes, read_folder, write_folder
from pianoeval.training.modelfolder import WEIGHTS as WEIGHTS

FORMAT, FORMAT_VERSION = RIDGE.name, RIDGE.version


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
    """Write a model and its card; raises as ``modelfolder.write_folder``."""
    scaler = model.standardiser
    tensors = {
        "median": scaler.median, "mean": scaler.mean, "inverse_scale": scaler.inverse_scale,
        "weights": model.weights, "intercept": model.intercept,
    }  # fmt: skip
    write_folder(folder, RIDGE, tensors, model.config, card)


def load_exported(folder: Path) -> ExportedRidge:
    """Read a model that :func:`save_exported` wrote; raises as ``modelfolder.read_folder``."""
    config, parts = read_folder(folder, RIDGE, _shapes)
    scaler = Standardiser(parts["median"], parts["mean"], parts["inverse_scale"])
    return ExportedRidge(scaler, parts["weights"], parts["intercept"], config)


def _shapes(config: dict[str, Any]) -> Shapes:
    n, d = n_features(config["inputs"]), len(config["dimensions"])
    return {
        "median": (n,), "mean": (n,), "inverse_scale": (n,), "weights": (n, d), "intercept": (d,),
    }  # fmt: skip
