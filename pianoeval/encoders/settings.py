"""What all encoders read from their parameters in the same way."""

from __future__ import annotations

from typing import TypedDict

from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams, EncoderBlock, TranskunParams


class CommonFields(TypedDict):
    """Fields of :class:`~pianoeval.encoders.base.EncoderSpec` that no kind decides for itself."""

    name: str
    precision: str
    device: str
    compiled: bool


def common_fields(params: EncoderBlock, name: str) -> CommonFields:
    """Name and numerics of a specification.

    Raises
    ------
    ConfigError
        ``compile`` on a CPU: it is neither measured nor tested there.
    """
    if params.compile and params.device == "cpu":
        raise ConfigError(
            "compile is true for an encoder on the CPU", where=f"encoders.{name}",
            allowed="compile: true with device: cuda", next_step="edit params.yaml",
        )  # fmt: skip
    return CommonFields(
        name=name, precision=params.precision, device=params.device, compiled=params.compile
    )


def overlap_frames(
    params: EncoderBlock, name: str, frame_rate_hz: float, chunk_frames: int, group: int = 1
) -> int:
    """``overlap_s`` in frames, rounded to whole groups.

    Raises
    ------
    ConfigError
        Chunks that would share half of their frames or more.
    """
    frames = round(params.overlap_s * frame_rate_hz / group) * group
    if 2 * frames >= chunk_frames:
        raise ConfigError(
            f"overlap_s is {params.overlap_s:g}", where=f"encoders.{name}",
            allowed=f"less than half of a chunk ({chunk_frames / frame_rate_hz / 2:g} s)",
            next_step="edit params.yaml",
        )  # fmt: skip
    return frames


def random_options(
    params: CheckpointParams | TranskunParams, version: int
) -> tuple[tuple[str, int | str], ...]:
    """Options of the key that tell random weights: the drawing code's version and the seed."""
    if params.weights == "pretrained":
        return ()
    return (("random_version", version), ("random_seed", params.seed))
