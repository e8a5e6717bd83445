"""Parameters of rankers: which of two takes of the same music was played better."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pianoeval.params_block import Block, Seed
from pianoeval.params_encoders import Layers

Approach = Literal["difference", "kernel", "contrastive", "siamese", "dual", "lora"]
RankLoss = Literal[
    "margin", "logistic", "listnet", "listmle", "lambdarank", "mse", "mixed", "ccc", "coral", "corn"
]
Comparison = Literal["antisymmetric", "concatenation", "bilinear", "attention"]
Contrast = Literal["none", "infonce", "supcon", "triplet"]
Positives = Literal["piece", "labels"]
RankScheme = Literal[
    "segment", "content", "player", "movement", "movement_player",
    "composition", "leave_one_player_out", "random",
]  # fmt: skip
Point = float | int | str
PAIR_LOSSES = ("margin", "logistic")  # of comparisons, which give no take a score of its own
SWEPT = frozenset(
    {
        "approach", "loss", "comparison", "contrast", "positives", "temperature", "projection",
        "contrast_weight", "adversary_weight", "spread_weight", "margin", "alpha", "dropout",
        "learning_rate", "weight_decay", "imbalance",
    }
)  # fmt: skip


class PairParams(Block):
    """Which pairs of takes are learned from, and how much each counts."""

    min_difference: float = Field(0.0, ge=0, description="of labels, below which a pair is no pair")
    weights: Literal["equal", "agreement"] = Field(
        "equal", description="agreement: by what the spread of raters says of the difference"
    )
    smoothing: float = Field(0.0, ge=0, lt=0.5, description="pulls targets 0 and 1 towards 1/2")
    curriculum: Literal["none", "hard"] = Field(
        "none", description="hard: from large differences to small ones as training goes on"
    )


class LoraParams(Block):
    """Low-rank adapters of an encoder, learned from audio with the ranker."""

    encoder: str = Field(description="name of one of 'encoders'")
    instrument: str = Field(description="whose audio is heard; one of axes.instrument")
    layers: Layers = Field("all", description="heard by the ranker; adapted up to the last")
    targets: list[Literal["attention", "feed_forward"]] = Field(
        ["attention"], min_length=1, description="which linear layers have adapters"
    )
    rank: int = Field(8, ge=1, le=256, description="r")
    alpha: float = Field(16.0, gt=0, description="α; what is added is scaled by α/r")
    crop_s: float = Field(10.0, gt=0, description="audio heard at once; chunks of a whole take too")
    batch_takes: int = Field(16, ge=2, description="a step, of as many segments as fit")
    steps: int = Field(400, ge=1)
    check_every: int = Field(25, ge=1, description="steps from one look at validation to the next")
    device: Literal["cpu", "cuda"] = "cuda"


class KernelRankParams(Block):
    """Kernel ridge on takes within their segment, with levels of players; approach kernel."""

    gamma: float = Field(0.0, ge=0, description="0 = inner products, else exp(-γ · distance)")
    shares: list[float] = Field(
        default_factory=list, description="weight of each view; empty = equal weights"
    )
    lambdas: list[float] = Field(
        [0.01, 0.03, 0.1, 0.3, 0.5, 1, 2, 4, 8, 16, 32, 64], min_length=1,
        description="> 0, penalties, chosen on inner folds",
    )  # fmt: skip
    clip: float = Field(5.0, gt=0, description="spreads within segments at which values are cut")
    output_power: float = Field(
        0.5, ge=0, le=1, description="0 = one penalty; 1 = inverse to a component's variance"
    )
    player: float = Field(0.3, ge=0, description="ρ: variance of the level of a player")
    movement: float = Field(0.3, ge=0, description="τ: variance of the slopes of a movement")

    @model_validator(mode="after")
    def _positive(self) -> KernelRankParams:
        if min(self.lambdas) <= 0 or (self.shares and min(self.shares) < 0):
            raise ValueError("lambdas are above 0, and shares at least 0")
        if self.shares and not any(self.shares):
            raise ValueError("shares: no view counts")
        return self


class RankerParams(Block):
    """One ranker; of its approach, what it does not read changes nothing."""

    views: list[str] = Field(min_length=1, description="names of views; their columns are joined")
    approach: Approach = "siamese"
    centre: bool = Field(False, description="less the mean of the takes that are compared")
    pairs: PairParams = PairParams()
    loss: RankLoss = "logistic"
    margin: float = Field(0.2, gt=0, description="of margin and mixed, in sd of the labels")
    alpha: float = Field(0.5, ge=0, le=1, description="share of mse in mixed; the rest is margin")
    bins: int = Field(20, ge=3, le=100, description="of coral and corn, and of LDS and FDS")
    imbalance: Literal["none", "lds", "fds", "both"] = "none"
    comparison: Comparison = Field("antisymmetric", description="of siamese")
    contrast: Contrast = Field("infonce", description="of contrastive and dual")
    positives: Positives = Field("piece", description="takes of one piece, or of like labels")
    contrast_weight: float = Field(0.3, ge=0, description="λ of the contrastive term")
    temperature: float = Field(0.1, gt=0, description="τ")
    adversary_weight: float = Field(1.0, ge=0, description="dual: λ of the reversed gradient")
    spread_weight: float = Field(0.1, ge=0, description="dual: λ of spreading styles apart")
    hidden: int = Field(256, gt=0)
    projection: int = Field(256, gt=0, description="values of a code")
    dropout: float = Field(0.3, ge=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0, description="Adam")
    weight_decay: float = Field(1e-3, ge=0)
    batch_segments: int = Field(16, gt=0, description="pieces a batch, all of their takes")
    max_epochs: int = Field(60, gt=0)
    patience: int = Field(10, gt=0, description="epochs without better validation pairs")
    n_seeds: int = Field(1, ge=1, le=32, description="networks averaged")
    seed: Seed = 42
    lambdas: list[float] = Field(
        [3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 300000], min_length=1,
        description="> 0, difference and lora: penalties, chosen on inner folds",
    )  # fmt: skip
    kernel: KernelRankParams = KernelRankParams()
    lora: LoraParams | None = Field(None, description="of approach lora, which needs it")
    sweep: dict[str, list[Point]] = Field(
        default_factory=dict,
        description="values of other fields, all trained at once, chosen inside each fold",
    )

    @model_validator(mode="after")
    def _can_be_swept(self) -> RankerParams:
        if unknown := sorted(set(self.sweep) - SWEPT):
            raise ValueError(
                f"sweep: {', '.join(unknown)} cannot be swept; allowed: {', '.join(sorted(SWEPT))}"
            )
        if any(not values for values in self.sweep.values()):
            raise ValueError("sweep: a field without values")
        if min(self.lambdas) <= 0:
            raise ValueError("lambdas are above 0")
        if self.sweep:
            self.points()  # values must be of the fields' own types and ranges
        return self

    @model_validator(mode="after")
    def _has_what_it_adapts(self) -> RankerParams:
        if self.lora is None and "lora" in [self.approach, *self.sweep.get("approach", [])]:
            raise ValueError("approach lora needs a block 'lora'")
        if self.approach == "lora" and not self.sweep and self.loss not in ("logistic", "margin"):
            raise ValueError(f"loss {self.loss} of approach lora; allowed: logistic, margin")
        return self

    @model_serializer(mode="wrap")
    def _as_read(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without adapters that there are none of: what other approaches are named by."""
        values: dict[str, Any] = serialise(self)
        if self.lora is None:
            values.pop("lora", None)
        return values

    def points(self) -> dict[str, RankerParams]:
        """Every combination of swept values by name, ``temperature=0.1``; itself as '' if none."""
        if not self.sweep:
            return {"": self}
        found: dict[str, dict[str, Any]] = {"": {}}
        for field, values in self.sweep.items():
            found = {
                ",".join(filter(None, [name, f"{field}={value}"])): {**chosen, field: value}
                for name, chosen in found.items()
                for value in values
            }
        plain = self.model_dump(exclude={"sweep"})
        return {name: RankerParams(**{**plain, **chosen}) for name, chosen in found.items()}


class RankParams(Block):
    """Who played it better: rankers of takes of the same music."""

    schemes: list[RankScheme] = Field(
        ["player", "movement", "movement_player"], description="those of folds.schemes"
    )
    takes: Literal["human", "all"] = Field("human", description="human: no deadpan renderings")
    learn_from: Literal["human", "all"] = Field("human", description="takes on the training side")
    piece: Literal["segment", "content_group", "movement", "composition"] = Field(
        "segment", description="what the adversary and contrasts call a piece"
    )
    rankers: dict[str, RankerParams] = Field(default_factory=dict, description="by name")
    permutations: int = Field(
        200, ge=19, description="of pieces and players, for the chance level of probes of codes"
    )
    seed: Seed = 42
