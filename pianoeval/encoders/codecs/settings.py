"""What the two audio codecs (DAC, Jukebox's VQ-VAE) have in common as encoders.

Both are convolutions with zero padding, then a quantiser, at 44.1 kHz. A frame exists for every
whole hop; zeros are never appended to fill a last one.
"""

from __future__ import annotations

from pianoeval.encoders.base import EncoderSpec
from pianoeval.encoders.layers import parse_layers
from pianoeval.encoders.settings import checkpoint_fields, overlap_frames
from pianoeval.errors import ConfigError
from pianoeval.params import CheckpointParams

LAYERS = ("latent", "quantized")
SAMPLE_RATE_HZ = 44_100
MAX_CHUNK_S = 60.0  # memory grows with the chunk: DAC 20 MB a second, Jukebox 8 MB


def codec_spec(
    params: CheckpointParams, name: str, *, hop: int, dim: int, code_version: int,
    random_version: int,
) -> EncoderSpec:  # fmt: skip
    """Specification of a codec of ``hop`` samples a frame and ``dim`` values.

    ``chunk_s`` is rounded to whole hops.

    Raises
    ------
    ConfigError
        An unknown layer, ``"quantized"`` in bfloat16 (an error in the latent makes other codes),
        ``compile``, or chunks out of range.
    """
    layers = tuple(LAYERS[i] for i in parse_layers(params.layers, LAYERS))
    spoilt = params.precision == "bfloat16" and "quantized" in layers
    kind, shortest = params.kind, hop / SAMPLE_RATE_HZ
    for wrong, what, allowed in (
        (
            spoilt, f"precision is bfloat16 with layers {', '.join(layers)}",
            "layers: latent, or float32",
        ),
        (params.compile, "compile is true", f"false for {kind}: it has not been measured"),
        (
            not shortest <= params.chunk_s <= MAX_CHUNK_S,
            f"chunk_s is {params.chunk_s:g}", f"{shortest:.3f} to {MAX_CHUNK_S:g}",
        ),
    ):  # fmt: skip
        if wrong:
            raise ConfigError(
                what, where=f"encoders.{name}", allowed=allowed, next_step="edit params.yaml"
            )
    frames = round(params.chunk_s * SAMPLE_RATE_HZ / hop)
    return EncoderSpec(
        **checkpoint_fields(params, name, LAYERS, random_version),
        kind=kind,
        sample_rate_hz=SAMPLE_RATE_HZ,
        chunk_samples=frames * hop,
        period_samples=hop,
        span_samples=hop,
        min_samples=hop,
        overlap_frames=overlap_frames(params, name, SAMPLE_RATE_HZ / hop, frames),
        dim=dim,
        code_version=code_version,
    )
