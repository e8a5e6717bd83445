"""What decides how fast an encoder is, as the name of its measured rate."""

from __future__ import annotations

from pianoeval.encoders.base import EncoderSpec


def rate_name(spec: EncoderSpec) -> str:
    """``embedding-<kind>:<first..last layer>:<precision>``, then ``cuda`` and ``compiled``.

    Blocks after the last wanted layer are not run, so the layers count; whether weights were
    trained or drawn does not.
    """
    first, last = spec.layer_names[0], spec.layer_names[-1]
    layers = first if first == last else f"{first}..{last}"
    parts = [f"embedding-{spec.kind}", layers, spec.precision]
    parts += [spec.device] if spec.device != "cpu" else []
    parts += ["compiled"] if spec.compiled else []
    return ":".join(parts)
