"""Parameters of heads on frames: PCConvNet, ContrastiveCNN and what they are compared with."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pianoeval.params_block import Block, Seed
from pianoeval.params_encoders import Layers
from pianoeval.params_rank import Point, RankScheme

PYIN, SKYLINE = "pyin", "skyline"
CONTOURS = (PYIN, SKYLINE)  # stores of pitch contours; every other name is an encoder
# Which contrasts each of these fields concerns.
_CONCERNS = {
    "pairs": ("weighted", "max_margin"),
    "margin": ("weighted", "max_margin"),
    "bins": ("weighted", "max_margin", "n_pairs", "info_nce"),
    "temperature": ("n_pairs", "info_nce", "rnc"),
}
HeadApproach = Literal["pcconv", "contrastive", "joint", "statistics"]
Contrast = Literal["weighted", "max_margin", "n_pairs", "info_nce", "rnc"]
ContourColumn = Literal["pitch", "voiced", "voiced_probability"]
SWEPT = frozenset(
    {
        "contrast", "pairs", "bins", "margin", "temperature", "contrast_weight", "regularise",
        "regularise_weight", "learning_rate", "contrast_learning_rate", "weight_decay",
    }
)  # fmt: skip


class HeadParams(Block):
    """One head: what frames it reads, its layers, how it learns."""

    approach: HeadApproach
    store: str = Field(PYIN, description="pyin, skyline, or one of axes.encoder")
    columns: list[ContourColumn] = Field(["pitch"], min_length=1, description="of contours")
    layers: Layers = Field("all", description="of an encoder; several stand side by side")
    instrument: str = Field("", description="of an encoder; '' = the first of axes.instrument")
    components: int = Field(0, ge=0, description="of a PCA on training frames; 0 = none")
    channels: list[int] = Field([4, 8, 16], min_length=1, description="of each convolution")
    kernel: int = Field(7, ge=1, description="frames")
    stride: int = Field(3, ge=1, description="frames")
    chunk_frames: int = Field(1000, ge=2, description="drawn anew in every epoch")
    hop_frames: int = Field(500, ge=1, description="between the chunks that are averaged at test")
    contrast: Contrast = "weighted"
    pairs: Literal["sampled", "all"] = Field("sampled", description="of each batch")
    bins: int = Field(5, ge=2, description="C, equal parts of 0..1")
    margin: float = Field(1.0, gt=0, description="s, distance between neighbouring bins")
    temperature: float = Field(0.1, gt=0, description="of n_pairs, info_nce and rnc")
    contrast_weight: float = Field(1.0, ge=0, description="of joint; 1 in the paper")
    regularise: Literal["none", "ar_vae", "i_vae"] = Field(
        "none", description="joint: the first values of a code follow the dimensions"
    )
    regularise_weight: float = Field(1.0, ge=0)
    contrast_epochs: int = Field(150, ge=1, description="contrastive: of the first step")
    contrast_learning_rate: float = Field(0.1, gt=0, description="contrastive: of the first step")
    epochs: int = Field(300, ge=1)
    learning_rate: float = Field(0.005, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-5, ge=0)
    patience: int = Field(75, ge=1, description="epochs without a lower loss on validation clips")
    batches: int = Field(10, ge=1, description="an epoch, of one chunk a clip")
    pitch_shift_semitones: float = Field(0.0, ge=0, le=12, description="of training chunks, ±")
    sweep: dict[str, list[Point]] = Field(
        default_factory=dict,
        description="values of other fields, all trained at once, chosen inside each fold",
    )

    @model_validator(mode="after")
    def _fits(self) -> HeadParams:
        if min(self.channels) < 1:
            raise ValueError("channels are 1 or more")
        if self.stack_frames() < 1:
            raise ValueError(f"a chunk of {self.chunk_frames} frames is too short for its layers")
        if unknown := sorted(set(self.sweep) - SWEPT):
            raise ValueError(
                f"sweep: {', '.join(unknown)} cannot be swept; allowed: {', '.join(sorted(SWEPT))}"
            )
        for name, values in self.sweep.items():
            if not values or any(value in values[:n] for n, value in enumerate(values)):
                raise ValueError(f"sweep: {name} needs values, and each of them once")
        if self.regularise != "none" and self.approach != "joint":
            raise ValueError("regularise belongs to approach joint")
        if self.hop_frames > self.chunk_frames:
            raise ValueError("hop_frames is chunk_frames at most, or frames would not be judged")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns are named once each")
        if self.pitch_shift_semitones and not self.hears_pitch():
            raise ValueError("pitch_shift_semitones belongs to networks that read column pitch")
        if self.sweep:
            points = [*self.points().values()]  # values must be of the fields' types and ranges
            for name in self.sweep:
                if not any(point.heeds(name) for point in points):
                    raise ValueError(f"sweep: {name} changes nothing in this head")
        return self

    def hears_pitch(self) -> bool:
        """Whether a network reads a pitch contour."""
        contour = self.store in CONTOURS and "pitch" in self.columns
        return contour and self.approach != "statistics"

    def heeds(self, name: str) -> bool:
        """Whether training depends on a field of those that may be swept."""
        contrasts = self.approach == "contrastive" or (
            self.approach == "joint" and self.contrast_weight > 0
        )
        if name in _CONCERNS:
            return contrasts and self.contrast in _CONCERNS[name]
        own = {
            "contrast": contrasts,
            "contrast_weight": self.approach == "joint",
            "contrast_learning_rate": self.approach == "contrastive",
            "regularise": self.approach == "joint",
            "regularise_weight": self.regularise != "none",
        }
        return own.get(name, self.approach != "statistics")

    def stack_frames(self) -> int:
        """Frames that are left of a chunk after all convolutions."""
        frames = self.chunk_frames
        for _ in self.channels:
            frames = (frames - self.kernel) // self.stride + 1
        return frames

    def points(self) -> dict[str, HeadParams]:
        """Every combination of swept values by name, ``margin=2``; itself as '' if none."""
        if not self.sweep:
            return {"": self}
        found: dict[str, dict[str, Any]] = {"": {}}
        # In one order, whatever that of the file: neither DVC nor a key of the cache knows it.
        for field, values in sorted(self.sweep.items(), reverse=True):
            found = {
                ",".join(filter(None, [name, f"{field}={value}"])): {**chosen, field: value}
                for name, chosen in found.items()
                for value in values
            }
        plain = self.model_dump(exclude={"sweep"})
        return {name: HeadParams(**{**plain, **chosen}) for name, chosen in found.items()}


class ContrastParams(Block):
    """Heads on frames, trained for each dimension of the labels and each seed."""

    schemes: list[RankScheme] = Field(["player", "content"], description="those of folds.schemes")
    folds: int = Field(1, ge=0, description="of a scheme, that are tested; 0 = all, 1 = one split")
    dimensions: list[str] = Field(
        default_factory=list,
        description="of probe.task, those that a corpus has, each learned by itself; [] = all",
    )
    seeds: list[Seed] = Field([0, 1, 2, 3, 4], min_length=1)
    validation_fraction: float = Field(0.112, gt=0, lt=1, description="of the training side")
    heads: dict[str, HeadParams] = Field(default_factory=dict, description="by name")
    bins: int = Field(5, ge=2, description="classes of the latent analysis, equal parts of 0..1")
    perplexities: list[float] = Field([5, 15, 30, 50], min_length=1, description="t-SNE, searched")
