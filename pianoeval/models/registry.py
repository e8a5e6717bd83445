"""Probes by name. The ensemble is not among them: it averages what these predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.mlp import predict_mlp
from pianoeval.models.ridge import predict_ridge
from pianoeval.models.trees import predict_boosting, predict_extra_trees
from pianoeval.params import ModelName, ProbeParams, RunParams

ENSEMBLE: ModelName = "ensemble"
Predict = Callable[[Sequence[Fold], ProbeParams, RunParams], list[FoldPrediction]]


@dataclass(frozen=True)
class Probe:
    """A regressor on frozen features.

    Attributes
    ----------
    predict : callable
        Learns from each fold's training clips and predicts its test clips.
    seed : callable
        Seed recorded beside the predictions; 0 for a deterministic model.
    """

    predict: Predict
    seed: Callable[[ProbeParams], int]


PROBES: dict[ModelName, Probe] = {
    "ridge": Probe(
        lambda folds, probe, run: predict_ridge(folds, probe.ridge), seed=lambda probe: 0
    ),
    "mlp": Probe(
        lambda folds, probe, run: predict_mlp(folds, probe.mlp), seed=lambda probe: probe.mlp.seed
    ),
    "layer_mlp": Probe(
        lambda folds, probe, run: predict_mlp(folds, probe.mlp, probe.layer_mlp),
        seed=lambda probe: probe.mlp.seed,
    ),
    "extra_trees": Probe(
        lambda folds, probe, run: predict_extra_trees(folds, probe.extra_trees, run),
        seed=lambda probe: probe.extra_trees.seed,
    ),
    "boosting": Probe(
        lambda folds, probe, run: predict_boosting(folds, probe.boosting, run),
        seed=lambda probe: probe.boosting.seed,
    ),
}
