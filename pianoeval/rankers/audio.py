"""Audio of takes, for rankers that learn what to hear in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pianoeval.encoders.base import Encoder, EncoderSpec
from pianoeval.encoders.chunking import Samples, plan_chunks, to_float
from pianoeval.encoders.registry import encoder_spec
from pianoeval.encoders.stream import open_audio
from pianoeval.models.base import Float32, Float64, Rows
from pianoeval.params import EncoderParams
from pianoeval.provenance import canonical_json, sha256_bytes
from pianoeval.store import RaggedStore


@dataclass(frozen=True, eq=False)
class TakeAudio:
    """Audio of clips and the encoder that hears it.

    What has been read is kept: about 0.3 GB an hour of 44.1 kHz, or four bytes a sample where the
    encoder wants another rate.

    Attributes
    ----------
    store : RaggedStore
        Of audio.
    clips : sequence of str
        In the rows of ``RankFold.x``.
    encoder : EncoderParams
        Its chunks are as long as the crops that are learned from.
    name : str
        Of the encoder, for messages.
    """

    store: RaggedStore
    clips: Sequence[str]
    encoder: EncoderParams
    name: str
    _read: dict[int, Samples] = field(default_factory=dict)

    @cached_property
    def spec(self) -> EncoderSpec:
        return encoder_spec(self.encoder, self.name)

    def digest(self) -> str:
        """SHA-256 of the audio of all clips and of what the frozen encoder is."""
        spec = self.spec
        audio = [[clip, self.store.digest(clip)] for clip in self.clips]
        rate_hz = self.store.attrs["sample_rate_hz"]
        about = [spec.kind, spec.code_version, spec.weights_sha256, spec.config(), rate_hz]
        return sha256_bytes(canonical_json([audio, about]).encode())

    def seconds(self, rows: Iterable[int]) -> float:
        """Length of clips in all."""
        rate_hz = float(self.store.attrs["sample_rate_hz"])
        return sum(self.store.length(self.clips[row]) for row in rows) / rate_hz

    def samples(self, row: int) -> Samples:
        """A clip at the encoder's rate.

        Raises
        ------
        CorruptDataError
            It differs from what was written.
        """
        if row not in self._read:
            stream = open_audio(self.store, self.clips[row], self.spec.sample_rate_hz)
            self._read[row] = np.concatenate(list(stream.parts))
        return self._read[row]

    def crop(self, row: int, place: float) -> Float32:
        """As much of a clip as the encoder hears at once; all of a shorter one.

        Parameters
        ----------
        place : float
            0 = from the clip's beginning, 1 = up to its end: takes of one segment are heard at
            about the same bars, whatever their tempo.
        """
        samples = self.samples(row)
        size = min(len(samples), self.spec.chunk_samples)
        start = round(place * (len(samples) - size))
        return to_float(samples[start : start + size])

    def pooled(
        self, encoder: Encoder, rows: Rows, batch: int, done: Callable[[float], None] | None = None
    ) -> Float64:
        """Mean, then standard deviation, over all frames of whole clips.

        Chunks lie and frames are kept as when a clip is embedded.

        Parameters
        ----------
        batch : int
            Chunks that are encoded at once.
        done : callable, optional
            Told how much audio has been heard (s), batch by batch.

        Returns
        -------
        float64, shape (len(rows), 2 · layers · dim)
        """
        spec = encoder.spec
        chunks = [
            (number, chunk)
            for number, row in enumerate(rows)
            for chunk in plan_chunks(len(self.samples(row)), spec)
        ]
        shape = (len(rows), len(spec.layer_names) * spec.dim)
        total, square, count = np.zeros(shape), np.zeros(shape), np.zeros(len(rows))
        for alike in by_length([chunk.stop - chunk.start for _, chunk in chunks]):
            for begin in range(0, len(alike), batch):
                group = [chunks[i] for i in alike[begin : begin + batch]]
                audio = [to_float(self.samples(rows[n])[c.start : c.stop]) for n, c in group]
                frames = encoder.encode(np.stack(audio)).astype(np.float64)
                for (number, chunk), found in zip(group, frames, strict=True):
                    kept = found[chunk.first : chunk.last].reshape(-1, shape[1])
                    total[number] += kept.sum(axis=0)
                    square[number] += (kept**2).sum(axis=0)
                    count[number] += len(kept)
                if done:
                    done(sum(map(len, audio)) / spec.sample_rate_hz)
        mean = total / count[:, None]
        spread = np.sqrt(np.clip(square / count[:, None] - mean**2, 0, None))
        return np.concatenate([mean, spread], axis=1)


def by_length(lengths: Sequence[int]) -> list[Rows]:
    """Positions of equal lengths, shortest first."""
    return [np.flatnonzero(np.equal(lengths, length)) for length in sorted(set(lengths))]
