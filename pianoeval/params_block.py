"""What all blocks of ``params.yaml`` are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A block of parameters: immutable, and closed against misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
