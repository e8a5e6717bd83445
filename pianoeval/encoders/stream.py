"""Audio of a clip, read from its store in parts and resampled as it comes."""

from __future__ import annotations

from pianoeval.encoders.chunking import PART, AudioStream, to_float
from pianoeval.resampling import resample_parts, resampled_length
from pianoeval.store import RaggedStore


def open_audio(store: RaggedStore, clip: str, rate_hz: int) -> AudioStream:
    """Audio of a clip of an audio store at ``rate_hz``; it can be read once."""
    parts = (block[:, 0, 0] for block in store.blocks(clip, PART))
    source = AudioStream(store.length(clip), parts)
    return resampled(source, int(store.attrs["sample_rate_hz"]), rate_hz)


def resampled(source: AudioStream, from_hz: int, to_hz: int) -> AudioStream:
    """``source`` at another rate; as it is if the rates agree."""
    if from_hz == to_hz:
        return source
    parts = (to_float(part) for part in source.parts)
    length = resampled_length(source.n_samples, from_hz, to_hz)
    return AudioStream(length, resample_parts(parts, from_hz, to_hz))
