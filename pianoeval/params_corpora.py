"""Parameters of the corpora."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pianoeval.params_block import Block, Seed

_NEWER = ("excerpts", "bars", "max_performers", "shortest_s", "longest_s", "level",
          "scale", "exercises", "reliability")  # fmt: skip


class CorpusParams(Block):
    """One corpus; ``loader`` names the module of ``pianoeval.corpora``.

    Fields that came after the first release and stand at their default are not written out, so
    that what was computed before them keeps its name.
    """

    loader: Literal["studio", "percepiano", "asap", "folder", "fba", "auditions"]
    seed: Seed = 0
    n_segments: int = Field(12, ge=2, description="studio: excerpts, spread over the works")
    n_players: int = Field(3, ge=1, description="studio: simulated pianists")
    segment_s: float = Field(8.0, gt=2, description="studio: wanted length of an excerpt")
    tiers: list[int] = Field(default_factory=list, description="degraded versions of each take")
    digest: str = Field("", description="asap, folder, fba: first digits of the version; '' = any")
    excerpts: int = Field(1, ge=1, le=100, description="asap: places a piece, spread over it")
    bars: int = Field(8, ge=1, le=1000, description="asap: wanted length of an excerpt")
    max_performers: int = Field(3, ge=1, description="asap: performances a piece")
    shortest_s: float = Field(5.0, gt=0, description="asap: else bars are added")
    longest_s: float = Field(25.0, gt=1, description="asap: else bars are taken away")
    level: Literal["middle", "symphonic"] = Field("middle", description="auditions, fba: whose")
    scale: float = Field(1.0, gt=0, le=1, description="auditions: share of the paper's numbers")
    exercises: int = Field(4, ge=1, description="auditions: tunes a year and instrument")
    reliability: float = Field(0.75, gt=0, le=1, description="auditions: of the judge's marks")

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.shortest_s >= self.longest_s:
            raise ValueError("shortest_s must be below longest_s")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        for name in _NEWER:
            if getattr(self, name) == type(self).model_fields[name].default:
                values.pop(name, None)
        return values
