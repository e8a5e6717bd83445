"""Parameters of predicting corpora that were not learned from."""

from __future__ import annotations

from pydantic import Field

from pianoeval.params_block import Block, Seed


class TransferParams(Block):
    """What is learned where, and how what it predicts elsewhere is described."""

    source: str = Field("percepiano", description="corpus whose labels are learned")
    rows: list[str] = Field(
        ["symbolic/ridge", "symbolic/ensemble", "transkun/ridge", "transkun/ensemble"],
        min_length=1,
        description="VIEW/MODEL, each listed by its view; those of axes.features are predicted",
    )
    leave_out: list[str] = Field(
        ["Schubert/Impromptu_op142_3"], description="movements of targets that the source has"
    )
    n_bootstrap: int = Field(2000, ge=100)
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: Seed = 42
