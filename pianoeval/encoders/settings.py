"""What all encoders read from their parameters in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pianoeval.encoders.layers import parse_layers
from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams, EncoderBlock, TranskunParams


class CommonFields(TypedDict):
    """Fields of :class:`~pianoeval.encoders.base.EncoderSpec` that no kind decides for itself."""

    name: str
    precision: str
    device: str
    compiled: bool
    last_chunk: str


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
        name=name, precision=params.precision, device=params.device, compiled=params.compile,
        last_chunk=params.last_chunk,
    )  # fmt: skip


class CheckpointFields(CommonFields):
    """The same for a kind whose weights are a checkpoint, or drawn."""

    layer_names: tuple[str, ...]
    weights_sha256: str
    weights_source: str
    options: tuple[tuple[str, int | str], ...]


def checkpoint_fields(
    params: CheckpointParams, name: str, layers: Sequence[str], random_version: int
) -> CheckpointFields:
    """Fields that do not depend on the network, but for the names of its ``layers``.

    Raises
    ------
    ConfigError
        An unknown layer, or as :func:`common_fields`.
    """
    return CheckpointFields(
        **common_fields(params, name),
        layer_names=tuple(layers[i] for i in parse_layers(params.layers, layers)),
        weights_sha256=params.digest if params.weights == "pretrained" else "",
        weights_source=weights_source(params),
        options=random_options(params, random_version),
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


def check_sizes(sizes: Mapping[str, Any], like: Mapping[str, Any], where: str) -> None:
    """Refuse what cannot be sizes in a checkpoint's ``config.json``.

    Parameters
    ----------
    like : mapping
        Published values: where they are lists, lists are wanted.

    Raises
    ------
    ConfigError
        A value that is no positive whole number, or no list of such.
    """
    for key, value in sizes.items():
        listed = isinstance(like[key], list | tuple)
        parts = value if listed else [value]
        is_list = isinstance(parts, list | tuple) and len(parts) > 0
        if not is_list or not all(type(part) is int and part > 0 for part in parts):
            raise ConfigError(
                f"the checkpoint's config.json has {key}: {value!r}", where=where,
                allowed="a list of positive whole numbers" if listed else "a positive whole number",
                next_step="choose another model with 'model' and 'revision' in params.yaml",
            )  # fmt: skip


def sub_block(config: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """A block inside a checkpoint's ``config.json``; empty if it is absent or null.

    Raises
    ------
    ConfigError
        Something else stands there.
    """
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise ConfigError(
            f"the checkpoint's config.json has {key}: {value!r}", where=where, allowed="a block",
            next_step="choose another model with 'model' and 'revision' in params.yaml",
        )  # fmt: skip
    return dict(value or {})


def weights_source(params: CheckpointParams) -> str:
    """Where the weights come from; what a folder gave has no commit pinned."""
    if params.weights == "random":
        return f"random, {params.seed}"
    return f"{params.model}@{params.revision}" if params.model and params.revision else "folder"


def random_options(
    params: CheckpointParams | TranskunParams, version: int
) -> tuple[tuple[str, int | str], ...]:
    """Options of the key that tell random weights: the drawing code's version and the seed."""
    if params.weights == "pretrained":
        return ()
    return (("random_version", version), ("random_seed", params.seed))
