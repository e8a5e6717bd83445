"""The contract of a frozen encoder: what it is (EncoderSpec) and what it computes (Encoder).

An encoder turns chunks of mono audio of one length into frames, each a vector for every wanted
layer. Everything else (reading audio, placing chunks, storing) is done by
:mod:`pianoeval.encoders.extract` and is the same for all encoders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pianoeval.errors import BadInputError


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is; every field but ``name`` is part of the embedding key.

    Parameters
    ----------
    name : str
        The user's name for it, as in ``params.yaml``.
    kind : str
        Family, as in the registry.
    sample_rate_hz : int
        Rate the encoder must be fed at.
    chunk_samples, period_samples, min_samples : int
        Longest input of one call, distance between two frames, and shortest input.
    layer_names : tuple of str
        Wanted layers, in the order of the layer axis.
    dim : int
        Values a frame and layer.
    precision : str
        Arithmetic of the network, ``float32`` or ``bfloat16``.
    weights_sha256 : str
        Hash of the weights file; empty where there are none.
    code_version : int
        Raised whenever the code changes the numbers.
    options : tuple of (str, int or str)
        Whatever else of this kind changes the numbers.
    """

    name: str
    kind: str
    sample_rate_hz: int
    chunk_samples: int
    period_samples: int
    min_samples: int
    layer_names: tuple[str, ...]
    dim: int
    precision: str
    weights_sha256: str
    code_version: int
    options: tuple[tuple[str, int | str], ...] = ()

    @property
    def chunk_s(self) -> float:
        """Length of a chunk."""
        return self.chunk_samples / self.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.period_samples

    @property
    def chunk_frames(self) -> int:
        """Frames of a full chunk."""
        return self.n_frames(self.chunk_samples)

    def n_frames(self, n_samples: int) -> int:
        """Frames of ``n_samples``: ``ceil(n_samples / period_samples)``, a part counting whole."""
        return -(-n_samples // self.period_samples)

    def config(self) -> dict[str, Any]:
        """What changes the numbers beside the audio, the weights and the code version."""
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "chunk_samples": self.chunk_samples,
            "period_samples": self.period_samples,
            "layers": list(self.layer_names),
            "precision": self.precision,
            **dict(self.options),
        }


class Encoder(ABC):
    """A frozen encoder, ready to run."""

    spec: EncoderSpec

    def encode(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode chunks of one length; chunks do not see each other.

        Parameters
        ----------
        chunks : float32, shape (batch, samples)
            Mono audio at ``spec.sample_rate_hz``, full scale 1.

        Returns
        -------
        float32, shape (batch, frames, layers, dim)
            ``frames = spec.n_frames(samples)``; only the wanted layers.

        Raises
        ------
        BadInputError
            Too short or too long, or a sample that is not finite.
        """
        spec = self.spec
        if chunks.ndim != 2 or not spec.min_samples <= chunks.shape[1] <= spec.chunk_samples:
            raise BadInputError(
                f"{spec.kind} was given audio of shape {chunks.shape}",
                allowed=f"(batch, {spec.min_samples} to {spec.chunk_samples} samples at "
                f"{spec.sample_rate_hz} Hz)",
            )
        if not np.isfinite(chunks).all():
            raise BadInputError("the audio holds a sample that is not finite")
        return self._encode(np.ascontiguousarray(chunks, dtype=np.float32))

    @abstractmethod
    def _encode(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """As :meth:`encode`, for checked input."""
