"""An exported ranker: a line a dimension, by which takes of one piece are compared.

Only the approach ``difference`` is exported: its weights are a matrix. What it says of two takes
are log-odds, :math:`(z_A - z_B)' W` times the slope of each dimension, ``z`` standardised features.
Beside the weights stand those learned without one part of the music after another, which tell how
far a comparison depends on what was learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.models.base import Float32, Float64, Standardiser
from pianoeval.training.export import distance
from pianoeval.training.inputs import checked_matrix, n_features
from pianoeval.training.modelfolder import RANKER, Shapes, read_folder, write_folder


@dataclass(frozen=True, eq=False)
class ExportedRanker:
    """A trained linear ranker that needs no training data.

    Attributes
    ----------
    standardiser : Standardiser
    weights : float64, shape (features, dimensions)
        Of standardised features, in units of log-odds: the slope is in them.
    left_out : float64, shape (parts, features, dimensions)
        The same, learned without one part of the music each.
    config : dict
        What ``config.json`` holds.
    """

    standardiser: Standardiser
    weights: Float64
    left_out: Float64
    config: dict[str, Any]

    @property
    def dimensions(self) -> list[str]:
        """Names of the dimensions, in the order of the columns."""
        return [str(entry["name"]) for entry in self.config["dimensions"]]

    def scores(self, x: Float32 | Float64) -> tuple[Float64, Float64]:
        """Scores of takes; differences of two takes of one piece are log-odds, nothing else is.

        Parameters
        ----------
        x : float, shape (takes, features)
            Columns as in training; NaN is replaced by the training takes' median.

        Returns
        -------
        scores : float64, shape (takes, dimensions)
        left_out : float64, shape (parts, takes, dimensions)

        Raises
        ------
        BadInputError
            Wrong width, infinite values, or a take without any feature.
        """
        z = self.standardiser.transform(checked_matrix(x, len(self.weights)).astype(np.float32))
        return z @ self.weights, np.einsum("nf,pfd->pnd", z, self.left_out, optimize=True)

    def distance(self, x: Float32 | Float64) -> Float64:
        """``training.export.distance`` of takes; ``config["training"]`` has that of training."""
        return distance(self.standardiser, checked_matrix(x, len(self.weights)).astype(np.float32))


def save_ranker(model: ExportedRanker, folder: Path, card: str) -> None:
    """Write a ranker and its card; raises as ``modelfolder.write_folder``."""
    scaler = model.standardiser
    tensors: dict[str, NDArray[Any]] = {
        "median": scaler.median, "mean": scaler.mean, "inverse_scale": scaler.inverse_scale,
        "weights": model.weights, "left_out": model.left_out.astype(np.float32),
    }  # fmt: skip
    write_folder(folder, RANKER, tensors, model.config, card)


def load_ranker(folder: Path) -> ExportedRanker:
    """Read a ranker that :func:`save_ranker` wrote; raises as ``modelfolder.read_folder``."""
    config, parts = read_folder(folder, RANKER, _shapes)
    scaler = Standardiser(parts["median"], parts["mean"], parts["inverse_scale"])
    return ExportedRanker(scaler, parts["weights"], parts["left_out"], config)


def _shapes(config: dict[str, Any]) -> Shapes:
    n = sum(n_features(view["inputs"]) for view in config["views"])
    d, parts = len(config["dimensions"]), int(config["difference"]["parts"])
    return {
        "median": (n,), "mean": (n,), "inverse_scale": (n,), "weights": (n, d),
        "left_out": (parts, n, d),
    }  # fmt: skip
