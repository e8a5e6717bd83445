"""Parameters of what is learned: views, probes, controls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pianoeval.params_block import Block, Seed
from pianoeval.params_encoders import Layers

ModelName = Literal[
    "ridge", "kernel_ridge", "mlp", "layer_mlp", "attention", "lstm", "han",
    "extra_trees", "boosting", "ensemble",
]  # fmt: skip
LossName = Literal[
    "mse", "mae", "huber", "ccc", "hybrid", "bootstrap", "bootstrap_soft", "bootstrap_hard"
]
_OF_SOME_LOSSES = {
    "huber_delta": ("huber",),
    "hybrid_alpha": ("hybrid",),
    "bootstrap_beta": ("bootstrap", "bootstrap_soft", "bootstrap_hard"),
}
TargetKind = Literal["raw", "rank", "group"]
# Models that read frames or notes in their order, not a vector a clip.
READS_SEQUENCES: frozenset[str] = frozenset({"attention", "lstm", "han"})
# Blocks of models, and fields of a view, that came later.
_NEWER_MODELS = ("sequence", "attention", "lstm", "han", "kernel_ridge")
_NEWER = ("stats", "blocks", "renders", "loss")
_NEWER_IN_KERNEL = ("huber_deltas", "targets")


class ViewParams(Block):
    """What a model reads of its features: all of a table, or layers of an encoder.

    Fields that stand at their default and came after the first release are not written out, so
    that what was computed before them keeps its name.
    """

    layers: Layers = Field("all", description="embeddings only: 'all', '9..12', [4], '1..6,ctx'")
    instruments: list[str] = Field(
        default_factory=list, description="renders read; empty = all of axes.instrument"
    )
    level: bool = Field(True, description="embeddings only: append RMS, LUFS and peak")
    stats: list[str] = Field(
        default_factory=list, description="of those in pool.stats; empty = all of them"
    )
    blocks: list[Literal["own", "difference", "ratio", "score"]] = Field(
        ["own"], min_length=1, description="embeddings, notes; all but own need a score"
    )
    renders: Literal["average", "each"] = Field(
        "average", description="of a clip: averaged, or each a clip of its own in training"
    )
    loss: LossName | None = Field(None, description="of perceptrons; default probe.mlp.loss")
    models: list[ModelName] = Field(min_length=1)

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        for name in _NEWER:
            if getattr(self, name) == type(self).model_fields[name].get_default(
                call_default_factory=True
            ):
                values.pop(name, None)
        return values


class RidgeParams(Block):
    """Closed form; the penalty is chosen on inner folds."""

    lambdas: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    inner_folds: int = Field(4, ge=2)
    per_output: bool = Field(False, description="a penalty for each dimension, or one for all")


class KernelRidgeParams(Block):
    """Product kernel over views, with a random effect of what the scheme holds out."""

    gammas: list[Annotated[float, Field(gt=0)]] = Field(
        [0.5], min_length=1, description="exp(-γ · mean squared difference of standardised values)"
    )
    lambdas: list[Annotated[float, Field(gt=0)]] = Field(
        [0.03, 0.06, 0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0, 5.0, 8.0, 14.0, 25.0, 50.0], min_length=1
    )
    effects: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 0.01, 0.03, 0.1, 0.3, 1.0], min_length=1,
        description="variances of a group's own level, in units of the kernel's; [0] = none",
    )  # fmt: skip
    output_power: float = Field(
        0.5, ge=0, le=1, description="0: one penalty; 1: inverse to a label component's variance"
    )
    clip: float = Field(3.0, gt=0, description="standard deviations at which values are cut off")
    huber_deltas: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0], min_length=1,
        description="sd of residuals beyond which the loss is linear; 0 = squared error",
    )  # fmt: skip
    targets: TargetKind = Field("raw", description="labels, normal scores, or within groups")

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without newer fields that stand at their default: keys of items stay."""
        values: dict[str, Any] = serialise(self)
        for name in _NEWER_IN_KERNEL:
            if getattr(self, name) == type(self).model_fields[name].default:
                values.pop(name, None)
        return values


class MlpParams(Block):
    """Two layers, as in the 2026 paper, section 3."""

    hidden: int = 512
    dropout: float = Field(0.3, ge=0, lt=1)
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    batch_size: int = Field(64, gt=0)
    max_epochs: int = Field(200, gt=0)
    patience: int = Field(15, gt=0)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    standardise_labels: bool = Field(True, description="on the fit clips, as the inputs are")
    loss: LossName = Field("mse", description="see pianoeval/losses")
    huber_delta: float = Field(1.0, gt=0, description="error beyond which huber is linear")
    hybrid_alpha: float = Field(0.5, ge=0, le=1, description="share of mse in hybrid; rest ccc")
    bootstrap_beta: float = Field(
        0.8, gt=0, le=1, description="share of the label in bootstrap…; the rest is the prediction"
    )
    memory_mb: int = Field(1024, gt=0, description="weights and moments trained at once")
    seed: Seed = 42

    @model_serializer(mode="wrap")
    def _as_before_losses(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what this loss does not read, and without the default: keys of items stay."""
        values: dict[str, Any] = serialise(self)
        for name, losses in _OF_SOME_LOSSES.items():
            if self.loss not in losses:
                values.pop(name, None)
        if self.loss == "mse":
            values.pop("loss", None)
        return values


class LayerMlpParams(Block):
    """The perceptron on a weighted sum of layers; all else is as in ``mlp``."""

    learning_rate: float = Field(0.01, gt=0, description="of the layers' weights")


class SequenceParams(Block):
    """What attention and lstm share beyond ``mlp``, which is behind them."""

    learning_rate: float = Field(0.001, gt=0, description="Adam, of all weights")
    pca_above: int = Field(512, ge=0, description="wider frames are reduced by PCA on the fold")
    pca_components: int = Field(128, gt=0)


class AttentionParams(Block):
    """Attention over frames."""

    width: int = Field(128, gt=0, description="values in which a frame is compared")


class LstmParams(Block):
    """A recurrent network over frames, read in both directions."""

    width: int = Field(128, gt=0, description="values of its state, each direction")


class HanParams(Block):
    """Hierarchical attention network over notes, beats and measures."""

    hidden: int = Field(32, gt=0, description="values of each recurrent state, each direction")
    heads: int = Field(8, gt=0, description="of attention; a divisor of twice hidden")
    dropout: float = Field(0.2, ge=0, lt=1)
    learning_rate: float = Field(0.003, gt=0, description="Adam; falls along half a cosine")
    weight_decay: float = Field(1e-5, ge=0)
    clip_norm: float = Field(2.0, gt=0, description="largest norm of a step's gradient")
    batch_size: int = Field(32, gt=0, description="clips")
    max_epochs: int = Field(30, gt=0)
    patience: int = Field(10, gt=0, description="epochs without a better validation R²")
    n_seeds: int = Field(1, ge=1, le=32, description="networks averaged")
    seed: Seed = 42

    @model_validator(mode="after")
    def _heads_fit(self) -> HanParams:
        if 2 * self.hidden % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide {2 * self.hidden}, twice hidden")
        return self


class TreeParams(Block):
    """Extra trees."""

    n_estimators: int = Field(400, gt=0)
    min_samples_leaf: int = Field(2, gt=0)
    max_features: float = Field(0.4, gt=0, le=1)
    pca_above: int = Field(512, ge=0, description="wider views are reduced by PCA on the fold")
    pca_components: int = Field(64, gt=0)
    seed: Seed = 42


class BoostingParams(Block):
    """Gradient boosting, one model a dimension."""

    n_estimators: int = Field(200, gt=0)
    learning_rate: float = Field(0.05, gt=0)
    max_depth: int = Field(3, gt=0)
    min_samples_leaf: int = Field(5, gt=0)
    max_features: float = Field(0.3, gt=0, le=1)
    max_bins: int = Field(64, ge=2, le=255, description="levels a feature is cut into")
    pca_above: int = Field(512, ge=0, description="wider views are reduced by PCA on the fold")
    pca_components: int = Field(64, gt=0)
    seed: Seed = 42


class ControlParams(Block):
    """Labels of other clips, for ridge on the first view of each source of features."""

    labels: list[Literal["shuffled_labels", "swapped_pieces"]] = Field(
        ["shuffled_labels", "swapped_pieces"], description="empty = none"
    )
    seed: Seed = 42


class LearningCurveParams(Block):
    """Ridge on parts of the training side, on the first view of each source of features."""

    percents: list[Annotated[int, Field(ge=1, le=99)]] = Field(
        [12, 25, 50], description="of the training clips; empty = none"
    )
    seed: Seed = 42


class ProbeParams(Block):
    """Which labels, and what each model is given."""

    task: str = "rating"
    ridge: RidgeParams
    kernel_ridge: KernelRidgeParams = KernelRidgeParams()
    mlp: MlpParams
    layer_mlp: LayerMlpParams = LayerMlpParams()
    sequence: SequenceParams = SequenceParams()
    attention: AttentionParams = AttentionParams()
    lstm: LstmParams = LstmParams()
    han: HanParams = HanParams()
    extra_trees: TreeParams
    boosting: BoostingParams
    ensemble: list[ModelName] = Field(min_length=1, description="averaged with equal weight")
    controls: ControlParams = ControlParams()
    learning_curve: LearningCurveParams = LearningCurveParams()

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        for name in _NEWER_MODELS:
            if getattr(self, name) == type(self).model_fields[name].default:
                values.pop(name, None)
        return values
