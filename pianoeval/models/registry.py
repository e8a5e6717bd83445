"""Probes by name. The ensemble is not among them: it averages what these predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pianoeval.models.attention import predict_attention
from pianoeval.models.base import Fold, FoldPrediction
from pianoeval.models.han import predict_han
from pianoeval.models.kernel_ridge import predict_kernel_ridge
from pianoeval.models.lstm import predict_lstm
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
    "kernel_ridge": Probe(
        lambda folds, probe, run: predict_kernel_ridge(folds, probe.kernel_ridge),
        seed=lambda probe: 0,
    ),
    "mlp": Probe(
        lambda folds, probe, run: predict_mlp(folds, probe.mlp), seed=lambda probe: probe.mlp.seed
    ),
    "layer_mlp": Probe(
        lambda folds, probe, run: predict_mlp(folds, probe.mlp, probe.layer_mlp),
        seed=lambda probe: probe.mlp.seed,
    ),
    "attention": Probe(
        lambda folds, probe, run: predict_attention(
            folds, probe.mlp, probe.sequence, probe.attention
        ),
        seed=lambda probe: probe.mlp.seed,
    ),
    "lstm": Probe(
        lambda folds, probe, run: predict_lstm(folds, probe.mlp, probe.sequence, probe.lstm),
        seed=lambda probe: probe.mlp.seed,
    ),
    "han": Probe(
        lambda folds, probe, run: predict_han(folds, probe.han, run),
        seed=lambda probe: probe.han.seed,
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
