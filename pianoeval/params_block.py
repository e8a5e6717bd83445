"""What all blocks of ``params.yaml`` are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every library takes


class Block(BaseModel):
    """A block of parameters: immutable, and closed against misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
