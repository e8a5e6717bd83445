"""Parameters of fusion: which models are read as one, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pianoeval.params_block import Block

FUSION = "fusion"  # names of fusion views begin with it, and the file of their predictions has it
FusionMethod = Literal["average", "weighted", "stacked", "gated", "kernel"]


class FusionView(Block):
    """Models that are read as one; each method is a row of the results."""

    members: list[str] = Field(min_length=2, description="view/model, as in the results")
    methods: list[FusionMethod] = Field(min_length=1)


class FusionParams(Block):
    """Fusion views by name, and what their methods are given."""

    views: dict[str, FusionView] = Field(default_factory=dict)
    penalties: list[Annotated[float, Field(gt=0)]] = Field(
        [0.03, 0.1, 0.3, 1.0, 3.0],
        description="stacked: pull towards shared weights; ∞ is tried too",
    )
